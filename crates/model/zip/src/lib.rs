//! A reader of zip archives, for hostile input.
//!
//! An archive is read from memory, by its directory, which is at its end; what is before a file says so once more,
//! and is compared. An archive that two readers would take for different things (with two directories, with something
//! before the first file, with a file of two names, sizes or methods, with two files of one name or in one place) is
//! refused rather than guessed at. Files are stored or deflated; there is no encryption, no archive in several parts,
//! and no zip64, which only what is larger than 4 GiB needs.
//!
//! Source: PKWARE's APPNOTE.TXT, 4.3 "General Format of a .ZIP file" and 4.4 "Explanation of fields".
//!
//! What it does not do: it opens no file and judges no name. `../../etc/passwd` comes out as it went in; refusing it
//! is for whoever unpacks.
#![forbid(unsafe_code)]

mod archive;

pub use archive::{Archive, Entry, Error};

/// What an archive with a file in it begins with.
pub const MAGIC: &[u8] = b"PK\x03\x04";

#[cfg(test)]
mod tests;
