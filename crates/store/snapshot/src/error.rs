//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

use oci::ChainId;

use crate::Key;

/// Why a snapshotter did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call on a file failed.
    #[error("{call} \"{path}\"", path = path.display())]
    Io {
        /// The call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a name for a snapshot.
    #[error("`{key}` is not a snapshot's key")]
    Key {
        /// What was given.
        key: String,
    },
    /// There is one of that key.
    #[error("snapshot {key} exists already")]
    Exists {
        /// The key.
        key: Key,
    },
    /// There is none of that key.
    #[error("no such snapshot: {key}")]
    NoSnapshot {
        /// The key.
        key: Key,
    },
    /// A layer that is needed is not unpacked.
    #[error("layer {chain} is not unpacked")]
    NoLayer {
        /// The layer.
        chain: ChainId,
    },
    /// A tree could not be copied, merged or compared.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// What is written to a snapshot cannot be limited here.
    #[error("the size of a container cannot be limited here: {why}")]
    NoLimit {
        /// Why.
        why: String,
    },
    /// More than can be mounted on each other.
    #[error("{found} layers, more than the {max} that can be stacked")]
    TooManyLayers {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
}

/// Adds the call and the file to an error.
pub trait At<T> {
    /// The call `call` on `path`.
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { call, path: path.into(), source: source.into() })
    }
}
