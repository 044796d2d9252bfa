//! Archives as `docker save` wrote them before Docker 1.10: a directory for each layer, with what was the
//! configuration of an image then (`json`), which names the one below, and `repositories` with the names.

use std::collections::BTreeMap;

use oci::DiffId;
use oci::image::{
    Config, Descriptor, History, ImageConfig, MAX_CONFIG, MAX_MANIFEST, Manifest, Platform, RootFs,
    media_type,
};
use serde::Deserialize;

use crate::archive::{PieceLayer, Pieces};
use crate::install::{LayerSource, layer_type, parse_config, to_json};
use crate::load::{Loaded, none_for};
use crate::target::platform_of;
use crate::{Error, Images, check_target};

/// The names in an archive of that kind.
pub(crate) const NAMES: &str = "repositories";
/// The most layers of an image: no driver of that time had more.
const MAX_LAYERS: usize = 127;

/// What of such a configuration no later one has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Step {
    /// The directory of the one below.
    parent: Option<String>,
    /// Of the container that it was made in.
    container_config: Option<Config>,
}

/// A layer with its configuration.
struct Level {
    id: String,
    bytes: Vec<u8>,
    step: Step,
    /// There were layers of no byte at all then, which change nothing.
    has_layer: bool,
}

impl Images {
    /// Loads all that has a name in such an archive, once for each name.
    pub(crate) fn load_v1(
        &self,
        pieces: &Pieces,
        platforms: &[Platform],
    ) -> Result<Vec<Loaded>, Error> {
        let bytes = pieces.document(NAMES, MAX_MANIFEST)?;
        let names: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Invalid(format!("read \"{NAMES}\": {error}")))?;
        let mut images = Vec::new();
        for (repository, tags) in names {
            for (tag, id) in tags {
                let name = check_target(format!("{repository}:{tag}").parse()?)?;
                let mut levels = levels(pieces, id)?;
                let mut layers: Vec<Box<dyn LayerSource + '_>> = Vec::new();
                let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
                for level in &mut levels {
                    let layer = pieces.layer(&format!("{}/layer.tar", level.id), None)?;
                    level.has_layer = layer.size > 0;
                    if !level.has_layer {
                        continue;
                    }
                    let kind = layer_type(diff::compression(&mut *layer.open()?)?);
                    descriptors.push(Descriptor::new(kind, layer.digest.clone(), layer.size));
                    diff_ids.push(diff_id(&layer)?);
                    layers.push(Box::new(layer));
                }
                let config = config(&levels, diff_ids)?;
                let found = platform_of(&config).unwrap_or_default();
                if !platforms.is_empty() && !platforms.iter().any(|wanted| wanted.is(&found)) {
                    continue;
                }
                let config = to_json("the configuration", &config)?;
                let descriptor = Descriptor::of(media_type::CONFIG, &config);
                let manifest = to_json("the manifest", &Manifest::new(descriptor, descriptors))?;
                let load = || self.load_as(&manifest, &config, &layers, Some(&name));
                images.push(self.load_named(Some(&name), load)?);
            }
        }
        if images.is_empty() {
            return Err(none_for(platforms));
        }
        Ok(images)
    }
}

/// What an image consists of, lowest first.
fn levels(pieces: &Pieces, top: String) -> Result<Vec<Level>, Error> {
    let mut levels = Vec::new();
    let mut next = Some(top);
    while let Some(id) = next.take() {
        if levels.len() == MAX_LAYERS {
            return Err(Error::Invalid(format!("{id} has more than {MAX_LAYERS} layers above it")));
        }
        let path = format!("{id}/json");
        let bytes = pieces.document(&path, MAX_CONFIG)?;
        let step: Step = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Invalid(format!("read \"{path}\": {error}")))?;
        next = step.parent.clone().filter(|parent| !parent.is_empty());
        levels.push(Level { id, bytes, step, has_layer: true });
    }
    levels.reverse();
    Ok(levels)
}

/// The configuration of the topmost, as it would be written today.
fn config(levels: &[Level], diff_ids: Vec<DiffId>) -> Result<ImageConfig, Error> {
    let mut config = ImageConfig::default();
    let mut history = Vec::new();
    for level in levels {
        config = parse_config(&level.bytes)?;
        let command = level.step.container_config.as_ref().and_then(|made| made.cmd.as_ref());
        history.push(History {
            created: config.created.clone(),
            created_by: command.map(|words| words.join(" ")),
            author: config.author.clone(),
            comment: config.comment.clone(),
            empty_layer: !level.has_layer,
        });
    }
    if config.os.is_empty() {
        "linux".clone_into(&mut config.os);
    }
    Ok(ImageConfig { rootfs: RootFs { diff_ids, ..RootFs::default() }, history, ..config })
}

/// The digest of a layer's archive as it is unpacked.
fn diff_id(layer: &PieceLayer<'_>) -> Result<DiffId, Error> {
    let mut archive = layer.open()?;
    let mut decoder = diff::decode(&mut *archive)?;
    decoder.drain()?;
    Ok(decoder.finish().unwrap_or_else(|| DiffId(layer.digest.clone())))
}
