//! Terminals, and what they share with sockets.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Call, Error, FdName, check};

/// Makes `tty` the controlling terminal of this session, whose leader the caller must be
/// (`setsid` first), see `ioctl_tty(2)`, `TIOCSCTTY`.
pub fn set_controlling_tty(tty: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::process::ioctl_tiocsctty(tty).call(|| format!("ioctl({}, TIOCSCTTY)", FdName(tty)))
}

/// What was sent over a Unix stream socket and the other side has not read yet: 0 when it has read
/// all, else some number of bytes (the kernel counts its own buffers), see `unix(7)`, `SIOCOUTQ`,
/// which is `TIOCOUTQ` of `ioctl_tty(2)`.
pub fn unread_by_peer(socket: BorrowedFd<'_>) -> Result<u32, Error> {
    let mut unread: libc::c_int = 0;
    // SAFETY: the request writes one int through the pointer, which is valid for that; on a
    // descriptor of another kind it writes an int as well, or fails.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    check(ret.into(), || format!("ioctl({}, TIOCOUTQ)", FdName(socket)))?;
    Ok(u32::try_from(unread).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_tells_whether_all_was_read() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(unread_by_peer(ours.as_fd()).unwrap(), 0);
        ours.write_all(b"head").unwrap();
        assert!(unread_by_peer(ours.as_fd()).unwrap() > 0);
        theirs.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(unread_by_peer(ours.as_fd()).unwrap(), 0);
    }
}
