//! The root file system: mounts, devices, and what covers what.
//!
//! Everything happens before the root is entered, through descriptors of what was resolved inside
//! it: a path of the container is never given to a call that would resolve it again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use fsroot::Root;
use mount::fs_mount;
use plan::{Enter, Mount, Rootfs, What};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use sys::{Call, MountAttr, Propagation};

use crate::error::{Doing, Error, failpoint};
use crate::sync::{InitEnd, ToInit};
use crate::{Inherited, cgroupfs, cover, dev, source};

mod enter;

pub(crate) use enter::change_root;

/// The magic number of procfs: statfs(2).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// What is left to do when the mounts are there: it comes after the hooks.
pub(crate) struct Prepared {
    pub(crate) root: Root,
    /// Mounts that become read-only when nothing will be made in them any more.
    read_only: Vec<OwnedFd>,
    /// Where mounts were before they were moved.
    yard: Option<mount::Yard>,
}

/// Mounts all, fills `/dev`, and returns the root. Waits for the runtime to have recorded the
/// process before the first cgroup mount, or at the end.
pub(crate) fn prepare(
    plan: &Rootfs,
    inherited: &mut Inherited,
    attach: &mut Attach<'_>,
    cwd: &Path,
) -> Result<Prepared, Error> {
    let root = attach_root(plan, inherited)?;
    let mut read_only = Vec::new();
    fill(&root, plan, inherited, attach, cwd, &mut read_only)
        .map_err(|error| name_owner(error, &root, plan))?;
    Ok(Prepared { root, read_only, yard: inherited.sources.yard.take() })
}

/// Mounts all, and makes what is missing.
fn fill(
    root: &Root,
    plan: &Rootfs,
    inherited: &mut Inherited,
    attach: &mut Attach<'_>,
    cwd: &Path,
    read_only: &mut Vec<OwnedFd>,
) -> Result<(), Error> {
    for mount in &plan.mounts {
        source::open_inside(&mut inherited.sources, root, mount, plan.in_user_namespace)
            .and_then(|()| one(root, mount, &plan.mount_label, inherited, attach, read_only))
            .map_err(|error| name_mount(error, mount))?;
    }
    if plan.fill_dev {
        dev::fill(root, plan, inherited)?;
    }
    if !root.exists(cwd).doing(|| "working directory")? {
        // Like runc and Docker: it is made, inside the root.
        root.mkdir_all(cwd, Mode::from_raw_mode(0o755)).doing(|| "make the working directory")?;
    }
    Ok(())
}

/// In a user namespace, what is denied is mostly denied because the root's files are somebody else's.
fn name_owner(error: Error, root: &Root, plan: &Rootfs) -> Error {
    /// What the kernel shows for an id that is not mapped: the default of
    /// `/proc/sys/kernel/overflowuid`.
    const OVERFLOW: u32 = 65534;
    let Error::Call { doing, source } = error else { return error };
    let denied = matches!(source.errno(), Errno::ACCESS | Errno::OVERFLOW);
    let owner = rustix::fs::fstat(root.as_fd()).map(|stat| (stat.st_uid, stat.st_gid));
    let (true, true, Ok((uid, gid))) = (denied, plan.in_user_namespace, owner) else {
        return Error::Call { doing, source };
    };
    let whose = match (uid, gid) {
        (0, 0) => return Error::Call { doing, source },
        (OVERFLOW, _) | (_, OVERFLOW) => {
            "to an id that the container's user namespace does not map".to_owned()
        }
        _ => format!("to {uid}:{gid} of the container"),
    };
    let path = &plan.root.path;
    Error::Call {
        doing: format!(
            "root.path: {path:?} belongs {whose}: give it to the ids that linux.uidMappings and \
             linux.gidMappings have for 0 (chown -R): {doing}"
        ),
        source,
    }
}

