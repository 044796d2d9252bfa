use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;

use netlink::{FilterSocket, Requests, RouteSocket, Veth};
use rustix::fs::PROC_SUPER_MAGIC;
use rustix::io::Errno;

use crate::{Error, Link, Plan, names, parameters, ports, upper};

/// How often a link that is in the way is deleted before giving up.
const ATTEMPTS: u32 = 3;

/// Makes all of `plan` in the container's network namespace `netns`: links, addresses, routes, the
/// files of names, and last the published ports, which then lead somewhere.
///
/// The calling thread visits `netns` to open a socket there; the rest is done from outside. After
/// an error some of it may be there: [`crate::undo`] takes that away, and the end of `netns` the
/// rest.
pub fn apply(plan: &Plan, netns: BorrowedFd<'_>) -> Result<(), Error> {
    if plan.shared {
        return Ok(());
    }
    let ipv6 = plan.links.iter().any(Link::has_ipv6);
    let (mut inside, off) = netlink::inside(netns, || -> Result<_, Error> {
        restrict_ipv6(ipv6, !plan.links.is_empty())?;
        Ok((RouteSocket::open()?, ipv6 && is_ipv6_off()))
    })??;
    let tables = ports::tables(plan);
    // Before anybody could reach an address that is routed.
    let guarded = !plan.guards.is_empty();
    if guarded {
        put(&tables)?;
    }
    connect_all(&plan.links, netns)?;
    parameters::set(&plan.links, netns)?;
    failpoint::hit("endpoint.address")?;
    if off {
        let links: Vec<Link> = plan.links.iter().map(Link::without_ipv6).collect();
        configure(&mut inside, netns, &links, false)?;
    } else {
        configure(&mut inside, netns, &plan.links, ipv6)?;
    }
    failpoint::hit("endpoint.addressed")?;
    names::write(&plan.links)?;
    if !guarded && !tables.is_empty() {
        put(&tables)?;
    }
    Ok(())
}

fn put(tables: &[nft::Table]) -> Result<(), Error> {
    failpoint::hit("endpoint.publish")?;
    FilterSocket::open()?.put(tables)?;
    failpoint::hit("endpoint.published")?;
    Ok(())
}

/// Makes all links, with both ends of each that has two.
pub(crate) fn connect_all(links: &[Link], netns: BorrowedFd<'_>) -> Result<(), Error> {
    if links.is_empty() {
        return Ok(());
    }
    failpoint::hit("endpoint.link")?;
    let mut outside = RouteSocket::open()?;
    for link in links {
        match link.kind.sharing() {
            None => connect(&mut outside, link, netns)?,
            Some(sharing) => upper::add(&mut outside, link, sharing, netns)?,
        }
    }
    failpoint::hit("endpoint.linked")?;
    Ok(())
}

/// Makes both ends of one veth pair.
///
/// A container that starts again within the 40 ms that the kernel takes to clear away its last
/// network namespace finds its old link in the way; so does one whose last namespace is still used
/// by another container. Its name is of this container alone, so it can go.
fn connect(outside: &mut RouteSocket, link: &Link, netns: BorrowedFd<'_>) -> Result<(), Error> {
    let bridge = outside
        .glance(&link.bridge)?
        .ok_or_else(|| Error::NoBridge { name: link.bridge.clone() })?;
    let mut requests = Requests::new();
    requests.add_veth(&Veth {
        name: &link.host_name,
        bridge: bridge.index,
        peer_netns: netns,
        peer_name: &link.container_name,
        peer_mac: link.mac,
        mtu: link.mtu,
    });
    // The host's end is a port and no more: it has no business with an address of its own.
    requests.no_link_local(&link.host_name);
    if link.isolated {
        requests.isolate_port(&link.host_name);
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        match outside.execute(&requests) {
            Err(err) if err.errno() == Some(Errno::EXIST) && attempts < ATTEMPTS => {
                let mut removal = Requests::new();
                removal.delete_link(&link.host_name);
                outside.execute(&removal)?;
            }
            // The host's end has been out of the way: it is the container's.
            Err(err) if err.errno() == Some(Errno::EXIST) => {
                let (host_name, name) = (link.host_name.clone(), link.container_name.clone());
                return Err(Error::NameTaken { host_name, name });
            }
            result => return Ok(result?),
        }
    }
}

