//! What an administrator has set: `/etc/dhow/daemon.json`, under the names that Docker's file has.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;
use crate::error::At as _;
use crate::runtimes::RuntimeSetting;

/// The engine's settings. Every command reads them, since any command may be the one that starts
/// a container. Keys that are not here are others' (registries, the collection of images).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// Where CDI specifications are; those of a later folder win.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// What is set for builds.
    pub builder: BuilderSettings,
    /// Containers that do not say otherwise have an init (`--init`).
    pub init: bool,
    /// OCI runtimes, by the names that `--runtime` takes.
    pub runtimes: BTreeMap<String, RuntimeSetting>,
    /// The runtime where none is asked for.
    pub default_runtime: Option<String>,
    /// The log driver of containers that name none; empty: json-file.
    pub log_driver: String,
    /// Options of containers with that driver, where they do not say otherwise.
    pub log_opts: BTreeMap<String, String>,
    /// Containers that do not say otherwise have a user namespace with the subordinate ids of this
    /// `USER[:GROUP]`; `default` is `dockremap`. Empty: none.
    pub userns_remap: String,
}

/// What is set for builds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BuilderSettings {
    /// How the build cache is kept within bounds.
    pub gc: BuilderGc,
    /// Directories of the machine that steps have as cache mounts, by the ids of these.
    #[serde(rename = "cache-mounts")]
    pub cache_mounts: BTreeMap<String, PathBuf>,
    /// What builds may be allowed by who asks for them.
    #[serde(alias = "Entitlements")]
    pub entitlements: BuilderEntitlements,
}

/// What builds may be allowed. Where nothing is said: the machine's network and devices, but not all rights, as
/// in Docker.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct BuilderEntitlements {
    /// `network.host`
    pub network_host: bool,
    /// `security.insecure`
    pub security_insecure: bool,
    /// `device`
    pub device: bool,
}

impl Default for BuilderEntitlements {
    fn default() -> Self {
        Self { network_host: true, security_insecure: false, device: true }
    }
}

/// How the build cache is kept within bounds. Sizes are texts, `10GB` or `20%` of the disk; empty ones
/// are as usual.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuilderGc {
    /// Whether it is; as usual: yes.
    pub enabled: Option<bool>,
    /// What always stays; the older name of the next.
    pub default_keep_storage: String,
    /// What always stays.
    pub default_reserved_space: String,
    /// What there may be at most.
    pub default_max_used_space: String,
    /// What of the disk is to be free.
    pub default_min_free_space: String,
    /// Rules, one after the other, in place of the usual ones.
    pub policy: Vec<BuilderGcRule>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuilderGcRule {
    /// Also what images have.
    pub all: bool,
    /// What stays; the older name of the next.
    pub keep_storage: String,
    /// What stays.
    pub reserved_space: String,
    /// What there may be at most.
    pub max_used_space: String,
    /// What of the disk is to be free.
    pub min_free_space: String,
    /// What was not used for so long goes: `48h`.
    pub keep_duration: String,
    /// Conditions, one of which has to hold; also the older `unused-for=24h`.
    pub filter: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            builder: BuilderSettings::default(),
            init: false,
            runtimes: BTreeMap::new(),
            default_runtime: None,
            log_driver: String::new(),
            log_opts: BTreeMap::new(),
            userns_remap: String::new(),
        }
    }
}

impl Settings {
    /// Where the file is, unless `DHOW_CONFIG` says otherwise.
    pub const FILE: &'static str = "/etc/dhow/daemon.json";

    /// Reads a file; without one, nothing is set.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = match std::fs::read(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.at("read", path)?,
        };
        serde_json::from_slice(&bytes).map_err(io::Error::from).at("read", path)
    }
}
