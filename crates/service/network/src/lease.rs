//! Which container has which address.
use std::collections::HashMap;
use std::net::IpAddr;

use metadata::{Lease, Write};
use netlink::RouteSocket;

use crate::{Attachment, Driver, Error, Network, Pool, name};

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
        if network.is_configuration() {
            return Err(Error::OnlyConfiguration);
        }
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
    network: Network,
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
    let mut addresses = Vec::new();
    for pool in network.pools() {
        let wanted = attachment.addresses.iter().find(|one| pool.subnet.contains(**one));
        let mine = had.iter().map(|lease| lease.address).find(|one| may_keep(pool, *one));
        let address = match (wanted, mine) {
            (Some(wanted), _) => take(tx, &network.id, pool, *wanted, container)?,
            (None, Some(mine)) => mine,
            (None, None) => next(tx, &network, pool, container)?,
        };
        addresses.push((address, pool.subnet.prefix()));
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
    match tx.lease_address(network_id, address, container) {
        Ok(()) => Ok(address),
        Err(metadata::Error::InUse { holder, .. }) => Err(Error::AddressInUse { address, holder }),
        Err(err) => Err(err.into()),
    }
}

/// The lowest free address, as Docker gives it.
fn next(tx: &Write, network: &Network, pool: &Pool, container: &str) -> Result<IpAddr, Error> {
    let range = pool.range.unwrap_or(pool.subnet);
    let known = tx.leases(&network.id)?;
    let known: HashMap<IpAddr, &Lease> = known.iter().map(|one| (one.address, one)).collect();
    for address in (0..range.size()).filter_map(|step| range.nth(step)) {
        if !pool.subnet.is_host(address) || is_reserved(pool, address) {
            continue;
        }
        let lease = known.get(&address);
        if !lease.is_none_or(|lease| lease.container == container || is_free(lease)) {
            continue;
        }
        tx.lease_address(&network.id, address, container)?;
        return Ok(address);
    }
    Err(Error::Exhausted { name: network.name.clone(), id: network.id.clone() })
}

fn is_reserved(pool: &Pool, address: IpAddr) -> bool {
    pool.gateway == Some(address) || pool.reserved.values().any(|one| *one == address)
}

/// Whether nobody can use the address any more: it was released, and the link that had it is gone. The kernel
/// takes a link down some 40 ms after its namespace, and one outlives its container where another one shares
/// its network namespace.
fn is_free(lease: &Lease) -> bool {
    if lease.released.is_none() {
        return false;
    }
    let name = name::veth(&lease.container, &lease.network);
    // Where nothing can be known, the address is left alone.
    let link = RouteSocket::open().and_then(|mut socket| socket.link(&name));
    matches!(link, Ok(None))
}
