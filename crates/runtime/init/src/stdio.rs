//! The standard streams as the container's program finds them.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use sys::Call;

use crate::error::{Doing, Error};

fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (1, 3)
}

/// Streams that are the host's `/dev/null` become the container's, so that no descriptor leads to
/// the host's `/dev`. What the container has there must be that device and no link, else the stream
/// stays as it is (CVE-2026-88265).
pub(crate) fn reopen_null() -> Result<(), Error> {
    let doing = || "reopen /dev/null";
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut inside = None;
    for (number, stream) in streams.into_iter().enumerate() {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        if !is_null(&stat) {
            continue;
        }
        if inside.is_none() {
            inside = open_null();
        }
        let Some(null) = &inside else { return Ok(()) };
        sys::dup2(null.as_fd(), number as i32).doing(doing)?;
    }
    Ok(())
}

fn open_null() -> Option<std::os::fd::OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dev = rustix::fs::open("/dev", flags, Mode::empty()).ok()?;
    // As a place first: opening some devices is an action in itself.
    let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(&dev, "null", place, Mode::empty()).ok()?;
    if !is_null(&rustix::fs::fstat(&found).ok()?) {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::openat(&dev, "null", flags, Mode::empty()).ok()?;
    is_null(&rustix::fs::fstat(&null).ok()?).then_some(null)
}

/// Gives the streams to the user, who could otherwise not open `/dev/stdout` again. The null device
/// and what the user owns already stay as they are.
pub(crate) fn give_to(uid: u32) -> Result<(), Error> {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        give_one(stream, uid)?;
    }
    Ok(())
}

/// The same for one descriptor.
pub(crate) fn give_one(stream: BorrowedFd<'_>, uid: u32) -> Result<(), Error> {
    let Ok(stat) = rustix::fs::fstat(stream) else { return Ok(()) };
    if is_null(&stat) || stat.st_uid == uid {
        return Ok(());
    }
    match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>) {
        // Not ours to give: another user namespace's, a read-only file system's, or a socket's.
        Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OVERFLOW) => Ok(()),
        Err(errno) => Err(errno).call(|| format!("fchown({uid})")).doing(|| "standard streams"),
    }
}
