//! Writing to procfs, and to nothing that merely looks like it.
//!
//! A container's image or a volume may put anything where procfs is expected: a directory, a link, a
//! file of procfs mounted over another (CVE-2019-16884, CVE-2025-52881). So a write starts at a
//! descriptor of the root of procfs, goes neither through links nor through mounts, and checks what
//! it reached.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sys::{Call, Error, FdName};

/// `PROC_SUPER_MAGIC` of statfs(2).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// The inode of the root of every procfs.
const PROC_ROOT_INODE: u64 = 1;

/// `/proc` of this process, checked to be the root of a procfs.
pub fn open_host() -> Result<OwnedFd, Error> {
    let fd = crate::root::open_host("/proc", OFlags::PATH | OFlags::DIRECTORY)?;
    check_root(fd.as_fd())?;
    Ok(fd)
}

/// Checks that `fd` is the root of a procfs: `ENOTSUP` when it is not.
pub fn check_root(fd: BorrowedFd<'_>) -> Result<(), Error> {
    let text = || format!("check that {} is the root of procfs", FdName(fd));
    check_magic(fd)?;
    let stat = rustix::fs::fstat(fd).call(text)?;
    if stat.st_ino == PROC_ROOT_INODE { Ok(()) } else { Err(Error::new(text(), Errno::NOTSUP)) }
}

/// Opens `path` below `proc`, a directory of procfs, without leaving the mount or following links
/// other than `self` and `thread-self`, and checks that the result is on procfs.
pub fn open(proc: BorrowedFd<'_>, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, Error> {
    let path = path.as_ref();
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let fd = loop {
        match rustix::fs::openat2(proc, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS) => break by_hand(proc, path, flags)?,
            other => break other.call(|| format!("openat2({}, {path:?})", FdName(proc)))?,
        }
    };
    check_magic(fd.as_fd())?;
    Ok(fd)
}

/// The same before Linux 5.6, which has no openat2(2): the links that may be first are read here.
fn by_hand(proc: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    let text = || format!("open({}, {path:?})", FdName(proc));
    let mut components = path.components();
    let first = components.next().map(|first| first.as_os_str().to_owned()).unwrap_or_default();
    let path = match first.to_str() {
        Some("self" | "thread-self") => {
            let target = rustix::fs::readlinkat(proc, &first, Vec::new()).call(text)?;
            Path::new(std::ffi::OsStr::from_bytes(target.to_bytes())).join(components)
        }
        _ => path.to_owned(),
    };
    sys::open_beneath(proc, path, flags).call(text)
}

/// Writes `bytes` to the file `path` below `proc`, in one write(2) as such files want it.
pub fn write_checked(
    proc: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    bytes: &[u8],
) -> Result<(), Error> {
    let path = path.as_ref();
    let fd = open(proc, path, OFlags::WRONLY)?;
    let text = || format!("write({path:?}, {:?})", String::from_utf8_lossy(bytes));
    match rustix::io::retry_on_intr(|| rustix::io::write(&fd, bytes)).call(text)? {
        n if n == bytes.len() => Ok(()),
        _ => Err(Error::new(text(), Errno::IO)),
    }
}

fn check_magic(fd: BorrowedFd<'_>) -> Result<(), Error> {
    let text = || format!("check that {} is on procfs", FdName(fd));
    let stat = rustix::fs::fstatfs(fd).call(text)?;
    if stat.f_type as u64 == PROC_SUPER_MAGIC {
        Ok(())
    } else {
        Err(Error::new(text(), Errno::NOTSUP))
    }
}

#[cfg(test)]
#[path = "proc_tests.rs"]
mod tests;
