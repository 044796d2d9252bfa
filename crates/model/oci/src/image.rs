//! Images: descriptors, manifests, indexes and configurations.
//!
//! Sources: OCI image-spec 1.1 (descriptor.md, manifest.md, image-index.md, config.md) and the
//! Docker image specification for the keys that only Docker knows.
//!
//! The bytes come from strangers. Each `parse` bounds them, takes no key twice (serde's derived
//! readers refuse that), and takes no document for another kind than it says it is: one text that
//! reads as manifest to one program and as index to another has fooled scanners before
//! (CVE-2021-41190).

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::{DiffId, Digest};

mod config;
pub mod elf;
pub mod platform;

pub use config::{Config, Healthcheck, History, ImageConfig, RootFs};

/// Media types, as the registry of names has them.
pub mod media_type {
    /// An OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer as it is.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer through gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer through zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, through gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer, through zstd, as BuildKit and containerd call it.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// Docker's layer as it is.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

    /// A layer that not everybody may pass on (OCI has given these up), as it is.
    pub const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// The same through gzip.
    pub const FOREIGN_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    /// The same through zstd.
    pub const FOREIGN_ZSTD: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
    /// Docker's layer that not everybody may pass on, as it is.
    pub const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    /// The same through gzip. There is none through zstd.
    pub const DOCKER_FOREIGN_GZIP: &str =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

    /// Layers that not everybody may pass on, each with the ordinary one of the same form.
    const KEPT: [(&str, &str); 5] = [
        (FOREIGN, LAYER),
        (FOREIGN_GZIP, LAYER_GZIP),
        (FOREIGN_ZSTD, LAYER_ZSTD),
        (DOCKER_FOREIGN, DOCKER_LAYER),
        (DOCKER_FOREIGN_GZIP, DOCKER_LAYER_GZIP),
    ];

    /// Whether this names a manifest of one image.
    pub fn is_manifest(name: &str) -> bool {
        matches!(name, MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether this names an index of several.
    pub fn is_index(name: &str) -> bool {
        matches!(name, INDEX | DOCKER_INDEX)
    }

    /// Whether this names an image configuration.
    pub fn is_config(name: &str) -> bool {
        matches!(name, CONFIG | DOCKER_CONFIG)
    }

    /// Whether this names a layer that we can unpack.
    pub fn is_layer(name: &str) -> bool {
        matches!(
            name,
            LAYER | LAYER_GZIP | LAYER_ZSTD | DOCKER_LAYER | DOCKER_LAYER_GZIP | DOCKER_LAYER_ZSTD
        ) || is_foreign(name)
    }

    /// Whether this names a layer that not everybody may pass on.
    pub fn is_foreign(name: &str) -> bool {
        KEPT.iter().any(|(foreign, _)| *foreign == name)
    }

    /// What a layer is called that not everybody may pass on, and otherwise is of this type; itself where there
    /// is no such word.
    pub fn foreign(name: &str) -> &str {
        KEPT.iter().find(|(_, ordinary)| *ordinary == name).map_or(name, |(foreign, _)| *foreign)
    }

    /// What a layer of this type is called that everybody may pass on.
    pub fn ordinary(name: &str) -> &str {
        KEPT.iter().find(|(foreign, _)| *foreign == name).map_or(name, |(_, ordinary)| *ordinary)
    }
}

/// The annotation of `index.json` that holds a tag (annotations.md).
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation of `index.json` that holds a whole reference, as containerd writes it.
pub const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";

/// The largest manifest or index, in bytes (distribution-spec, "Pushing Manifests": 4 MiB).
pub const MAX_MANIFEST: usize = 4 << 20;
/// The largest configuration, in bytes.
pub const MAX_CONFIG: usize = 8 << 20;

/// Why a document is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many bytes.
    #[error("{what} of {size} bytes, more than {max}")]
    TooLarge {
        /// The kind of document.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The most that is taken.
        max: usize,
    },
    /// Not JSON, a key twice, or a value of another type.
    #[error("parse {what}")]
    Json {
        /// The kind of document.
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is JSON, and something else than it should be.
    #[error("{what}: {why}")]
    Kind {
        /// The kind of document.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// Points to a blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Other places to get it from.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub urls: Vec<String>,
    /// Free notes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// In an index: what the manifest runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The blob itself, in base64, where that is so small that it need not be asked for. Nobody here believes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl Descriptor {
    /// A descriptor of these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// A descriptor without anything optional.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
            data: None,
        }
    }

    /// Whether it is a layer that not everybody may pass on, and is to be had elsewhere: it is not pushed.
    pub fn is_foreign(&self) -> bool {
        !self.urls.is_empty() && media_type::is_foreign(&self.media_type)
    }

    /// The same as a layer that is passed on like any other.
    #[must_use]
    pub fn into_ordinary(self) -> Self {
        let media_type = media_type::ordinary(&self.media_type).to_owned();
        Self { media_type, urls: Vec::new(), ..self }
    }
}

/// A machine and operating system, in Go's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `linux`, ...
    pub os: String,
    /// Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Windows only.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub os_features: Vec<String>,
    /// `v7` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// What this program was built for.
    pub fn native() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            architecture: architecture.into(),
            os: "linux".into(),
            variant: variant.map(str::to_owned),
            ..Self::default()
        }
    }
}

