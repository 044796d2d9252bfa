//! Options of netlink sockets, see netlink(7).

use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::error::{Error, FdName, check};

/// `setsockopt(NETLINK_EXT_ACK)`: the kernel's errors on this socket come with its own words.
pub fn netlink_ext_ack(socket: BorrowedFd<'_>) -> Result<(), Error> {
    let on: c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY:
    // - `socket` is borrowed for the whole call, so its number names an open descriptor of ours.
    // - `on` is a live integer of exactly the length that we pass, and the kernel only reads it.
    let ret = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_EXT_ACK,
            ptr::from_ref(&on).cast::<c_void>(),
            length,
        )
    };
    check(ret.into(), || format!("setsockopt({}, NETLINK_EXT_ACK)", FdName(socket)))?;
    Ok(())
}
