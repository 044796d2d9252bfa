//! Existing trees: taking copies, putting them in place, changing how they propagate.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};
use sys::{Call, Error, FdName, MountAttr, Propagation};

use crate::yard;

fn tree_flags(clone: bool, recursive: bool) -> OpenTreeFlags {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if clone {
        flags |= OpenTreeFlags::OPEN_TREE_CLONE;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
    }
    flags
}

fn tree_words(clone: bool, recursive: bool) -> &'static str {
    match (clone, recursive) {
        (false, _) => "",
        (true, false) => ", CLONE",
        (true, true) => ", CLONE | RECURSIVE",
    }
}

/// The tree at `path`; with `clone` a detached copy of it, with `recursive` also of the mounts
/// below, see `open_tree(2)`.
pub fn open_tree(path: &Path, clone: bool, recursive: bool) -> Result<OwnedFd, Error> {
    if clone && yard::is_open() {
        return yard::bind(path, recursive);
    }
    rustix::mount::open_tree(CWD, path, tree_flags(clone, recursive))
        .call(|| format!("open_tree({path:?}{})", tree_words(clone, recursive)))
}

/// The same for what `fd` refers to.
pub fn open_tree_fd(fd: BorrowedFd<'_>, clone: bool, recursive: bool) -> Result<OwnedFd, Error> {
    if clone && yard::is_open() {
        return yard::bind_fd(fd, recursive);
    }
    let flags = tree_flags(clone, recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(fd, "", flags)
        .call(|| format!("open_tree({}{})", FdName(fd), tree_words(clone, recursive)))
}

/// A detached copy of the tree at `source`: a bind mount before it has a place.
pub fn bind(source: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    open_tree(source, true, recursive)
}

/// The same of what `source` refers to.
pub fn bind_fd(source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Error> {
    open_tree_fd(source, true, recursive)
}

/// Mounts `mnt` on exactly what `target` refers to, see `move_mount(2)`.
pub fn move_to_fd(mnt: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Error> {
    if yard::is_open() {
        return yard::move_to_fd(mnt, target);
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mnt, "", target, "", flags)
        .call(|| format!("move_mount({}, {})", FdName(mnt), FdName(target)))
}

/// Mounts `mnt` at `target`, a path that is the caller's own and not a container's.
pub fn move_to_path(mnt: BorrowedFd<'_>, target: &Path) -> Result<(), Error> {
    if yard::is_open() {
        return yard::move_to(mnt, target);
    }
    rustix::mount::move_mount(mnt, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .call(|| format!("move_mount({}, {target:?})", FdName(mnt)))
}

/// [`sys::mount_setattr`]. In a [`Yard`](crate::Yard) there are no mounts with an ID mapping, and what was
/// changed before something failed stays changed.
pub fn mount_setattr(
    mnt: BorrowedFd<'_>,
    recursive: bool,
    set: MountAttr,
    clear: MountAttr,
    propagation: Option<Propagation>,
    userns: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    if !yard::is_open() || userns.is_some() {
        return sys::mount_setattr(mnt, recursive, set, clear, propagation, userns);
    }
    if !(set | clear).is_empty() {
        yard::change(mnt, recursive, set, clear)?;
    }
    match propagation {
        Some(propagation) => yard::set_propagation_fd(mnt, propagation, recursive),
        None => Ok(()),
    }
}

/// Sets how the mount at `path`, with `recursive` also those below it, propagates.
pub fn set_propagation(
    path: &Path,
    propagation: Propagation,
    recursive: bool,
) -> Result<(), Error> {
    if !sys::has_mount_setattr() || yard::is_open() {
        return yard::set_propagation(path, propagation, recursive);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mnt = rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    set_propagation_fd(mnt.as_fd(), propagation, recursive)
}

/// From here on nothing travels from this mount namespace back to the one that it is a copy of.
/// `propagation`: slave or private.
pub fn cut_off(propagation: Propagation) -> Result<(), Error> {
    if yard::is_open() {
        return yard::set_propagation_of_all(propagation);
    }
    set_propagation(Path::new("/"), propagation, true)
}

/// The same for the mount whose root `mnt` refers to.
pub fn set_propagation_fd(
    mnt: BorrowedFd<'_>,
    propagation: Propagation,
    recursive: bool,
) -> Result<(), Error> {
    if yard::is_open() {
        return yard::set_propagation_fd(mnt, propagation, recursive);
    }
    let none = MountAttr::empty();
    sys::mount_setattr(mnt, recursive, none, none, Some(propagation), None)
}

/// Unmounts what is mounted at `path`, now for the eyes and later for those who use it
/// (`MNT_DETACH`). A symbolic link is not followed.
pub fn umount_detach(path: &Path) -> Result<(), Error> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .call(|| format!("umount2({path:?}, MNT_DETACH)"))
}

/// Whether something is mounted at `path` (the root of a mount); a link is not followed.
pub fn is_mountpoint(path: &Path) -> Result<bool, Error> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .call(|| format!("statx({path:?})"))?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether `fd` refers to the root of a mount.
pub fn is_mountpoint_fd(fd: BorrowedFd<'_>) -> Result<bool, Error> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .call(|| format!("statx({})", FdName(fd)))?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
