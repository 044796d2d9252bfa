//! Links that share one of the host's: macvlan and ipvlan.
//!
//! They are made in the container's network namespace and have no end on the host, so nothing of them can be left
//! there. What can be left is the namespace: another container may still be in it, or the kernel takes a while to
//! clear it away. Then the old link has the addresses that the new one is to have, and the kernel lets none have
//! them twice. It is known by its alias, which is the name that a veth would have on the host.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use netlink::{MacvlanMode, Requests, RouteSocket, Sharing, Upper};
use rustix::io::Errno;

use crate::{Error, Link, apply};

/// For how long an address that is taken is tried again: the kernel clears namespaces away one after the other,
/// each in some 40 ms.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Makes a link in `netns`, down and without addresses, on top of its parent, which exists.
pub(crate) fn add(
    outside: &mut RouteSocket,
    link: &Link,
    sharing: Sharing,
    netns: BorrowedFd<'_>,
) -> Result<(), Error> {
    let parent =
        outside.link(&link.bridge)?.ok_or_else(|| Error::NoParent { name: link.bridge.clone() })?;
    let mut requests = Requests::new();
    requests.add_upper(&Upper {
        lower: parent.index,
        netns,
        name: &link.container_name,
        mac: link.hardware_address(),
        sharing,
    });
    let driver = sharing.kind();
    let begun = Instant::now();
    let mut is_replaced = false;
    loop {
        match outside.execute(&requests) {
            // What is in the way may be from a change that was not finished.
            Err(err) if err.errno() == Some(Errno::EXIST) => {
                let mut inside = RouteSocket::open_in(netns)?;
                if is_replaced || !delete(&mut inside, std::slice::from_ref(link))? {
                    let (host_name, name) = (link.host_name.clone(), link.container_name.clone());
                    return Err(Error::NameTaken { host_name, name });
                }
                is_replaced = true;
            }
            Err(err) if err.errno() == Some(Errno::OPNOTSUPP) => {
                return Err(Error::NoDriver { driver });
            }
            Err(err) if is_occupied(&err, sharing) && begun.elapsed() < PATIENCE => {
                evict(std::slice::from_ref(link), Some(netns))?;
                std::thread::sleep(PAUSE);
            }
            Err(source) => {
                let (parent, source) = (link.bridge.clone(), Box::new(source));
                return Err(Error::Port { driver, parent, source });
            }
            Ok(()) => break,
        }
    }
    let mut inside = RouteSocket::open_in(netns)?;
    let index = apply::index(&mut inside, link)?;
    let mut requests = Requests::new();
    requests.set_alias(index, &link.container_name, &link.host_name);
    Ok(inside.execute(&requests)?)
}

/// Whether another link is on the parent that lets none come beside it: one that has it for itself, or one of the
/// other kind.
fn is_occupied(err: &netlink::Error, sharing: Sharing) -> bool {
    match err.errno() {
        Some(Errno::BUSY) => true,
        Some(Errno::INVAL) => sharing == Sharing::Macvlan(MacvlanMode::Passthru),
        _ => false,
    }
}

/// Deletes those of these links that share one of the host's, by the container's own namespace. Whether there was
/// one.
pub(crate) fn delete(inside: &mut RouteSocket, links: &[Link]) -> Result<bool, Error> {
    let shared: Vec<(&Link, Sharing)> =
        links.iter().filter_map(|link| Some((link, link.kind.sharing()?))).collect();
    if shared.is_empty() {
        return Ok(false);
    }
    let there = inside.links()?;
    let mut requests = Requests::new();
    for (link, sharing) in shared {
        let is_it = |one: &&netlink::Link| {
            // Who was killed as it made one left it with its name alone.
            let is_unfinished = one.alias.is_empty() && one.name == link.container_name;
            one.kind == sharing.kind() && (one.alias == link.host_name || is_unfinished)
        };
        if let Some(found) = there.iter().find(is_it) {
            requests.delete_link(&found.name);
        }
    }
    if requests.is_empty() {
        return Ok(false);
    }
    failpoint::hit("endpoint.unlink")?;
    inside.execute(&requests)?;
    failpoint::hit("endpoint.unlinked")?;
    Ok(true)
}