/// Gives the container's ends their addresses and routes, and sets all up, loopback first.
/// The socket is one of their namespace, `netns`.
pub(crate) fn configure(
    inside: &mut RouteSocket,
    netns: BorrowedFd<'_>,
    links: &[Link],
    ipv6: bool,
) -> Result<(), Error> {
    upper::raise(inside, netns, links, ipv6)?;
    let mut requests = Requests::new();
    requests.set_loopback_up();
    for link in links {
        let index = index(inside, link)?;
        if link.kind.is_veth() {
            address(&mut requests, index, link, ipv6);
            requests.set_up(index, &link.container_name);
        }
        for gateway in [link.gateway, link.gateway6].into_iter().flatten() {
            requests.add_default_route(index, gateway);
        }
    }
    Ok(inside.execute(&requests)?)
}

/// Gives a link its addresses, and none of the kernel's own making where it has no IPv6.
pub(crate) fn address(requests: &mut Requests, index: u32, link: &Link, ipv6: bool) {
    let name = link.container_name.as_str();
    if ipv6 && !link.has_ipv6() {
        requests.no_link_local(name);
    }
    for (address, prefix) in &link.addresses {
        requests.add_address(index, name, *address, *prefix);
    }
}

/// The number of the container's end of a link.
pub(crate) fn index(inside: &mut RouteSocket, link: &Link) -> Result<u32, Error> {
    let name = link.container_name.as_str();
    Ok(inside.glance(name)?.ok_or_else(|| Error::LinkGone { name: name.into() })?.index)
}

/// Keeps IPv6 away from interfaces that were given no such address: with one of its own making, a
/// container would be reachable past the rules for IPv4 (CVE-2024-32473). Where there is IPv6, no
/// neighbour may announce itself as a router (CVE-2020-13401).
///
/// Acts on the network namespace of the calling thread, and on interfaces made after it.
fn restrict_ipv6(ipv6: bool, links: bool) -> Result<(), Error> {
    match (links, ipv6) {
        (false, _) => Ok(()),
        (true, false) => set("/proc/sys/net/ipv6/conf/default/disable_ipv6", b"1"),
        (true, true) => set("/proc/sys/net/ipv6/conf/default/accept_ra", b"0"),
    }
}

/// Whether the container's own parameters have switched IPv6 off for interfaces to come: then the kernel
/// takes no such address. Where that cannot be read, the kernel says it by itself.
pub(crate) fn is_ipv6_off() -> bool {
    std::fs::read("/proc/sys/net/ipv6/conf/default/disable_ipv6")
        .is_ok_and(|value| value.trim_ascii() != b"0")
}

/// The same where other interfaces are there already, which keep what they have.
pub(crate) fn restrict_ipv6_anew(ipv6: bool) -> Result<(), Error> {
    if ipv6 {
        set("/proc/sys/net/ipv6/conf/default/disable_ipv6", b"0")?;
    }
    restrict_ipv6(ipv6, true)
}

/// Writes one setting; a kernel without IPv6 has none.
fn set(path: &'static str, value: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut file = match OpenOptions::new().write(true).open(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        check_procfs(&file)?;
        file.write_all(value)
    };
    write().map_err(|source| Error::Setting { path, source })
}

/// Refuses a file that is not the kernel's.
pub(crate) fn check_procfs(file: &std::fs::File) -> io::Result<()> {
    if rustix::fs::fstatfs(file)?.f_type == PROC_SUPER_MAGIC {
        return Ok(());
    }
    Err(io::Error::other("it is not on a procfs"))
}
