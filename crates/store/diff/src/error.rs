//! What can go wrong.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use tarstream::Name;

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is broken.
    #[error(transparent)]
    Archive(#[from] tarstream::Error),
    /// The archive could not be read, or decompressed.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// A format that is not known here.
    #[error("the archive is compressed with {format}; give it as tar, tar.gz or tar.zst")]
    Unsupported {
        /// Its name.
        format: &'static str,
    },
    /// Nothing at all.
    #[error("the archive is empty")]
    Empty,
    /// An entry that would do what it must not.
    #[error("entry {entry} {why}")]
    Refused {
        /// Its name.
        entry: Name,
        /// What is wrong with it.
        why: String,
    },
    /// An entry that could not be made.
    #[error("entry {entry}: {call}")]
    Call {
        /// Its name.
        entry: Name,
        /// The call that failed.
        call: &'static str,
        /// Why.
        source: Errno,
    },
    /// The directory to unpack into.
    #[error("open \"{path}\"", path = path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// The receiver of an archive.
    #[error("write the archive")]
    Write(#[source] io::Error),
    /// More than is taken.
    #[error("the archive unpacks to more than {max} bytes")]
    TooLarge {
        /// The most.
        max: u64,
    },
    /// A compression bomb.
    #[error("the archive unpacks to more than {ratio} times its size")]
    Ratio {
        /// The most.
        ratio: u64,
    },
}
