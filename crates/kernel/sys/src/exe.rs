//! Our own program, out of a container's reach.

use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{Call, Error};
use crate::mount::{MountAttr, mount_setattr};

const SELF: &str = "/proc/self/exe";

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// A descriptor (`O_PATH` or read-only) of our own program that nobody can write through, to be run
/// with [`crate::execveat`] or as `/proc/self/fd/N`.
///
/// A process in a container can reach the program that set it up as `/proc/self/exe` and, once that
/// has ended, open it for writing (CVE-2019-5736). Run from here, what it reaches is a read-only
/// mount of the file, or where mounts cannot be made a sealed copy in memory.
///
/// The mount is in no namespace: it was dissolved while this descriptor holds on to it, so that
/// `mount_setattr(2)` refuses to make it writable again, whatever capabilities the caller has.
pub fn protected_exe() -> Result<OwnedFd, Error> {
    match read_only_mount(SELF) {
        Ok(fd) => Ok(fd),
        Err(err) if matches!(err.errno(), Errno::PERM | Errno::NOSYS | Errno::INVAL) => {
            sealed_copy()
        }
        Err(err) => Err(err),
    }
}

/// Whether this process runs from a file that a container cannot write through its
/// `/proc/self/exe`: a read-only mount or a sealed copy.
pub fn is_protected() -> bool {
    let Ok(exe) = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    let read_only =
        rustix::fs::fstatvfs(&exe).is_ok_and(|st| st.f_flag.contains(StatVfsMountFlags::RDONLY));
    let sealed = rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SEALS));
    read_only || sealed
}

/// The same as a mount only, which costs nothing to hold. Must be asked for in the mount namespace
/// in which the program was executed: in another one the kernel answers `EINVAL`.
pub fn read_only_exe() -> Result<OwnedFd, Error> {
    read_only_mount(SELF)
}

fn read_only_mount(file: &str) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, file, flags)
        .call(|| format!("open_tree({file:?}, CLONE)"))?;
    mount_setattr(tree.as_fd(), false, MountAttr::RDONLY, MountAttr::empty(), None, None)?;
    // Opened again, because closing `tree` takes the mount out of the anonymous namespace that it
    // is in, in which it could still be changed.
    let again = format!("/proc/self/fd/{}", tree.as_raw_fd());
    rustix::fs::open(&again, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open(\"{again}\")"))
}

fn sealed_copy() -> Result<OwnedFd, Error> {
    let mut exe = std::fs::File::open(SELF).call(|| format!("open(\"{SELF}\")"))?;
    // Without EXEC some hosts refuse to run it (vm.memfd_noexec); kernels before 6.3 do not know it.
    let create = |flags| rustix::fs::memfd_create("dhow", flags);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match create(flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => create(flags),
        other => other,
    }
    .call(|| "memfd_create(\"dhow\")")?;
    let mut file = std::fs::File::from(copy);
    std::io::copy(&mut exe, &mut file).call(|| format!("copy \"{SELF}\" to memory"))?;
    file.seek(SeekFrom::Start(0)).call(|| "lseek(memfd, 0)")?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o555)).call(|| "fchmod(memfd, 0555)")?;
    rustix::fs::fcntl_add_seals(&file, SEALS).call(|| "fcntl(memfd, F_ADD_SEALS)")?;
    // A descriptor that is open for writing keeps the file busy for exec: hand out another one.
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(&again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open(\"{again}\")"))
}

#[cfg(test)]
#[path = "exe_tests.rs"]
mod tests;
