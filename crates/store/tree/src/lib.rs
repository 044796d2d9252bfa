//! Directory trees: copying one, laying changes over one, comparing two.
//!
//! For snapshots that are whole trees, not an overlay's layers. What is said here of "changes" is a
//! directory in which a layer was unpacked with its whiteouts as files ([`WHITEOUT`], [`OPAQUE`]):
//! no layer can hold a file of such a name, so it needs nothing that a file system may lack.
//!
//! Nothing is followed, at no component. What is copied or merged must not change meanwhile; what is
//! compared may (a container goes on).
#![forbid(unsafe_code)]

mod attributes;
mod compare;
mod copy;
mod error;
mod merge;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

pub use compare::{Change, Compare, Kind, Time, compare};
pub use copy::{Files, Ways, copy, copy_bytes, copy_file, copy_layer, shares_blocks};
pub use error::Error;
pub use merge::merge;

use error::At as _;

/// What a whiteout's name starts with: the rest is what is not to be seen.
pub const WHITEOUT: &[u8] = b".wh.";
/// In a directory: nothing below it is to be seen.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the name of a whiteout starts with whose own name would be too long: the name that it hides is
/// in the file.
pub const LONG_WHITEOUT: &[u8] = b".wh..wh..long.";

/// One of the two trees.
#[derive(Debug)]
struct Tree<'a> {
    path: &'a Path,
    root: fsroot::Root,
}

impl<'a> Tree<'a> {
    fn open(path: &'a Path) -> Result<Self, Error> {
        let root = fsroot::Root::open(path).map_err(|error| error.errno()).at("open", path)?;
        Ok(Self { path, root })
    }

    /// The directory `path` of it (`O_PATH`), to which no link leads.
    fn directory(&self, path: &Path) -> Result<OwnedFd, Error> {
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let opened = self.root.open_plain_directory(name);
        opened.map_err(|error| error.errno()).at("open", &self.path.join(path))
    }
}

/// What is in a directory, in order.
fn names(dir: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What is at `name`, not followed.
fn stat(dir: impl AsFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What a whiteout hides; `None` where the name is none.
fn hidden_by(name: &OsStr) -> Option<&OsStr> {
    name.as_bytes().strip_prefix(WHITEOUT).map(OsStr::from_bytes)
}

#[cfg(test)]
mod tests;
