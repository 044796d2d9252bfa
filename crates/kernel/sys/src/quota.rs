//! Project quotas: limits of directory trees. Source: `quotactl(2)`, `ioctl_xfs_fssetxattr(2)`.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::error::{Call, Error, FdName};

/// `struct fsxattr` of `linux/fs.h`.
#[derive(Clone, Copy)]
#[repr(C)]
struct FsXattr {
    flags: u32,
    extent_size: u32,
    n_extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk` of `linux/quota.h`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct QuotaBlock {
    block_hard_limit: u64,
    block_soft_limit: u64,
    space: u64,
    inode_hard_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;
/// `FS_XFLAG_PROJINHERIT`: what is made in the directory belongs to its project.
const PROJECT_INHERIT: u32 = 0x200;
const Q_GETQUOTA: u32 = 0x0080_0007;
const Q_SETQUOTA: u32 = 0x0080_0008;
const PROJECT_QUOTA: u32 = 2;
/// `QIF_BLIMITS`: of all that could be set, the limits of blocks.
const BLOCK_LIMITS: u32 = 1;
/// `QIF_DQBLKSIZE`: what block limits are counted in, in bytes.
const BLOCK: u64 = 1024;

const _: () = assert!(size_of::<FsXattr>() == 28);
const _: () = assert!(size_of::<QuotaBlock>() == 72);

/// What a project has, and may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectQuota {
    /// The most bytes; 0 is no limit.
    pub limit: u64,
    /// Bytes that it has.
    pub bytes: u64,
    /// Files, directories and all else that it has.
    pub inodes: u64,
}

/// The project that a directory belongs to; 0 is none.
pub fn project_of(dir: BorrowedFd<'_>) -> Result<u32, Error> {
    Ok(fs_xattr(dir)?.project)
}

/// Puts an empty directory, and all that will be made in it, into a project.
pub fn set_project(dir: BorrowedFd<'_>, project: u32) -> Result<(), Error> {
    let before = fs_xattr(dir)?;
    let wanted = FsXattr { project, flags: before.flags | PROJECT_INHERIT, ..before };
    // SAFETY: the descriptor is borrowed, so it is open; the argument is the struct that the request
    // takes (repr(C), its size asserted), initialised, and only read.
    let answer = unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSSETXATTR as _, &raw const wanted) };
    result(answer.into())
        .call(|| format!("ioctl({}, FS_IOC_FSSETXATTR, project {project})", FdName(dir)))
}

fn fs_xattr(dir: BorrowedFd<'_>) -> Result<FsXattr, Error> {
    let mut found = MaybeUninit::<FsXattr>::zeroed();
    // SAFETY: the descriptor is borrowed, so it is open; the kernel writes the struct that the
    // request has (repr(C), its size asserted) to memory of ours.
    let answer =
        unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSGETXATTR as _, found.as_mut_ptr()) };
    result(answer.into()).call(|| format!("ioctl({}, FS_IOC_FSGETXATTR)", FdName(dir)))?;
    // SAFETY: all zeros is a value of it, and so is whatever the kernel wrote: integers.
    Ok(unsafe { found.assume_init() })
}

/// What a project of the file system that `on` is on has. `ESRCH` where no quotas of projects are
/// kept. Linux 5.14.
pub fn project_quota(on: BorrowedFd<'_>, project: u32) -> Result<ProjectQuota, Error> {
    let mut block = QuotaBlock::default();
    let found = quotactl(on, Q_GETQUOTA, project, &mut block);
    match found {
        // XFS knows of no project that has nothing.
        Err(Errno::NOENT) => return Ok(ProjectQuota::default()),
        found => found.call(|| format!("quotactl_fd({}, Q_GETQUOTA, {project})", FdName(on)))?,
    }
    let limit = block.block_hard_limit.saturating_mul(BLOCK);
    Ok(ProjectQuota { limit, bytes: block.space, inodes: block.inodes })
}

/// Limits the bytes of a project of the file system that `on` is on, in steps of 1024; 0 is no limit.
/// Linux 5.14.
pub fn limit_project(on: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<(), Error> {
    let mut block = QuotaBlock {
        block_hard_limit: bytes.div_ceil(BLOCK),
        valid: BLOCK_LIMITS,
        ..QuotaBlock::default()
    };
    quotactl(on, Q_SETQUOTA, project, &mut block)
        .call(|| format!("quotactl_fd({}, Q_SETQUOTA, {project}, {bytes})", FdName(on)))
}

fn quotactl(
    on: BorrowedFd<'_>,
    command: u32,
    project: u32,
    block: &mut QuotaBlock,
) -> Result<(), Errno> {
    let command = command << 8 | PROJECT_QUOTA;
    // SAFETY: the descriptor is borrowed, so it is open; both commands that are called take a pointer
    // to this struct (repr(C), its size asserted), which is initialised, is ours alone, and is read
    // or written during the call only.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            on.as_raw_fd(),
            command,
            project,
            std::ptr::from_mut(block),
        )
    };
    result(answer)
}

fn result(answer: libc::c_long) -> Result<(), Errno> {
    if answer < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    Ok(())
}
