//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// Why an ordinary user cannot have an engine, or a part of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No user namespace.
    #[error("dhow needs a user namespace to run as an ordinary user, and cannot have one{why}")]
    Forbidden {
        /// What forbids it, after a colon; empty where nobody knows.
        why: String,
        /// What the kernel said.
        source: container::Error,
    },
    /// The namespaces of those who are there cannot be entered.
    #[error(
        "process {pid} of this engine is in another PID namespace or cannot be joined: run dhow \
         from where that was started, or with another --state"
    )]
    Unreachable {
        /// Its number, 0 where that is not known.
        pid: i32,
    },
    /// The engine's network namespace could not be made.
    #[error("make the engine's network namespace: {0}")]
    Network(String),
    /// A kernel call failed.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
    /// The links there could not be set up.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A file of ours could not be used.
    #[error("{call} {}", path.display())]
    File {
        /// The call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A test asked for it.
    #[error("enter the engine's namespaces, up to a failpoint")]
    Failpoint(#[source] io::Error),
}

impl Error {
    pub(crate) fn file<E: Into<io::Error>>(
        call: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File { call, path, source: source.into() }
    }
}

/// A failpoint, as an error of this crate.
pub(crate) fn pass(name: &'static str) -> Result<(), Error> {
    failpoint::hit(name).map_err(Error::Failpoint)
}
