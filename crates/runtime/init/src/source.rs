//! What is mounted from the host, as detached mounts that only have to be put into their places.
//!
//! The runtime opens them before the clone, in its own namespaces and with its own rights. Where it
//! may not mount (an ordinary user), the new process opens them, inside its user namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use plan::{Device, Enter, Mount, Root, Rootfs, What};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::{Call, MountAttr, Propagation};

use crate::error::{Doing, Error};

/// The detached mounts of a container.
#[derive(Debug, Default)]
pub struct Sources {
    /// The root's mount; `None` without a mount namespace.
    pub root: Option<OwnedFd>,
    /// The sources of bind mounts, by the mount's number.
    pub binds: Vec<Option<OwnedFd>>,
    /// The host's device files, by the device's number; where they cannot be made.
    pub devices: Vec<Option<OwnedFd>>,
    /// The null device: it covers masked files.
    pub null: Option<OwnedFd>,
    /// Where the mounts are until they are moved, on a kernel that has none without a place.
    pub yard: Option<mount::Yard>,
}

/// Opens everything that is mounted from the host. `user_namespace` answers with the one that holds
/// the ids of an id-mapped mount.
pub fn open(
    plan: &Rootfs,
    user_namespace: &mut dyn FnMut(&Mount) -> Result<OwnedFd, Error>,
) -> Result<Sources, Error> {
    if plan.enter == Enter::Chroot {
        check_root(&plan.root)?;
        return Ok(Sources::default());
    }
    let mut binds = Vec::with_capacity(plan.mounts.len());
    for mount in &plan.mounts {
        binds.push(match &mount.what {
            What::Bind { source, recursive, inside: None } => {
                Some(bind(mount, source, *recursive, plan.in_user_namespace, user_namespace)?)
            }
            _ => None,
        });
    }
    let devices = if plan.in_user_namespace && plan.fill_dev {
        plan.devices.iter().map(device).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    let null = if plan.masked_paths.is_empty() { None } else { Some(null()?) };
    Ok(Sources { root: Some(root(&plan.root)?), binds, devices, null, yard: None })
}

fn check_root(root: &Root) -> Result<OwnedFd, Error> {
    let path = &root.path;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::refused(
            "root.path",
            format!("{path:?} is not a directory (symbolic links are not followed)"),
        )),
        other => other.call(|| format!("open({path:?})")).doing(|| "root.path"),
    }
}

/// The root directory as a detached mount.
pub fn root(root: &Root) -> Result<OwnedFd, Error> {
    let directory = check_root(root)?;
    let tree = mount::bind_fd(directory.as_fd(), true).doing(|| "root.path")?;
    // A later `shared` or `unbindable` comes when all is mounted; until then nothing may travel.
    let propagation = match root.propagation {
        Propagation::Private => Propagation::Private,
        _ => Propagation::Slave,
    };
    mount::set_propagation_fd(tree.as_fd(), propagation, true).doing(|| "root.path")?;
    Ok(tree)
}

fn bind(
    mount: &Mount,
    source: &Path,
    recursive: bool,
    in_user_namespace: bool,
    user_namespace: &mut dyn FnMut(&Mount) -> Result<OwnedFd, Error>,
) -> Result<OwnedFd, Error> {
    let doing = || format!("mounts[{}].source: {source:?}", mount.index);
    let tree = mount::bind(source, recursive).doing(doing)?;
    if let Some(idmap) = &mount.idmap {
        let userns = user_namespace(mount)?;
        let none = MountAttr::empty();
        let id_map = MountAttr::IDMAP;
        let below = idmap.recursive;
        mount::mount_setattr(tree.as_fd(), below, id_map, none, None, Some(userns.as_fd()))
            .map_err(|error| cannot_map(mount, source, &tree, error))?;
    }
    finish(&tree, mount, in_user_namespace).map_err(|error| error.at(doing()))?;
    Ok(tree)
}

/// Opens the source of a bind mount that is in the container's own root, where the mounts before it
/// are by now.
pub(crate) fn open_inside(
    sources: &mut Sources,
    root: &fsroot::Root,
    mount: &Mount,
    in_user_namespace: bool,
) -> Result<(), Error> {
    let What::Bind { inside: Some(path), recursive, .. } = &mount.what else { return Ok(()) };
    let doing = || format!("the source {path:?} in the container");
    let source = root.open_path(path).doing(doing)?;
    let tree = mount::bind_fd(source.as_fd(), *recursive).doing(doing)?;
    finish(&tree, mount, in_user_namespace)?;
    if let Some(place) = sources.binds.get_mut(mount.index) {
        *place = Some(tree);
    }
    Ok(())
}

