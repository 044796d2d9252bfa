use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nlmsg::{Malformed, Message, Messages};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto,
    socket_with, sockopt,
};

use crate::Error;

/// The kernel's largest single answer, in bytes: a page of a dump (`netlink_dump`), and an error
/// about a batch of rules, which repeats the message at fault.
const RECEIVE_BYTES: usize = 64 * 1024;

/// What fits into one call without asking for more, in bytes: half of the kernel's default.
const SEND_BYTES: usize = 100 * 1024;

/// A netlink socket of the network namespace that it was opened in, for its whole life.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// `None` is `NETLINK_ROUTE`, the protocol 0.
    pub(crate) fn open(protocol: Option<Protocol>) -> Result<Self, Error> {
        let refused = |errno| Error::refused("open a netlink socket", errno);
        let flags = SocketFlags::CLOEXEC;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
            .map_err(refused)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0)).map_err(refused)?;
        sys::netlink_ext_ack(fd.as_fd())
            .map_err(|err| Error::refused("ask netlink for its words", err.errno()))?;
        Ok(Self { fd, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// The socket itself.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sends what may be many messages; the kernel acts on all of them before this returns.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() > SEND_BYTES {
            // The kernel doubles it, for what it needs besides.
            sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len())?;
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent =
            rustix::io::retry_on_intr(|| sendto(&self.fd, bytes, SendFlags::empty(), &kernel))?;
        if sent == bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
    }

    /// Waits for the kernel's next datagram and returns the messages in it.
    pub(crate) fn receive(&mut self) -> Result<Messages<'_>, Errno> {
        loop {
            if self.fill(RecvFlags::empty())? {
                return Ok(Messages::new(&self.buffer));
            }
        }
    }

    /// Throws away what nobody waits for any more, so that it cannot be taken for the answers to
    /// what is asked next.
    pub(crate) fn drain(&mut self) {
        while self.fill(RecvFlags::DONTWAIT).is_ok() {}
    }

    /// Receives one datagram; false when it is not the kernel's: any process may send to us.
    fn fill(&mut self, flags: RecvFlags) -> Result<bool, Errno> {
        self.buffer.clear();
        let flags = flags | RecvFlags::TRUNC;
        let (_, length, from) = rustix::io::retry_on_intr(|| {
            recvfrom(&self.fd, spare_capacity(&mut self.buffer), flags)
        })?;
        if length > self.buffer.len() {
            return Err(Errno::MSGSIZE);
        }
        let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
        Ok(from.is_some_and(|from| from.pid() == 0))
    }
}

/// What one answer says about the request: nothing yet, or that it was done, or why it was not.
pub(crate) enum Outcome {
    Open,
    Done,
    Failed(Errno, Option<String>),
}

pub(crate) fn outcome(message: &Message<'_>) -> Result<Outcome, Malformed> {
    Ok(match nlmsg::acknowledgement(message)? {
        None => Outcome::Open,
        Some(ack) if ack.errno == 0 => Outcome::Done,
        Some(ack) => {
            Outcome::Failed(Errno::from_raw_os_error(ack.errno), ack.text.map(str::to_owned))
        }
    })
}
