//! The manifest that a cache lies under: an image manifest whose configuration it is, or an index that
//! names it beside the layers, as older registries wanted.

use oci::image::{Descriptor, Index, Manifest, media_type};

use crate::{CONFIG, Error};

/// What a document is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A cache: its document, and its layers.
    Cache(Box<Descriptor>, Vec<Descriptor>),
    /// An image, which may have one in its configuration.
    Image(Box<Descriptor>, Vec<Descriptor>),
    /// Several images.
    Images(Vec<Descriptor>),
}

/// What a manifest is, by what is in it.
///
/// # Errors
///
/// It is neither a manifest nor an index.
pub fn kind(bytes: &[u8]) -> Result<Kind, Error> {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let config = Box::new(manifest.config);
        return match config.media_type.as_str() {
            CONFIG => Ok(Kind::Cache(config, manifest.layers)),
            other if media_type::is_config(other) => Ok(Kind::Image(config, manifest.layers)),
            other => {
                let why = format!("a manifest of a `{}`", other.escape_debug());
                Err(Error::Wrong(why))
            }
        };
    }
    let index = Index::parse(bytes).map_err(|error| Error::Wrong(error.to_string()))?;
    let mut config = None;
    let mut layers = Vec::new();
    for entry in index.manifests {
        match entry.media_type.as_str() {
            CONFIG => config = Some(Box::new(entry)),
            _ => layers.push(entry),
        }
    }
    Ok(match config {
        Some(config) => Kind::Cache(config, layers),
        None => Kind::Images(layers),
    })
}

/// A manifest that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it is.
    pub media_type: &'static str,
}

/// The type that Docker's older registries know a layer by.
fn docker_type(name: &str) -> &str {
    match name {
        media_type::LAYER => media_type::DOCKER_LAYER,
        media_type::LAYER_GZIP => media_type::DOCKER_LAYER_GZIP,
        media_type::LAYER_ZSTD => media_type::DOCKER_LAYER_ZSTD,
        other => other,
    }
}

/// Writes the manifest of a cache. With `as_image`, it is an image manifest, which every registry keeps the
/// blobs of; else an index, of OCI's types or of Docker's.
///
/// # Errors
///
/// None that could be.
pub fn manifest(
    config: Descriptor,
    mut layers: Vec<Descriptor>,
    as_image: bool,
    oci_types: bool,
) -> Result<Written, Error> {
    if !oci_types {
        for layer in &mut layers {
            layer.media_type = docker_type(&layer.media_type).to_owned();
        }
    }
    if as_image {
        let bytes = serde_json::to_vec(&Manifest::new(config, layers))?;
        return Ok(Written { bytes, media_type: media_type::MANIFEST });
    }
    layers.push(config);
    let name = if oci_types { media_type::INDEX } else { media_type::DOCKER_INDEX };
    let mut index = Index::new(layers);
    index.media_type = Some(name.to_owned());
    Ok(Written { bytes: serde_json::to_vec(&index)?, media_type: name })
}
