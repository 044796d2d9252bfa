//! The mount API on kernels that have none (it is complete from Linux 5.12 on), with mount(2) alone.
//!
//! There a mount cannot be without a place. So what would be a detached mount gets a place for the
//! time being: in the [`Yard`], a tmpfs in a mount namespace of the caller's own, which nobody else
//! sees. It is changed there, and moved to where it belongs. Descriptors take part in that as
//! `/proc/self/fd/N`, which the kernel follows to exactly what they refer to, so that no path of a
//! container's is resolved here either.
//!
//! While a yard is open the functions of this crate use it, whatever the kernel has; [`crate::overlay`]
//! does not, since it is the engine's. It is for a process with one thread.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{CWD, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use sys::{Call, Error, FdName, MountAttr, Propagation};

use crate::FsOption;

/// Where the yard is: a directory of the kernel's that is empty for ever, for the NFS server's file
/// system. No container's mount comes from there.
const PLACE: &str = "/proc/fs/nfsd";

/// How many things the open yard has held. `None`: there is none.
static OPEN: Mutex<Option<u32>> = Mutex::new(None);

/// An open yard. When it is dropped, what was not moved out of it is unmounted.
#[derive(Debug)]
pub struct Yard(());

impl Yard {
    /// Opens it, in a mount namespace of one's own.
    pub fn open() -> Result<Self, Error> {
        let mut open = lock();
        if open.is_some() {
            return Err(Error::new(format!("open a second yard at {PLACE:?}"), Errno::BUSY));
        }
        // Nothing travels back from procfs, at least, on which it will be.
        set_propagation(Path::new("/proc"), Propagation::Slave, false)?;
        let what = || format!("mount(\"tmpfs\", {PLACE:?})");
        let flags = MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSUID;
        rustix::mount::mount("tmpfs", PLACE, "tmpfs", flags, c"mode=0700").call(what)?;
        // What is below a mount that is shared cannot be moved.
        rustix::mount::mount_change(PLACE, MountPropagationFlags::PRIVATE)
            .call(|| format!("mount({PLACE:?}, MS_PRIVATE)"))?;
        *open = Some(0);
        Ok(Self(()))
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        *lock() = None;
        // The mount namespace ends with its processes, and the yard with it, at the latest.
        let _stays = rustix::mount::unmount(PLACE, UnmountFlags::DETACH);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<u32>> {
    OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether mounts go through the yard.
pub(crate) fn is_open() -> bool {
    lock().is_some()
}

/// What a descriptor refers to, as a path that only this process can use.
fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A new place in the yard.
fn place(directory: bool) -> Result<PathBuf, Error> {
    let mut open = lock();
    let number = open.as_mut().ok_or_else(|| Error::new("use the yard", Errno::NOENT))?;
    *number += 1;
    let path = Path::new(PLACE).join(number.to_string());
    let made = if directory {
        rustix::fs::mkdir(&path, Mode::RWXU)
    } else {
        rustix::fs::mknodat(CWD, &path, FileType::RegularFile, Mode::RUSR, 0)
    };
    made.call(|| format!("make the place {path:?}"))?;
    Ok(path)
}

fn open_place(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?})"))
}

/// A copy of the tree at `source`, in the yard.
pub(crate) fn bind(source: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    let what = || format!("mount({source:?}, MS_BIND{})", if recursive { " | MS_REC" } else { "" });
    let stat = rustix::fs::stat(source).call(what)?;
    let place = place(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)?;
    let mounted = if recursive {
        rustix::mount::mount_bind_recursive(source, &place)
    } else {
        rustix::mount::mount_bind(source, &place)
    };
    mounted.call(what)?;
    open_place(&place)
}

/// The same of what `source` refers to.
pub(crate) fn bind_fd(source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Error> {
    bind(&path_of(source), recursive)
        .map_err(|error| Error::new(format!("{error} of {}", FdName(source)), error.errno()))
}

/// Moves a mount of a directory to its place. By the working directory, since there may be no procfs
/// left.
pub(crate) fn move_to(mnt: BorrowedFd<'_>, target: &Path) -> Result<(), Error> {
    let what = || format!("mount({}, {target:?}, MS_MOVE)", FdName(mnt));
    let before = open_place(Path::new("."))?;
    rustix::process::fchdir(mnt).call(what)?;
    let moved = rustix::mount::mount_move(".", target).call(what);
    rustix::process::fchdir(before).call(|| "fchdir(back)")?;
    moved
}

/// The same, to exactly what `target` refers to.
pub(crate) fn move_to_fd(mnt: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::mount::mount_move(path_of(mnt), path_of(target))
        .call(|| format!("mount({}, {}, MS_MOVE)", FdName(mnt), FdName(target)))
}

/// Sets how the mount at `path` propagates.
pub(crate) fn set_propagation(
    path: &Path,
    propagation: Propagation,
    recursive: bool,
) -> Result<(), Error> {
    let mut flags = MountPropagationFlags::from_bits_retain(propagation.bits() as u32);
    flags.set(MountPropagationFlags::REC, recursive);
    rustix::mount::mount_change(path, flags).call(|| format!("mount({path:?}, {propagation})"))
}

/// The same for all mounts of the namespace but for those in the yard: what is bound there keeps what
/// it has of the host's, for who wants that. Where a shared one is covered by another, and so cannot be
/// reached by itself, those in the yard are not spared: it must not be left out. `EINVAL`: the caller's
/// root is a directory on a mount, which is not listed, and would be left out.
pub(crate) fn set_propagation_of_all(propagation: Propagation) -> Result<(), Error> {
    let text = crate::mountinfo::read("thread-self")?;
    let root = sys::mount_id(open_place(Path::new("/"))?.as_fd())?;
    if root.is_some() && !crate::mountinfo::mounts(&text).any(|mounted| Some(mounted.id) == root) {
        return Err(Error::new(format!("mount(\"/\", {propagation})"), Errno::INVAL));
    }
    for mounted in crate::mountinfo::mounts(&text) {
        let point = mounted.point();
        if point.starts_with(PLACE) {
            continue;
        }
        let found = open_place(&point).and_then(|mnt| Ok((sys::mount_id(mnt.as_fd())?, mnt)));
        match found {
            Ok((id, mnt)) if id == Some(mounted.id) => {
                set_propagation_fd(mnt.as_fd(), propagation, false)?;
            }
            _ if mounted.shared => return set_propagation(Path::new("/"), propagation, true),
            _ => {}
        }
    }
    Ok(())
}

/// The same for the mount that `mnt` refers to.
pub(crate) fn set_propagation_fd(
    mnt: BorrowedFd<'_>,
    propagation: Propagation,
    recursive: bool,
) -> Result<(), Error> {
    set_propagation(&path_of(mnt), propagation, recursive)
}

/// What [`crate::mount_setattr`] does, but not all or nothing.
pub(crate) fn change(
    mnt: BorrowedFd<'_>,
    recursive: bool,
    set: MountAttr,
    clear: MountAttr,
) -> Result<(), Error> {
    change_one(mnt, set, clear)?;
    if recursive {
        for below in mounts_below(mnt)? {
            change_one(below.as_fd(), set, clear)?;
        }
    }
    Ok(())
}

fn change_one(mnt: BorrowedFd<'_>, set: MountAttr, clear: MountAttr) -> Result<(), Error> {
    let what =
        || format!("mount({}, MS_REMOUNT | MS_BIND, set {set:?}, clear {clear:?})", FdName(mnt));
    let wished = (attributes(mnt)? - clear) | set;
    let flags = flags(wished) | MountFlags::BIND;
    rustix::mount::mount_remount(path_of(mnt), flags, c"").call(what)?;
    // A flag that this kernel does not know is not refused by mount(2).
    if attributes(mnt)?.contains(set) { Ok(()) } else { Err(Error::new(what(), Errno::NOTSUP)) }
}

/// `ST_NOSYMFOLLOW` of statfs(2).
const NOSYMFOLLOW: StatVfsMountFlags = StatVfsMountFlags::from_bits_retain(0x2000);

/// What statfs(2) says of a mount, beside what mount(2) and the mount API call the same.
const WORDS: [(StatVfsMountFlags, MountAttr, MountFlags); 7] = [
    (StatVfsMountFlags::RDONLY, MountAttr::RDONLY, MountFlags::RDONLY),
    (StatVfsMountFlags::NOSUID, MountAttr::NOSUID, MountFlags::NOSUID),
    (StatVfsMountFlags::NODEV, MountAttr::NODEV, MountFlags::NODEV),
    (StatVfsMountFlags::NOEXEC, MountAttr::NOEXEC, MountFlags::NOEXEC),
    (StatVfsMountFlags::NOATIME, MountAttr::NOATIME, MountFlags::NOATIME),
    (StatVfsMountFlags::NODIRATIME, MountAttr::NODIRATIME, MountFlags::NODIRATIME),
    // MS_NOSYMFOLLOW.
    (NOSYMFOLLOW, MountAttr::NOSYMFOLLOW, MountFlags::from_bits_retain(0x100)),
];

/// What a mount has, its file system's own `ro` included.
pub fn attributes(mnt: BorrowedFd<'_>) -> Result<MountAttr, Error> {
    let said = rustix::fs::fstatvfs(mnt).call(|| format!("fstatvfs({})", FdName(mnt)))?.f_flag;
    let mut attributes = MountAttr::empty();
    for (word, attribute, _) in WORDS {
        attributes.set(attribute, said.contains(word));
    }
    let times = StatVfsMountFlags::RELATIME | StatVfsMountFlags::NOATIME;
    attributes.set(MountAttr::STRICTATIME, !said.intersects(times));
    Ok(attributes)
}

fn flags(attributes: MountAttr) -> MountFlags {
    let mut flags = MountFlags::empty();
    for (_, attribute, flag) in WORDS {
        flags.set(flag, attributes.contains(attribute));
    }
    // Without any of them, mount(2) leaves the time as it was.
    let strict = attributes.contains(MountAttr::STRICTATIME);
    flags.set(MountFlags::STRICTATIME, strict);
    flags.set(MountFlags::RELATIME, !strict && !attributes.contains(MountAttr::NOATIME));
    flags
}

/// The mounts below the one that `mnt` refers to. One that cannot be reached, because another covers
/// it, is `EBUSY`: it must not be left as it is.
fn mounts_below(mnt: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Error> {
    let what = || format!("find the mounts below {}", FdName(mnt));
    let id = sys::mount_id(mnt)?.ok_or_else(|| Error::new(what(), Errno::NOTSUP))?;
    let text = crate::mountinfo::read("thread-self")?;
    let all: Vec<_> = crate::mountinfo::mounts(&text).collect();
    let own = all.iter().find(|mounted| mounted.id == id);
    let own = own.ok_or_else(|| Error::new(what(), Errno::NOENT))?.point();
    // One that was moved can come before the one that it is on.
    let mut family = vec![id];
    let mut seen = 0;
    while seen < family.len() {
        let parent = family[seen];
        family.extend(all.iter().filter(|one| one.parent == parent).map(|one| one.id));
        seen += 1;
    }
    let mut below = Vec::new();
    for mounted in all.iter().filter(|one| one.id != id && family.contains(&one.id)) {
        let point = mounted.point();
        let unreachable = || Error::new(format!("{}: {point:?} is covered", what()), Errno::BUSY);
        let way = point.strip_prefix(&own).map_err(|_| unreachable())?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(mnt, way, flags, Mode::empty()).call(what)?;
        if sys::mount_id(fd.as_fd())? != Some(mounted.id) {
            return Err(unreachable());
        }
        below.push(fd);
    }
    Ok(below)
}

/// A mount of a new file system, in the yard.
pub(crate) fn fs_mount(
    fstype: &str,
    source: Option<&str>,
    options: &[FsOption<'_>],
    attributes: MountAttr,
) -> Result<OwnedFd, Error> {
    let place = place(true)?;
    let (own, data) = sort(options);
    let what = || format!("mount({fstype:?}, {own:?}, {data:?})");
    let c_data =
        std::ffi::CString::new(data.as_str()).map_err(|_| Error::new(what(), Errno::INVAL))?;
    let source = source.unwrap_or("none");
    let mount = |flags| rustix::mount::mount(source, &place, fstype, flags, c_data.as_c_str());
    // Only the mount is read-only, not the file system, which others may share.
    let flags = own | flags(attributes - MountAttr::RDONLY);
    match mount(flags) {
        // In a user namespace it must be no more than the one that can be seen already is.
        Err(Errno::PERM) if attributes.contains(MountAttr::RDONLY) => {
            mount(flags | MountFlags::RDONLY)
        }
        other => other,
    }
    .call(what)?;
    let mnt = open_place(&place)?;
    if attributes.contains(MountAttr::RDONLY) {
        change_one(mnt.as_fd(), MountAttr::RDONLY, MountAttr::empty())?;
    }
    Ok(mnt)
}

/// Changes the file system that `mnt` shows, and nothing of the mount.
pub(crate) fn reconfigure(mnt: BorrowedFd<'_>, options: &[FsOption<'_>]) -> Result<(), Error> {
    let (own, data) = sort(options);
    let what = || format!("mount({}, MS_REMOUNT, {data:?})", FdName(mnt));
    let c_data =
        std::ffi::CString::new(data.as_str()).map_err(|_| Error::new(what(), Errno::INVAL))?;
    let flags = own | flags(attributes(mnt)?);
    rustix::mount::mount_remount(path_of(mnt), flags, c_data.as_c_str()).call(what)
}

/// Of the options of a file system, those that are flags of mount(2), and the rest as it wants them.
fn sort(options: &[FsOption<'_>]) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for (key, value) in options {
        match (*key, value) {
            ("ro", None) => flags |= MountFlags::RDONLY,
            ("sync", None) => flags |= MountFlags::SYNCHRONOUS,
            ("dirsync", None) => flags |= MountFlags::DIRSYNC,
            ("lazytime", None) => flags |= MountFlags::LAZYTIME,
            ("mand", None) => flags |= MountFlags::PERMIT_MANDATORY_FILE_LOCKING,
            // MS_I_VERSION.
            ("iversion", None) => flags |= MountFlags::from_bits_retain(1 << 23),
            (key, None) => data.push(key.to_owned()),
            (key, Some(value)) => data.push(crate::filesystem::listed(key, value)),
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
#[path = "yard_tests.rs"]
mod tests;