/// One image: a configuration and layers, lowest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// What this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<Descriptor>>,
    /// Free notes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest of an OCI image.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.into()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Whether it is of an image, by its own word, and not of an artifact.
    pub fn is_image(&self) -> bool {
        media_type::is_config(&self.config.media_type) && self.artifact_type.is_none()
    }

    /// Reads a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "image manifest";
        let kind: Kind = parse(WHAT, bytes, MAX_MANIFEST)?;
        kind.check(WHAT, media_type::is_manifest, &[("manifests", kind.manifests.is_some())])?;
        parse(WHAT, bytes, MAX_MANIFEST)
    }
}

/// Several manifests: of several platforms, or all images of a layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// What this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<Descriptor>>,
    /// Free notes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// An index of these manifests.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::INDEX.into()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "image index";
        let kind: Kind = parse(WHAT, bytes, MAX_MANIFEST)?;
        let foreign = [("config", kind.config.is_some()), ("layers", kind.layers.is_some())];
        kind.check(WHAT, media_type::is_index, &foreign)?;
        parse(WHAT, bytes, MAX_MANIFEST)
    }
}

/// The keys that tell manifests and indexes apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Kind {
    fn check(
        &self,
        what: &'static str,
        is_type: fn(&str) -> bool,
        foreign: &[(&str, bool)],
    ) -> Result<(), Error> {
        let refuse = |why| Err(Error::Kind { what, why });
        // Programs that leave it out write 0, and containerd never looks.
        if !matches!(self.schema_version, 0 | 2) {
            return refuse(format!("schema version {}, only 2 is known", self.schema_version));
        }
        if let Some(name) = self.media_type.as_deref().filter(|name| !is_type(name)) {
            return refuse(format!("media type `{}`", name.escape_debug()));
        }
        match foreign.iter().find(|(_, present)| *present) {
            Some((key, _)) => refuse(format!("has the key `{key}` of another kind of document")),
            None => Ok(()),
        }
    }
}

fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8], max: usize) -> Result<T, Error> {
    if bytes.len() > max {
        return Err(Error::TooLarge { what, size: bytes.len(), max });
    }
    // serde would also take an array of the fields' values for an object.
    if bytes.trim_ascii_start().first().is_some_and(|&first| first != b'{') {
        return Err(Error::Kind { what, why: "not a JSON object".into() });
    }
    serde_json::from_slice(bytes).map_err(|source| Error::Json { what, source })
}

/// Go writes an empty list or map as `null`.
fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests;
