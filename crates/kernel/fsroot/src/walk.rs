//! Resolving inside a root on kernels without openat2(2) (before 5.6): component by component.
//!
//! What `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS` mean, by hand: every component is opened without
//! following it, a link's text is resolved by this code and from the root where it is absolute, and
//! `..` goes back to the descriptor of the directory that was come through. So nothing that is
//! renamed meanwhile leads out, and there is no race for the kernel to detect.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::root::MAX_LINKS;

/// The magic number of procfs: statfs(2).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Whether links may be on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are followed, inside the root.
    Follow,
    /// They are `ELOOP`, as with `RESOLVE_NO_SYMLINKS`.
    Refuse,
}

/// Opens `path` inside of `root`.
pub(crate) fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let mut walk = Walk { root, dirs: Vec::new(), rest: VecDeque::new(), links, followed: 0 };
    walk.put_first(path.as_os_str());
    while let Some(name) = walk.rest.pop_front() {
        match name.as_bytes() {
            b"" | b"." => {}
            b".." => drop(walk.dirs.pop()),
            _ if walk.rest.is_empty() => {
                if let Some(fd) = walk.last(&name, flags, mode)? {
                    return Ok(fd);
                }
            }
            _ => walk.enter(&name)?,
        }
    }
    rustix::fs::openat(walk.here(), ".", flags | OFlags::CLOEXEC, mode)
}

struct Walk<'r> {
    root: BorrowedFd<'r>,
    /// The directories that were come through, from the one in the root to the present one.
    dirs: Vec<OwnedFd>,
    /// The components that are left. An empty one at the end stands for a slash there.
    rest: VecDeque<OsString>,
    links: Links,
    followed: usize,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.dirs.last().map_or(self.root, AsFd::as_fd)
    }

    /// Has the components of `path` come before those that are left.
    fn put_first(&mut self, path: &OsStr) {
        if path.as_bytes().first() == Some(&b'/') {
            self.dirs.clear();
        }
        for name in path.as_bytes().split(|byte| *byte == b'/').rev() {
            self.rest.push_front(OsStr::from_bytes(name).to_owned());
        }
    }

    /// Goes into a directory, or to where a link leads.
    fn enter(&mut self, name: &OsStr) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.here(), name, flags, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::Directory => self.dirs.push(fd),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
                self.follow(&OsString::from_vec(target.into_bytes()))?;
            }
            _ => return Err(Errno::NOTDIR),
        }
        Ok(())
    }

    /// Opens the last component. `None`: it is a link, and goes on.
    fn last(&mut self, name: &OsStr, flags: OFlags, mode: Mode) -> Result<Option<OwnedFd>, Errno> {
        let own = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.here(), name, own, mode);
        if flags.contains(OFlags::NOFOLLOW) {
            return opened.map(Some);
        }
        let link = match opened {
            Ok(fd) if is_link(&fd, flags)? => rustix::fs::readlinkat(&fd, "", Vec::new()),
            // Of O_DIRECTORY and O_NOFOLLOW the first has the word.
            Err(Errno::LOOP | Errno::NOTDIR) => {
                match rustix::fs::readlinkat(self.here(), name, Vec::new()) {
                    Err(Errno::INVAL) => return opened.map(Some),
                    other => other,
                }
            }
            other => return other.map(Some),
        };
        self.follow(&OsString::from_vec(link?.into_bytes()))?;
        Ok(None)
    }

    fn follow(&mut self, target: &OsStr) -> Result<(), Errno> {
        self.followed += 1;
        if self.links == Links::Refuse || self.followed > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let text = target.as_bytes();
        // A link of procfs that is no text but leads to an object. Those that are text are relative.
        let magic = text.first() == Some(&b'/') || text.windows(2).any(|two| two == b":[");
        if magic && rustix::fs::fstatfs(self.here())?.f_type as u64 == PROC_SUPER_MAGIC {
            return Err(Errno::LOOP);
        }
        self.put_first(target);
        Ok(())
    }
}

/// Only `O_PATH` opens a link itself.
fn is_link(fd: &OwnedFd, flags: OFlags) -> Result<bool, Errno> {
    if !flags.contains(OFlags::PATH) {
        return Ok(false);
    }
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Symlink)
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
