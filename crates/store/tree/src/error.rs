//! What can go wrong.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A call on a file failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} \"{path}\"", path = path.display())]
pub struct Error {
    /// The call.
    pub call: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: Errno,
}

pub(crate) trait At<T> {
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error { call, path: path.into(), source })
    }
}
