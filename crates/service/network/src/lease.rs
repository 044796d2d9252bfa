//! Which container has which address.
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use metadata::{Lease, Write};
use netlink::RouteSocket;

use crate::{Attachment, Error, Network, Pool, name};

/// A container's addresses in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The network.
    pub network: Network,
    /// One address for each of its pools, or where the driver shares a link for each family; with the length of
    /// the pool's prefix.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Leased {
    /// Whom the container would send to what has no other way by this family: an unspecified address means the
    /// link itself. `None` where no way leads out.
    pub(crate) fn way_out(&self, ipv4: bool) -> Option<IpAddr> {
        let network = &self.network;
        let of_family = |address: &IpAddr| address.is_ipv4() == ipv4;
        let Some(parent) = &network.config.parent else {
            return network.pools().iter().filter_map(Pool::way_out).find(of_family);
        };
        if network.is_shut_in() {
            return None;
        }
        let (own, _) = self.addresses.iter().find(|(address, _)| of_family(address))?;
        if parent.is_routed() {
            let link: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            return link.into_iter().find(of_family);
        }
        network.pools().iter().find(|pool| pool.subnet.contains(*own))?.gateway
    }
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
    if !network.driver().has_links() && attachments > 1 {
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
        if network.idle_pools().iter().any(|pool| pool.subnet.contains(*wanted)) {
            continue;
        }
        if !network.pools().iter().any(|pool| pool.subnet.contains(*wanted)) {
            return Err(Error::OutsideOfNetwork { address: *wanted });
        }
    }
    let mut seeker = Seeker { tx, network: &network, container, left: None };
    let mut addresses = Vec::new();
    if network.driver().shares_link() {
        for ipv4 in [true, false] {
            let is_of_family = |pool: &&Pool| pool.subnet.is_ipv4() == ipv4;
            let pools: Vec<&Pool> = network.pools().iter().filter(is_of_family).collect();
            addresses.extend(seeker.one_of(&pools, &had, &attachment.addresses)?);
        }
    } else {
        for pool in network.pools() {
            addresses.extend(seeker.one_of(&[pool], &had, &attachment.addresses)?);
        }
    }
    Ok(Leased { network, addresses })
}

/// Who looks for a container's addresses in one network.
struct Seeker<'a> {
    tx: &'a Write,
    network: &'a Network,
    container: &'a str,
    /// The links that share one of the host's, by their names: looked for when it first matters.
    left: Option<BTreeSet<String>>,
}

impl Seeker<'_> {
    /// One address of these pools: the one that is wanted, else the one that the container had, else the first that
    /// is free. `None` where there is no pool.
    fn one_of(
        &mut self,
        pools: &[&Pool],
        had: &[Lease],
        wanted: &[IpAddr],
    ) -> Result<Option<(IpAddr, u8)>, Error> {
        let with = |pool: &Pool, address: IpAddr| Some((address, pool.subnet.prefix()));
        for pool in pools {
            if let Some(wanted) = wanted.iter().find(|one| pool.subnet.contains(**one)) {
                let taken = take(self.tx, &self.network.id, pool, *wanted, self.container)?;
                return Ok(with(pool, taken));
            }
        }
        for pool in pools {
            let mut mine = had.iter().map(|lease| lease.address);
            if let Some(mine) = mine.find(|one| may_keep(pool, *one)) {
                return Ok(with(pool, mine));
            }
        }
        for pool in pools {
            if let Some(free) = self.next(pool)? {
                return Ok(with(pool, free));
            }
        }
        if pools.is_empty() {
            return Ok(None);
        }
        let (name, id) = (self.network.name.clone(), self.network.id.clone());
        Err(Error::Exhausted { name, id })
    }

    /// The lowest free address, as Docker gives it.
    fn next(&mut self, pool: &Pool) -> Result<Option<IpAddr>, Error> {
        let range = pool.range.unwrap_or(pool.subnet);
        let known = self.tx.leases(&self.network.id)?;
        let known: HashMap<IpAddr, &Lease> = known.iter().map(|one| (one.address, one)).collect();
        for address in (0..range.size()).filter_map(|step| range.nth(step)) {
            if !pool.subnet.is_host(address) || is_reserved(pool, address) {
                continue;
            }
            let lease = known.get(&address);
            if !lease.is_none_or(|lease| lease.container == self.container || self.is_free(lease)) {
                continue;
            }
            self.tx.lease_address(&self.network.id, address, self.container)?;
            return Ok(Some(address));
        }
        Ok(None)
    }

    /// Whether nobody can use the address any more: it was released, and the link that had it is gone. The kernel
    /// takes a link down some 40 ms after its namespace, and one outlives its container where another one shares
    /// its network namespace.
    fn is_free(&mut self, lease: &Lease) -> bool {
        if lease.released.is_none() {
            return false;
        }
        let name = name::veth(&lease.container, &lease.network);
        // Where nothing can be known, the address is left alone.
        if !self.network.driver().shares_link() {
            let is_there = RouteSocket::open().and_then(|mut socket| socket.has_link(&name));
            return matches!(is_there, Ok(false));
        }
        // It has no end here. One whose namespace has no process any more is waited for by who gets its address.
        if self.left.is_none() {
            self.left = endpoint::shared_links().ok();
        }
        self.left.as_ref().is_some_and(|left| !left.contains(&name))
    }
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
    // Those of the network itself and of all of its hosts are nobody's.
    if !pool.subnet.is_host(address) || is_reserved(pool, address) {
        return Err(Error::AddressInUse { address, holder: String::new() });
    }
    match tx.lease_address(network_id, address, container) {
        Ok(()) => Ok(address),
        Err(metadata::Error::InUse { holder, .. }) => Err(Error::AddressInUse { address, holder }),
        Err(err) => Err(err.into()),
    }
}

fn is_reserved(pool: &Pool, address: IpAddr) -> bool {
    pool.gateway == Some(address) || pool.reserved.values().any(|one| *one == address)
}
