//! `tmpcopyup`: what a directory holds, into the new file system that will cover it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use sys::{Call, Error};

/// How deep directories may nest: each level holds two descriptors.
const DEEPEST: usize = 128;

/// Copies all below `from` into `to`: directories, files, links, devices, with owners and modes.
/// Never follows a link, never goes into another mount's files by name.
pub(crate) fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Error> {
    directory(from, to, 0)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(Error::new("copy a directory", Errno::NAMETOOLONG));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable =
        rustix::fs::openat(from, ".", flags, Mode::empty()).call(|| "open(directory)")?;
    let entries = Dir::read_from(&readable).call(|| "readdir()")?;
    for entry in entries {
        let entry = entry.call(|| "readdir()")?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)
            .call(|| format!("lstat({name:?})"))?;
        one(from, to, name, &stat, depth)?;
    }
    Ok(())
}

fn one(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    stat: &Stat,
    depth: usize,
) -> Result<(), Error> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let kind = FileType::from_raw_mode(stat.st_mode);
    let open = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let text = |call: &str| format!("{call}({name:?})");
    match kind {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode).call(|| text("mkdir"))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | open;
            let source = rustix::fs::openat(from, name, flags, Mode::empty());
            let target = rustix::fs::openat(to, name, flags, Mode::empty());
            let (source, target) = (source.call(|| text("open"))?, target.call(|| text("open"))?);
            directory(source.as_fd(), target.as_fd(), depth + 1)?;
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(
                from,
                name,
                OFlags::RDONLY | OFlags::NONBLOCK | open,
                Mode::empty(),
            );
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | open;
            let target = rustix::fs::openat(to, name, create, mode).call(|| text("creat"))?;
            let source = source.call(|| text("open"))?;
            // It may have become something that never ends in the meantime.
            let now = rustix::fs::fstat(&source).call(|| text("fstat"))?;
            if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) {
                return Err(Error::new(text("copy"), Errno::STALE));
            }
            let mut source = std::fs::File::from(source);
            std::io::copy(&mut source, &mut std::fs::File::from(target)).call(|| text("copy"))?;
        }
        FileType::Symlink => {
            let target =
                rustix::fs::readlinkat(from, name, Vec::new()).call(|| text("readlink"))?;
            rustix::fs::symlinkat(target, to, name).call(|| text("symlink"))?;
        }
        _ => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).call(|| text("mknod"))?,
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        // An owner that the user namespace does not map: the copy is its root's.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno).call(|| text("chown")),
    }
    // chown(2) takes the set-id bits away.
    if kind == FileType::Symlink || stat.st_mode & 0o6000 == 0 {
        return Ok(());
    }
    rustix::fs::chmodat(to, name, mode, AtFlags::empty()).call(|| text("chmod"))
}
