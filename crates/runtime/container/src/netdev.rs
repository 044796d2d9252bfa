//! Network interfaces of the host that move into the container: config-linux.md, "Network Devices".

use std::os::fd::{AsFd, OwnedFd};

use netlink::{Address, Link, Requests, RouteSocket};
use oci::runtime::NamespaceKind;
use plan::NetDevice;
use rustix::fs::{Mode, OFlags};
use sys::Call;

use crate::error::{Doing, Error, failpoint};

/// Interfaces that were moved. Should the container not be made after all, they go back.
pub(crate) struct Moved {
    host: OwnedFd,
    container: OwnedFd,
    done: Vec<One>,
}

/// One of them.
struct One {
    host_name: String,
    index: u32,
    inside: String,
    addresses: Vec<Address>,
    was_up: bool,
}

fn open(path: &str) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?})"))
        .doing(|| "linux.netDevices")
}

/// The network namespace of the container: the one that its process `pid` is in, or that it joins.
fn namespace(
    join: &[(NamespaceKind, std::path::PathBuf, OwnedFd)],
    pid: i32,
) -> Result<OwnedFd, Error> {
    match join.iter().find(|(kind, ..)| *kind == NamespaceKind::Network) {
        Some((_, path, fd)) => {
            fd.try_clone().call(|| format!("dup({path:?})")).doing(|| "linux.netDevices")
        }
        None => open(&format!("/proc/{pid}/ns/net")),
    }
}

fn named(name: &str) -> impl Fn(netlink::Error) -> Error {
    move |source| Error::NetDevice { name: name.to_owned(), source }
}

impl Moved {
    /// Nothing yet. `join` are the namespaces that the container joins, `pid` its first process.
    pub(crate) fn new(
        join: &[(NamespaceKind, std::path::PathBuf, OwnedFd)],
        pid: i32,
    ) -> Result<Self, Error> {
        let host = open("/proc/thread-self/ns/net")?;
        Ok(Self { host, container: namespace(join, pid)?, done: Vec::new() })
    }

    /// Moves one: its name, its addresses that are meant to stay, and up.
    pub(crate) fn take(&mut self, device: &NetDevice) -> Result<(), Error> {
        let fail = named(&device.host);
        let refused = |why: String| Err(Error::Refused(format!("linux.netDevices: {why}")));
        let mut here = RouteSocket::open().map_err(&fail)?;
        let mut there = RouteSocket::open_in(self.container.as_fd()).map_err(&fail)?;
        let Some(link) = here.link(&device.host).map_err(&fail)? else {
            return refused(format!("`{}` is no interface of this machine", device.host));
        };
        let template = device.inside.contains('%');
        let before = there.links().map_err(&fail)?;
        if !template && before.iter().any(|other| other.name == device.inside) {
            return refused(format!(
                "`{}`: the container has an interface `{}` already",
                device.host, device.inside
            ));
        }
        let addresses: Vec<Address> = here
            .addresses()
            .map_err(&fail)?
            .into_iter()
            .filter(|one| one.index == link.index && one.is_permanent() && one.is_global())
            .collect();
        failpoint("runtime.net-device")?;
        move_link(&mut here, &link, &self.container, &device.inside).map_err(&fail)?;
        let after = there.links().map_err(&fail)?;
        let is_it = |other: &&Link| {
            other.name == device.inside
                || template && before.iter().all(|old| old.index != other.index)
        };
        let Some(inside) = after.iter().find(is_it) else {
            return refused(format!("`{}` did not arrive in the container", device.host));
        };
        self.done.push(One {
            host_name: device.host.clone(),
            index: inside.index,
            inside: inside.name.clone(),
            addresses: addresses.clone(),
            was_up: link.is_up(),
        });
        failpoint("runtime.net-device.moved")?;
        set_up(&mut there, inside.index, &inside.name, &addresses, true).map_err(&fail)
    }

    /// Moves them back, as they were.
    pub(crate) fn give_back(self) -> Result<(), Error> {
        for one in self.done.iter().rev() {
            let fail = named(&one.host_name);
            let mut there = RouteSocket::open_in(self.container.as_fd()).map_err(&fail)?;
            let link = Link { index: one.index, name: one.inside.clone(), ..Link::default() };
            move_link(&mut there, &link, &self.host, &one.host_name).map_err(&fail)?;
            let mut here = RouteSocket::open().map_err(&fail)?;
            if let Some(link) = here.link(&one.host_name).map_err(&fail)? {
                set_up(&mut here, link.index, &link.name, &one.addresses, one.was_up)
                    .map_err(&fail)?;
            }
        }
        Ok(())
    }
}

fn move_link(
    from: &mut RouteSocket,
    link: &Link,
    to: &OwnedFd,
    name: &str,
) -> Result<(), netlink::Error> {
    let mut requests = Requests::new();
    requests.move_link(link.index, &link.name, to.as_fd(), name);
    from.execute(&requests)
}

fn set_up(
    socket: &mut RouteSocket,
    index: u32,
    name: &str,
    addresses: &[Address],
    up: bool,
) -> Result<(), netlink::Error> {
    let mut requests = Requests::new();
    for address in addresses {
        requests.restore_address(index, name, address);
    }
    if up {
        requests.set_up(index, name);
    }
    socket.execute(&requests)
}
