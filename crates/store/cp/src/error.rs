//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why files could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is none, or what it holds cannot be here; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// A call on a file failed.
    #[error("{call} \"{path}\"", path = path.display())]
    Io {
        /// The call.
        call: &'static str,
        /// The file, in the directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name could not be resolved.
    #[error(transparent)]
    Resolve(#[from] sys::Error),
}

impl Error {
    /// Whether nothing can be written there.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::ReadOnlyFilesystem,
            Self::Resolve(source) => source.errno() == Errno::ROFS,
            Self::Invalid(_) => false,
        }
    }
}

/// Adds the call and the file to an error.
pub(crate) trait At<T> {
    /// The call `call` on `path`.
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { call, path: path.into(), source: source.into() })
    }
}
