//! Where a path leads in a tree: a directory and a name in it that is no link.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use fsroot::Root;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::error::At as _;
use crate::{Error, both};

/// How many links in a row are followed, as in the kernel.
const MAX_LINKS: usize = 40;

/// The itself of a directory.
pub(crate) const ITSELF: &str = ".";

/// What a path leads to.
#[derive(Debug)]
pub(crate) struct Found {
    /// The directory that it is in (`O_PATH`).
    pub(crate) dir: OwnedFd,
    /// Its name there; [`ITSELF`]: the directory is meant.
    pub(crate) name: OsString,
    /// What it was.
    pub(crate) stat: Stat,
}

impl Found {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// The directory that it is (`O_PATH`).
    pub(crate) fn open_directory(&self, path: &Path) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, &self.name, flags, Mode::empty()).at("open", path)
    }
}

/// What is at `path`; with `follow` a link at its end is followed, inside of `root`. The inner error is that
/// of a path that leads nowhere.
pub(crate) fn find(root: &Root, path: &Path, follow: bool) -> Result<Result<Found, Errno>, Error> {
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        let (parent, name) = split(&at);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let dir = match root.open_with(parent, flags, Mode::empty()) {
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => {
                return Ok(Err(error.errno()));
            }
            opened => opened.at("open", path)?,
        };
        let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Err(Errno::NOENT)),
            stat => stat.at("lstat", path)?,
        };
        if !follow || FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(Ok(Found { dir, name: name.into(), stat }));
        }
        at = behind(&dir, parent, name).at("readlink", path)?;
    }
    Err(Errno::LOOP).at("lstat", path)
}

/// Where the link `name` in the directory `parent` leads.
fn behind(dir: &OwnedFd, parent: &Path, name: &OsStr) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
    Ok(parent.join(OsStr::from_bytes(target.to_bytes())))
}

/// A path's directory and its name there. What has no name of its own (`/`, `a/..`) is its own directory.
fn split(path: &Path) -> (&Path, &OsStr) {
    match (path.components().next_back(), path.parent()) {
        (Some(Component::Normal(name)), Some(parent)) => (parent, name),
        _ => (path, OsStr::new(ITSELF)),
    }
}

/// Where something is to be.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory that it will be in (`O_PATH`).
    pub(crate) dir: OwnedFd,
    /// Its name there; [`ITSELF`]: the directory is meant.
    pub(crate) name: OsString,
    /// What is there now, which is no link.
    pub(crate) kind: Option<FileType>,
}

/// Makes the directories on the way to where something goes.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    root: &'a Root,
    mode: Mode,
    owner: Option<(u32, u32)>,
    time: i64,
    made: Vec<OwnedFd>,
}

impl<'a> Maker<'a> {
    /// What is made gets this mode and this time, and belongs to `owner`; `None`: to who makes it.
    pub(crate) fn new(root: &'a Root, mode: u32, owner: Option<(u32, u32)>, time: i64) -> Self {
        let mode = Mode::from_raw_mode(mode & 0o777);
        Self { root, mode, owner, time, made: Vec::new() }
    }

    /// The directory `path`, made with all that is missing on the way (`O_PATH`).
    pub(crate) fn directory(&mut self, path: &Path) -> Result<OwnedFd, Error> {
        let (owner, mode, made) = (self.owner, self.mode, &mut self.made);
        let first = Mode::from_raw_mode(0o700);
        let mut look = |fd: BorrowedFd<'_>| {
            if let Some((uid, gid)) = owner {
                chown(fd, uid, gid)?;
            }
            // By itself: what mkdir(2) was told is less the umask.
            rustix::fs::chmod(fsroot::fd_path(fd), mode)?;
            made.push(fd.try_clone_to_owned().map_err(|_| Errno::MFILE)?);
            Ok(())
        };
        self.root.mkdir_all_with(path, first, &mut look).at("mkdir", path)
    }

    /// Where `path` leads to, links at its end included, also those that lead to nothing yet.
    pub(crate) fn place(&mut self, path: &Path) -> Result<Place, Error> {
        let mut at = path.to_owned();
        for _ in 0..MAX_LINKS {
            let (parent, name) = split(&at);
            let dir = self.directory(parent)?;
            let kind = kind_at(dir.as_fd(), name).at("lstat", path)?;
            if kind != Some(FileType::Symlink) {
                return Ok(Place { dir, name: name.into(), kind });
            }
            at = behind(&dir, parent, name).at("readlink", path)?;
        }
        Err(Errno::LOOP).at("lstat", path)
    }

    /// Gives what was made its time: what came into it has changed that.
    pub(crate) fn finish(self) -> Result<(), Error> {
        for directory in &self.made {
            rustix::fs::utimensat(
                rustix::fs::CWD,
                fsroot::fd_path(directory),
                &both(self.time),
                AtFlags::empty(),
            )
            .at("utimensat", "a directory that was made")?;
        }
        Ok(())
    }
}

/// What is at `name`, not followed.
pub(crate) fn kind_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<FileType>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Gives what a descriptor refers to, of whatever kind, another owner.
pub(crate) fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH)
}

/// Removes what is at `name`, a directory with all that is in it.
pub(crate) fn remove(dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), Error> {
    let dir = dir.try_clone_to_owned().map_err(|_| Errno::MFILE).at("dup", path)?;
    Root::from_fd(dir).remove_all(name).at("remove", path)
}
