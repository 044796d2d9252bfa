//! What is asked for.

use std::collections::BTreeMap;

use docker::container::Resources;
use oci::Digest;

use crate::attest::Attestations;

/// A build.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The build's own name, as its client knows it; it is in the history by that name.
    pub id: String,
    /// What to make of it; empty: it stays in the cache.
    pub exports: Vec<Export>,
    /// Its client is asked where else a result is to go, once it is there.
    pub asks_for_exports: bool,
    /// The platforms that its client asks for: it is told where a result is of others. Empty: nobody is.
    pub platforms: Vec<String>,
    /// Caches to look in.
    pub cache_from: Vec<CacheOption>,
    /// Where to write the cache to.
    pub cache_to: Vec<CacheOption>,
    /// What the build may do that others may not.
    pub entitlements: Entitlements,
    /// What is to be attested of its results.
    pub attestations: Attestations,
    /// What is attested of how it was made is told to who asks for it, too.
    pub tells_provenance: bool,
    /// Volumes that its steps have as cache mounts, by the ids of these. Only those that are meant for it may be.
    pub cache_volumes: BTreeMap<String, String>,
    /// Cache mounts that are this build's own, by their ids: the name spaces in which they are.
    pub own_caches: BTreeMap<String, String>,
    /// Limits of its programs. They are part of no key.
    pub limits: Resources,
    /// The network of its programs that do not say which: `web`, `container:ID`; empty: the usual one.
    pub network: String,
    /// Its programs reach others through a proxy alone, which judges and notes what they ask for.
    pub proxy_network: bool,
    /// Of the cache only layers of these images count, by their ids; `None`: all that is there.
    pub cache_within: Option<Vec<Digest>>,
    /// Images that are pulled for it are told of as those that people pull.
    pub tells_pulls: bool,
}

/// What a front end is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrontendRequest {
    /// Its options, by the names that BuildKit's `dockerfile.v0` has for them: `target`, `filename`,
    /// `build-arg:NAME`, `label:NAME`, `context:NAME`, `platform`, `no-cache`, `image-resolve-mode`, ...
    pub options: BTreeMap<String, String>,
    /// Results of this build that contexts are to be (`input:NAME`), by their names.
    pub inputs: BTreeMap<String, String>,
    /// Caches to look in, beside the build's own.
    pub cache_from: Vec<CacheOption>,
    /// The context is taken as by Docker's older API: a stream is an archive, whatever it begins with, and what
    /// its `.dockerignore` says of itself and of the Dockerfile counts.
    pub is_classic: bool,
}

/// Where a result goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// `image`, `moby`, `docker`, `oci`, `local`, `tar`, `cacheonly`.
    pub kind: String,
    /// `name`, `push`, `dest`, `compression`, ...
    pub options: BTreeMap<String, String>,
}

impl Export {
    /// Whether it has also what is attested for registries alone: it goes to one, or is said to.
    pub(crate) fn is_inline(&self) -> bool {
        let is_true = |value: &String| matches!(value.as_str(), "" | "true" | "1");
        let stated = |key: &str| self.options.get(key).map(is_true);
        match self.kind.as_str() {
            "image" | "moby" => stated("attestation-inline").or(stated("push")).unwrap_or_default(),
            "oci" | "docker" => stated("attestation-inline").unwrap_or_default(),
            _ => false,
        }
    }
}

/// A cache elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheOption {
    /// `registry`, `local`, `inline`.
    pub kind: String,
    /// `ref`, `mode`, `src`, `dest`, ...
    pub options: BTreeMap<String, String>,
}

impl CacheOption {
    /// Whether there is a cache of this type; `is_export`: one that can be written.
    ///
    /// # Errors
    ///
    /// There is none: it is named.
    pub fn check(&self, is_export: bool) -> Result<(), String> {
        match self.kind.as_str() {
            "inline" if self.has_mounts()? => {
                Err("cache-mounts=true: a cache in an image has no place for them: give registry or local".into())
            }
            "registry" | "local" => self.has_mounts().map(drop),
            "inline" if is_export => Ok(()),
            "inline" => Err("a cache in an image is imported with type=registry".to_owned()),
            kind @ ("gha" | "s3" | "azblob") => Err(format!(
                "a build cache of type={kind} is not supported: give registry or local"
            )),
            kind => Err(format!(
                "unknown cache {}: {kind:?}",
                if is_export { "exporter" } else { "importer" }
            )),
        }
    }
}

/// Our own option, by which cache mounts go with a cache.
const MOUNTS: &str = "cache-mounts";

impl CacheOption {
    /// Whether cache mounts go with it (`cache-mounts=true`).
    pub(crate) fn has_mounts(&self) -> Result<bool, String> {
        match self.options.get(MOUNTS).map(String::as_str) {
            None | Some("" | "false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(format!("non-bool value for {MOUNTS}: {other}")),
        }
    }
}

/// What a build may do that others may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: its programs may use the machine's network.
    pub network_host: bool,
    /// `security.insecure`: its programs may do everything.
    pub insecure: bool,
    /// `device`: its programs may have devices.
    pub devices: bool,
}
