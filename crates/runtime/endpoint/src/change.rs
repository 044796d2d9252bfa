//! From one plan to another, while the container runs.
use std::os::fd::BorrowedFd;

use netlink::{FilterSocket, Requests, RouteSocket};

use crate::{Error, Link, Plan, apply, names, parameters, ports, undo, upper};

/// Makes a network namespace that is as `old` says be as `new` says: links that are gone go, those that
/// are new come, the default route and the published ports follow. Links that stay are not touched.
///
/// After an error some of it may be there. The same, with the plans the other way round, takes that
/// back: what is in the way of it is replaced, and what is gone already is not missed.
pub fn change(old: &Plan, new: &Plan, netns: BorrowedFd<'_>) -> Result<(), Error> {
    if old.shared || new.shared {
        return Ok(());
    }
    let stays = |link: &&Link, plan: &Plan| plan.links.iter().any(|other| is_same(link, other));
    let (kept, come): (Vec<_>, Vec<_>) = new.links.iter().partition(|link| stays(link, old));
    let gone: Vec<Link> = old.links.iter().filter(|link| !stays(link, new)).cloned().collect();
    names::remove(&gone)?;
    undo::delete(&gone)?;
    let ipv6 = new.links.iter().any(Link::has_ipv6);
    let mut inside = netlink::inside(netns, || -> Result<RouteSocket, Error> {
        if !come.is_empty() {
            apply::restrict_ipv6_anew(ipv6)?;
        }
        Ok(RouteSocket::open()?)
    })??;
    upper::delete(&mut inside, &gone)?;
    leave_routes(&mut inside, &old.links, &kept)?;
    let come: Vec<Link> = come.into_iter().cloned().collect();
    apply::connect_all(&come, netns)?;
    parameters::set(&come, netns)?;
    failpoint::hit("endpoint.address")?;
    apply::configure(&mut inside, netns, &come, ipv6)?;
    take_routes(&mut inside, &old.links, &kept)?;
    failpoint::hit("endpoint.addressed")?;
    names::write(&new.links)?;
    publish(old, new)
}

/// Whether two plans mean the same link by these, be its default route or its names another's.
fn is_same(one: &Link, other: &Link) -> bool {
    let wires = |link: &Link| Link { gateway: None, gateway6: None, name: None, ..link.clone() };
    wires(one) == wires(other)
}

/// The gateways of a link in the plan before.
fn before<'a>(old: &'a [Link], link: &Link) -> Option<&'a Link> {
    old.iter().find(|other| other.host_name == link.host_name)
}

/// Deletes the default routes that links have no more.
fn leave_routes(inside: &mut RouteSocket, old: &[Link], kept: &[&Link]) -> Result<(), Error> {
    let mut requests = Requests::new();
    for link in kept {
        let Some(was) = before(old, link) else { continue };
        for (was, is) in [(was.gateway, link.gateway), (was.gateway6, link.gateway6)] {
            if let Some(gateway) = was.filter(|_| was != is) {
                requests.delete_default_route(apply::index(inside, link)?, gateway);
            }
        }
    }
    Ok(inside.execute(&requests)?)
}

/// Adds those that they have not had.
fn take_routes(inside: &mut RouteSocket, old: &[Link], kept: &[&Link]) -> Result<(), Error> {
    let mut requests = Requests::new();
    for link in kept {
        let Some(was) = before(old, link) else { continue };
        for (was, is) in [(was.gateway, link.gateway), (was.gateway6, link.gateway6)] {
            if let Some(gateway) = is.filter(|_| was != is) {
                requests.add_default_route(apply::index(inside, link)?, gateway);
            }
        }
    }
    Ok(inside.execute(&requests)?)
}

/// The table of ports: written whole, or deleted.
fn publish(old: &Plan, new: &Plan) -> Result<(), Error> {
    // A family that needs none any more loses its own.
    let _undone = unused(old, new)?;
    let tables = ports::tables(new);
    if tables.is_empty() {
        return Ok(());
    }
    failpoint::hit("endpoint.publish")?;
    FilterSocket::open()?.put(&tables)?;
    failpoint::hit("endpoint.published")?;
    Ok(())
}

/// Takes away the tables of the old plan where the new one does not put its own in their place.
fn unused(old: &Plan, new: &Plan) -> Result<Option<undo::Undone>, Error> {
    let families = |plan: &Plan| ports::tables(plan).iter().map(|table| table.family).collect();
    let (had, has): (Vec<_>, Vec<_>) = (families(old), families(new));
    if had.iter().all(|family| has.contains(family)) {
        return Ok(None);
    }
    undo::unpublish(old).map(Some)
}
