//! From the host's root to the container's: it takes the place that setns(2) leads to.
//!
//! The runtime's own root need not be there: it may be one of chroot(2). All paths up to here, those of
//! hooks included, are looked for in that one.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use fsroot::Root;
use mount::Top;
use plan::{Enter, Rootfs};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sys::{Call, Propagation};

use super::Prepared;
use crate::error::{Doing, Error, failpoint};
use crate::sync::InitEnd;
use crate::{Inherited, exposed};

impl Prepared {
    /// Makes it the root of this process. Where the runtime detaches the old one, it is still there
    /// afterwards, see [`InitEnd::until_detached`].
    pub(crate) fn enter(
        self,
        plan: &Rootfs,
        inherited: &Inherited,
        sync: &InitEnd,
    ) -> Result<(), Error> {
        failpoint("runtime.pivot")?;
        match plan.enter {
            Enter::Chroot => return change_root(self.root.as_fd()),
            Enter::Move => move_root(&self.root, plan, inherited.proc.as_fd())?,
            Enter::PivotRoot => {
                // By a path, which may lead elsewhere in a moment.
                drop(self.yard);
                pivot(&self.root, inherited, sync)?;
            }
        }
        // Not before: pivot_root(2) refuses a root that is shared.
        match plan.root.propagation {
            Propagation::Slave | Propagation::Private => Ok(()),
            other => mount::set_propagation(Path::new("/"), other, false)
                .doing(|| "propagation of the root"),
        }
    }
}

fn pivot(root: &Root, inherited: &Inherited, sync: &InitEnd) -> Result<(), Error> {
    let namespace = own_namespace(inherited.proc.as_fd())?;
    let top = go_to_top(namespace.as_fd(), root)?;
    let doing = || {
        if top.is_above {
            "change the root, from above the one that chroot(2) gave to the runtime (where that is \
             the initramfs's, only --no-pivot can)"
        } else {
            "change the root"
        }
    };
    if inherited.detached_outside {
        mount::pivot_root_beneath(root.as_fd(), top.root.as_fd()).doing(doing)?;
        sync.pivoted(namespace.as_fd(), top.root.as_fd())
    } else {
        mount::pivot_root_into(root.as_fd()).doing(doing)
    }
}

/// `--no-pivot`: the root's mount covers `/`, for a host root in the initramfs. What it covers stays
/// in the mount namespace.
fn move_root(root: &Root, plan: &Rootfs, proc: BorrowedFd<'_>) -> Result<(), Error> {
    let namespace = own_namespace(proc)?;
    if go_to_top(namespace.as_fd(), root)?.is_above {
        // More of the host's tree is covered from here than what was cut off before.
        mount::cut_off(cut_off_as(plan)).doing(|| "cut the mount namespace off")?;
        exposed::cover(&path_of(root, proc)?, proc)?;
    } else {
        exposed::cover(&plan.root.path, proc)?;
    }
    mount::move_to_path(root.as_fd(), Path::new("/")).doing(|| "move the root")?;
    change_root(root.as_fd())
}

/// Makes a directory the root and the working directory of this process.
pub(crate) fn change_root(root: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::process::fchdir(root).call(|| "fchdir(root)").doing(|| "change the root")?;
    rustix::process::chroot(".").call(|| "chroot(\".\")").doing(|| "change the root")?;
    rustix::process::chdir("/").call(|| "chdir(\"/\")").doing(|| "change the root")
}

/// From here on nothing travels from this mount namespace back to the host's.
pub(super) fn cut_off(plan: &Rootfs, proc: BorrowedFd<'_>) -> Result<(), Error> {
    let propagation = cut_off_as(plan);
    match mount::cut_off(propagation) {
        // The runtime's root is no mount: chroot(2) has made it.
        Err(err) if err.errno() == Errno::INVAL => {
            mount::cut_off_at_top(own_namespace(proc)?.as_fd(), propagation)
        }
        other => other,
    }
    .doing(|| "cut the mount namespace off")
}

fn cut_off_as(plan: &Rootfs) -> Propagation {
    match plan.root.propagation {
        Propagation::Private => Propagation::Private,
        _ => Propagation::Slave,
    }
}

fn go_to_top(namespace: BorrowedFd<'_>, root: &Root) -> Result<Top, Error> {
    mount::go_to_top(namespace, root.as_fd()).doing(|| "find the root of the mount namespace")
}

/// This process's mount namespace. Opened here, where nobody can be denied it: a process may look at
/// itself.
fn own_namespace(proc: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(proc, "self/ns/mnt", flags, Mode::empty())
        .call(|| "open(\"/proc/self/ns/mnt\")")
        .doing(|| "find the mount namespace")
}

/// Where the root's mount is, seen from the root that this process has now.
fn path_of(root: &Root, proc: BorrowedFd<'_>) -> Result<PathBuf, Error> {
    let link = format!("self/fd/{}", root.as_fd().as_raw_fd());
    let path = rustix::fs::readlinkat(proc, &link, Vec::new())
        .call(|| format!("readlink(\"/proc/{link}\")"))
        .doing(|| "move the root")?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}
