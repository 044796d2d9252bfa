//! Removing a tree that somebody else may be changing.

use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// One directory on the way down: its name in the one above, and which it is.
struct Level {
    name: OsString,
    id: (u64, u64),
    /// What is left to do in it.
    subdirectories: Vec<OsString>,
}

/// Removes `name` in `dir` with all below it. Holds two descriptors however deep the tree is: it
/// goes up by `..` and checks that this is where it came from.
pub(crate) fn remove_all(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    if unlink(dir, name)? {
        return Ok(());
    }
    let mut here = match enter(dir, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut levels = vec![level(&here, name)?];
    while let Some(current) = levels.last_mut() {
        if let Some(next) = current.subdirectories.pop() {
            match enter(rustix::fd::AsFd::as_fd(&here), &next) {
                Ok(fd) => {
                    here = fd;
                    levels.push(level(&here, &next)?);
                }
                // Gone, or replaced by something that is no directory.
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    unlink(rustix::fd::AsFd::as_fd(&here), &next)?;
                }
                Err(errno) => return Err(errno),
            }
            continue;
        }
        let Some(done) = levels.pop() else { break };
        match levels.last() {
            None => remove_directory(dir, &done.name)?,
            Some(above) => {
                let up = rustix::fs::openat(&here, "..", DIRECTORY, Mode::empty())?;
                if identity(&up)? != above.id {
                    // Moved away while we were in it: nothing above is ours to touch.
                    return Err(Errno::STALE);
                }
                here = up;
                remove_directory(rustix::fd::AsFd::as_fd(&here), &done.name)?;
            }
        }
    }
    Ok(())
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// Removes what is not a directory. Says whether nothing is left.
fn unlink(dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        // POSIX's answer for a directory; here it may also mean that the file is immutable.
        Err(Errno::PERM) => match crate::root::stat(dir, name) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => Ok(false),
            _ => Err(Errno::PERM),
        },
        Err(errno) => Err(errno),
    }
}

fn remove_directory(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn enter(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    sys::open_beneath(dir, name, DIRECTORY)
}

fn identity(fd: &OwnedFd) -> Result<(u64, u64), Errno> {
    rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

/// Empties the directory `here` of all but directories, which it lists.
fn level(here: &OwnedFd, name: &OsStr) -> Result<Level, Errno> {
    let mut subdirectories = Vec::new();
    for entry in Dir::read_from(here)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let known_directory = entry.file_type().is_dir();
        if known_directory || !unlink(rustix::fd::AsFd::as_fd(here), name)? {
            subdirectories.push(name.to_owned());
        }
    }
    Ok(Level { name: name.to_owned(), id: identity(here)?, subdirectories })
}
