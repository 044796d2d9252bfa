//! A container whose only way out is somebody else's proxy.
//!
//! The container is in a network namespace with nothing but loopback; its links are in another one, which the
//! supervisor keeps. What a socket reaches is said by the namespace that it was made in, whoever has it: so the
//! listener inside, and sockets for what the proxy asks for in the container's place, are made here, and given away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use shim_protocol::{Outlet, PROXY, Reply};
use sys::{Call, CloneFlags};

use crate::error::{Error, report};
use crate::setup::{new_network_namespace, open_namespace};
use crate::supervisor::Supervisor;

/// So many connections wait until the proxy takes them.
const BACKLOG: i32 = 128;

/// Both sides of the way out.
#[derive(Debug)]
pub(crate) struct Way {
    /// The namespace that has the container's links.
    outside: OwnedFd,
    /// Where the container's programs connect to, until somebody has it.
    listener: Option<OwnedFd>,
}

impl Way {
    /// Makes the links of `plan` in a namespace of their own, and a listener in `inside`.
    pub(crate) fn make(plan: &endpoint::Plan, inside: BorrowedFd<'_>) -> Result<Self, Error> {
        let outside = new_network_namespace()?;
        endpoint::apply(plan, outside.as_fd()).map_err(Error::Network)?;
        endpoint::apply(&endpoint::Plan::default(), inside).map_err(Error::Network)?;
        let listener = Some(within(inside, listen)?);
        Ok(Self { outside, listener })
    }

    fn open(&mut self, wanted: Outlet) -> Result<OwnedFd, Error> {
        match wanted {
            Outlet::Listener => {
                let gone = || Error::Request("somebody has the listener already".into());
                self.listener.take().ok_or_else(gone)
            }
            Outlet::Socket { ipv6 } => {
                let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
                Ok(within(self.outside.as_fd(), || socket(family))?)
            }
        }
    }
}

impl Supervisor {
    /// Gives a socket of the way out to who asks for it.
    pub(crate) fn give_outlet(&mut self, key: u32, wanted: Outlet) {
        let none = || match self.config.proxied {
            // It went with the container's life.
            Some(_) => Error::NotRunning,
            None => Error::Request("the container has no way out that is somebody's".into()),
        };
        let opened = self.way.as_mut().ok_or_else(none).and_then(|way| way.open(wanted));
        match opened {
            Ok(socket) => {
                if let Some(client) = self.clients.get_mut(&key)
                    && let Err(err) = client.reply_with(&Reply::Ok, socket.as_fd())
                {
                    report("give a socket away", &err.into());
                }
                self.close_client(key);
            }
            Err(err) => self.answer(key, Err(err)),
        }
    }
}

/// Does something in a network namespace.
fn within<T>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, sys::Error>,
) -> Result<T, sys::Error> {
    let host = open_namespace("/proc/self/ns/net")?;
    sys::setns(netns, CloneFlags::NEWNET)?;
    let done = work();
    sys::setns(host.as_fd(), CloneFlags::NEWNET)?;
    done
}

fn socket(family: AddressFamily) -> Result<OwnedFd, sys::Error> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::STREAM, flags, None).call(|| "socket(SOCK_STREAM)")
}

fn listen() -> Result<OwnedFd, sys::Error> {
    let socket = socket(AddressFamily::INET)?;
    rustix::net::bind(&socket, &PROXY).call(|| format!("bind({PROXY})"))?;
    rustix::net::listen(&socket, BACKLOG).call(|| "listen()")?;
    Ok(socket)
}
