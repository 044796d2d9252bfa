//! The layers of all images, and which images end where.

use std::collections::BTreeMap;

use oci::ChainId;

use crate::{Error, Images};

/// A layer that is unpacked, and the images of which it is the topmost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeLayer {
    /// The layer with those below it.
    pub chain: ChainId,
    /// The one below.
    pub parent: Option<ChainId>,
    /// Bytes of all files in it.
    pub size: u64,
    /// Names, short; of an image without one its id.
    pub images: Vec<String>,
}

impl Images {
    /// The layers of all images.
    pub fn layer_tree(&self) -> Result<Vec<TreeLayer>, Error> {
        let all = docker::filters::Filters::default();
        let mut ends: BTreeMap<ChainId, Vec<String>> = BTreeMap::new();
        for image in self.list(&all)? {
            let names = match image.repo_tags.as_slice() {
                [] => vec![image.row.id.to_string()],
                names => names.to_vec(),
            };
            // Of an image for several platforms, each ends somewhere.
            for id in &image.images {
                let layers = self.db.read(|tx| tx.image_layers(id))?;
                let Some(top) = layers.into_iter().next_back() else { continue };
                ends.entry(top.chain).or_default().extend(names.iter().cloned());
            }
        }
        let layers = self.db.read(metadata::Read::layers)?;
        Ok(layers
            .into_iter()
            .map(|layer| TreeLayer {
                images: ends.remove(&layer.chain).unwrap_or_default(),
                chain: layer.chain,
                parent: layer.parent,
                size: layer.size,
            })
            .collect())
    }
}
