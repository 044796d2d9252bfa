//! Trees of files over a stream: fsutil's protocol (<https://github.com/tonistiigi/fsutil>).
//!
//! The sender tells of every entry of its tree in order (`STAT`), a directory before what is in it,
//! and ends with an empty one. The receiver asks for the files whose bytes it lacks (`REQ`, by the
//! number of the entry), and gets them in pieces (`DATA`, the last one empty). With `FIN` from both
//! sides it is over; `ERR` says why not.
//!
//! Nothing that a sender says is believed: [`receive::Receiver`].

pub(crate) mod path;
pub(crate) mod receive;
pub(crate) mod send;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests;
pub(crate) mod told;

pub use receive::{Received, Receiver};
pub use send::Sender;

use buildkit::fsutil::{Packet, packet::PacketType};

/// Why a transfer ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that none is.
    #[error("{path:?}: {why}")]
    Path {
        /// As it came.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The entry cannot be here.
    #[error("{path:?}: {what} cannot be in a build context")]
    Kind {
        /// The entry.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A size or a number that makes no sense.
    #[error("{path:?}: a size of {size} bytes")]
    Size {
        /// The entry.
        path: String,
        /// What it says.
        size: i64,
    },
    /// More entries than any tree has.
    #[error("more than {0} files")]
    TooMany(u32),
    /// More files are sent at once than anybody sends.
    #[error("more than {0} files at once")]
    TooManyAtOnce(usize),
    /// Bytes that nobody has asked for.
    #[error("bytes of file {0}, for which nobody has asked")]
    NotAsked(u32),
    /// What the protocol does not have, or not here.
    #[error("a packet of type {0} that does not belong here")]
    Packet(i32),
    /// What the other side says.
    #[error("{0}")]
    Told(String),
    /// The other side has gone in the middle.
    #[error("the other side ended the transfer")]
    Ended,
    /// A system call failed.
    #[error(transparent)]
    Sys(#[from] sys::Error),
}

/// A packet of this type, and nothing in it.
pub(crate) fn packet(kind: PacketType, id: u32) -> Packet {
    Packet { r#type: kind.into(), id, ..Packet::default() }
}
