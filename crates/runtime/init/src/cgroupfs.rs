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
    /// The container's directory, on the host. `None`: it has no cgroup of its own.
    pub own: Option<PathBuf>,
}

/// Mounts the trees on `target`. What is made around them has the `SELinux` label `label`, if that is not
/// empty.
pub(crate) fn mount(
    trees: &CgroupTrees,
    mount: &Mount,
    label: &str,
    target: BorrowedFd<'_>,
) -> Result<(), Error> {
    let nowhere = trees.trees.iter().all(|tree| tree.own.is_none());
    match trees.trees.as_slice() {
        // Without a namespace it would see, and as this user perhaps change, what is the host's
        // (CVE-2023-25809).
        _ if nowhere && !trees.namespace => nothing(label, target),
        [] => Err(Error::refused("", "no cgroup hierarchy is mounted on this machine")),
        [only] if only.v2 => {
            let mnt = unified(trees, only, mount.set)?;
            mount::move_to_fd(mnt.as_fd(), target).doing(String::new)?;
            attributes(mnt.as_fd(), mount)
        }
        several => {
            let none = MountAttr::empty();
            let mut options = vec![("mode", Some("0755"))];
            options.extend(crate::cover::context(label));
            let set = mount.set - MountAttr::RDONLY;
            let directory =
                mount::fs_mount("tmpfs", Some("tmpfs"), &options, set).doing(String::new)?;
            mount::move_to_fd(directory.as_fd(), target).doing(String::new)?;
            let root = Root::from_fd(directory);
            for tree in several {
                let mode = Mode::from_raw_mode(0o755);
                let place = root.mkdir_all(&tree.name, mode).doing(String::new)?;
                let mnt = match &tree.own {
                    Some(own) => own_directory(own, mount.set)?,
                    None => seen_from_namespace(tree, mount.set)?,
                };
                mount::move_to_fd(mnt.as_fd(), place.as_fd()).doing(String::new)?;
                links(&root, tree)?;
            }
            if mount.set.contains(MountAttr::RDONLY) {
                mount::mount_setattr(root.as_fd(), false, MountAttr::RDONLY, none, None, None)
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

/// The mount of v2 by itself, detached: a new one whose root is that of the cgroup namespace. Where
/// that is not allowed (no such namespace of this user namespace), the container's directory.
fn unified(trees: &CgroupTrees, tree: &CgroupTree, set: MountAttr) -> Result<OwnedFd, Error> {
    let own = match &tree.own {
        Some(own) if !trees.namespace => return own_directory(own, set),
        Some(own) => own,
        None => return seen_from_namespace(tree, set),
    };
    match mount::fs_mount("cgroup2", Some("cgroup"), &[], set) {
        Err(error) if matches!(error.errno(), Errno::PERM | Errno::BUSY) => own_directory(own, set),
        made => made.doing(String::new),
    }
}

/// A tree of which the container has no cgroup of its own: the namespace's root is the cgroup that
/// the runtime runs in, and others may be in it. So it can be looked at only.
fn seen_from_namespace(tree: &CgroupTree, set: MountAttr) -> Result<OwnedFd, Error> {
    let set = set | MountAttr::RDONLY;
    if tree.v2 {
        return mount::fs_mount("cgroup2", Some("cgroup"), &[], set).doing(String::new);
    }
    let options: Vec<(&str, Option<&str>)> = tree
        .controllers
        .iter()
        .flat_map(|controller| match controller.split_once('=') {
            Some((key, name)) => vec![("none", None), (key, Some(name))],
            None => vec![(controller.as_str(), None)],
        })
        .collect();
    mount::fs_mount("cgroup", Some("cgroup"), &options, set).doing(String::new)
}

/// An empty directory in place of the trees.
fn nothing(label: &str, target: BorrowedFd<'_>) -> Result<(), Error> {
    let empty = crate::cover::empty_directory(label)?;
    mount::move_to_fd(empty.as_fd(), target).doing(String::new)
}

/// The container's directory of a tree. Seen from its cgroup namespace that is the root, as if the
/// tree were mounted anew; but there is no other file system to be made and taken down, of which a
/// machine with v1 would have ten.
fn own_directory(own: &Path, set: MountAttr) -> Result<OwnedFd, Error> {
    let mnt = mount::bind(own, false).doing(String::new)?;
    let private = Some(Propagation::Private);
    mount::mount_setattr(mnt.as_fd(), false, set, MountAttr::empty(), private, None)
        .doing(String::new)?;
    Ok(mnt)
}
