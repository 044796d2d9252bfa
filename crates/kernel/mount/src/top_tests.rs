use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::tests::{dir, with_the_mount_api};
use crate::{bind, cut_off, move_to_path, pivot_root_into};

/// The mount namespace of this thread.
fn own_namespace() -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/thread-self/ns/mnt", flags, Mode::empty()).unwrap()
}

/// Mounts what is at `path` on itself.
fn on_itself(path: &Path) -> OwnedFd {
    let mnt = bind(path, false).unwrap();
    move_to_path(mnt.as_fd(), path).unwrap();
    mnt
}

/// A directory to change the root to, which is a mount if that is wished; and in it a new root.
fn jail(scratch: &Path, is_mount: bool) -> (PathBuf, OwnedFd) {
    let jail = dir(scratch.join("jail"), "jailed", "");
    if is_mount {
        on_itself(&jail);
    }
    let new = dir(jail.join("new"), "marker", "");
    (jail, on_itself(&new))
}

/// Makes `new_root` the root; and what is at the root that setns(2) leads to then.
fn pivoted(namespace: &OwnedFd, new_root: &OwnedFd) -> Vec<OsString> {
    pivot_root_into(new_root.as_fd()).unwrap();
    sys::setns(namespace.as_fd(), CloneFlags::NEWNS).unwrap();
    fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn a_root_that_is_the_topmost_stays() {
    with_the_mount_api("a_root_that_is_the_topmost_stays", |scratch| {
        let namespace = own_namespace();
        let (_, root) = jail(scratch, false);
        assert!(!go_to_top(namespace.as_fd(), root.as_fd()).unwrap().is_above);
        assert_eq!(pivoted(&namespace, &root), ["marker"]);
    });
}

#[test]
fn who_may_not_enter_a_mount_namespace_stays_where_it_is() {
    with_the_mount_api("who_may_not_enter_a_mount_namespace_stays_where_it_is", |scratch| {
        const CAP_SYS_CHROOT: u32 = 18;
        let namespace = own_namespace();
        let (_, root) = jail(scratch, false);
        let held = sys::capget().unwrap();
        let less = held.effective & !(1 << CAP_SYS_CHROOT);
        sys::capset(less, held.permitted, held.inheritable).unwrap();
        let denied = sys::setns(namespace.as_fd(), CloneFlags::NEWNS).unwrap_err();
        assert_eq!(denied.errno(), Errno::PERM);
        assert!(!go_to_top(namespace.as_fd(), root.as_fd()).unwrap().is_above);
        pivot_root_into(root.as_fd()).unwrap();
        assert!(fs::exists("/marker").unwrap());
        sys::capset(held.effective, held.permitted, held.inheritable).unwrap();
        sys::setns(namespace.as_fd(), CloneFlags::NEWNS).unwrap();
        assert!(fs::exists("/marker").unwrap());
    });
}

#[test]
fn from_a_root_of_chroot_the_new_one_comes_to_the_top() {
    for is_mount in [true, false] {
        let name = "from_a_root_of_chroot_the_new_one_comes_to_the_top";
        with_the_mount_api(name, move |scratch| {
            let namespace = own_namespace();
            let (jail, root) = jail(scratch, is_mount);
            rustix::process::chroot(&jail).unwrap();
            assert!(go_to_top(namespace.as_fd(), root.as_fd()).unwrap().is_above);
            assert_eq!(pivoted(&namespace, &root), ["marker"]);
        });
    }
}

#[test]
fn what_was_mounted_over_the_root_since_does_not_stay() {
    with_the_mount_api("what_was_mounted_over_the_root_since_does_not_stay", |scratch| {
        let namespace = own_namespace();
        let (_, root) = jail(scratch, false);
        for _ in 0..2 {
            on_itself(Path::new("/"));
        }
        assert!(!go_to_top(namespace.as_fd(), root.as_fd()).unwrap().is_above);
        assert_eq!(pivoted(&namespace, &root), ["marker"]);
    });
}

#[test]
fn a_new_root_that_lies_on_the_old_one_already_takes_its_place() {
    with_the_mount_api("a_new_root_that_lies_on_the_old_one_already_takes_its_place", |scratch| {
        let namespace = own_namespace();
        let root = bind(&dir(scratch.join("new"), "marker", ""), false).unwrap();
        move_to_path(root.as_fd(), Path::new("/")).unwrap();
        assert!(!go_to_top(namespace.as_fd(), root.as_fd()).unwrap().is_above);
        assert_eq!(pivoted(&namespace, &root), ["marker"]);
    });
}

#[test]
fn a_root_in_a_tree_that_is_covered_is_refused() {
    with_the_mount_api("a_root_in_a_tree_that_is_covered_is_refused", |scratch| {
        let namespace = own_namespace();
        let (jail, root) = jail(scratch, true);
        on_itself(Path::new("/"));
        rustix::process::chroot(&jail).unwrap();
        let error = go_to_top(namespace.as_fd(), root.as_fd()).unwrap_err();
        assert_eq!(error.errno(), Errno::XDEV, "{error}");
    });
}

#[test]
fn a_root_that_is_no_mount_is_cut_off_with_all_above() {
    with_the_mount_api("a_root_that_is_no_mount_is_cut_off_with_all_above", |scratch| {
        let namespace = own_namespace();
        let (jail, _) = jail(scratch, false);
        crate::set_propagation(scratch, Propagation::Shared, false).unwrap();
        let above = open_directory("/").unwrap();
        rustix::process::chroot(&jail).unwrap();
        rustix::process::chdir("/new").unwrap();
        assert_eq!(cut_off(Propagation::Private).unwrap_err().errno(), Errno::INVAL);
        cut_off_at_top(namespace.as_fd(), Propagation::Private).unwrap();
        assert!(fs::exists("/jailed").unwrap() && fs::exists("marker").unwrap());
        let own = Place::of(open_directory("/new").unwrap().as_fd()).unwrap();
        assert!(Place::of(open_directory(".").unwrap().as_fd()).unwrap() == own);
        rustix::process::fchdir(&above).unwrap();
        rustix::process::chroot(".").unwrap();
        let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!text.contains(" shared:"), "{text}");
    });
}
