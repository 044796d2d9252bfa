//! A tar reader and writer for hostile input.
//!
//! [`Reader`] takes an archive from any [`std::io::Read`], one entry after the other, and holds no
//! more of it than one header: V7, ustar, PAX (local and global headers), GNU long names, numbers
//! in base 256, and the four ways to write sparse files. [`Writer`] writes ustar, with PAX headers
//! where ustar cannot say it, the same bytes for the same input.
//!
//! Sources: POSIX `pax`, "ustar Interchange Format" and "pax Interchange Format"; the GNU tar
//! manual, "Basic Tar Format" and "Storing Sparse Files". Where readers differ, Go's `archive/tar`
//! is followed, because that is what made and reads the world's images; an archive that two
//! readers would take for different things is refused rather than guessed at.
//!
//! What it does not do: it opens no file and judges no name. `../../etc/passwd` comes out as it
//! went in; refusing it is for whoever unpacks.
#![forbid(unsafe_code)]

mod acl;
mod entry;
mod error;
mod header;
mod number;
mod pax;
mod reader;
mod sniff;
mod sparse;
mod writer;

pub use entry::{Entry, Kind, Segment, Time};
pub use error::{Error, Name};
pub use reader::{EndMark, Limits, Reader};
pub use sniff::{SNIFF_BYTES, is_archive};
pub use writer::Writer;

/// Everything in an archive comes in pieces of this many bytes.
pub const BLOCK: usize = 512;

#[cfg(test)]
mod tests;
