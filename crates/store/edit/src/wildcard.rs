//! Patterns of paths, and what in a tree they match.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use dockerfile::ignore::Wildcard;
use fsroot::Root;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use crate::Error;
use crate::cursor::Cursor;
use crate::error::At as _;
use crate::names::Named;
use crate::place;

/// What in `root` the pattern `named` matches, in order. What is in a directory that matches is not looked
/// at. A path without a pattern is its own match, whether it is there or not.
pub(crate) fn resolve(root: &Root, named: &Named, follow: bool) -> Result<Vec<PathBuf>, Error> {
    let Some(pattern) = Wildcard::new(&named.path.to_string_lossy())? else {
        return Ok(vec![named.path.clone()]);
    };
    let base = PathBuf::from(&pattern.base);
    let found = place::find(root, &base, follow)?.at("lstat", &base)?;
    let mut matched = Vec::new();
    if found.kind() == FileType::Directory {
        let mut walk = Walk { base: &base, pattern: &pattern, matched: &mut matched };
        walk.directory(&found.open_directory(&base)?)?;
    }
    Ok(matched)
}

struct Walk<'a> {
    base: &'a Path,
    pattern: &'a Wildcard,
    matched: &'a mut Vec<PathBuf>,
}

impl Walk<'_> {
    fn directory(&mut self, top: &OwnedFd) -> Result<(), Error> {
        let mut cursor = Cursor::new(top).at("open", self.base)?;
        let mut relative = PathBuf::new();
        let mut levels = vec![cursor.names().at("open", self.base)?.into_iter()];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.next() else {
                levels.pop();
                if levels.is_empty() {
                    break;
                }
                cursor.leave().at("open", self.base.join(&relative))?;
                relative.pop();
                continue;
            };
            relative.push(&name);
            let text = relative.as_os_str().as_bytes();
            if self.pattern.matches(text) {
                let found = found(&cursor, &name).at("lstat", self.base.join(&relative))?;
                self.matched.extend(found.map(|_| self.base.join(&relative)));
            } else if self.pattern.may_match_below(text) {
                let entered = enter(&mut cursor, &name).at("open", self.base.join(&relative))?;
                if let Some(names) = entered {
                    levels.push(names.into_iter());
                    continue;
                }
            }
            relative.pop();
        }
        Ok(())
    }
}

/// What `name` is; `None`: overlayfs lists a whiteout that hides nothing.
fn found(cursor: &Cursor, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(cursor.here(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        stat => stat.map(Some),
    }
}

/// What is in the directory `name`, where it is one and not a link.
fn enter(cursor: &mut Cursor, name: &OsStr) -> Result<Option<Vec<OsString>>, Errno> {
    let is_directory = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !found(cursor, name)?.is_some_and(is_directory) {
        return Ok(None);
    }
    cursor.enter(name)?;
    cursor.names().map(Some)
}
