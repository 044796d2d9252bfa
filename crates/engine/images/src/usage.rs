//! How much images hold, where layers are shared.

use std::collections::{HashMap, HashSet};

use oci::{ChainId, Digest};

use crate::{Error, Images};

/// Bytes of unpacked layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerUsage {
    /// Of all layers that images have, each once.
    pub total: u64,
    /// Of those that images have of which there are containers.
    pub active: u64,
    /// Of each image, the layers that another one has too.
    pub shared: HashMap<Digest, u64>,
}

impl Images {
    /// How much the layers of all images hold.
    pub fn layer_usage(&self) -> Result<LayerUsage, Error> {
        let (sizes, images, containers) = self.db.read(|tx| {
            let sizes: HashMap<ChainId, u64> =
                tx.layers()?.into_iter().map(|row| (row.chain, row.size)).collect();
            let mut images = Vec::new();
            for image in tx.images()? {
                let layers = tx.image_layers(&image.id)?;
                let chain: HashSet<ChainId> = layers.into_iter().map(|layer| layer.chain).collect();
                images.push((image.id, chain));
            }
            Ok::<_, Error>((sizes, images, tx.containers_by_image()?))
        })?;
        let mut users: HashMap<&ChainId, u64> = HashMap::new();
        let mut active: HashSet<&ChainId> = HashSet::new();
        for (image, chain) in &images {
            for layer in chain {
                *users.entry(layer).or_default() += 1;
            }
            if containers.contains_key(image) {
                active.extend(chain);
            }
        }
        let size = |layer: &ChainId| sizes.get(layer).copied().unwrap_or(0);
        let shared = |chain: &HashSet<ChainId>| {
            chain.iter().filter(|layer| users[layer] > 1).map(size).sum::<u64>()
        };
        Ok(LayerUsage {
            total: users.keys().map(|layer| size(layer)).sum(),
            active: active.iter().map(|layer| size(layer)).sum(),
            shared: images.iter().map(|(image, chain)| (image.clone(), shared(chain))).collect(),
        })
    }
}
