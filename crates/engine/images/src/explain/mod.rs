//! What each layer of an image does to the files below it, and what of them nobody sees any more.

mod stack;
mod tree;

use std::io::{BufReader, Read};

use oci::{DiffId, Digest};
use tarstream::{EndMark, Reader};

use crate::{Error, Images};
use stack::Stack;

pub use stack::{Act, Change};
pub use tree::TreeLayer;

/// An image, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The image's id.
    pub id: Digest,
    /// `NAME:TAG`, short.
    pub repo_tags: Vec<String>,
    /// Its layers, lowest first.
    pub layers: Vec<ExplainedLayer>,
}

/// One layer, and what it does to those below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedLayer {
    /// Its digest, uncompressed.
    pub diff: DiffId,
    /// Bytes of its archive as it is stored.
    pub stored: u64,
    /// The step of the image's history that made it; empty where none is stated.
    pub created_by: String,
    /// Bytes of all files in it.
    pub size: u64,
    /// Of those, bytes that a later layer hides: they are shipped, and never seen.
    pub wasted: u64,
    /// What it adds, changes and removes, in the order of paths.
    pub changes: Vec<Change>,
}

impl Images {
    /// Takes the image that `name` means apart: every layer is read, and its files are compared with
    /// those of the layers below. It takes as long as unpacking it, and writes nothing.
    pub fn explain(&self, name: &str) -> Result<Explained, Error> {
        let details = self.details(name)?;
        let id = &details.image.id;
        let rows = self.db.read(|tx| tx.image_layers(id))?;
        let mut steps = details.image.config.history.iter().filter(|step| !step.empty_layer);
        let mut stack = Stack::default();
        let mut layers = Vec::new();
        for row in &rows {
            let blob = self.content.reader(&row.blob)?;
            let mut blob = BufReader::with_capacity(128 << 10, blob);
            let changes = read_layer(&mut stack, &mut blob)?;
            layers.push(ExplainedLayer {
                diff: row.diff.clone(),
                stored: self.content.size(&row.blob)?.unwrap_or(0),
                created_by: steps
                    .next()
                    .and_then(|step| step.created_by.clone())
                    .unwrap_or_default(),
                size: 0,
                wasted: 0,
                changes,
            });
        }
        for (layer, sums) in layers.iter_mut().zip(stack.sums()) {
            (layer.size, layer.wasted) = (sums.size, sums.wasted);
        }
        Ok(Explained { id: id.clone(), repo_tags: details.repo_tags, layers })
    }
}

/// Puts one more layer on the stack.
fn read_layer(stack: &mut Stack, blob: &mut dyn Read) -> Result<Vec<Change>, Error> {
    let mut decoder = diff::decode(blob)?;
    let limits = tarstream::Limits { end_mark: EndMark::Optional, ..Default::default() };
    let mut reader = Reader::with_limits(&mut decoder, limits);
    let mut buffer = vec![0; 128 << 10];
    stack.begin();
    while let Some(entry) = reader.next_entry().map_err(diff::Error::from)? {
        let mut hasher = oci::Hasher::new(oci::Algorithm::Sha256);
        loop {
            let n_read = reader.read_data(&mut buffer).map_err(diff::Error::from)?;
            if n_read == 0 {
                break;
            }
            hasher.update(&buffer[..n_read]);
        }
        stack.add(&entry, &hasher.finish());
        if stack.is_full() {
            return Err(Error::Invalid("the image has more files than can be explained".into()));
        }
    }
    Ok(stack.end())
}
