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
//! prepare(key, chain) ───┘                  a snapshot: removed with its container,
//!       └──written to──▶ seal(chain id)        or made a layer itself
//! ```
//!
//! Nothing is mounted here: [`Mounts`] says what to mount, and whoever runs the container mounts it
//! in a namespace of its own. Which layers are still needed is for the caller to know.
//!
//! There are two [`Form`]s of layers: each by itself, for an overlay of them, and whole trees.
//!
//! [`contract`] is what every implementation must hold, as tests to call.
#![forbid(unsafe_code)]

pub mod contract;
mod error;
pub mod folders;
pub mod quota;
mod unpacking;
mod whole;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci::ChainId;

pub use error::{At, Error};
pub use folders::Folders;
pub use unpacking::{Unpacking, maker_lives, unique_name};
pub use whole::{Trees, Whole};

/// What the directory of a layer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The layer's own files, with overlayfs's whiteouts.
    Own,
    /// All files of the layer and of those below it. One that is being unpacked holds its own, with
    /// whiteouts that are files.
    Whole,
}

/// Layers and snapshots of one root.
pub trait Snapshotter: Send + Sync + fmt::Debug {
    /// Its name, as Docker calls its storage drivers.
    fn name(&self) -> &'static str;

    /// What its layers hold.
    fn form(&self) -> Form;

    /// What a person may want to know of it: names and values.
    fn status(&self) -> Vec<(&'static str, String)>;

    /// An empty directory to unpack a layer into, which will lie on `below` (lowest first). Its
    /// root has the mode and owner of the layer's below it. Dropped, it leaves nothing.
    fn begin(&self, below: &[ChainId]) -> Result<Unpacking, Error>;

    /// Makes the directory of an unpacked layer what it will be once it is committed: in the form
    /// [`Form::Whole`], lays what was unpacked over what is below.
    fn finish(&self, unpacking: Unpacking) -> Result<Unpacking, Error>;

    /// Brings an unpacked layer to the disk and makes it visible under its chain id. A layer that
    /// is there already stays. It is [`Snapshotter::finish`]ed first.
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

    /// Limits how many bytes a snapshot that was prepared just now may hold, without what is below it.
    /// [`Error::NoLimit`] where that cannot be had.
    fn limit(&self, key: &Key, bytes: u64) -> Result<(), Error>;

    /// What to mount for a snapshot that was prepared. [`Error::NoSnapshot`] where it was not.
    fn mounts(&self, key: &Key, chain: &[ChainId]) -> Result<Mounts, Error>;

    /// Makes a layer of a snapshot, under the chain id of what it holds: nobody writes to it any more,
    /// and nothing is copied. The snapshot is gone afterwards. A layer that is there already stays.
    /// [`Error::NoSnapshot`] where it was not prepared.
    fn seal(&self, key: &Key, chain: &ChainId) -> Result<(), Error>;

    /// Removes a snapshot, if it is there. Whether it was.
    fn remove(&self, key: &Key) -> Result<bool, Error>;

    /// Where what [`Self::put_away`] has moved out of sight lies, under names that begin with the number of
    /// the process that is to delete it and a `-`: plain files and directories. `None` where to delete takes
    /// more than that.
    fn trash(&self) -> Option<PathBuf> {
        None
    }

    /// As [`Self::remove`], but leaves the deleting to the process `heir`, where there is [`Self::trash`].
    fn put_away(&self, key: &Key, _heir: u32) -> Result<bool, Error> {
        self.remove(key)
    }

    /// Moves another tree there, which is on the same file system. Whether it was there. Nothing is done where
    /// there is no [`Self::trash`].
    fn put_away_tree(&self, _path: &Path, _heir: u32) -> Result<bool, Error> {
        Ok(false)
    }

    /// Every snapshot's key, in no order.
    fn keys(&self) -> Result<Vec<Key>, Error>;

    /// What a snapshot's writable layer holds; of a whole tree, what differs from the layers below.
    fn usage(&self, key: &Key) -> Result<Usage, Error>;

    /// What processes that died have left half-made or half-removed: what [`Self::sweep`] deletes.
    fn left_over(&self) -> Result<Vec<PathBuf>, Error>;

    /// Deletes what processes that died have left half-made or half-removed. How many trees.
    fn sweep(&self) -> Result<usize, Error>;
}

/// What makes a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// An overlay.
    Overlay {
        /// Read-only directories, topmost first.
        lower: Vec<PathBuf>,
        /// The writable directory.
        upper: PathBuf,
        /// Overlayfs's own, on the same file system as `upper`.
        work: PathBuf,
    },
    /// A directory.
    Directory {
        /// It.
        root: PathBuf,
        /// What it was at first; `None` is nothing.
        before: Option<PathBuf>,
        /// When it was made: seconds and nanoseconds since 1970, by the file system's clock.
        since: (i64, i64),
    },
}

impl Mounts {
    /// The directories in which its files are found, topmost first, with overlayfs's whiteouts.
    pub fn stack(&self) -> Vec<&Path> {
        match self {
            Self::Overlay { lower, upper, .. } => {
                std::iter::once(upper.as_path()).chain(lower.iter().map(PathBuf::as_path)).collect()
            }
            Self::Directory { root, .. } => vec![root],
        }
    }

    /// The directory that takes what is written.
    pub fn writable(&self) -> &Path {
        match self {
            Self::Overlay { upper, .. } => upper,
            Self::Directory { root, .. } => root,
        }
    }
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
