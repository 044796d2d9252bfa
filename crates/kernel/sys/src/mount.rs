//! `mount_setattr(2)`; the rest of the mount API is in rustix.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use bitflags::bitflags;

use rustix::io::Errno;

use crate::error::{Error, FdName, check, last_errno};

bitflags! {
    /// Attributes of one mount: `MOUNT_ATTR_*` of `mount_setattr(2)`.
    ///
    /// The three kinds of access time are values of one field, not independent flags: whoever sets
    /// one clears [`MountAttr::ATIME_FIELD`]. `RELATIME` is the value 0.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountAttr: u64 {
        /// Read-only.
        const RDONLY = 0x1;
        /// Set-user-ID bits and file capabilities are ignored.
        const NOSUID = 0x2;
        /// Device files cannot be opened.
        const NODEV = 0x4;
        /// Programs cannot be run.
        const NOEXEC = 0x8;
        /// Access times are never updated.
        const NOATIME = 0x10;
        /// Access times are always updated.
        const STRICTATIME = 0x20;
        /// The field of which `RELATIME`, `NOATIME` and `STRICTATIME` are values.
        const ATIME_FIELD = 0x70;
        /// Access times of directories are not updated.
        const NODIRATIME = 0x80;
        /// The mount has an ID mapping.
        const IDMAP = 0x0010_0000;
        /// Symbolic links are not followed.
        const NOSYMFOLLOW = 0x0020_0000;
    }
}

impl MountAttr {
    /// Access times are updated relative to the time of the last change: the default, value 0.
    pub const RELATIME: Self = Self::empty();
}

/// How mounts and unmounts travel between copies of a mount: `mount_namespaces(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// In both directions.
    Shared,
    /// From the original to the copy only.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and the mount cannot be bound elsewhere.
    Unbindable,
}

impl Propagation {
    /// The `MS_*` flag.
    pub fn bits(self) -> u64 {
        match self {
            Self::Unbindable => 1 << 17,
            Self::Private => 1 << 18,
            Self::Slave => 1 << 19,
            Self::Shared => 1 << 20,
        }
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Slave => "slave",
            Self::Private => "private",
            Self::Unbindable => "unbindable",
        })
    }
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct RawMountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

const _: () = assert!(size_of::<RawMountAttr>() == 32, "MOUNT_ATTR_SIZE_VER0");

/// Whether this kernel has `mount_setattr(2)`: Linux 5.12, and with it all of the mount API.
pub fn has_mount_setattr() -> bool {
    let no_path = std::ptr::null::<libc::c_char>();
    // SAFETY: the size 0 is none that the kernel takes, so it looks at nothing else.
    let ret = unsafe { libc::syscall(libc::SYS_mount_setattr, -1, no_path, 0, no_path, 0_usize) };
    ret != -1 || last_errno() != Errno::NOSYS
}

/// Changes the attributes of the mount that `mnt` refers to, and with `recursive` of all below it;
/// all or none of them, see `mount_setattr(2)`.
///
/// `mnt` must be a descriptor of the mount's root. `clear` is applied before `set`. `userns` goes
/// with [`MountAttr::IDMAP`], on a detached mount.
pub fn mount_setattr(
    mnt: BorrowedFd<'_>,
    recursive: bool,
    set: MountAttr,
    clear: MountAttr,
    propagation: Option<Propagation>,
    userns: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    let attr = RawMountAttr {
        attr_set: set.bits(),
        attr_clr: clear.bits(),
        propagation: propagation.map_or(0, Propagation::bits),
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY:
    // - `mnt` and `userns` are borrowed for the whole call, so their numbers name open descriptors.
    // - The path is a static, NUL-terminated "", which AT_EMPTY_PATH makes mean `mnt` itself.
    // - `attr` is a live repr(C) value of the size that is passed, and the kernel only reads it.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mnt.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<RawMountAttr>(),
        )
    };
    check(ret, || {
        let recursive = if recursive { ", recursive" } else { "" };
        let propagation = propagation.map(|p| format!(", {p}")).unwrap_or_default();
        format!(
            "mount_setattr({}, set {:?}, clear {:?}{propagation}{recursive})",
            FdName(mnt),
            set,
            clear
        )
    })
    .map(drop)
}
