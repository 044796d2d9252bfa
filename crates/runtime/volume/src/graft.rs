//! Mounts that come and go in a container that runs.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use fsroot::Root;
use mount::options;
use rustix::fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use sys::{Call as _, MountAttr, Propagation};

use crate::Error;
use crate::namespace::{self, Namespaces};

/// What a mount has none of that asks for none of it.
const ATTRIBUTES: MountAttr = MountAttr::RDONLY
    .union(MountAttr::NOSUID)
    .union(MountAttr::NODEV)
    .union(MountAttr::NOEXEC)
    .union(MountAttr::NOSYMFOLLOW);

/// A mount for a container that runs.
#[derive(Clone, Copy, Debug)]
pub struct Graft<'a> {
    /// Where, in the container.
    pub destination: &'a Path,
    /// What is bound there, by its path in this process's mount namespace; none: a tmpfs.
    pub source: Option<&'a Path>,
    /// As the runtime has them.
    pub options: &'a [String],
}

/// Mounts it in the mount namespace of the process `pid`. Its place is made where it is missing; links
/// in the container's root lead nowhere else.
pub fn graft(graft: &Graft<'_>, pid: i32, namespaces: &Namespaces<'_>) -> Result<(), Error> {
    let path = graft.destination;
    let what = || format!("mount {} in the container", path.display());
    let tree = tree(graft).map_err(Error::mount(what()))?;
    let stat = rustix::fs::fstat(&tree).call(|| "fstat()")?;
    let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
    let theirs = namespace::open(&pid.to_string())?;
    namespaces
        .visit(theirs.as_fd(), || -> Result<(), sys::Error> {
            let root = root()?;
            let target = if is_directory {
                root.mkdir_all(path, Mode::from_raw_mode(0o755))?
            } else {
                root.create_file(path, Mode::from_raw_mode(0o644))?
            };
            // What covers a part of procfs decides what others believe (CVE-2019-16884).
            let on = rustix::fs::fstatfs(&target).call(|| format!("fstatfs({path:?})"))?;
            if on.f_type == PROC_SUPER_MAGIC {
                return Err(Errno::XDEV).call(|| format!("{path:?} is inside /proc"));
            }
            mount::move_to_fd(tree.as_fd(), target.as_fd())
        })?
        .map_err(Error::mount(what()))
}

fn tree(graft: &Graft<'_>) -> Result<OwnedFd, sys::Error> {
    let parsed = options::parse(graft.options);
    let tree = if let Some(source) = graft.source {
        mount::bind(source, parsed.bind.unwrap_or(true))?
    } else {
        let options: Vec<_> = parsed.fs_options().collect();
        mount::fs_mount("tmpfs", Some("tmpfs"), &options, MountAttr::empty())?
    };
    // The clone is a peer of the mount that it is of.
    mount::set_propagation_fd(tree.as_fd(), Propagation::Private, true)?;
    let rest = ATTRIBUTES - parsed.set;
    mount::mount_setattr(tree.as_fd(), false, parsed.set, parsed.clear | rest, None, None)?;
    if !(parsed.rec_set | parsed.rec_clear).is_empty() {
        let (set, clear) = (parsed.rec_set, parsed.rec_clear);
        mount::mount_setattr(tree.as_fd(), true, set, clear, None, None)?;
    }
    Ok(tree)
}

fn root() -> Result<Root, sys::Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).call(|| "open(\"/\")")?;
    Ok(Root::from_fd(root))
}

/// Unmounts what is mounted at `path` in the mount namespace of the process `pid`; nothing there is
/// fine. What uses it may go on.
pub fn ungraft(path: &Path, pid: i32, namespaces: &Namespaces<'_>) -> Result<(), Error> {
    let what = || format!("unmount {} in the container", path.display());
    // To be unmounted by its descriptor, whatever becomes of the path meanwhile. The container may have
    // no procfs.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptors = rustix::fs::open("/proc/self/fd", flags, Mode::empty())
        .call(|| "open(\"/proc/self/fd\")")?;
    let text = mount::mountinfo::read(&pid.to_string())?;
    let is_ours = |id: u64| {
        mount::mountinfo::mounts(&text).any(|mounted| mounted.id == id && mounted.is_at(path))
    };
    let theirs = namespace::open(&pid.to_string())?;
    namespaces
        .visit(theirs.as_fd(), || -> Result<(), sys::Error> {
            let target = match root()?.open_path(path) {
                Err(err) if matches!(err.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                opened => opened?,
            };
            // Somebody has moved the directories above it: this is another mount.
            if !sys::mount_id(target.as_fd())?.is_some_and(is_ours) {
                return Ok(());
            }
            rustix::process::fchdir(&descriptors).call(|| "fchdir()")?;
            let name = PathBuf::from(target.as_raw_fd().to_string());
            rustix::mount::unmount(name, UnmountFlags::DETACH).call(|| format!("umount2({path:?})"))
        })?
        .map_err(Error::mount(what()))
}
