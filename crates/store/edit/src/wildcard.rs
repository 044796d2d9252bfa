//! Patterns of paths, and what in a tree they match.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use dockerfile::ignore::Wildcard;
use fsroot::Root;
use rustix::fs::{AtFlags, FileType};
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
            if !self.is_match(&relative)
                && self.pattern.may_match_below(relative.as_os_str().as_bytes())
            {
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

    fn is_match(&mut self, relative: &Path) -> bool {
        let is_match = self.pattern.matches(relative.as_os_str().as_bytes());
        if is_match {
            self.matched.push(self.base.join(relative));
        }
        is_match
    }
}

/// What is in the directory `name`, where it is one and not a link.
fn enter(cursor: &mut Cursor, name: &OsStr) -> Result<Option<Vec<OsString>>, Errno> {
    let stat = rustix::fs::statat(cursor.here(), name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(None);
    }
    cursor.enter(name)?;
    cursor.names().map(Some)
}
