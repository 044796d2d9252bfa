//! Session keyrings.

use crate::error::{Error, check};

/// Joins a new, anonymous session keyring, so that the keys of whoever started this process cannot
/// be reached, see keyctl(2). Returns its serial number.
///
/// Where keyrings are not built in, or filtered, this is `ENOSYS` or `EPERM`.
pub fn keyctl_join_session() -> Result<i32, Error> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_ulong = 1;
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: the kernel takes a null pointer for "no name", and reads nothing.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
    check(ret, || "keyctl(JOIN_SESSION_KEYRING)").map(|serial| serial as i32)
}
