//! Snapshots: the trait and its contract.
//!
//! A *layer* is what one archive unpacks to. It is made under a temporary name
//! ([`Snapshotter::begin`]), becomes visible as a whole ([`Snapshotter::commit`]) under its chain
//! id, and never changes again. A *snapshot* is a writable layer on a chain of those, under the
//! [`Key`] of its owner:
//!
//! ```text
//! begin ──unpack──▶ commit(chain id)        layers, shared by images and containers
//!                        │
//! prepare(key, chain) ───┘                  a snapshot: removed with its container
//! ```
//!
//! Nothing is mounted here: [`Mounts`] says what to mount, and whoever runs the container mounts it
//! in a namespace of its own. Which layers are still needed is for the caller to know.
//!
//! [`contract`] is what every implementation must hold, as tests to call.
#![forbid(unsafe_code)]

pub mod contract;
mod error;
mod unpacking;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use oci::ChainId;

pub use error::{At, Error};
pub use unpacking::{Unpacking, maker_lives, unique_name};

/// Layers and snapshots of one root.
pub trait Snapshotter: Send + Sync + fmt::Debug {
    /// An empty directory to unpack a layer into, which will lie on `below` (lowest first). Its
    /// root has the mode and owner of the layer's below it. Dropped, it leaves nothing.
    fn begin(&self, below: &[ChainId]) -> Result<Unpacking, Error>;

    /// Brings an unpacked layer to the disk and makes it visible under its chain id. A layer that
    /// is there already stays.
    fn commit(&self, unpacking: Unpacking, chain: &ChainId) -> Result<(), Error>;

    /// Whether this layer is there.
    fn has_layer(&self, chain: &ChainId) -> Result<bool, Error>;

    /// The directories of these layers, in the order given, for readers.
    fn layer_paths(&self, chain: &[ChainId]) -> Vec<PathBuf>;

    /// Every layer, in no order.
    fn layers(&self) -> Result<Vec<ChainId>, Error>;

    /// Removes a layer, if it is there. Whether it was.
    fn remove_layer(&self, chain: &ChainId) -> Result<bool, Error>;

    /// A new writable layer on this chain (lowest first; it may be empty). [`Error::Exists`] where
    /// the key is taken, [`Error::NoLayer`] where a layer is missing.
    fn prepare(&self, key: &Key, chain: &[ChainId]) -> Result<Mounts, Error>;

    /// What to mount for a snapshot that was prepared. [`Error::NoSnapshot`] where it was not.
    fn mounts(&self, key: &Key, chain: &[ChainId]) -> Result<Mounts, Error>;

    /// Removes a snapshot, if it is there. Whether it was.
    fn remove(&self, key: &Key) -> Result<bool, Error>;

    /// Every snapshot's key, in no order.
    fn keys(&self) -> Result<Vec<Key>, Error>;

    /// What a snapshot's writable layer holds.
    fn usage(&self, key: &Key) -> Result<Usage, Error>;

    /// What processes that died have left half-made or half-removed: what [`Self::sweep`] deletes.
    fn left_over(&self) -> Result<Vec<PathBuf>, Error>;

    /// Deletes what processes that died have left half-made or half-removed. How many trees.
    fn sweep(&self) -> Result<usize, Error>;
}

/// What makes a root: an overlay of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts {
    /// Read-only directories, topmost first.
    pub lower: Vec<PathBuf>,
    /// The writable directory.
    pub upper: PathBuf,
    /// Overlayfs's own, on the same file system as `upper`.
    pub work: PathBuf,
}

/// What a writable layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files, directories and all else.
    pub inodes: u64,
}

/// The name of a snapshot, which is also a file name: letters, digits, `_`, `.` and `-`, at most
/// 128, the first a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let all = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !first || !all || text.len() > 128 {
            return Err(Error::Key { key: text.chars().take(160).collect() });
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_file_name_and_nothing_else() {
        for good in ["a", "0af3", "A_b.c-d", &"x".repeat(128)] {
            assert_eq!(good.parse::<Key>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a\0", "ä", "a b", &"x".repeat(129)] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
    }
}
