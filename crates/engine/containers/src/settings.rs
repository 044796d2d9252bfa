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

impl Default for Settings {
    fn default() -> Self {
        Self {
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
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
