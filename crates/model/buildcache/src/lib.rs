//! Build caches as BuildKit writes them (`cache/remotecache/v1`): a document with layers, and with
//! records that say which step has made which of them.
//!
//! ```text
//! cacheconfig.v0   {"layers":[{"blob":…,"parent":…,"annotations":{…}}],
//!                   "records":[{"digest":KEY,"layers":[{"layer":2,…}]}]}
//! cache.v0         the same records alone, inside an image's configuration: its layers are those meant
//! ```
//!
//! A record of BuildKit's is found by a digest and by what it works on (`inputs`). A key of ours says both
//! in one digest, so our records have no inputs, and those that have some are not ours: they are passed
//! over. A result whose layers are not in the cache has their digests in `dhow.diffids`, so that what lies
//! on it is found all the same; others pass over that.
//!
//! All of it comes from strangers: it is bounded, and no layer is its own parent.
#![forbid(unsafe_code)]

mod format;
mod manifest;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use oci::image::Descriptor;
use oci::{ChainId, DiffId, Digest};

pub use format::{inline, inline_of, parse, write};
pub use manifest::{Kind, Written, kind, manifest};

/// The media type of the document.
pub const CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
/// Where it is in an image's configuration.
pub const INLINE: &str = "moby.buildkit.cache.v0";
/// The largest document that is taken, in bytes: as of an image's configuration.
pub const MAX_BYTES: usize = oci::image::MAX_CONFIG;
/// No cache has more layers.
pub const MAX_LAYERS: usize = 50_000;
/// No result has more layers, as of an image.
pub const MAX_DEPTH: usize = 1000;
/// No layer that is taken is larger, in bytes.
pub const MAX_BLOB: u64 = 1 << 40;

/// Why a document is no cache.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON, or has values of other types.
    #[error("parse the build cache")]
    Json(#[from] serde_json::Error),
    /// Too many bytes.
    #[error("a build cache of {0} bytes, more than {MAX_BYTES}")]
    TooLarge(usize),
    /// It says something that cannot be.
    #[error("the build cache: {0}")]
    Wrong(String),
}

/// A layer of a cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// With all below it.
    pub chain: ChainId,
    /// Alone.
    pub diff: DiffId,
    /// What it lies on.
    pub parent: Option<ChainId>,
    /// Its archive; `None`: it is known, and not in the cache.
    pub archive: Option<Descriptor>,
    /// When it was made, nanoseconds since 1970; 0: nobody says.
    pub created: i64,
}

/// A cache.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    layers: HashMap<ChainId, Layer>,
    /// What a step has made: the topmost layer, or an empty root.
    records: HashMap<Digest, Vec<Option<ChainId>>>,
}

impl Cache {
    /// The layers of what was made under a key, lowest first, one answer for each time that it was made.
    pub fn find(&self, key: &Digest) -> impl Iterator<Item = Vec<&Layer>> {
        let tops = self.records.get(key).map(Vec::as_slice).unwrap_or_default();
        tops.iter().map(|top| self.chain(top.as_ref()))
    }

    /// A layer and those below it, lowest first.
    fn chain(&self, top: Option<&ChainId>) -> Vec<&Layer> {
        let mut chain = Vec::new();
        let mut next = top;
        while let Some(layer) = next.and_then(|chain| self.layers.get(chain)) {
            chain.push(layer);
            next = layer.parent.as_ref();
        }
        chain.reverse();
        chain
    }

    /// All layers, in no order.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.values()
    }

    /// How many keys something is found by.
    pub fn n_keys(&self) -> usize {
        self.records.len()
    }

    /// Adds layers, lowest first. The topmost.
    pub fn add_layers(
        &mut self,
        layers: impl IntoIterator<Item = (DiffId, Option<Descriptor>, i64)>,
    ) -> Option<ChainId> {
        let mut parent: Option<ChainId> = None;
        for (diff, archive, created) in layers {
            let chain = ChainId::of(parent.as_ref(), &diff);
            let new = Layer { chain: chain.clone(), diff, parent, archive, created };
            self.insert(new);
            parent = Some(chain);
        }
        parent
    }

    /// One whose archive is known counts for more than one without.
    fn insert(&mut self, new: Layer) {
        match self.layers.get_mut(&new.chain) {
            Some(known) if known.archive.is_some() || new.archive.is_none() => {}
            Some(known) => *known = new,
            None => _ = self.layers.insert(new.chain.clone(), new),
        }
    }

    /// Takes in what another cache of the same place has.
    pub fn extend(&mut self, other: Self) {
        for layer in other.layers.into_values() {
            self.insert(layer);
        }
        for (key, tops) in other.records {
            for top in tops {
                self.add_record(key.clone(), top);
            }
        }
    }

    /// The keys under which these layers were made, in order.
    pub fn keys(&self, chain: &[ChainId]) -> Vec<Digest> {
        let top = chain.last();
        let is_of = |tops: &Vec<Option<ChainId>>| tops.iter().any(|one| one.as_ref() == top);
        let mut keys: Vec<Digest> = self
            .records
            .iter()
            .filter(|(_, tops)| is_of(tops))
            .map(|(key, _)| key.clone())
            .collect();
        keys.sort();
        keys
    }

    /// Says what a step has made: the topmost of layers that are here, or an empty root.
    pub fn add_record(&mut self, key: Digest, top: Option<ChainId>) {
        let tops = self.records.entry(key).or_default();
        if !tops.contains(&top) {
            tops.push(top);
        }
    }
}
