//! What can go wrong.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why files could not be changed, or not be looked at. The words are BuildKit's where it has some; paths
/// are those in the tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is to be copied is not there. Whoever knows what was looked at puts that before it.
    #[error("{0:?}: not found")]
    NotFound(PathBuf),
    /// A pattern, which may not be without any, has no match.
    #[error("{0} not found")]
    NoMatch(String),
    /// An operation names an input that its vertex does not have.
    #[error("invalid secondary input index {0}")]
    NoInput(usize),
    /// A user is named, and there is no tree to look in.
    #[error("invalid user index: -1: names of users need a base")]
    NoUsers,
    /// A list of users or groups that is none, or too long.
    #[error("{path} {why}", path = .path.display())]
    Users {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A mode that is none.
    #[error(
        "invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777, or symbolic"
    )]
    Mode(String),
    /// A pattern that is none.
    #[error(transparent)]
    Pattern(#[from] dockerfile::ignore::BadPattern),
    /// A directory comes where something else is.
    #[error("cannot copy to non-directory: {path}", path = .0.display())]
    NotADirectory(PathBuf),
    /// Something else comes where a directory is.
    #[error("cannot replace to directory {path} with file", path = .0.display())]
    IsADirectory(PathBuf),
    /// What is to be opened is not a regular file.
    #[error("{path} is not a regular file", path = .0.display())]
    NotAFile(PathBuf),
    /// The root itself is to be removed.
    #[error("rmPath: invalid empty path")]
    RemoveRoot,
    /// What would not be a file but hide one.
    #[error("{path} is a device with the number 0:0", path = .0.display())]
    Whiteout(PathBuf),
    /// An archive cannot be unpacked.
    #[error("failed to unpack {path}", path = .path.display())]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: cp::Error,
    },
    /// A call failed.
    #[error("{call} {path}", path = .path.display())]
    Call {
        /// Which.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
}

impl Error {
    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.missing().is_some()
    }

    /// What was asked for and is not there: a path or a pattern.
    pub fn missing(&self) -> Option<String> {
        match self {
            Self::NotFound(path) => Some(path.display().to_string()),
            Self::NoMatch(pattern) => Some(pattern.clone()),
            _ => None,
        }
    }
}

/// Adds the call and the path to an error.
pub(crate) trait At<T> {
    fn at(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, Error>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|source| Error::Call { call, path: path.as_ref().into(), source })
    }
}

impl<T> At<T> for Result<T, sys::Error> {
    fn at(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|error| error.errno()).at(call, path)
    }
}

/// A call that failed, by its name.
impl<T> At<T> for Result<T, (&'static str, Errno)> {
    fn at(self, _: &'static str, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|(call, source)| Error::Call { call, path: path.as_ref().into(), source })
    }
}