impl Prepared {
    /// Covers and locks, when nothing will be made any more.
    pub(crate) fn finish(&self, plan: &Rootfs, inherited: &mut Inherited) -> Result<(), Error> {
        for path in &plan.readonly_paths {
            cover::make_read_only(&self.root, path)?;
        }
        let mut masks = cover::Masks::new(inherited.sources.null.take(), &plan.mount_label);
        for path in &plan.masked_paths {
            masks.mask(&self.root, path)?;
        }
        let none = MountAttr::empty();
        for tree in &self.read_only {
            mount::mount_setattr(tree.as_fd(), false, MountAttr::RDONLY, none, None, None)
                .doing(|| "make a mount read-only")?;
        }
        if plan.root.readonly {
            mount::mount_setattr(self.root.as_fd(), false, MountAttr::RDONLY, none, None, None)
                .doing(|| "make the root read-only")?;
        }
        Ok(())
    }

    /// Makes it the working directory.
    pub(crate) fn go_there(&self) -> Result<(), Error> {
        rustix::process::fchdir(self.root.as_fd())
            .call(|| "fchdir(root)")
            .doing(|| "go to the root for hooks")
    }
}

/// The error of a mount says which one it was.
fn name_mount(error: Error, mount: &Mount) -> Error {
    error.at(format!("mounts[{}] on {:?}", mount.index, mount.target))
}

/// Puts the root's mount where the root directory is, in a mount namespace in which nothing travels
/// back to the host.
fn attach_root(plan: &Rootfs, inherited: &mut Inherited) -> Result<Root, Error> {
    if plan.enter == Enter::Chroot {
        return Root::open(&plan.root.path).doing(|| "root.path");
    }
    enter::cut_off(plan, inherited.proc.as_fd())?;
    let tree = inherited
        .sources
        .root
        .take()
        .ok_or_else(|| Error::refused("root.path", "its mount was not handed over"))?;
    match Root::open(&plan.root.path) {
        Ok(place) => mount::move_to_fd(tree.as_fd(), place.as_fd()),
        // In a user namespace the way to it may be closed. Any other place will do: what counts is
        // the descriptor. Only hooks that look for the path would miss it.
        Err(err) if err.errno() == Errno::ACCESS => {
            mount::move_to_path(tree.as_fd(), Path::new("/"))
        }
        Err(err) => Err(err),
    }
    .doing(|| "mount the root")?;
    Ok(Root::from_fd(tree))
}

fn one(
    root: &Root,
    mount: &Mount,
    label: &str,
    inherited: &mut Inherited,
    attach: &mut Attach<'_>,
    read_only: &mut Vec<OwnedFd>,
) -> Result<(), Error> {
    failpoint("runtime.mount")?;
    match &mount.what {
        What::Remount { data } => {
            let target = root.open_path(&mount.target).doing(String::new)?;
            if !data.is_empty() {
                mount::reconfigure(target.as_fd(), &options(data)).doing(String::new)?;
            }
            attributes(target.as_fd(), mount)
        }
        What::Bind { .. } => {
            let tree = inherited
                .sources
                .binds
                .get_mut(mount.index)
                .and_then(Option::take)
                .ok_or_else(|| Error::refused("", "its source was not handed over"))?;
            let directory = file_type(tree.as_fd())? == FileType::Directory;
            let is_procfs = fsroot::proc::check_root(tree.as_fd()).is_ok();
            let target = target(root, mount, directory, is_procfs)?;
            mount::move_to_fd(tree.as_fd(), target.as_fd()).doing(String::new)
        }
        What::Cgroup => {
            attach.wait()?;
            let target = target(root, mount, true, false)?;
            cgroupfs::mount(&inherited.cgroups, mount, label, target.as_fd())
        }
        What::Fs { kind, source, data, copy_up } => {
            let covers = kind == "tmpfs" && root.exists(&mount.target).doing(String::new)?;
            let target = target(root, mount, true, kind == "proc")?;
            let covered = covers.then(|| target.as_fd());
            let tree = file_system(kind, source, data, mount, covered)?;
            // It takes no context, but its root a label.
            if kind == "mqueue" && !label.is_empty() {
                selinux::set_label(&tree, label).doing(|| "linux.mountLabel")?;
            }
            if *copy_up {
                crate::copy::tree(target.as_fd(), tree.as_fd()).doing(|| "tmpcopyup")?;
            }
            mount::move_to_fd(tree.as_fd(), target.as_fd()).doing(String::new)?;
            if mount.target == Path::new("/dev") {
                inherited.dev_mount = dev::mount_id(tree.as_fd())?;
            }
            let more = !(mount.rec_set | mount.rec_clear).is_empty();
            if fills_later(mount) {
                let rw = Mount { set: mount.set - MountAttr::RDONLY, ..mount.clone() };
                if more || !mount.propagation.is_empty() {
                    attributes(tree.as_fd(), &rw)?;
                }
                read_only.push(tree);
                return Ok(());
            }
            if more || !mount.propagation.is_empty() {
                attributes(tree.as_fd(), mount)?;
            }
            Ok(())
        }
    }
}

