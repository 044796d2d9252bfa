//! Directories that a build may read.

use std::path::PathBuf;

/// What a directory consists of.
#[derive(Clone, Debug)]
pub(crate) enum Directory {
    /// A directory of this machine.
    At(PathBuf),
    /// One file of this name and content: a Dockerfile that came from elsewhere.
    Single(String, Vec<u8>),
    /// Nothing.
    Empty,
}
