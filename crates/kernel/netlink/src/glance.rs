//! What is to be seen of a link without waiting for those who change links.
//!
//! The kernel answers a question over rtnetlink under the lock (`rtnl`) under which it makes and takes down links: who
//! asks for one waits until a network namespace that ends has lost all of its own. The options of a socket and the
//! requests of netdevice(7) that are used here do not take it, but read under RCU (`net/core/dev_ioctl.c` of Linux 4.19
//! and 6.18, `sock_bindtoindex` and its like in `net/core/sock.c`). Where they cannot be had, rtnetlink is asked: for the number before
//! Linux 5.1; without `CAP_NET_RAW` before 5.7, and later where the socket has looked at a link before.

use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;

use crate::{Error, Link, RouteSocket};

/// The longest name of a link, in bytes: `IFNAMSIZ` without the NUL.
const NAME_BYTES: usize = 15;
/// `IFF_UP`.
const UP: u16 = 1;

/// What is to be seen of a network interface at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name. It may have been found by another one of it (`altname`), as by [`RouteSocket::link`].
    pub name: String,
    /// Whether it was set up (`IFF_UP`).
    pub is_up: bool,
}

impl From<Link> for Glance {
    fn from(link: Link) -> Self {
        Self { index: link.index, is_up: link.is_up(), name: link.name }
    }
}

impl RouteSocket {
    /// The link of this name, or `None`, as it is at some moment of the call: in the next one another process may have
    /// changed it. Waits for nobody who does so.
    pub fn glance(&mut self, name: &str) -> Result<Option<Glance>, Error> {
        if let Ok(seen) = self.look(name) {
            return Ok(seen);
        }
        Ok(self.link(name)?.map(Glance::from))
    }

    /// Whether there is a link of this name, likewise.
    pub fn has_link(&mut self, name: &str) -> Result<bool, Error> {
        if let Ok(is_there) = self.tie(name) {
            return Ok(is_there);
        }
        Ok(self.link(name)?.is_some())
    }

    fn look(&self, name: &str) -> Result<Option<Glance>, Errno> {
        if !self.tie(name)? {
            return Ok(None);
        }
        let socket = self.socket.fd();
        let index = sys::bound_device(socket).map_err(|err| err.errno())?;
        let Some(name) = unless_gone(index_to_name(socket, index))? else { return Ok(None) };
        // By the link's own name, and only if it is there: for one that is not the kernel would load a module.
        let flags = sys::device_flags(socket, &name).map_err(|err| err.errno());
        Ok(unless_gone(flags)?.map(|flags| Glance { index, name, is_up: flags & UP != 0 }))
    }

    /// Ties the socket to a link, if there is one of this name; else it stays as it was. It means nothing to netlink.
    fn tie(&self, name: &str) -> Result<bool, Errno> {
        // The empty name would untie it, and of another one the kernel would look at a part.
        if !(1..=NAME_BYTES).contains(&name.len()) || name.contains('\0') {
            return Err(Errno::INVAL);
        }
        let tied = sys::bind_to_device(self.socket.fd(), name).map_err(|err| err.errno());
        Ok(unless_gone(tied)?.is_some())
    }
}

/// `None` where there is no such link (any more).
fn unless_gone<T>(answer: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match answer {
        Err(Errno::NODEV) => Ok(None),
        answer => answer.map(Some),
    }
}
