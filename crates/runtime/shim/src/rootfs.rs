//! The container's root file system, mounted in the shim's own mount namespace.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use mount::MountAttr;
use oci::runtime::IdMapping;
use rustix::fs::{CWD, FileType, Gid, Mode, StatVfsMountFlags, Uid, XattrFlags};
use rustix::io::Errno;
use shim_protocol::{RootIds, Rootfs};
use sys::Call;

use crate::error::Error;

/// The most that a container on the host's own root may write, as tmpfs takes it: a share of the
/// machine's memory.
const HOST_UPPER_SIZE: &str = "50%";

/// Mounts `rootfs` at `target`, an empty directory. All in it has the `SELinux` label `label`, if that is not
/// empty and it is an overlay: of a directory, each file has its own.
pub(crate) fn mount(
    rootfs: &Rootfs,
    ids: Option<&RootIds>,
    label: &str,
    target: &Path,
) -> Result<(), Error> {
    failpoint::hit("shim.mount")?;
    let mounted = match rootfs {
        Rootfs::Overlay { lower, upper, work, volatile } if ids.is_some() => {
            let ids = ids.map(Mapped::new).transpose()?;
            mount::forget_volatile(work).map_err(Error::file("remove", work))?;
            let extra = extra(*volatile, label);
            ids.map_or(Err(Error::Locked), |ids| ids.overlay(lower, (upper, work), &extra, target))?
        }
        Rootfs::Directory { path } if ids.is_some() => {
            let tree = directory(path)?;
            if let Some(ids) = ids {
                Mapped::new(ids)?.map(&tree, path)?;
            }
            tree
        }
        Rootfs::Overlay { lower, upper, work, volatile } => {
            mount::forget_volatile(work).map_err(Error::file("remove", work))?;
            let extra = extra(*volatile, label);
            mount::overlay(lower, Some((upper, work)), &extra).map_err(Error::Rootfs)?
        }
        Rootfs::Directory { path } => directory(path)?,
        Rootfs::Host { hidden } => host_overlay(hidden, label, target)?,
    };
    mount::move_to_path(mounted.as_fd(), target).map_err(Error::Rootfs)?;
    failpoint::hit("shim.mounted")?;
    Ok(())
}

/// The options of an overlay: whether what is written need not reach the disk, and the label of all in it.
fn extra(volatile: bool, label: &str) -> Vec<(&str, &str)> {
    let volatile = (volatile && mount::has_volatile_overlay()).then_some(("volatile", ""));
    let label = (!label.is_empty()).then_some(("context", label));
    volatile.into_iter().chain(label).collect()
}

/// A root that is mounted with ids of its own: nothing in it is touched.
struct Mapped {
    namespace: OwnedFd,
    /// Where the container's root is on the host.
    root: (Uid, Gid),
}

impl Mapped {
    fn new(ids: &RootIds) -> Result<Self, Error> {
        let outside = |maps: &[IdMapping]| {
            maps.iter().find(|map| map.container_id == 0).map_or(0, |map| map.host_id)
        };
        let root = (Uid::from_raw(outside(&ids.uids)), Gid::from_raw(outside(&ids.gids)));
        let maps = plan::IdMaps { uid: ids.uids.clone(), gid: ids.gids.clone() };
        Ok(Self { namespace: container::user_namespace(&maps).map_err(Error::Ids)?, root })
    }

    /// Maps a detached mount of `path`.
    fn map(&self, tree: &OwnedFd, path: &Path) -> Result<(), Error> {
        let (set, clear) = (MountAttr::IDMAP, MountAttr::empty());
        let namespace = Some(self.namespace.as_fd());
        mount::mount_setattr(tree.as_fd(), false, set, clear, None, namespace)
            .map_err(|source| Error::Unmapped { path: path.to_owned(), source })
    }

    /// An overlay of mapped layers, as a detached mount. They lie in a tmpfs at `target` itself, as
    /// those of [`host_overlay`].
    ///
    /// Overlayfs makes what it needs for itself in the name of who mounts it: of the container's root,
    /// since nobody else has an id there.
    fn overlay(
        &self,
        lower: &[PathBuf],
        (upper, work): (&Path, &Path),
        extra: &[(&str, &str)],
        target: &Path,
    ) -> Result<OwnedFd, Error> {
        let options = [("mode", Some("0755")), ("size", Some("1m"))];
        let memory = mount::fs_mount("tmpfs", Some("dhow"), &options, MountAttr::empty())
            .map_err(Error::Rootfs)?;
        mount::move_to_path(memory.as_fd(), target).map_err(Error::Rootfs)?;
        let place = |path: &Path, name: String| {
            let tree = mount::bind(path, false).map_err(Error::Rootfs)?;
            self.map(&tree, path)?;
            let at = target.join(name);
            fs::create_dir(&at).map_err(Error::file("create", &at))?;
            mount::move_to_path(tree.as_fd(), &at).map_err(Error::Rootfs)?;
            Ok::<_, Error>(at)
        };
        let lower: Vec<PathBuf> = lower
            .iter()
            .enumerate()
            .map(|(nth, path)| place(path, nth.to_string()))
            .collect::<Result<_, _>>()?;
        // Both have to be on one mount.
        let (Some(above), Some(upper), Some(work)) =
            (upper.parent(), upper.file_name(), work.file_name())
        else {
            return Err(Error::Request("a writable layer without a directory".into()));
        };
        let own = place(above, "own".into())?;
        let (upper, work) = (own.join(upper), own.join(work));
        let (uid, gid) = self.root;
        sys::as_effective(uid, gid, || mount::overlay(&lower, Some((&upper, &work)), extra))?
            .map_err(Error::Rootfs)
    }
}

