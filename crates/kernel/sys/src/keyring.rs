//! Session keyrings.

use std::ffi::CStr;

use crate::error::{Error, check};

/// Joins a new session keyring called `name`, so that the keys of whoever started this process
/// cannot be reached, see keyctl(2). Returns its serial number.
///
/// Where keyrings are not built in, or filtered, this is `ENOSYS` or `EPERM`.
pub fn keyctl_join_session(name: &CStr) -> Result<i32, Error> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_ulong = 1;
    // SAFETY: `name` is NUL-terminated and alive for the whole call; the kernel only reads it.
    let ret =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    check(ret, || format!("keyctl(JOIN_SESSION_KEYRING, {name:?})")).map(|serial| serial as i32)
}
