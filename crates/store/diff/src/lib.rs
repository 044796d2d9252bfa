//! From a layer archive to a directory, and back.
//!
//! [`apply`] unpacks one layer into an empty directory: a tar archive as it is, through gzip or
//! through zstd, told by its first bytes. The names in it are a stranger's: every parent is
//! resolved by the kernel below the directory (openat2(2)), nothing is ever followed at the last
//! component, and what an entry replaces is removed first. Whiteouts become those of overlayfs,
//! or files.
//!
//! One pass: what is unpacked is hashed on the way, and nothing is read twice. Nothing is synced
//! either, and a directory whose unpacking failed is for the caller to delete.
//!
//! [`pack`] writes the layer that the writable directory of an overlay is, [`pack_changes`] that of a
//! whole tree that was changed.
//!
//! Sources: image-spec layer.md; overlayfs.rst, "whiteouts and opaque directories".
#![forbid(unsafe_code)]

mod compare;
mod decode;
mod encode;
mod error;
mod late;
mod lower;
mod node;
mod pack;
mod path;
mod same;
mod spell;
mod unpack;
mod unpacked;
mod whiteout;

use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use oci::DiffId;

pub use compare::{Difference, compare};
pub use decode::{Compression, Decoder};
pub use encode::Encoder;
pub use error::Error;
pub use whiteout::Whiteouts;

/// How much of an archive is kept before it is passed on, bytes.
const PACKED_AT_ONCE: usize = 128 << 10;

/// How to unpack.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Where the archive comes from.
    pub origin: Origin,
    /// The directories of the layers below, topmost first. A parent that the archive does not
    /// mention looks as it does there, and so does the root.
    pub below: &'a [PathBuf],
    /// How whiteouts are kept.
    pub whiteouts: Whiteouts,
    /// How much is taken.
    pub limits: Limits,
}

/// Where an archive comes from: how strict to be with its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A layer of an image, as other tools make them: `/` is the layer's root, in names and in
    /// symbolic links on the way; the end mark may be missing.
    Layer,
    /// A root file system that a person gives us: names that are absolute, or that lead out of
    /// the root through a symbolic link, are mistakes or worse; without an end mark it is truncated.
    Archive,
}

/// How much is taken: generous, and finite.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the archive, uncompressed.
    pub stream: u64,
    /// How many times larger than compressed the archive may be, once it is larger than 1 GiB.
    pub ratio: u64,
    /// Bytes of all files together, holes included.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stream: 1 << 40, ratio: 5_000, files: 1 << 46 }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// How the archive was compressed.
    pub compression: Compression,
    /// The digest of the uncompressed archive; `None` where it was not compressed, so that it is
    /// the digest of the very bytes that were given.
    pub diff: Option<DiffId>,
    /// Bytes of all files.
    pub size: u64,
    /// How many entries there were.
    pub n_entries: u64,
}

/// Unpacks `archive` into the directory `root`, and reads it to its very end.
pub fn apply(archive: &mut dyn Read, root: &Path, options: &Options<'_>) -> Result<Applied, Error> {
    let mut decoder = Decoder::new(archive, options.limits)?;
    let Unpacked { size, n_entries } = unpack(&mut decoder, root, options, &|| true)?;
    let compression = decoder.compression();
    Ok(Applied { compression, diff: decoder.finish(), size, n_entries })
}

/// What an archive that is not compressed was unpacked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of all files.
    pub size: u64,
    /// How many entries there were.
    pub n_entries: u64,
}

/// Unpacks `archive`, which is not compressed, or not any more, and reads it to its very end. The
/// layers below may still be on their way: `wait` is called before they are looked at, and answers,
/// once they are whole, `true`; `false` where they will not be.
pub fn unpack(
    archive: &mut impl Read,
    root: &Path,
    options: &Options<'_>,
    wait: &dyn Fn() -> bool,
) -> Result<Unpacked, Error> {
    let (size, n_entries) = unpack::unpack(archive, root, options, wait)?;
    decode::drain(archive)?;
    Ok(Unpacked { size, n_entries })
}

/// What was packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of all files.
    pub size: u64,
    /// How many entries there are.
    pub n_entries: u64,
}

/// Writes the layer that the writable directory `upper` of an overlay on the directories `lower` is: what
/// it adds, changes and hides. Sockets are left out. What is gone when its turn comes is left out as well,
/// and what became shorter while it was read is an error.
pub fn pack<W: Write>(upper: &Path, lower: &[PathBuf], out: &mut W) -> Result<Packed, Error> {
    buffered(out, |out| pack::pack(upper, lower, out))
}

/// The same of a layer that was sealed ([`unmark`]), and may lie on other layers now than it did then: its
/// archive is the same on all.
pub fn pack_layer<W: Write>(upper: &Path, lower: &[PathBuf], out: &mut W) -> Result<Packed, Error> {
    buffered(out, |out| pack::pack_layer(upper, lower, out))
}

/// What is in the writable directory of an overlay that means more than its files, by paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmarked {
    /// Directories that hide what is below them.
    pub marked: Vec<PathBuf>,
    /// Files that overlayfs has copied from below: they may still be what they are there.
    pub copied: Vec<PathBuf>,
}

/// Makes of the writable directory `upper` of an overlay, which is mounted no more, what unpacking its
/// archive would: a directory has the mark that it hides what is below only where something is below
/// it, in the directories `lower`.
pub fn unmark(upper: &Path, lower: &[PathBuf]) -> Result<Unmarked, Error> {
    pack::unmark(upper, lower)
}

/// Leaves out of such a directory what of the files `copied` ([`unmark`]) is no change: what the directories `lower`, the
/// topmost first, show as it is, and the directories in which nothing else was changed.
pub fn drop_same(upper: &Path, lower: &[PathBuf], copied: &[PathBuf]) -> Result<(), Error> {
    same::drop_same(upper, lower, copied)
}

/// Has the directories `marked` ([`unmark`]) of such a layer hide by name what is below them in the directories `lower`, the
/// topmost first: they lose their marks.
pub fn spell_out(upper: &Path, lower: &[PathBuf], marked: &[PathBuf]) -> Result<(), Error> {
    spell::spell_out(upper, lower, marked)
}

/// Writes the layer that makes of a tree what `now` is, by what [`tree::compare`] has found. Nothing
/// in it may change meanwhile.
pub fn pack_changes<W: Write>(
    now: &Path,
    changes: &[tree::Change],
    out: &mut W,
) -> Result<Packed, Error> {
    buffered(out, |out| pack::pack_changes(now, changes, out))
}

/// A small file has half a dozen pieces in an archive, none of which is worth a call of its own.
fn buffered<W: Write>(
    out: &mut W,
    pack: impl FnOnce(&mut BufWriter<&mut W>) -> Result<Packed, Error>,
) -> Result<Packed, Error> {
    let mut out = BufWriter::with_capacity(PACKED_AT_ONCE, out);
    let packed = pack(&mut out)?;
    out.flush().map_err(Error::Write)?;
    Ok(packed)
}

/// Reads an archive through its compression, if it has any. Usual limits.
pub fn decode(archive: &mut dyn Read) -> Result<Decoder<'_>, Error> {
    Decoder::new(archive, Limits::default())
}

/// How an archive is compressed; its first bytes are read.
pub fn compression(archive: &mut dyn Read) -> Result<Compression, Error> {
    decode(archive).map(|decoder| decoder.compression())
}

#[cfg(test)]
mod tests;
