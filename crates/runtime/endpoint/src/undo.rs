use netlink::{FilterSocket, Requests, RouteSocket};
use nft::Family;

use crate::{Error, Link, Plan, names, upper};

/// Takes back what outlives the container's network namespace: its table of ports, and its names.
/// Whether any of it is there does not matter. Tries all of it, and returns the first failure.
///
/// The links are left to the kernel, which takes them down with the namespace, a few tens of
/// milliseconds later: deleting one means to wait for that.
pub fn undo(plan: &Plan) -> Result<Undone, Error> {
    let ports = unpublish(plan);
    let names = names::remove(&plan.links);
    ports.and_then(|undone| names.map(|()| undone))
}

/// A container's rules are gone, but the kernel has not freed them yet. Dropping this waits for
/// that, some 10 ms: it is kept until nobody waits for whoever holds it.
#[derive(Debug)]
#[must_use = "to drop it at once is to wait for the kernel"]
pub struct Undone {
    _socket: Option<FilterSocket>,
}

/// Deletes the host's ends of the links, and so the container's; those that have no such end are looked for in all
/// network namespaces. Where the namespace has ended, the kernel does that by itself; this is for when nobody
/// knows whether it has.
pub fn remove_links(plan: &Plan) -> Result<(), Error> {
    let deleted = delete(&plan.links);
    let evicted = upper::evict(&plan.links, None);
    deleted.and(evicted)
}

/// Deletes those of these links that have an end on the host.
pub(crate) fn delete(links: &[Link]) -> Result<(), Error> {
    let mut requests = Requests::new();
    for link in links.iter().filter(|link| link.kind.is_veth()) {
        requests.delete_link(&link.host_name);
    }
    if requests.is_empty() {
        return Ok(());
    }
    let mut socket = RouteSocket::open()?;
    failpoint::hit("endpoint.unlink")?;
    socket.execute(&requests)?;
    failpoint::hit("endpoint.unlinked")?;
    Ok(())
}

pub(crate) fn unpublish(plan: &Plan) -> Result<Undone, Error> {
    if plan.ports.is_empty() && plan.guards.is_empty() && plan.neighbours.is_none() {
        return Ok(Undone { _socket: None });
    }
    let mut batch = nft::Batch::new();
    batch.delete(Family::Ip, &plan.table);
    if plan.guards.iter().any(|guard| guard.address.is_ipv6()) {
        batch.delete(Family::Ip6, &plan.table);
    }
    failpoint::hit("endpoint.unpublish")?;
    let mut socket = FilterSocket::open()?;
    socket.execute(batch)?;
    failpoint::hit("endpoint.unpublished")?;
    Ok(Undone { _socket: Some(socket) })
}
