//! The cgroup mount: of each tree, what the container may see of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use fsroot::Root;
use plan::Mount;
use rustix::fs::Mode;
use rustix::io::Errno;
use sys::{MountAttr, Propagation};

use crate::error::{Doing, Error};
use crate::rootfs::attributes;

/// The trees of the machine, and the container's place in each.
#[derive(Clone, Debug, Default)]
pub struct CgroupTrees {
    /// All of them; a single one of v2 is mounted by itself.
    pub trees: Vec<CgroupTree>,
    /// The process is in a cgroup namespace of its own, whose root is the container's cgroup.
    pub namespace: bool,
}

/// One tree.
#[derive(Clone, Debug)]
pub struct CgroupTree {
    /// cgroup2.
    pub v2: bool,
    /// v1: what to ask the file system for, `memory` or `name=systemd`.
    pub controllers: Vec<String>,
    /// The name of its directory in `/sys/fs/cgroup`.
    pub name: String,
    /// The container's directory, on the host.
    pub own: PathBuf,
}

/// Mounts the trees on `target`.
pub(crate) fn mount(
    trees: &CgroupTrees,
    mount: &Mount,
    target: BorrowedFd<'_>,
) -> Result<(), Error> {
    match trees.trees.as_slice() {
        [] => Err(Error::refused("", "no cgroup hierarchy is mounted on this machine")),
        [only] if only.v2 => {
            let mnt = one(trees, only, mount.set)?;
            mount::move_to_fd(mnt.as_fd(), target).doing(String::new)?;
            attributes(mnt.as_fd(), mount)
        }
        several => {
            let none = MountAttr::empty();
            let directory = mount::fs_mount(
                "tmpfs",
                Some("tmpfs"),
                &[("mode", Some("0755"))],
                mount.set - MountAttr::RDONLY,
            )
            .doing(String::new)?;
            mount::move_to_fd(directory.as_fd(), target).doing(String::new)?;
            let root = Root::from_fd(directory);
            for tree in several {
                let mode = Mode::from_raw_mode(0o755);
                let place = root.mkdir_all(&tree.name, mode).doing(String::new)?;
                let mnt = one(trees, tree, mount.set)?;
                mount::move_to_fd(mnt.as_fd(), place.as_fd()).doing(String::new)?;
                links(&root, tree)?;
            }
            if mount.set.contains(MountAttr::RDONLY) {
                sys::mount_setattr(root.as_fd(), false, MountAttr::RDONLY, none, None, None)
                    .doing(String::new)?;
            }
            Ok(())
        }
    }
}

/// `cpu` and `cpuacct` beside `cpu,cpuacct`.
fn links(root: &Root, tree: &CgroupTree) -> Result<(), Error> {
    if tree.controllers.len() < 2 {
        return Ok(());
    }
    for controller in tree.controllers.iter().filter(|name| **name != tree.name) {
        match root.symlink(&tree.name, controller) {
            Err(err) if err.errno() == Errno::EXIST => {}
            other => other.doing(String::new)?,
        }
    }
    Ok(())
}

/// The mount of one tree, detached: a new one whose root is that of the cgroup namespace, or without
/// such a namespace the container's own directory.
fn one(trees: &CgroupTrees, tree: &CgroupTree, set: MountAttr) -> Result<OwnedFd, Error> {
    if trees.namespace {
        let made = if tree.v2 {
            mount::fs_mount("cgroup2", Some("cgroup"), &[], set)
        } else {
            let options: Vec<(&str, Option<&str>)> = tree
                .controllers
                .iter()
                .map(|name| match name.split_once('=') {
                    Some((key, value)) => (key, Some(value)),
                    None => (name.as_str(), None),
                })
                .collect();
            mount::fs_mount("cgroup", Some("cgroup"), &options, set)
        };
        return made.or_else(|error| bind(tree, set, error));
    }
    own_directory(&tree.own, set)
}

/// Where a new mount is not allowed (no cgroup namespace of this user namespace, or busy), the
/// container's directory takes its place.
fn bind(tree: &CgroupTree, set: MountAttr, error: sys::Error) -> Result<OwnedFd, Error> {
    match error.errno() {
        Errno::PERM | Errno::BUSY => own_directory(&tree.own, set),
        _ => Err(error).doing(String::new),
    }
}

fn own_directory(own: &Path, set: MountAttr) -> Result<OwnedFd, Error> {
    let mnt = mount::bind(own, false).doing(String::new)?;
    let private = Some(Propagation::Private);
    sys::mount_setattr(mnt.as_fd(), false, set, MountAttr::empty(), private, None)
        .doing(String::new)?;
    Ok(mnt)
}
