//! Whole frames on a link, see packet(7).

use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::error::{Error, FdName, check};

/// `sendto(2)` of a frame, from its hardware addresses on, to the link of this number; on a packet socket
/// (`AF_PACKET`, `SOCK_RAW`), in the network namespace of which the link is.
pub fn send_frame(socket: BorrowedFd<'_>, index: u32, frame: &[u8]) -> Result<(), Error> {
    // As it stands in the frame: in the order of the network.
    let protocol = match frame.get(12..14) {
        Some([high, low]) => u16::from_ne_bytes([*high, *low]),
        _ => 0,
    };
    let to = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: protocol,
        sll_ifindex: index as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY:
    // - `socket` is borrowed for the whole call, so its number names an open descriptor of ours.
    // - `frame` is live, and its pointer and length belong together; the kernel only reads it.
    // - `to` is a live address of exactly the length that we pass, and the kernel only reads it.
    let ret = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast::<c_void>(),
            frame.len(),
            0,
            ptr::from_ref(&to).cast::<libc::sockaddr>(),
            length,
        )
    };
    check(ret as libc::c_long, || format!("sendto({}, link {index})", FdName(socket)))?;
    Ok(())
}
