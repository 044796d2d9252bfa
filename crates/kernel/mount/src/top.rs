//! What is topmost at the root of a mount namespace, for a process whose own root may be another.
//!
//! setns(2) leads to what is topmost there (`mntns_install` in Linux's `fs/namespace.c`).
//! `pivot_root(2)` swaps the mount of the caller's own root, wherever in the tree that is: where
//! chroot(2) has changed it, or something was mounted over it since, a new root would be somewhere in
//! the old tree, and who entered the mount namespace would find that tree, and not the new root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use sys::{Call, CloneFlags, Error, Propagation};

use crate::pivot::detach_old_root;

/// The root that a new one has to take the place of, see [`go_to_top`].
#[derive(Debug)]
pub struct Top {
    /// It, which is the caller's root.
    pub root: OwnedFd,
    /// The caller's root was another one before, in the tree of this one.
    pub is_above: bool,
}

/// Makes the root of the calling process the one that `new_root` has to take the place of, by
/// `pivot_root(2)` or by being moved over it, for setns(2) to lead to `new_root`. The working directory
/// is any afterwards.
///
/// `namespace` is the caller's own mount namespace, and `new_root` a mount in it, below the caller's
/// root. What is mounted there must be [cut off](crate::cut_off): what was mounted over the caller's
/// root later is unmounted. The caller must share root and working directory with nobody (`EINVAL`).
/// `EXDEV`: the caller's root is in a tree that another one covers.
///
/// Who may not enter a mount namespace, for want of `CAP_SYS_CHROOT` or since seccomp denies it, stays
/// where it is: it has not changed its root, can execute nothing in the container later, and can still
/// call `pivot_root(2)`, which takes no more than `CAP_SYS_ADMIN`.
pub fn go_to_top(namespace: BorrowedFd<'_>, new_root: BorrowedFd<'_>) -> Result<Top, Error> {
    let own = open_directory("/")?;
    let own_place = Place::of(own.as_fd())?;
    loop {
        // What it leads to is the working directory, too.
        match sys::setns(namespace, CloneFlags::NEWNS) {
            Err(err) if err.errno() == Errno::PERM => {
                return Ok(Top { root: own, is_above: false });
            }
            entered => entered?,
        }
        let top = Place::of(CWD)?;
        if top == own_place {
            return Ok(Top { root: own, is_above: false });
        }
        let root = open_directory("/")?;
        rustix::process::fchdir(&own).call(|| "fchdir(own root)")?;
        if top == Place::of(new_root)? {
            // It lies on the caller's root already, which so was the topmost.
            rustix::process::chroot(".").call(|| "chroot(own root)")?;
            return Ok(Top { root: own, is_above: false });
        }
        let way = rustix::process::getcwd(Vec::new()).call(|| "getcwd()")?;
        match way.as_bytes() {
            [b'/', ..] => return Ok(Top { root, is_above: true }),
            // It is a root of the namespace's, under one that was mounted there since.
            b"(unreachable)/" => detach_old_root(root.as_fd())?,
            _ => {
                let what = format!("go to {way:?} from the root of the mount namespace");
                return Err(Error::new(what, Errno::XDEV));
            }
        }
    }
}

/// [`cut_off`](crate::cut_off) where the caller's root is no mount (`EINVAL` there), but a directory
/// that chroot(2) has made it: from the top of `namespace`, the caller's own mount namespace.
pub fn cut_off_at_top(namespace: BorrowedFd<'_>, propagation: Propagation) -> Result<(), Error> {
    let (root, cwd) = (open_directory("/")?, open_directory(".")?);
    sys::setns(namespace, CloneFlags::NEWNS)?;
    let cut_off = crate::cut_off(propagation);
    rustix::process::fchdir(&root).call(|| "fchdir(root)")?;
    rustix::process::chroot(".").call(|| "chroot(\".\")")?;
    rustix::process::fchdir(&cwd).call(|| "fchdir(working directory)")?;
    cut_off
}

fn open_directory(path: &str) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))
}

/// A directory on a mount: two mounts can show the same one.
#[derive(PartialEq, Eq)]
struct Place {
    device: (u32, u32),
    inode: u64,
    /// As mountinfo numbers it, where that can be told.
    mount: Option<u64>,
}

impl Place {
    fn of(directory: BorrowedFd<'_>) -> Result<Self, Error> {
        let mask = StatxFlags::INO | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, mask)
            .call(|| "statx(STATX_MNT_ID)")?;
        let told = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
        let mount = if told {
            Some(stat.stx_mnt_id)
        } else {
            // Before Linux 5.8. What is looked at may be no descriptor but the working directory.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened =
                rustix::fs::openat(directory, ".", flags, Mode::empty()).call(|| "open(\".\")")?;
            sys::mount_id(opened.as_fd())?
        };
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        Ok(Self { device, inode: stat.stx_ino, mount })
    }
}

#[cfg(test)]
#[path = "top_tests.rs"]
mod tests;