/// Gives those that share a link of the host's their addresses and sets them up, once nobody else has them.
/// The socket is one of their namespace, `netns`.
pub(crate) fn raise(
    inside: &mut RouteSocket,
    netns: BorrowedFd<'_>,
    links: &[Link],
    ipv6: bool,
) -> Result<(), Error> {
    for link in links.iter().filter(|link| link.kind.sharing().is_some()) {
        let name = link.container_name.as_str();
        let there = inside.link(name)?.ok_or_else(|| Error::LinkGone { name: name.to_owned() })?;
        let mut requests = Requests::new();
        // One that has its parent for itself has that one's address until it is told.
        if let Some(mac) = link.hardware_address().filter(|mac| there.mac != *mac) {
            requests.set_mac(there.index, name, mac);
        }
        apply::address(&mut requests, there.index, link, ipv6);
        requests.set_up(there.index, name);
        let begun = Instant::now();
        loop {
            match inside.execute(&requests) {
                Err(err) if is_taken(&err) && begun.elapsed() < PATIENCE => {
                    evict(std::slice::from_ref(link), Some(netns))?;
                    std::thread::sleep(PAUSE);
                }
                Err(source) if is_taken(&source) => {
                    let (name, parent) = (link.container_name.clone(), link.bridge.clone());
                    let source = Box::new(source);
                    return Err(Error::AddressTaken { name, parent, source });
                }
                result => break result?,
            }
        }
    }
    Ok(())
}

/// Whether the kernel says that another link on the same parent has the address (EBUSY before Linux 4.20).
fn is_taken(err: &netlink::Error) -> bool {
    matches!(err.errno(), Some(Errno::ADDRINUSE | Errno::BUSY))
}

/// Deletes what is left of these links in network namespaces that others are still in; in `new` they belong.
pub(crate) fn evict(links: &[Link], new: Option<BorrowedFd<'_>>) -> Result<(), Error> {
    if links.iter().all(|link| link.kind.sharing().is_none()) {
        return Ok(());
    }
    for_each_namespace(new, |socket, there| {
        let mut requests = Requests::new();
        for one in there {
            let is_it = |link: &&Link| {
                link.host_name == one.alias
                    && link.kind.sharing().is_some_and(|sharing| sharing.kind() == one.kind)
            };
            if links.iter().any(|link| is_it(&link)) {
                requests.delete_link(&one.name);
            }
        }
        Ok(socket.execute(&requests)?)
    })
}

/// The names ([`Link::host_name`]) of all links that share one of the host's, in whatever network namespace there
/// is a process in. Where one cannot be looked into, nothing is known of it.
pub fn shared_links() -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for_each_namespace(None, |_, there| {
        names.extend(there.iter().map(|one| one.alias.clone()).filter(|alias| !alias.is_empty()));
        Ok(())
    })?;
    Ok(names)
}

/// Visits the network namespaces of all processes but one, with the macvlans and ipvlans in each.
fn for_each_namespace(
    but: Option<BorrowedFd<'_>>,
    mut visit: impl FnMut(&mut RouteSocket, &[netlink::Link]) -> Result<(), Error>,
) -> Result<(), Error> {
    let listing = |source: io::Error| Error::Names { doing: "read", path: "/proc".into(), source };
    let mut seen = BTreeSet::new();
    if let Some(but) = but {
        let status = rustix::fs::fstat(but).map_err(|errno| listing(errno.into()))?;
        seen.insert(status.st_ino);
    }
    for entry in fs::read_dir("/proc").map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        let is_process = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
        if !is_process {
            continue;
        }
        // A process that ends meanwhile, or is not ours to look at, tells nothing.
        let Ok(netns) = File::open(path.join("ns/net")) else { continue };
        let Ok(metadata) = netns.metadata() else { continue };
        if !seen.insert(metadata.ino()) {
            continue;
        }
        let mut socket = match RouteSocket::open_in(netns.as_fd()) {
            Err(err @ netlink::Error::Stranded { .. }) => return Err(err.into()),
            Err(_) => continue,
            Ok(socket) => socket,
        };
        // Who is root in there can have links come and go faster than they are listed, and is to stop nobody else.
        let Ok(mut there) = socket.links() else { continue };
        there.retain(|one| matches!(one.kind.as_str(), "macvlan" | "ipvlan"));
        if !there.is_empty() {
            visit(&mut socket, &there)?;
        }
    }
    Ok(())
}