/// Whether a read-only mount has to wait with that: mount points, device files and what is copied
/// are still to be made in it.
fn fills_later(mount: &Mount) -> bool {
    let empty = matches!(&mount.what, What::Fs { kind, .. } if kind == "tmpfs");
    mount.set.contains(MountAttr::RDONLY) && (empty || mount.target == Path::new("/dev"))
}

/// A new file system with the attributes of `mount`, detached. `covered` is the directory that the
/// image has where a tmpfs goes.
fn file_system(
    kind: &str,
    source: &str,
    data: &[String],
    mount: &Mount,
    covered: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Error> {
    let mut options = options(data);
    // A tmpfs looks like the directory that it covers, unless it is told otherwise. Where there was
    // none, anyone may write to it: it is as the kernel makes it.
    let mode;
    if let Some(covered) = covered
        && !options.iter().any(|(key, _)| *key == "mode")
    {
        let stat = rustix::fs::fstat(covered).call(|| "fstat(target)").doing(String::new)?;
        mode = format!("{:o}", stat.st_mode & 0o7777);
        options.push(("mode", Some(&mode)));
    }
    let mut attrs = mount.set;
    if fills_later(mount) {
        attrs.remove(MountAttr::RDONLY);
    }
    // Of a device, the file system is read-only like the mount: else a device that is so itself
    // could not be mounted.
    if attrs.contains(MountAttr::RDONLY) && source.starts_with('/') && kind != "tmpfs" {
        options.push(("ro", None));
    }
    let made = match fs_mount(kind, Some(source), &options, attrs) {
        // To mount(2) this is a flag, which file systems that have no such thing do not see.
        Err(err) if err.errno() == Errno::INVAL && options.contains(&("iversion", None)) => {
            options.retain(|option| *option != ("iversion", None));
            fs_mount(kind, Some(source), &options, attrs)
        }
        made => made,
    };
    match made {
        // Another user namespace owns the network namespace: a sysfs of it cannot be made.
        Err(err) if kind == "sysfs" && err.errno() == Errno::PERM => host_sysfs(mount, err),
        Err(err) if err.errno() == Errno::PERM && denied(kind).is_some() => {
            Err(err).doing(|| denied(kind).unwrap_or_default())
        }
        other => other.doing(String::new),
    }
}

/// Why a file system of the kernel's cannot be mounted in a user namespace.
fn denied(kind: &str) -> Option<&'static str> {
    match kind {
        "proc" => Some(
            "the PID namespace belongs to another user namespace, or the procfs of this mount \
             namespace is partly covered (a bind mount of /proc can take its place)",
        ),
        "mqueue" => Some(
            "the IPC namespace belongs to another user namespace (a bind mount of /dev/mqueue can \
             take its place)",
        ),
        _ => None,
    }
}

/// Parameters of a file system as keys and values.
fn options(data: &[String]) -> Vec<mount::FsOption<'_>> {
    data.iter()
        .map(|option| match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (option.as_str(), None),
        })
        .collect()
}

/// The host's `/sys` in place of one of the container's own, as it may always be seen: read-only.
fn host_sysfs(mount: &Mount, error: sys::Error) -> Result<OwnedFd, Error> {
    let Ok(tree) = mount::bind(Path::new("/sys"), true) else {
        return Err(error).doing(String::new);
    };
    let set = mount.set | MountAttr::RDONLY;
    mount::mount_setattr(
        tree.as_fd(),
        true,
        set,
        MountAttr::empty(),
        Some(Propagation::Slave),
        None,
    )
    .doing(String::new)?;
    Ok(tree)
}

