//! Owner, mode, times and extended attributes, given by descriptor.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::{both, mode, place};

/// A call that failed.
pub(crate) type Failed = (&'static str, Errno);

/// A name and a value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// How something is reached whose attributes are looked at or given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handle<'a> {
    /// By a descriptor that is open: calls take it as it is, and look for no name.
    Open(BorrowedFd<'a>),
    /// By one of `O_PATH`, through its link in procfs. That leads to the very thing, also to a link.
    Path(BorrowedFd<'a>),
}

impl<'a> Handle<'a> {
    fn fd(self) -> BorrowedFd<'a> {
        match self {
            Self::Open(fd) | Self::Path(fd) => fd,
        }
    }

    fn chmod(self, mode: Mode) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Path(fd) => rustix::fs::chmod(fsroot::fd_path(fd), mode),
        }
    }

    fn set_times(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Path(fd) => {
                rustix::fs::utimensat(CWD, fsroot::fd_path(fd), times, AtFlags::empty())
            }
        }
    }

    fn list_xattrs(self, names: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, names),
            Self::Path(fd) => rustix::fs::listxattr(fsroot::fd_path(fd), names),
        }
    }

    fn xattr(self, name: &[u8], value: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, value),
            Self::Path(fd) => rustix::fs::getxattr(fsroot::fd_path(fd), name, value),
        }
    }

    fn set_xattr(self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, flags),
            Self::Path(fd) => rustix::fs::setxattr(fsroot::fd_path(fd), name, value, flags),
        }
    }
}

/// What a copy says of all that it copies; what it does not say is as in the source.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: mode::Change,
    pub(crate) time: Option<i64>,
}

impl Look {
    /// Makes `to`, of the kind that `stat` says, look like `from`, of which `stat` is known. In this order: a
    /// new owner clears set-id bits and capabilities, and a new mode changes an access list.
    pub(crate) fn give(&self, to: Handle<'_>, from: Handle<'_>, stat: &Stat) -> Result<(), Failed> {
        let (uid, gid) = self.owner.unwrap_or((stat.st_uid, stat.st_gid));
        place::chown(to.fd(), uid, gid).map_err(|errno| ("chown", errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Symlink {
            let mode = self.mode.apply(stat.st_mode & 0o7777, kind == FileType::Directory);
            to.chmod(Mode::from_raw_mode(mode)).map_err(|errno| ("chmod", errno))?;
        }
        for (name, value) in list(from)? {
            match to.set_xattr(&name, &value) {
                // The file system has none, or in a user namespace nobody may.
                Err(Errno::NOTSUP) => {}
                Err(Errno::PERM) if name.starts_with(b"trusted.") => {}
                set => set.map_err(|errno| ("setxattr", errno))?,
            }
        }
        self.give_times(to, stat)
    }

    /// The times alone.
    pub(crate) fn give_times(&self, to: Handle<'_>, stat: &Stat) -> Result<(), Failed> {
        let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
        let own = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        };
        let times = self.time.map_or(own, both);
        to.set_times(&times).map_err(|errno| ("utimensat", errno))
    }
}

/// Whether an attribute is part of what a file is: what its owner or an administrator set, but neither the
/// books of overlayfs nor labels, which belong to a machine.
fn counts(name: &[u8]) -> bool {
    let kept = [&b"user."[..], b"trusted.", b"security.capability", b"system.posix_acl_"];
    let books = [&b"user.overlay."[..], b"trusted.overlay."];
    let begins = |beginnings: &[&[u8]]| beginnings.iter().any(|start| name.starts_with(start));
    begins(&kept) && !begins(&books)
}

/// The extended attributes that count, by name.
pub(crate) fn list(of: Handle<'_>) -> Result<Vec<Xattr>, Failed> {
    let mut names = vec![0; 1 << 10];
    let len = loop {
        match of.list_xattrs(&mut names) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if names.len() < 64 << 10 => names = vec![0; 64 << 10],
            len => break len.map_err(|errno| ("listxattr", errno))?,
        }
    };
    let mut all = Vec::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| counts(name)) {
        let mut value = vec![0; 64 << 10];
        match of.xattr(name, &mut value) {
            // Gone meanwhile.
            Err(Errno::NODATA) => continue,
            len => value.truncate(len.map_err(|errno| ("getxattr", errno))?),
        }
        all.push((name.to_vec(), value));
    }
    all.sort_unstable();
    Ok(all)
}
