//! Going through all files of a tree, links left alone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use fsroot::Root;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;

/// Directories in directories at most: deeper ones are not looked into.
const DEPTH: usize = 512;

/// What was come by, and is no directory.
pub(super) struct Found<'a> {
    /// From the top of the tree, without a slash before it.
    pub(super) path: &'a Path,
    pub(super) stat: Stat,
    dir: &'a OwnedFd,
    name: &'a OsStr,
}

impl Found<'_> {
    /// Opens it, for reading.
    pub(super) fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self.dir.as_fd(), self.name, flags, Mode::empty())?.into())
    }
}

/// Calls `visit` for every regular file, directories in the order of their names.
pub(super) fn walk(
    tree: &Root,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    all(tree, &mut |found| match FileType::from_raw_mode(found.stat.st_mode) {
        FileType::RegularFile => visit(found),
        _ => Ok(()),
    })
}

/// Calls `visit` for the path of everything that is no directory.
pub(crate) fn each_name(
    tree: &Root,
    visit: &mut dyn FnMut(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    all(tree, &mut |found| visit(found.path))
}

fn all(tree: &Root, visit: &mut dyn FnMut(&Found<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let mut rest = vec![(OsString::new(), 0)];
    while let Some((path, depth)) = rest.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = match tree.open_with(&path, flags, Mode::empty()) {
            // Nobody can name what is in there.
            Err(error) if error.errno() == Errno::NAMETOOLONG => continue,
            other => other?,
        };
        let mut inner = Vec::new();
        for name in names(&dir).at("readdir", Path::new(&path))? {
            let whole = Path::new(&path).join(&name);
            let stat = match rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // overlayfs lists a whiteout that hides nothing.
                Err(Errno::NOENT) => continue,
                stat => stat.at("stat", &whole)?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if depth < DEPTH => {
                    inner.push((whole.into_os_string(), depth + 1));
                }
                FileType::Directory => {}
                _ => visit(&Found { path: &whole, stat, dir: &dir, name: &name })?,
            }
        }
        rest.extend(inner.into_iter().rev());
    }
    Ok(())
}

fn names(dir: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}
