//! `/dev`: device files and the usual links.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use fsroot::Root;
use plan::{Device, Rootfs};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::Call;

use crate::Inherited;
use crate::error::{Doing, Error};

/// Links that programs expect.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
];

/// Makes the device files and links. Each is made by name in a directory that was opened inside the
/// root, so that a link there is in the way and not followed.
pub(crate) fn fill(root: &Root, plan: &Rootfs, inherited: &mut Inherited) -> Result<(), Error> {
    let dev =
        root.mkdir_all("/dev", Mode::from_raw_mode(0o755)).doing(|| "make the directory /dev")?;
    check_place(root, dev.as_fd(), inherited.dev_mount)?;
    for (i, device) in plan.devices.iter().enumerate() {
        let bind = inherited.sources.devices.get_mut(i).and_then(Option::take);
        one(root, dev.as_fd(), device, bind)?;
    }
    for (target, name) in LINKS {
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(errno)
                    .call(|| format!("symlink({target:?}, \"/dev/{name}\")"))
                    .doing(|| "fill /dev");
            }
        }
    }
    ptmx(root, dev.as_fd())
}

/// A `/dev` that is a link of the image must not lead into a directory of the host that is mounted
/// in the container: what is removed and made here would be removed and made there (CVE-2026-41579).
/// `own` is the mount that the configuration has on `/dev`.
fn check_place(root: &Root, dev: BorrowedFd<'_>, own: Option<u64>) -> Result<(), Error> {
    if root.open_plain_directory("dev").is_ok() {
        return Ok(());
    }
    let place = mount_id(dev)?;
    if place.is_some() && (place == mount_id(root.as_fd())? || place == own) {
        return Ok(());
    }
    Err(Error::refused("/dev", "is a symbolic link into a directory of the host"))
}

/// Which mount a descriptor is on, see [`sys::mount_id`].
pub(crate) fn mount_id(fd: BorrowedFd<'_>) -> Result<Option<u64>, Error> {
    sys::mount_id(fd).doing(|| "/dev")
}

/// `/dev/ptmx` leads to the container's own terminals, whatever the image has there.
fn ptmx(root: &Root, dev: BorrowedFd<'_>) -> Result<(), Error> {
    if let Err(errno) = rustix::fs::unlinkat(dev, "ptmx", AtFlags::empty()) {
        if errno == Errno::ISDIR {
            root.remove_all("/dev/ptmx").doing(|| "remove /dev/ptmx")?;
        } else if errno != Errno::NOENT {
            return Err(errno).call(|| "unlink(\"/dev/ptmx\")").doing(|| "fill /dev");
        }
    }
    rustix::fs::symlinkat("pts/ptmx", dev, "ptmx")
        .call(|| "symlink(\"pts/ptmx\", \"/dev/ptmx\")")
        .doing(|| "fill /dev")
}

fn one(
    root: &Root,
    dev: BorrowedFd<'_>,
    device: &Device,
    bind: Option<OwnedFd>,
) -> Result<(), Error> {
    let doing = || format!("device {:?}", device.path);
    // The usual ones lie right in /dev, which is open already.
    let (dir, name): (OwnedFd, OsString) = match (device.path.parent(), device.path.file_name()) {
        (Some(parent), Some(name)) if parent == Path::new("/dev") => {
            (dev.try_clone_to_owned().doing(doing)?, name.to_owned())
        }
        (Some(parent), Some(name)) => {
            (root.mkdir_all(parent, Mode::from_raw_mode(0o755)).doing(doing)?, name.to_owned())
        }
        _ => return Err(Error::refused(doing(), "is the root directory")),
    };
    match bind {
        Some(tree) => bind_to(dir.as_fd(), &name, &tree, device),
        None => make(dir.as_fd(), &name, device),
    }
}

fn make(dir: BorrowedFd<'_>, name: &OsString, device: &Device) -> Result<(), Error> {
    let doing = || format!("device {:?}", device.path);
    let mode = Mode::from_raw_mode(device.mode);
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(dir, name, device.kind, mode, number) {
        Ok(()) => {}
        Err(Errno::EXIST) => return check_same(dir, name, device),
        Err(errno) => {
            return Err(errno)
                .call(|| {
                    let (kind, path) = (device.kind, &device.path);
                    format!("mknod({path:?}, {kind:?}, {}:{})", device.major, device.minor)
                })
                .doing(doing);
        }
    }
    if (device.uid, device.gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .call(|| format!("chown({:?}, {}:{})", device.path, device.uid, device.gid))
        .doing(doing)
}

/// What is there already must be the very same device.
fn check_same(dir: BorrowedFd<'_>, name: &OsString, device: &Device) -> Result<(), Error> {
    let doing = || format!("device {:?}", device.path);
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .call(|| format!("lstat({:?})", device.path))
        .doing(doing)?;
    let same = FileType::from_raw_mode(stat.st_mode) == device.kind
        && (device.kind == FileType::Fifo
            || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
                == (device.major, device.minor));
    if same { Ok(()) } else { Err(Error::refused(doing(), "something else is there already")) }
}

/// Mounts the host's device over a new empty file.
fn bind_to(
    dir: BorrowedFd<'_>,
    name: &OsString,
    tree: &OwnedFd,
    device: &Device,
) -> Result<(), Error> {
    let doing = || format!("device {:?}", device.path);
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, create, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).call(|| format!("creat({:?})", device.path)).doing(doing),
    }
    let target = rustix::fs::openat(
        dir,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call(|| format!("open({:?})", device.path))
    .doing(doing)?;
    if crate::rootfs::file_type(target.as_fd())? == FileType::Symlink {
        return Err(Error::refused(doing(), "a symbolic link is there"));
    }
    mount::move_to_fd(tree.as_fd(), target.as_fd()).doing(doing)
}