/// A directory as a detached mount. What the place where it lies forbids (`nosuid`, `nodev`, `noexec`)
/// is no rule for a container's root, as it is none for an overlay.
fn directory(path: &Path) -> Result<OwnedFd, Error> {
    let mounted = mount::bind(path, false).map_err(Error::Rootfs)?;
    let flags = rustix::fs::fstatvfs(&mounted).call(|| format!("statvfs({path:?})"))?.f_flag;
    let mut clear = MountAttr::empty();
    for (flag, attr) in [
        (StatVfsMountFlags::NOSUID, MountAttr::NOSUID),
        (StatVfsMountFlags::NODEV, MountAttr::NODEV),
        (StatVfsMountFlags::NOEXEC, MountAttr::NOEXEC),
    ] {
        if flags.contains(flag) {
            clear |= attr;
        }
    }
    if !clear.is_empty() {
        let set = MountAttr::empty();
        mount::mount_setattr(mounted.as_fd(), false, set, clear, None, None)
            .map_err(Error::Rootfs)?;
    }
    Ok(mounted)
}

/// The machine's root below a writable layer in memory, as a detached mount.
///
/// The layer lies in a tmpfs at `target` itself, under what will be mounted there: it needs no
/// other place, and its own superblock keeps it out of the tree below it. Other mounts do not show
/// through: overlay looks at one mount only.
fn host_overlay(hidden: &[PathBuf], label: &str, target: &Path) -> Result<OwnedFd, Error> {
    let options = [("mode", Some("0755")), ("size", Some(HOST_UPPER_SIZE))];
    let memory = mount::fs_mount("tmpfs", Some("dhow"), &options, MountAttr::empty())
        .map_err(Error::Rootfs)?;
    mount::move_to_path(memory.as_fd(), target).map_err(Error::Rootfs)?;
    let [upper, work, mask] = ["upper", "work", "mask"].map(|name| target.join(name));
    for dir in [&upper, &work, &mask] {
        fs::create_dir(dir).map_err(Error::file("create", dir))?;
    }
    // The topmost layer's root is that of the whole.
    copy_attributes(Path::new("/"), &upper)?;
    copy_attributes(Path::new("/"), &mask)?;
    for path in hidden {
        hide(path, &mask)?;
    }
    let lower = [mask, PathBuf::from("/")];
    mount::overlay(&lower, Some((&upper, &work)), &extra(false, label)).map_err(Error::Rootfs)
}

/// Covers `path` of the host, in the layer `mask`: a directory by an empty one, anything else as if
/// it were not there. What does not exist needs no cover.
fn hide(path: &Path, mask: &Path) -> Result<(), Error> {
    let Ok(path) = path.canonicalize() else { return Ok(()) };
    let mut above = PathBuf::from("/");
    let mut cover = mask.to_path_buf();
    let mut names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let Some(mut name) = names.next() else { return Ok(()) };
    for next in names {
        above.push(name);
        cover.push(name);
        make_dir(&cover, &above)?;
        name = next;
    }
    above.push(name);
    cover.push(name);
    let text = || format!("hide {above:?}");
    if above.is_dir() {
        make_dir(&cover, &above)?;
        let opaque = mount::overlay_attribute("opaque");
        rustix::fs::setxattr(&cover, opaque, b"y", XattrFlags::empty()).call(text)?;
        return Ok(());
    }
    match rustix::fs::mknodat(CWD, &cover, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other.call(text)?),
    }
}

/// Makes a directory that looks like the host's directory `like`, unless it is there already.
fn make_dir(path: &Path, like: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Ok(()) => copy_attributes(like, path),
        Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(err) => Err(Error::file("create", path)(err)),
    }
}

/// Gives `to` the owner and permissions of `from`.
fn copy_attributes(from: &Path, to: &Path) -> Result<(), Error> {
    let of = fs::metadata(from).map_err(Error::file("stat", from))?;
    let (uid, gid) = (Uid::from_raw(of.uid()), Gid::from_raw(of.gid()));
    rustix::fs::chown(to, Some(uid), Some(gid)).call(|| format!("chown({to:?})"))?;
    let mode = Mode::from_raw_mode(of.mode());
    Ok(rustix::fs::chmod(to, mode).call(|| format!("chmod({to:?})"))?)
}
