//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

use oci::Digest;

/// Why the content store did not do as asked.
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
    /// There is no such blob.
    #[error("blob {digest} is not in the store")]
    NotFound {
        /// What was asked for.
        digest: Digest,
    },
    /// The bytes are others than promised.
    #[error("content has digest {found}, expected {expected}")]
    WrongDigest {
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// More or fewer bytes than promised.
    #[error("content {digest} has {found} bytes, expected {expected}")]
    WrongSize {
        /// Of what.
        digest: Digest,
        /// What was promised.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Too large to be read into memory.
    #[error("blob {digest} has {size} bytes, more than the {max} that are taken")]
    TooLarge {
        /// Of what.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The most that is taken.
        max: u64,
    },
    /// A link, a device or a folder where a blob should be.
    #[error("\"{path}\" is not a regular file", path = path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// The index could not be written as JSON.
    #[error("write the index")]
    Index {
        /// Why.
        source: serde_json::Error,
    },
}

/// Adds the call and the file to an error.
pub(crate) trait At<T> {
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { call, path: path.into(), source })
    }
}
