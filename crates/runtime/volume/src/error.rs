//! What can go wrong.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why something could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused; the text says what, in Docker's words where it has some.
    #[error("{what}")]
    Mount {
        /// What was to be mounted.
        what: String,
        /// Why it was not.
        source: sys::Error,
    },
    /// A directory or file of a volume or an image is not there, or leads out of it.
    #[error("cannot access path {}", path.display())]
    Subpath {
        /// It, in the volume or image.
        path: PathBuf,
        /// Why.
        source: sys::Error,
    },
    /// A kernel call failed.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
    /// Its files do not get their label.
    #[error(transparent)]
    Label(#[from] selinux::Error),
    /// A file of ours could not be read or written.
    #[error("{call} {}", path.display())]
    File {
        /// The call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn mount(what: impl Into<String>) -> impl FnOnce(sys::Error) -> Self {
        let what = what.into();
        |source| Self::Mount { what, source }
    }

    pub(crate) fn file<E: Into<std::io::Error>>(
        call: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File { call, path, source: source.into() }
    }

    /// The kernel's number, where it is the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Mount { source, .. } | Self::Subpath { source, .. } | Self::Kernel(source) => {
                Some(source.errno())
            }
            Self::File { source, .. } => Errno::from_io_error(source),
            Self::Label(_) => None,
        }
    }
}
