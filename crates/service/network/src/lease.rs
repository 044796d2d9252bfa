//! Which container has which address.
use std::net::IpAddr;

use metadata::{Lease, Write};
use netlink::RouteSocket;

use crate::{Attachment, Driver, Error, Network, Pool, name, now};

/// How long an address rests when its container is gone, in nanoseconds: the kernel takes a veth
/// pair down some 40 ms after its namespace.
const REST_NANOSECONDS: i64 = 2_000_000_000;

/// A container's addresses in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The network.
    pub network: Network,
    /// One address for each of its pools, with the length of the pool's prefix.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Gives a container its addresses in all networks that it is to join. What it has it keeps,
/// unless it asks for another.
pub(crate) fn lease(
    tx: &Write,
    container: &str,
    attachments: &[Attachment],
) -> Result<Vec<Leased>, Error> {
    let mut leased: Vec<Leased> = Vec::new();
    for attachment in attachments {
        let network = Network::find(tx, &attachment.network)?;
        if leased.iter().any(|one| one.network.id == network.id) {
            return Err(Error::AttachedTwice { name: network.name });
        }
        check(&network, attachment, attachments.len())?;
        leased.push(lease_in(tx, container, network, attachment)?);
    }
    Ok(leased)
}

/// What a network of this kind does not offer.
fn check(network: &Network, attachment: &Attachment, attachments: usize) -> Result<(), Error> {
    if network.driver() != Driver::Bridge && attachments > 1 {
        return Err(Error::Exclusive { name: network.name.clone() });
    }
    if network.is_user_defined() {
        return Ok(());
    }
    if !attachment.addresses.is_empty() {
        return Err(Error::UserDefinedOnly { what: "user specified IP address is" });
    }
    if !attachment.aliases.is_empty() {
        return Err(Error::UserDefinedOnly { what: "network-scoped aliases are" });
    }
    Ok(())
}

fn lease_in(
    tx: &Write,
    container: &str,
    mut network: Network,
    attachment: &Attachment,
) -> Result<Leased, Error> {
    let mut had = tx.leases_of(container)?;
    had.retain(|lease| lease.network == network.id);
    for wanted in &attachment.addresses {
        if network.idle_pools().iter().any(|pool| pool.subnet.is_host(*wanted)) {
            continue;
        }
        if !network.pools().iter().any(|pool| pool.subnet.is_host(*wanted)) {
            return Err(Error::OutsideOfNetwork { address: *wanted });
        }
    }
    let mut pools = network.config.pools.clone();
    let mut addresses = Vec::new();
    for pool in &mut pools {
        let wanted = attachment.addresses.iter().find(|one| pool.subnet.contains(**one));
        let mine = had.iter().map(|lease| lease.address).find(|one| may_keep(pool, *one));
        let address = match (wanted, mine) {
            (Some(wanted), _) => take(tx, &network.id, pool, *wanted, container)?,
            (None, Some(mine)) => mine,
            (None, None) => next(tx, &network, pool, container)?,
        };
        addresses.push((address, pool.subnet.prefix()));
    }
    if pools != network.config.pools {
        network.config.pools = pools;
        network.store(tx)?;
    }
    Ok(Leased { network, addresses })
}

/// Whether an address that a container has had is still one of those that are given out: the default
/// network's range may have been set anew.
fn may_keep(pool: &Pool, address: IpAddr) -> bool {
    pool.range.unwrap_or(pool.subnet).contains(address)
        && pool.subnet.is_host(address)
        && !is_reserved(pool, address)
}

/// The address that was asked for.
fn take(
    tx: &Write,
    network_id: &str,
    pool: &Pool,
    address: IpAddr,
    container: &str,
) -> Result<IpAddr, Error> {
    if is_reserved(pool, address) {
        return Err(Error::AddressInUse { address, holder: String::new() });
    }
    match tx.lease_address(network_id, address, container, now()) {
        Ok(()) => Ok(address),
        Err(metadata::Error::InUse { holder, .. }) => Err(Error::AddressInUse { address, holder }),
        Err(err) => Err(err.into()),
    }
}

/// The first free address behind the one given last: so one that has become free rests as long as
/// there are others.
fn next(tx: &Write, network: &Network, pool: &mut Pool, container: &str) -> Result<IpAddr, Error> {
    let range = pool.range.unwrap_or(pool.subnet);
    let size = range.size();
    let start = pool.last.and_then(|last| range.offset(last)).map_or(0, |last| last + 1);
    for step in 0..size {
        let Some(address) = range.nth((start + step) % size) else { continue };
        if !pool.subnet.is_host(address) || is_reserved(pool, address) {
            continue;
        }
        let lease = tx.lease(&network.id, address)?;
        if !lease.as_ref().is_none_or(|lease| lease.container == container || is_free(lease)) {
            continue;
        }
        tx.lease_address(&network.id, address, container, now())?;
        pool.last = Some(address);
        return Ok(address);
    }
    Err(Error::Exhausted { name: network.name.clone(), id: network.id.clone() })
}

/// Whether an address that was released then may be given out now. One from the future was released
/// before somebody set the clock back.
fn has_rested(released: Option<i64>, now: i64) -> bool {
    released.is_some_and(|released| !(now - REST_NANOSECONDS..=now).contains(&released))
}

fn is_reserved(pool: &Pool, address: IpAddr) -> bool {
    pool.gateway == Some(address) || pool.reserved.values().any(|one| *one == address)
}

/// Whether nobody can use the address any more: it was released a while ago, and the link that had
/// it is gone. A link outlives its container where another one shares its network namespace.
fn is_free(lease: &Lease) -> bool {
    if !has_rested(lease.released, now()) {
        return false;
    }
    let name = name::veth(&lease.container, &lease.network);
    // Where nothing can be known, the address is left alone.
    let link = RouteSocket::open().and_then(|mut socket| socket.link(&name));
    matches!(link, Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_rests_whatever_becomes_of_the_clock() {
        let now = 1_000 * REST_NANOSECONDS;
        for (released, rested) in [
            (None, false),
            (Some(now), false),
            (Some(now - REST_NANOSECONDS), false),
            (Some(now - REST_NANOSECONDS - 1), true),
            // The clock was an hour ahead.
            (Some(now + 3_600_000_000_000), true),
            (Some(0), true),
        ] {
            assert_eq!(has_rested(released, now), rested, "{released:?}");
        }
    }
}
