//! What of a tree a copy takes.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use dockerfile::ignore::{Filter, FilterDir};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use crate::Error;
use crate::cursor::Cursor;
use crate::error::At as _;
use crate::place::Found;

/// Is told what is taken, each directory before what is in it, names in order.
pub(crate) trait Taker {
    /// A directory is taken, or something in it will be: a name, and what it is.
    fn enter(&mut self, name: &OsStr, stat: &Stat, way: Way) -> Result<(), Error>;
    /// All that is taken of the directory entered last has been.
    fn leave(&mut self, directory: BorrowedFd<'_>, stat: &Stat) -> Result<(), Error>;
    /// Anything but a directory is taken: `name` in `directory`, where it was a moment ago.
    fn node(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Error>;
}

/// Why a directory is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is what the copy names.
    Top,
    /// It is taken, in a directory that is.
    Whole,
    /// It is not asked for, but something in it is.
    Through,
}

/// A directory on the way down.
struct Level<'a> {
    name: OsString,
    stat: Stat,
    /// Whether whoever takes knows of it.
    is_known: bool,
    filter: FilterDir<'a>,
    rest: std::vec::IntoIter<(OsString, FileType)>,
}

struct Walk<'a, T> {
    taker: &'a mut T,
    cursor: Cursor,
    levels: Vec<Level<'a>>,
    /// What the top is called in errors.
    shown: &'a Path,
    /// From the top.
    path: PathBuf,
}

/// Tells `taker` what there is at `found`, shown as `shown`, as far as `filter` lets it.
pub(crate) fn take<T: Taker>(
    found: &Found,
    shown: &Path,
    filter: &Filter,
    taker: &mut T,
) -> Result<(), Error> {
    if found.kind() != FileType::Directory {
        return taker.node(found.dir.as_fd(), &found.name);
    }
    let cursor = Cursor::new(found.open_directory(shown)?).at("open", shown)?;
    let levels = Vec::new();
    let mut walk = Walk { taker, cursor, levels, shown, path: PathBuf::new() };
    walk.push(found.name.clone(), Some(Way::Top), filter.root())?;
    walk.all()
}

impl<'a, T: Taker> Walk<'a, T> {
    fn shown(&self) -> PathBuf {
        self.shown.join(&self.path)
    }

    /// Takes up the directory at which the cursor is.
    fn push(
        &mut self,
        name: OsString,
        way: Option<Way>,
        filter: FilterDir<'a>,
    ) -> Result<(), Error> {
        let stat = rustix::fs::fstat(self.cursor.here()).at("stat", self.shown())?;
        if let Some(way) = way {
            self.taker.enter(&name, &stat, way)?;
        }
        let rest = self.cursor.entries().at("readdir", self.shown())?.into_iter();
        self.levels.push(Level { name, stat, is_known: way.is_some(), filter, rest });
        Ok(())
    }

    fn all(&mut self) -> Result<(), Error> {
        while let Some(level) = self.levels.last_mut() {
            match level.rest.next() {
                Some((name, listed)) => self.one(name, listed)?,
                None => self.pop()?,
            }
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<(), Error> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        if level.is_known {
            self.taker.leave(self.cursor.here(), &level.stat)?;
        }
        self.cursor.leave().at("open", self.shown())?;
        self.path.pop();
        Ok(())
    }

    fn one(&mut self, name: OsString, listed: FileType) -> Result<(), Error> {
        self.path.push(&name);
        if let Some(kind) = self.kind(&name, listed)? {
            let is_directory = kind == FileType::Directory;
            if self.enter_or_take(name, is_directory)? {
                return Ok(());
            }
        }
        self.path.pop();
        Ok(())
    }

    /// What `name` is, which is listed as that; `None`: nothing.
    fn kind(&self, name: &OsStr, listed: FileType) -> Result<Option<FileType>, Error> {
        // Not every file system says it. And overlayfs lists a whiteout that hides nothing.
        if !matches!(listed, FileType::Unknown | FileType::CharacterDevice) {
            return Ok(Some(listed));
        }
        match rustix::fs::statat(self.cursor.here(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            stat => {
                let stat = stat.at("lstat", self.shown())?;
                Ok(Some(FileType::from_raw_mode(stat.st_mode)))
            }
        }
    }

    /// Takes what is wanted of `name`. Whether it is a directory that was entered.
    fn enter_or_take(&mut self, name: OsString, is_directory: bool) -> Result<bool, Error> {
        let Some(level) = self.levels.last() else { return Ok(false) };
        let found = level.filter.child(name.as_bytes(), is_directory);
        if found.wanted {
            self.make_known()?;
        }
        let way = found.wanted.then_some(Way::Whole);
        if let Some(filter) = found.enter {
            return match self.cursor.enter(&name) {
                // It has gone since it was listed.
                Err(Errno::NOENT) => Ok(false),
                entered => {
                    entered.at("open", self.shown())?;
                    self.push(name, way, filter).map(|()| true)
                }
            };
        }
        if found.wanted && !is_directory {
            self.taker.node(self.cursor.here(), &name)?;
        }
        Ok(false)
    }

    /// Something is taken: so whoever takes has to know of the directories that it is in.
    fn make_known(&mut self) -> Result<(), Error> {
        for level in self.levels.iter_mut().filter(|level| !level.is_known) {
            self.taker.enter(&level.name, &level.stat, Way::Through)?;
            level.is_known = true;
        }
        Ok(())
    }
}
