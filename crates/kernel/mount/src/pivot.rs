//! Changing the root of this mount namespace.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use sys::{Call, Error, FdName};

/// Makes `new_root`, which is a mount in this namespace, the root, and detaches the old one with
/// all below it, see `pivot_root(2)`. Root and working directory of this process move along.
///
/// What is swapped is the root of this process: where that may be another than the namespace's,
/// [`go_to_top`](crate::go_to_top) comes first.
///
/// Needs no directory to put the old root into: both are stacked on `/` for a moment, and `.` is
/// the old one.
pub fn pivot_root_into(new_root: BorrowedFd<'_>) -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old_root = rustix::fs::open("/", flags, Mode::empty()).call(|| "open(\"/\")")?;
    pivot(new_root, old_root.as_fd())?;
    detach_old_root(old_root.as_fd())?;
    rustix::process::chdir("/").call(|| "chdir(\"/\")")
}

/// The same but for the last step: `old_root`, the root of this process, stays on the new one until
/// somebody hands it to [`detach_old_root`].
///
/// Until then `..` at the root leads to it: the kernel goes to whatever is mounted on the place that
/// `..` has found (`handle_dots` in `fs/namei.c`), whereas `/` by itself, and names below it, begin at
/// the new root. So no path that somebody else has chosen, links in it included, may be resolved.
pub fn pivot_root_beneath(new_root: BorrowedFd<'_>, old_root: BorrowedFd<'_>) -> Result<(), Error> {
    pivot(new_root, old_root)?;
    rustix::process::chdir("/").call(|| "chdir(\"/\")")
}

/// Detaches what [`pivot_root_beneath`] has left, in whose mount namespace the calling thread must be.
/// The working directory is the old root afterwards.
pub fn detach_old_root(old_root: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::process::fchdir(old_root).call(|| "fchdir(old root)")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).call(|| "umount2(old root, MNT_DETACH)")
}

/// Stacks the old root on the new one. The working directory is the old one afterwards.
fn pivot(new_root: BorrowedFd<'_>, old_root: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::process::fchdir(new_root).call(|| format!("fchdir({})", FdName(new_root)))?;
    rustix::process::pivot_root(".", ".")
        .call(|| format!("pivot_root({}, \".\")", FdName(new_root)))?;
    rustix::process::fchdir(old_root).call(|| "fchdir(old root)")?;
    // The host's mounts are in it: unmounting them must not reach the host.
    rustix::mount::mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .call(|| "mount(old root, MS_SLAVE | MS_REC)")
}
