//! Subvolumes of btrfs. Source: the kernel's `include/uapi/linux/btrfs.h`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use crate::error::{Call, Error, FdName};

/// `BTRFS_SUPER_MAGIC`.
pub const BTRFS_MAGIC: u64 = 0x9123_683e;

/// The number of a subvolume's root (`BTRFS_FIRST_FREE_OBJECTID`).
const SUBVOLUME_ROOT: u64 = 256;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`, as `BTRFS_IOC_SNAP_CREATE_V2` takes it.
#[repr(C)]
struct SnapshotArgs {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// `struct btrfs_ioctl_qgroup_limit_args`, with its `struct btrfs_qgroup_limit`.
#[repr(C)]
struct LimitArgs {
    qgroup: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved: [u64; 2],
}

const SUBVOL_CREATE: libc::c_ulong = 0x5000_940e;
const SNAP_DESTROY: libc::c_ulong = 0x5000_940f;
const SNAP_CREATE_V2: libc::c_ulong = 0x5000_9417;
const SUBVOL_SETFLAGS: libc::c_ulong = 0x4008_941a;
const QGROUP_LIMIT: libc::c_ulong = 0x8030_942b;
/// `BTRFS_QGROUP_LIMIT_MAX_EXCL`.
const LIMIT_EXCLUSIVE: u64 = 1 << 1;

const _: () = assert!(size_of::<VolumeArgs>() == 4096);
const _: () = assert!(size_of::<SnapshotArgs>() == 4096);
const _: () = assert!(size_of::<LimitArgs>() == 48);

/// Whether `dir` is the root of a subvolume of btrfs.
pub fn is_btrfs_subvolume(dir: impl AsFd) -> rustix::io::Result<bool> {
    let magic = rustix::fs::fstatfs(&dir)?.f_type as u64 & 0xffff_ffff;
    Ok(magic == BTRFS_MAGIC && rustix::fs::fstat(dir)?.st_ino == SUBVOLUME_ROOT)
}

/// Makes the empty subvolume `name` in the directory `parent`.
pub fn btrfs_create_subvolume(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Error> {
    let args = VolumeArgs { fd: 0, name: padded(name).call(|| format!("subvolume {name:?}"))? };
    ioctl(parent, SUBVOL_CREATE, &args)
        .call(|| format!("ioctl({}, BTRFS_IOC_SUBVOL_CREATE, {name:?})", FdName(parent)))
}

/// Makes a writable snapshot of the subvolume `of`, `name` in the directory `parent`.
pub fn btrfs_create_snapshot(
    of: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<(), Error> {
    let args = SnapshotArgs {
        fd: of.as_raw_fd().into(),
        transid: 0,
        flags: 0,
        unused: [0; 4],
        name: padded(name).call(|| format!("snapshot {name:?}"))?,
    };
    ioctl(parent, SNAP_CREATE_V2, &args)
        .call(|| format!("ioctl({}, BTRFS_IOC_SNAP_CREATE_V2, {name:?})", FdName(parent)))
}

/// Deletes the subvolume `name` of the directory `parent`, with all that is in it but other
/// subvolumes: where there are some, it is not deleted.
pub fn btrfs_delete_subvolume(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Error> {
    let args = VolumeArgs { fd: 0, name: padded(name).call(|| format!("subvolume {name:?}"))? };
    ioctl(parent, SNAP_DESTROY, &args)
        .call(|| format!("ioctl({}, BTRFS_IOC_SNAP_DESTROY, {name:?})", FdName(parent)))
}

/// Lets the subvolume of which `dir` is the root be written to, whoever made it read-only.
pub fn btrfs_make_writable(dir: BorrowedFd<'_>) -> Result<(), Error> {
    ioctl(dir, SUBVOL_SETFLAGS, &0_u64)
        .call(|| format!("ioctl({}, BTRFS_IOC_SUBVOL_SETFLAGS, 0)", FdName(dir)))
}

/// Limits what the subvolume of which `dir` is the root may have for itself, in bytes: what it shares
/// with others does not count. `ENOTCONN` where the file system keeps no quotas.
pub fn btrfs_limit_exclusive(dir: BorrowedFd<'_>, bytes: u64) -> Result<(), Error> {
    let args = LimitArgs {
        qgroup: 0, // The descriptor's own.
        flags: LIMIT_EXCLUSIVE,
        max_referenced: 0,
        max_exclusive: bytes,
        reserved: [0; 2],
    };
    ioctl(dir, QGROUP_LIMIT, &args)
        .call(|| format!("ioctl({}, BTRFS_IOC_QGROUP_LIMIT, {bytes})", FdName(dir)))
}

/// A name with the NUL bytes that fill its field.
fn padded<const N: usize>(name: &OsStr) -> Result<[u8; N], Errno> {
    let bytes = name.as_bytes();
    if bytes.len() >= N || bytes.contains(&0) || bytes.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    let mut field = [0; N];
    field[..bytes.len()].copy_from_slice(bytes);
    Ok(field)
}

/// The argument types of this module's requests.
trait Args {}
impl Args for u64 {}
impl Args for VolumeArgs {}
impl Args for SnapshotArgs {}
impl Args for LimitArgs {}

fn ioctl<T: Args>(fd: BorrowedFd<'_>, request: libc::c_ulong, args: &T) -> Result<(), Errno> {
    // SAFETY: fd is borrowed, so it is open for the call. Each request of this module is called with
    // the type that it has in the kernel's header (repr(C), its size asserted above and part of the
    // request's number), of which all bytes are initialised; the kernel only reads it, and keeps no
    // pointer to it.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_ref(args)) };
    if answer < 0 {
        let errno = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&errno).unwrap_or(Errno::IO));
    }
    Ok(())
}
