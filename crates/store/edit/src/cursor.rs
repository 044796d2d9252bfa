//! A place in a tree that goes up and down.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// A directory, and the way back. One descriptor, however deep: it goes up by `..`, and checks that this
/// is where it came from, so nobody who moves directories meanwhile leads it elsewhere.
#[derive(Debug)]
pub(crate) struct Cursor {
    here: OwnedFd,
    above: Vec<(u64, u64)>,
}

impl Cursor {
    /// At the directory `top` (`O_PATH` will do).
    pub(crate) fn new(top: impl AsFd) -> Result<Self, Errno> {
        let here = rustix::fs::openat(top, ".", DIRECTORY, Mode::empty())?;
        Ok(Self { here, above: Vec::new() })
    }

    pub(crate) fn here(&self) -> BorrowedFd<'_> {
        self.here.as_fd()
    }

    /// Goes into `name`, which must be a directory, not a link to one.
    pub(crate) fn enter(&mut self, name: &OsStr) -> Result<(), Errno> {
        let next = rustix::fs::openat(&self.here, name, DIRECTORY, Mode::empty())?;
        self.above.push(identity(&self.here)?);
        self.here = next;
        Ok(())
    }

    /// Goes back to where it was before the last [`Cursor::enter`]; `ESTALE` where that is not above any
    /// more.
    pub(crate) fn leave(&mut self) -> Result<(), Errno> {
        let Some(above) = self.above.pop() else { return Ok(()) };
        let up = rustix::fs::openat(&self.here, "..", DIRECTORY, Mode::empty())?;
        if identity(&up)? != above {
            return Err(Errno::STALE);
        }
        self.here = up;
        Ok(())
    }

    /// What is here, in order.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, Errno> {
        Ok(self.entries()?.into_iter().map(|(name, _)| name).collect())
    }

    /// The same, each with what it is listed as; not every file system says that.
    pub(crate) fn entries(&self) -> Result<Vec<(OsString, FileType)>, Errno> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.here)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                entries.push((OsString::from_vec(name), entry.file_type()));
            }
        }
        entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(entries)
    }
}

fn identity(fd: &OwnedFd) -> Result<(u64, u64), Errno> {
    rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}