/// Changes attributes of what is mounted already.
pub(crate) fn attributes(mnt: BorrowedFd<'_>, mount: &Mount) -> Result<(), Error> {
    let set = |recursive, set, clear| {
        if MountAttr::is_empty(&(set | clear)) {
            return Ok(());
        }
        mount::mount_setattr(mnt, recursive, set, clear, None, None).doing(String::new)
    };
    set(false, mount.set, mount.clear)?;
    set(true, mount.rec_set, mount.rec_clear)?;
    for (propagation, recursive) in &mount.propagation {
        mount::set_propagation_fd(mnt, *propagation, *recursive).doing(String::new)?;
    }
    Ok(())
}

/// The place of a mount, made where it is missing. `is_procfs`: what is mounted is a whole procfs.
fn target(root: &Root, mount: &Mount, directory: bool, is_procfs: bool) -> Result<OwnedFd, Error> {
    let path = &mount.target;
    if path == Path::new("/") {
        return root.open_path("/").doing(String::new);
    }
    // Also where the host's are bound there.
    let proc_or_sys = directory && (path == Path::new("/proc") || path == Path::new("/sys"));
    if mount.wants_plain_directory() || proc_or_sys {
        let target = plain_directory(root, path)?;
        check_not_in_proc(mount, target.as_fd(), is_procfs)?;
        return Ok(target);
    }
    let target = if directory {
        root.mkdir_all(path, Mode::from_raw_mode(0o755)).doing(String::new)?
    } else {
        match root.create_file(path, Mode::from_raw_mode(0o644)) {
            // The last words are those by which Docker knows what is wrong.
            Err(err) if err.errno() == Errno::ISDIR => {
                return Err(Error::refused("", "a file cannot cover a directory: not a directory"));
            }
            other => other.doing(String::new)?,
        }
    };
    check_not_in_proc(mount, target.as_fd(), is_procfs)?;
    Ok(target)
}

/// A directory that no symbolic link leads to: a link in the image must not decide where procfs or
/// sysfs goes.
fn plain_directory(root: &Root, path: &Path) -> Result<OwnedFd, Error> {
    let opened = match root.open_plain_directory(path) {
        Err(err) if err.errno() == Errno::NOENT => {
            root.mkdir_all(path, Mode::from_raw_mode(0o755)).doing(String::new)?;
            root.open_plain_directory(path)
        }
        other => other,
    };
    match opened {
        Err(err) if matches!(err.errno(), Errno::LOOP | Errno::NOTDIR) => {
            Err(Error::refused("", "must be mounted on ordinary directory, not on a link or file"))
        }
        other => other.doing(String::new),
    }
}

/// Refuses to cover what is inside `/proc`, by whatever name: what is written there later would go
/// elsewhere (CVE-2015-3631, CVE-2019-16884, CVE-2025-52881). A bind mount over all of `/proc` must
/// itself be procfs.
fn check_not_in_proc(mount: &Mount, target: BorrowedFd<'_>, is_procfs: bool) -> Result<(), Error> {
    let stat = rustix::fs::fstatfs(target).call(|| "fstatfs(target)").doing(String::new)?;
    let on_procfs = stat.f_type as u64 == PROC_SUPER_MAGIC;
    let named = mount.target.starts_with("/proc");
    if !on_procfs && !named {
        return Ok(());
    }
    if mount.may_cover_proc() {
        return Ok(());
    }
    if mount.target == Path::new("/proc") && is_procfs {
        return Ok(());
    }
    Err(Error::refused("", "cannot be mounted because it is inside /proc"))
}

pub(crate) fn file_type(fd: BorrowedFd<'_>) -> Result<FileType, Error> {
    let stat = rustix::fs::fstat(fd).call(|| "fstat()").doing(String::new)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Waits, once, until the runtime has recorded this process; then makes the cgroup namespace, whose
/// root is the cgroup that the process has joined.
pub(crate) struct Attach<'a> {
    pub(crate) sync: &'a InitEnd,
    pub(crate) namespace: bool,
    pub(crate) done: bool,
}

impl Attach<'_> {
    pub(crate) fn wait(&mut self) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        self.sync.wait(ToInit::Attached)?;
        self.done = true;
        if self.namespace {
            sys::unshare(sys::CloneFlags::NEWCGROUP).doing(|| "make the cgroup namespace")?;
        }
        Ok(())
    }
}
