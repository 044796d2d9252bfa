//! Laying a layer's changes over what is below it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::attributes::{Place, transfer};
use crate::error::At as _;
use crate::{Error, LONG_WHITEOUT, OPAQUE, Tree, hidden_by, kind, names, stat};

/// Bytes of a name.
const LONGEST: usize = 255;

/// Moves all that is in the directory `changes` into the directory `tree`, as an overlay would show
/// the two: a directory joins one of its name, all else replaces it, whiteouts remove. The root of
/// `tree` becomes as that of `changes` is. Both are on one file system; of `changes` a part may
/// stay behind.
///
/// No file of `tree` is written to: it may have other names elsewhere.
pub fn merge(changes: &Path, tree: &Path) -> Result<(), Error> {
    let (changes, tree) = (Tree::open(changes)?, Tree::open(tree)?);
    let mut rest = vec![PathBuf::new()];
    let mut done = Vec::new();
    while let Some(path) = rest.pop() {
        let (from, to) = (changes.directory(&path)?, tree.directory(&path)?);
        // Before anything is moved out of it.
        let before = rustix::fs::fstat(&from).at("stat", &changes.path.join(&path))?;
        let found = names(&from).at("readdir", &changes.path.join(&path))?;
        if found.iter().any(|name| name.as_encoded_bytes() == OPAQUE) {
            for name in names(&to).at("readdir", &tree.path.join(&path))? {
                remove(&to, &name).at("remove", &tree.path.join(&path).join(&name))?;
            }
        }
        for name in &found {
            let inside = path.join(name);
            let one = stat(&from, name).at("stat", &changes.path.join(&inside))?;
            let Some(one) = one else { continue };
            if is_mark(name, &one) {
                let hidden = hidden(&from, name).at("read", &changes.path.join(&inside))?;
                if let Some(hidden) = hidden {
                    let shown = tree.path.join(&path).join(&hidden);
                    remove(&to, &hidden).at("remove", &shown)?;
                }
                continue;
            }
            let there = stat(&to, name).at("stat", &tree.path.join(&inside))?;
            let is_directory = kind(&one) == FileType::Directory;
            if is_directory && there.as_ref().is_some_and(|old| kind(old) == FileType::Directory) {
                rest.push(inside);
                continue;
            }
            if there.is_some() {
                remove(&to, name).at("remove", &tree.path.join(&inside))?;
            }
            if is_directory {
                unmark(&changes, &inside)?;
            }
            rustix::fs::renameat(&from, name, &to, name).at("rename", &tree.path.join(&inside))?;
        }
        done.push((path, before));
    }
    for (path, before) in done.iter().rev() {
        let (from, to) = (changes.directory(path)?, tree.directory(path)?);
        restore(&from, before, &to).map_err(|(call, source)| Error {
            call,
            path: tree.path.join(path),
            source,
        })?;
    }
    Ok(())
}

fn restore(from: &OwnedFd, found: &Stat, to: &OwnedFd) -> Result<(), (&'static str, Errno)> {
    let here = OsStr::new(".");
    transfer(Place { dir: from.as_fd(), name: here }, found, Place { dir: to.as_fd(), name: here })
}

/// Whether this is a whiteout: a directory of such a name is a directory.
fn is_mark(name: &OsStr, found: &Stat) -> bool {
    hidden_by(name).is_some() && kind(found) == FileType::RegularFile
}

/// What the whiteout `name` hides, of one name.
fn hidden(dir: &OwnedFd, name: &OsStr) -> Result<Option<OsString>, Errno> {
    if name.as_bytes() == OPAQUE {
        return Ok(None);
    }
    if !name.as_bytes().starts_with(LONG_WHITEOUT) {
        return Ok(hidden_by(name).map(OsStr::to_owned));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let mut text = vec![0; LONGEST + 1];
    let len = rustix::io::read(&file, &mut text[..])?;
    text.truncate(len);
    let is_name = (1..=LONGEST).contains(&len) && !text.contains(&b'/') && !text.contains(&0);
    if !is_name || matches!(text.as_slice(), b"." | b"..") {
        return Err(Errno::INVAL);
    }
    Ok(Some(OsString::from_vec(text)))
}

fn remove(dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let dir = rustix::fs::openat(dir, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            fsroot::Root::from_fd(dir).remove_all(name).map_err(|error| error.errno())
        }
        other => other,
    }
}

/// Takes the whiteouts out of a directory that is new as a whole: they hide nothing.
fn unmark(changes: &Tree<'_>, path: &Path) -> Result<(), Error> {
    let mut rest = vec![path.to_path_buf()];
    while let Some(path) = rest.pop() {
        let dir = changes.directory(&path)?;
        let before = rustix::fs::fstat(&dir).at("stat", &changes.path.join(&path))?;
        let mut n_marks = 0;
        for name in names(&dir).at("readdir", &changes.path.join(&path))? {
            let inside = path.join(&name);
            let Some(found) = stat(&dir, &name).at("stat", &changes.path.join(&inside))? else {
                continue;
            };
            if kind(&found) == FileType::Directory {
                rest.push(inside);
            } else if is_mark(&name, &found) {
                let removed = rustix::fs::unlinkat(&dir, &name, AtFlags::empty());
                removed.at("unlink", &changes.path.join(&inside))?;
                n_marks += 1;
            }
        }
        if n_marks > 0 {
            restore(&dir, &before, &dir).map_err(|(call, source)| Error {
                call,
                path: changes.path.join(&path),
                source,
            })?;
        }
    }
    Ok(())
}
