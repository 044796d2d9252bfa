use std::io;
use std::path::PathBuf;

/// What went wrong while it was looked for what the machine has.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of the machine.
    #[error("{what} \"{path}\"")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is nothing to write a specification for.
    #[error("{0}")]
    Nothing(String),
    /// What was found cannot be said in a specification.
    #[error(transparent)]
    Cdi(#[from] cdi::Error),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
}

/// Adds what was tried to an error of the file system.
pub(crate) trait At<T> {
    fn at(self, what: &'static str, path: &std::path::Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str, path: &std::path::Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what, path: path.to_owned(), source })
    }
}
