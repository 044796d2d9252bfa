//! Making and removing.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use buildgraph::{MakeDirectory, MakeFile, Remove, Symlink};
use fsroot::Root;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::At as _;
use crate::names::{Named, absolute};
use crate::owner::open_file;
use crate::place::{self, ITSELF, Maker, kind_at};
use crate::{Error, both, wildcard};

type Owner = Option<(u32, u32)>;

/// Where a path leads to in a directory that is there.
fn place(root: &Root, path: &Path) -> Result<place::Place, Error> {
    let parent = path.parent().unwrap_or(path);
    root.open_path(parent).at("open", path)?;
    Maker::new(root, 0o755, None, 0).place(path)
}

/// Gives what was made its owner and time.
fn finish(made: &OwnedFd, owner: Owner, time: i64, path: &Path) -> Result<(), Error> {
    if let Some((uid, gid)) = owner {
        place::chown(made.as_fd(), uid, gid).at("chown", path)?;
    }
    let times = both(time);
    rustix::fs::utimensat(CWD, fsroot::fd_path(made), &times, AtFlags::empty())
        .at("utimensat", path)
}

/// Writes a file. One that is there already keeps its mode.
pub(crate) fn file(root: &Root, make: &MakeFile, owner: Owner, now: i64) -> Result<(), Error> {
    let path = absolute(Path::new(&make.path));
    let place = place(root, &path)?;
    let made = if let Some(kind) = place.kind {
        if kind == FileType::Directory {
            return Err(Errno::ISDIR).at("open", &path);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(&place.dir, &place.name, flags, Mode::empty());
        open_file(&node.at("open", &path)?, OFlags::WRONLY | OFlags::TRUNC, &path)?
    } else {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(make.mode & 0o777);
        let made = rustix::fs::openat(&place.dir, &place.name, flags, mode).at("open", &path)?;
        rustix::fs::fchmod(&made, mode).at("chmod", &path)?;
        made
    };
    write(&made, &make.data).at("write", &path)?;
    finish(&made, owner, make.time.unwrap_or(now), &path)
}

fn write(file: &OwnedFd, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match rustix::io::write(file, data) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => data = &data[n..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes a directory. What is there already stays.
pub(crate) fn directory(
    root: &Root,
    make: &MakeDirectory,
    owner: Owner,
    now: i64,
) -> Result<(), Error> {
    let path = absolute(Path::new(&make.path));
    let mut maker = Maker::new(root, make.mode, owner, make.time.unwrap_or(now));
    if !make.parents {
        let place = place(root, &path)?;
        if place.kind.is_some() {
            return Ok(());
        }
    }
    maker.directory(&path)?;
    maker.finish()
}

/// Makes a symbolic link. Nothing may be there.
pub(crate) fn symlink(root: &Root, make: &Symlink, owner: Owner, now: i64) -> Result<(), Error> {
    let path = absolute(Path::new(&make.path));
    let place = place(root, &path)?;
    rustix::fs::symlinkat(&make.target, &place.dir, &place.name).at("symlink", &path)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&place.dir, &place.name, flags, Mode::empty());
    finish(&made.at("open", &path)?, owner, make.time.unwrap_or(now), &path)
}

/// Removes what a path names, or all that a pattern matches.
pub(crate) fn remove(root: &Root, remove: &Remove) -> Result<(), Error> {
    let named = Named::new(&remove.path);
    if !remove.wildcards {
        return remove_path(root, &named.path, remove.may_be_missing);
    }
    for path in wildcard::resolve(root, &named, false)? {
        remove_path(root, &path, remove.may_be_missing)?;
    }
    Ok(())
}

/// Removes `path`, a link and not what it leads to.
fn remove_path(root: &Root, path: &Path, may_be_missing: bool) -> Result<(), Error> {
    let found = match place::find(root, path, false)? {
        Err(_) if may_be_missing => return Ok(()),
        found => found.at("stat", path)?,
    };
    if found.name == ITSELF {
        return Err(Error::RemoveRoot);
    }
    place::remove(found.dir.as_fd(), &found.name, path)?;
    // Removing is done when it is gone: not so below a mount point.
    match kind_at(found.dir.as_fd(), &found.name).at("stat", path)? {
        None => Ok(()),
        Some(_) => Err(Errno::BUSY).at("remove", path),
    }
}
