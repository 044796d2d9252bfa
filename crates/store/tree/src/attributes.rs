//! Owner, mode, times and extended attributes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::kind;

/// One name in a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a OsStr,
}

/// A call that failed.
pub(crate) type Failed = (&'static str, Errno);

pub(crate) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Gives `to` what `from`, of which `stat` is known, has: nothing else stays. In this order: a new
/// owner clears set-id bits and capabilities, a new mode changes an access list.
pub(crate) fn transfer(from: Place<'_>, stat: &Stat, to: Place<'_>) -> Result<(), Failed> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to.dir, to.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| ("chown", errno))?;
    if kind(stat) != FileType::Symlink {
        // What was made just now is no link that would be followed.
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        rustix::fs::chmodat(to.dir, to.name, mode, AtFlags::empty())
            .map_err(|errno| ("chmod", errno))?;
    }
    set_xattrs(&xattrs(from)?, to)?;
    let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::utimensat(to.dir, to.name, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| ("utimensat", errno))
}

/// All extended attributes, access lists and capabilities among them. Overlayfs's own are not a
/// file's, and a label is the machine's.
pub(crate) fn xattrs(place: Place<'_>) -> Result<Xattrs, Failed> {
    // By name: there is no descriptor of a link that these calls take.
    let path = fsroot::fd_path(place.dir).join(place.name);
    let mut all = Xattrs::new();
    let mut names = vec![0; 4 << 10];
    let len = loop {
        match rustix::fs::llistxattr(&path, &mut names[..]) {
            Err(Errno::NOTSUP) => return Ok(all),
            Err(Errno::RANGE) if names.len() < 64 << 10 => names = vec![0; 64 << 10],
            len => break len.map_err(|errno| ("listxattr", errno))?,
        }
    };
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let is_overlays =
            name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        if is_overlays || selinux::is_label(name) {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        match rustix::fs::lgetxattr(&path, name, &mut value[..]) {
            // Gone meanwhile.
            Err(Errno::NODATA) => continue,
            len => value.truncate(len.map_err(|errno| ("getxattr", errno))?),
        }
        all.insert(name.to_vec(), value);
    }
    Ok(all)
}

/// Gives a directory of a layer the mark of overlayfs that it hides what is below, where the other has it.
pub(crate) fn transfer_mark(from: Place<'_>, to: Place<'_>) -> Result<(), Failed> {
    let path = |place: Place<'_>| fsroot::fd_path(place.dir).join(place.name);
    let (from, to) = (path(from), path(to));
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        let mut value = [0; 8];
        // Where it cannot be read there is none.
        let Ok(len) = rustix::fs::lgetxattr(&from, name, &mut value[..]) else { continue };
        rustix::fs::lsetxattr(&to, name, &value[..len], XattrFlags::empty())
            .map_err(|errno| ("setxattr", errno))?;
    }
    Ok(())
}

fn set_xattrs(wanted: &Xattrs, to: Place<'_>) -> Result<(), Failed> {
    let there = xattrs(to)?;
    let path = fsroot::fd_path(to.dir).join(to.name);
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        match rustix::fs::lremovexattr(&path, name.as_slice()) {
            // One that the kernel itself gives to every file.
            Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) if name.starts_with(b"security.") => {}
            removed => removed.map_err(|errno| ("removexattr", errno))?,
        }
    }
    for (name, value) in wanted.iter().filter(|(name, value)| there.get(*name) != Some(value)) {
        rustix::fs::lsetxattr(&path, name.as_slice(), value, XattrFlags::empty())
            .map_err(|errno| ("setxattr", errno))?;
    }
    Ok(())
}