/// Gives a bind mount its attributes and its propagation.
fn finish(tree: &OwnedFd, mount: &Mount, in_user_namespace: bool) -> Result<(), Error> {
    // The clone is a peer of the mount that it is of: what is mounted in the container would appear
    // there. What is asked for explicitly comes after.
    if mount.propagation.is_empty() {
        mount::set_propagation_fd(tree.as_fd(), Propagation::Slave, true).doing(String::new)?;
    }
    attributes(tree, mount, in_user_namespace)?;
    for (propagation, below) in &mount.propagation {
        mount::set_propagation_fd(tree.as_fd(), *propagation, *below).doing(String::new)?;
    }
    Ok(())
}

/// Those that a user namespace may not take away from a mount that it did not make, see
/// `mount_namespaces(7)`.
const LOCKABLE: MountAttr =
    MountAttr::RDONLY.union(MountAttr::NOSUID).union(MountAttr::NODEV).union(MountAttr::NOEXEC);

/// Gives a bind mount its attributes. As with runc, which has it from mount(2): where any is asked for,
/// those that are not are cleared, and where none is, all stay as they are. In a user namespace what
/// the host's mount has stays in force, whoever made the bind mount.
fn attributes(tree: &OwnedFd, mount: &Mount, in_user_namespace: bool) -> Result<(), Error> {
    let set_attributes = |recursive, set, clear| {
        mount::mount_setattr(tree.as_fd(), recursive, set, clear, None, None)
    };
    let locked = |what: MountAttr| {
        Error::refused("", format!("{what:?} is locked by the user namespace that mounted it"))
    };
    let (set, clear) = (mount.set, mount.clear);
    if !(set | clear).is_empty() {
        let before = mount::attributes(tree.as_fd()).doing(String::new)?;
        let rest = (before & (LOCKABLE | MountAttr::NOSYMFOLLOW)) - set - clear;
        let rest = if in_user_namespace { rest & MountAttr::NOSYMFOLLOW } else { rest };
        match set_attributes(false, set, clear | rest) {
            // What it had before, nosuid say, nobody but its owner may take away.
            Err(err) if err.errno() == Errno::PERM && !clear.is_empty() => {
                return Err(locked(clear));
            }
            other => other.doing(String::new)?,
        }
        if in_user_namespace {
            let now = mount::attributes(tree.as_fd()).doing(String::new)?;
            let taken = (before & clear & LOCKABLE) - now;
            if !taken.is_empty() {
                return Err(locked(taken));
            }
        }
    }
    let (set, clear) = (mount.rec_set, mount.rec_clear);
    if (set | clear).is_empty() {
        return Ok(());
    }
    match set_attributes(true, set, clear) {
        Err(err) if err.errno() == Errno::PERM && !clear.is_empty() => Err(locked(clear)),
        other => other.doing(String::new),
    }
}

/// Why a mount cannot be id-mapped, of which the kernel says no more than an errno.
fn cannot_map(mount: &Mount, source: &Path, tree: &OwnedFd, error: sys::Error) -> Error {
    let kind = file_system(tree).unwrap_or_else(|| "of an unknown type".to_owned());
    let why = match error.errno() {
        Errno::INVAL => "it, or one mounted below it, does not support that in this kernel",
        Errno::PERM => "it belongs to another user namespace, or is mapped already",
        Errno::NOSYS => "this kernel has no mount_setattr(2) (Linux 5.12)",
        _ => "the kernel refuses",
    };
    let doing = format!(
        "mounts[{}].source: {source:?} cannot be id-mapped: the file system is {kind}; {why}",
        mount.index
    );
    Error::Call { doing, source: error }
}

/// The type of the file system that a mount is of, from mountinfo.
fn file_system(tree: &OwnedFd) -> Option<String> {
    let device = rustix::fs::fstat(tree).ok()?.st_dev;
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = mount::mountinfo::read("self").ok()?;
    let mounted = mount::mountinfo::mounts(&text).find(|mounted| mounted.device == device)?;
    Some(String::from_utf8_lossy(mounted.kind).into_owned())
}

/// The host's file of a device, if it really is that device. Fifos are made, not bound.
fn device(device: &Device) -> Result<Option<OwnedFd>, Error> {
    if device.kind == FileType::Fifo {
        return Ok(None);
    }
    bind_device(&device.path, device.kind, (device.major, device.minor)).map(Some)
}

fn null() -> Result<OwnedFd, Error> {
    bind_device(Path::new("/dev/null"), FileType::CharacterDevice, (1, 3))
}

fn bind_device(path: &Path, kind: FileType, numbers: (u32, u32)) -> Result<OwnedFd, Error> {
    let doing = || format!("device {path:?}");
    let tree = mount::bind(path, false).doing(doing)?;
    let stat = rustix::fs::fstat(&tree).call(|| format!("fstat({path:?})")).doing(doing)?;
    let found = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != kind || found != numbers {
        return Err(Error::refused(doing(), "the host has something else there"));
    }
    mount::set_propagation_fd(tree.as_fd(), Propagation::Private, false).doing(doing)?;
    Ok(tree)
}
