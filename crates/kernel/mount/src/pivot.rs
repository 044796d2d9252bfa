//! Changing the root of this mount namespace.

use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use sys::{Call, Error, FdName};

/// Makes `new_root`, which is a mount in this namespace, the root, and detaches the old one with
/// all below it, see `pivot_root(2)`. Root and working directory of this process move along.
///
/// Needs no directory to put the old root into: both are stacked on `/` for a moment, and `.` is
/// the old one.
pub fn pivot_root_into(new_root: BorrowedFd<'_>) -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old_root = rustix::fs::open("/", flags, Mode::empty()).call(|| "open(\"/\")")?;
    rustix::process::fchdir(new_root).call(|| format!("fchdir({})", FdName(new_root)))?;
    rustix::process::pivot_root(".", ".")
        .call(|| format!("pivot_root({}, \".\")", FdName(new_root)))?;
    rustix::process::fchdir(&old_root).call(|| "fchdir(old root)")?;
    // The host's mounts are in it: unmounting them must not reach the host.
    rustix::mount::mount_change(
        ".",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .call(|| "mount(old root, MS_SLAVE | MS_REC)")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).call(|| "umount2(old root, MNT_DETACH)")?;
    rustix::process::chdir("/").call(|| "chdir(\"/\")")
}
