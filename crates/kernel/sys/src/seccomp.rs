//! Installing a seccomp filter.

use std::os::fd::{FromRawFd, OwnedFd};

use bitflags::bitflags;
use rustix::io::Errno;

use crate::error::{Error, check};

/// One instruction of classic BPF: `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockFilter {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip when a comparison holds.
    pub jt: u8,
    /// How many to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

const _: () = assert!(size_of::<SockFilter>() == 8, "struct sock_filter");

bitflags! {
    /// `SECCOMP_FILTER_FLAG_*` of seccomp(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SeccompFlags: u32 {
        /// Apply to all threads of the process.
        const TSYNC = 1;
        /// Log all actions but `ALLOW`.
        const LOG = 2;
        /// Leave speculative store bypass alone.
        const SPEC_ALLOW = 4;
        /// Return a descriptor for `USER_NOTIF`.
        const NEW_LISTENER = 8;
        /// With `TSYNC` and `NEW_LISTENER`: fail with `ESRCH`, not with a thread's id.
        const TSYNC_ESRCH = 16;
        /// A notified process waits so that only a fatal signal interrupts it.
        const WAIT_KILLABLE_RECV = 32;
    }
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const SockFilter,
}

/// Installs `filter` for this thread (for all, with `TSYNC`), see seccomp(2). Needs `CAP_SYS_ADMIN`
/// or [`crate::set_no_new_privs`]. With `NEW_LISTENER` returns the listener.
pub fn seccomp_set_filter(
    filter: &[SockFilter],
    flags: SeccompFlags,
) -> Result<Option<OwnedFd>, Error> {
    let text = || format!("seccomp(SET_MODE_FILTER, {flags:?}, {} instructions)", filter.len());
    let len = u16::try_from(filter.len()).map_err(|_| Error::new(text(), Errno::INVAL))?;
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` is a live repr(C) value that points to `len` instructions of `filter`, also
    // alive for the whole call; the kernel copies them and checks that the program ends.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags.bits(),
            &raw const program,
        )
    };
    let ret = check(ret, text)?;
    if flags.contains(SeccompFlags::NEW_LISTENER) {
        // SAFETY: with this flag a result that is not negative is a new descriptor, ours alone.
        Ok(Some(unsafe { OwnedFd::from_raw_fd(ret as i32) }))
    } else if ret != 0 {
        // TSYNC: the id of a thread that has another filter. Nothing was installed.
        Err(Error::new(text(), Errno::SRCH))
    } else {
        Ok(None)
    }
}
