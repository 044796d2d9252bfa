//! Links by their names, on a socket of any family, see netdevice(7) and socket(7).
//!
//! The kernel answers these without the lock (`rtnl`) that it holds as it changes links, and as it answers a question
//! over rtnetlink(7).

use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::error::{Error, check};

/// `setsockopt(SO_BINDTODEVICE)`: ties a socket to the link that has this name, or this alternative name, in its network
/// namespace. `ENODEV` where there is none. The kernel looks at the first 15 bytes; an empty name unties the socket.
///
/// Needs `CAP_NET_RAW` before Linux 5.7, and always for a socket that is tied already.
pub fn bind_to_device(socket: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    let length = libc::socklen_t::try_from(name.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY:
    // - `socket` is borrowed for the whole call, so its number names an open descriptor of ours.
    // - `name` is live, and not shorter than the length that we pass; the kernel only reads it.
    let ret = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast::<c_void>(),
            length,
        )
    };
    check(ret.into(), || format!("setsockopt(SO_BINDTODEVICE, {name:?})"))?;
    Ok(())
}

/// `getsockopt(SO_BINDTOIFINDEX)`: the number of the link that a socket is tied to; 0 is none. Linux 5.1.
pub fn bound_device(socket: BorrowedFd<'_>) -> Result<u32, Error> {
    let mut index: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY:
    // - `socket` is borrowed for the whole call, so its number names an open descriptor of ours.
    // - `index` and `length` are live and ours alone; the kernel writes no more to the first than the second says,
    //   which is its size.
    let ret = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            (&raw mut index).cast::<c_void>(),
            &raw mut length,
        )
    };
    check(ret.into(), || "getsockopt(SO_BINDTOIFINDEX)")?;
    Ok(u32::try_from(index).unwrap_or(0))
}

/// `ioctl(SIOCGIFFLAGS)`: the lower 16 bits of a link's flags (`IFF_*`), in the network namespace of the socket.
/// `ENODEV` where there is none; but before it says so, the kernel looks for a module of that name.
pub fn device_flags(socket: BorrowedFd<'_>, name: &str) -> Result<u16, Error> {
    let text = || format!("ioctl(SIOCGIFFLAGS, {name:?})");
    // SAFETY: it is made of bytes, integers and a pointer that may be null: all zeros are a value of it.
    let mut request = unsafe { MaybeUninit::<libc::ifreq>::zeroed().assume_init() };
    // The last one stays a NUL.
    if name.len() >= request.ifr_name.len() {
        return Err(Error::new(text(), Errno::NAMETOOLONG));
    }
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte as libc::c_char;
    }
    // SAFETY:
    // - `socket` is borrowed for the whole call, so its number names an open descriptor of ours.
    // - `request` is a live value of the struct that the request reads and writes, and ours alone.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) };
    check(ret.into(), text)?;
    // SAFETY: this is the member that the request writes, an integer; before that it was zero.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(flags as u16)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    /// `IFF_LOOPBACK`.
    const LOOPBACK: u16 = 8;

    #[test]
    fn a_link_is_found_by_its_name() {
        // In a network namespace of its own.
        let looks = std::thread::spawn(|| {
            crate::unshare(crate::CloneFlags::NEWNET).unwrap();
            let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
            let socket = socket.as_fd();
            let check_bound = |to: u32| match bound_device(socket) {
                Ok(index) => assert_eq!(index, to),
                // Before Linux 5.1.
                Err(err) => assert_eq!(err.errno(), Errno::NOPROTOOPT),
            };
            check_bound(0);
            let missing = bind_to_device(socket, "none").unwrap_err();
            assert_eq!(missing.errno(), Errno::NODEV);
            assert_eq!(missing.to_string(), "setsockopt(SO_BINDTODEVICE, \"none\")");
            bind_to_device(socket, "lo").unwrap();
            check_bound(1);
            assert_eq!(device_flags(socket, "lo").unwrap(), LOOPBACK);
            let long = device_flags(socket, "sixteen-bytes-it").unwrap_err();
            assert_eq!(long.errno(), Errno::NAMETOOLONG);
            bind_to_device(socket, "").unwrap();
            check_bound(0);
        });
        looks.join().unwrap();
    }
}
