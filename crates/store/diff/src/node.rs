//! Making one entry, with all its attributes.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Uid, XattrFlags};
use rustix::io::Errno;
use tarstream::{Entry, Kind, Name, Reader};

use crate::Error;
use crate::unpacked::{set_mode, set_times};

/// A call on the entry, for errors.
fn call(entry: &Entry, call: &'static str) -> impl FnOnce(Errno) -> Error {
    let entry = Name::from(entry.path.as_slice());
    move |source| Error::Call { entry, call, source }
}

/// Whether an attribute is overlayfs's own: in a layer it would make overlayfs show other files
/// than the layer has.
pub(crate) fn is_overlays(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Makes a regular file and fills it from the archive.
pub(crate) fn file<R: Read>(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
    reader: &mut Reader<R>,
    buffer: &mut [u8],
) -> Result<(), Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
        .map_err(call(entry, "openat"))?;
    match &entry.sparse {
        None => loop {
            let n_read = reader.read_data(buffer)?;
            if n_read == 0 {
                break;
            }
            write_all(&file, &buffer[..n_read], None).map_err(call(entry, "write"))?;
        },
        Some(map) => {
            for piece in map {
                let mut offset = piece.offset;
                let end = piece.offset + piece.len;
                while offset < end {
                    let wanted = (end - offset).min(buffer.len() as u64) as usize;
                    let n_read = reader.read_data(&mut buffer[..wanted])?;
                    if n_read == 0 {
                        break; // The map was held against the data before.
                    }
                    write_all(&file, &buffer[..n_read], Some(offset))
                        .map_err(call(entry, "pwrite"))?;
                    offset += n_read as u64;
                }
            }
            rustix::fs::ftruncate(&file, entry.size).map_err(call(entry, "ftruncate"))?;
        }
    }
    attributes(file.as_fd(), entry)?;
    set_times(file.as_fd(), mtime(entry)).map_err(call(entry, "utimensat"))
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: Option<u64>) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = match offset {
            None => rustix::io::write(file, bytes),
            Some(offset) => rustix::io::pwrite(file, bytes, offset),
        };
        match written {
            Ok(0) => return Err(Errno::IO),
            Ok(n_written) => {
                bytes = &bytes[n_written..];
                offset = offset.map(|offset| offset + n_written as u64);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes a directory; its time is set when all is in it. One that is there is taken over.
pub(crate) fn directory(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
) -> Result<OwnedFd, Error> {
    let is_new = match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(call(entry, "mkdirat")(errno)),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made =
        rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(call(entry, "openat"))?;
    if !is_new {
        bare(made.as_fd()).map_err(call(entry, "removexattr"))?;
    }
    attributes(made.as_fd(), entry)?;
    Ok(made)
}

/// Takes from a directory the attributes that an earlier entry, or the layer below, has given to it.
fn bare(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = fsroot::fd_path(dir);
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::listxattr(&path, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(()),
        len => len?,
    };
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Overlayfs's own are what whiteouts have said.
        if is_overlays(name) {
            continue;
        }
        match rustix::fs::removexattr(&path, name) {
            // One that the kernel itself gives to every file.
            Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) if name.starts_with(b"security.") => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// Makes a symbolic link, device or fifo.
pub(crate) fn special(dir: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> Result<(), Error> {
    let device = rustix::fs::makedev(entry.device.0, entry.device.1);
    match entry.kind {
        Kind::Symlink => {
            let target = OsStr::from_bytes(&entry.link);
            rustix::fs::symlinkat(target, dir, name).map_err(call(entry, "symlinkat"))?;
        }
        Kind::CharDevice | Kind::BlockDevice => {
            let is_block = entry.kind == Kind::BlockDevice;
            let kind = if is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
            match rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device) {
                // Nobody could open it there. Containers have devices of their own.
                Err(Errno::PERM) if mount::in_user_namespace() => return Ok(()),
                made => made.map_err(call(entry, "mknodat"))?,
            }
        }
        _ => rustix::fs::mknodat(dir, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(call(entry, "mknodat"))?,
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made =
        rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(call(entry, "openat"))?;
    if entry.kind == Kind::Symlink {
        owner(made.as_fd(), entry)?;
        // By its name: there is no descriptor of a link that setxattr(2) takes.
        let path = fsroot::fd_path(dir).join(name);
        for (name, value) in wanted(entry) {
            set(entry, name, rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()))?;
        }
    } else {
        attributes(made.as_fd(), entry)?;
    }
    set_times(made.as_fd(), mtime(entry)).map_err(call(entry, "utimensat"))
}

/// Owner, mode and extended attributes, in this order: a new owner clears set-id bits and
/// capabilities.
pub(crate) fn attributes(fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), Error> {
    owner(fd, entry)?;
    set_mode(fd, entry.mode).map_err(call(entry, "chmod"))?;
    if entry.xattrs.is_empty() {
        return Ok(());
    }
    let path = fsroot::fd_path(fd);
    for (name, value) in wanted(entry) {
        set(entry, name, rustix::fs::setxattr(&path, name, value, XattrFlags::empty()))?;
    }
    Ok(())
}

fn owner(fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), Error> {
    // -1 means "leave it" to the kernel.
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        let why = "has the owner 4294967295, which no file can have".into();
        return Err(Error::Refused { entry: Name::from(entry.path.as_slice()), why });
    }
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    match rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH) {
        Err(Errno::INVAL) if mount::in_user_namespace() => {
            let why = format!(
                "has the owner {}:{}, whom this user namespace does not have; /etc/subuid and \
                 /etc/subgid say which it may have",
                entry.uid, entry.gid
            );
            Err(Error::Refused { entry: Name::from(entry.path.as_slice()), why })
        }
        owned => owned.map_err(call(entry, "chown")),
    }
}

/// The access list that all inherits that is made in a directory.
pub(crate) const INHERITED: &[u8] = b"system.posix_acl_default";

/// The attributes to set at once.
fn wanted(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let all = entry.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    all.filter(|(name, _)| !is_overlays(name) && *name != INHERITED)
}

/// A disk may know no attributes, and no attribute of others than root goes on a link or device;
/// but a program that needs its capabilities must not be left without them silently.
fn set(entry: &Entry, name: &[u8], result: Result<(), Errno>) -> Result<(), Error> {
    match result {
        Err(Errno::NOTSUP) if name != b"security.capability" => Ok(()),
        Err(Errno::PERM) if name.starts_with(b"user.") && is_special(entry.kind) => Ok(()),
        // Nobody could see it there, or it is a label of another machine's.
        Err(Errno::PERM | Errno::ACCESS)
            if mount::in_user_namespace()
                && (name.starts_with(b"trusted.") || name.starts_with(b"security."))
                && name != b"security.capability" =>
        {
            Ok(())
        }
        other => other.map_err(call(entry, "setxattr")),
    }
}

fn is_special(kind: Kind) -> bool {
    !matches!(kind, Kind::File | Kind::Directory)
}

pub(crate) fn mtime(entry: &Entry) -> Timespec {
    let time = entry.mtime;
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}
