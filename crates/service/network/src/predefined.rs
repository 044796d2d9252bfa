//! The networks that are always there.
use std::collections::BTreeMap;
use std::net::IpAddr;

use metadata::{Db, Read};
use netlink::RouteSocket;

use crate::create::{DEFAULT_MTU, all, random_id};
use crate::defaults::{DefaultBridge, split};
use crate::options::{self, Extras};
use crate::record::Config;
use crate::{
    CreateRequest, DEFAULT, Driver, Error, Network, Networks, PoolRequest, Subnet, name, now, pool,
};

impl Networks {
    /// Makes the records of the networks that are always there, where they are missing: `bridge`,
    /// `host` and `none`. Where an administrator has set something else since, the default one is made
    /// anew, as soon as nobody runs in it.
    pub fn ensure_predefined(&self, db: &Db) -> Result<(), Error> {
        let wanted = self.defaults.fingerprint();
        match default_network(db)? {
            Some(found) if found.config.extras.made_with == wanted => Ok(()),
            Some(found) => self.change_default(db, &found, &wanted),
            None => self.make_predefined(db, &wanted),
        }
    }

    fn make_predefined(&self, db: &Db, made_with: &str) -> Result<(), Error> {
        let (request, foreign) = self.default_request()?;
        let host = pool::used(&[])?;
        db.write(|tx| {
            // Another process may have been faster.
            if present(tx)? {
                return Ok(());
            }
            let bridge = self.compute_default(&request, &all(tx)?, host, (foreign, made_with))?;
            tx.insert_network(&bridge.to_row()?)?;
            for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
                tx.insert_network(&without_bridge(name, driver)?.to_row()?)?;
            }
            Ok(())
        })
    }

    /// Makes the default network as it is set now, under the id that it has.
    fn change_default(&self, db: &Db, old: &Network, made_with: &str) -> Result<(), Error> {
        if self.inside_if_there(|| has_ports(old.bridge()))?.unwrap_or(false) {
            return Ok(());
        }
        self.unmake(db, old)?;
        self.choose_default(db, old, made_with)
    }

    /// Has the default network, of which there is nothing but its record, be as it is set, with a range that is
    /// free now.
    pub(crate) fn choose_default(
        &self,
        db: &Db,
        old: &Network,
        made_with: &str,
    ) -> Result<(), Error> {
        let (request, foreign) = self.default_request()?;
        let mut host = pool::used(&[])?;
        if self.site.is_some() {
            host.extend(self.inside_if_there(|| pool::used(&[]))?.unwrap_or_default());
        }
        db.write(|tx| {
            let mut others = all(tx)?;
            others.retain(|one| one.id != old.id);
            let new = self.compute_default(&request, &others, host, (foreign, made_with))?;
            Network { id: old.id.clone(), created: old.created, ..new }.store(tx)
        })
    }

    fn compute_default(
        &self,
        request: &CreateRequest,
        networks: &[Network],
        host: Vec<Subnet>,
        (foreign, made_with): (bool, &str),
    ) -> Result<Network, Error> {
        let mut network = if self.defaults.bridge.name == DefaultBridge::NONE {
            without_bridge(DEFAULT, Driver::Null)?
        } else {
            self.compute(request, networks, host)?
        };
        network.config.extras.foreign = foreign;
        made_with.clone_into(&mut network.config.extras.made_with);
        Ok(network)
    }

    /// The default network as it is set, and whether its bridge is somebody else's.
    fn default_request(&self) -> Result<(CreateRequest, bool), Error> {
        let set = &self.defaults.bridge;
        let own = name::default_bridge(&self.prefix);
        let foreign = !set.name.is_empty() && set.name != own && set.name != DefaultBridge::NONE;
        let bridge = if foreign { set.name.clone() } else { own };
        let addresses = if foreign { self.inside(|| addresses_of(&bridge))? } else { Vec::new() };
        let mut request = CreateRequest {
            name: DEFAULT.to_owned(),
            ipv6: Some(set.ipv6),
            options: predefined_options(set, &bridge),
            ..CreateRequest::default()
        };
        for (ipv4, bip, address, fixed, range, gateway) in families(set) {
            let there = own_address(&addresses, ipv4, range);
            let there = there.map(|(address, prefix)| format!("{address}/{prefix}"));
            let address =
                if address.is_empty() { there.unwrap_or_default() } else { address.clone() };
            let asked = pool_of((bip, &address), (fixed, range), gateway, ipv4)?;
            if (ipv4 || set.ipv6) && asked != PoolRequest::default() {
                request.pools.push(asked);
            }
        }
        Ok((request, foreign))
    }
}

/// The record of the default network.
pub(crate) fn default_network(db: &Db) -> Result<Option<Network>, Error> {
    db.read(|tx| tx.network_named(DEFAULT)?.map(Network::from_row).transpose())
}

impl DefaultBridge {
    /// Whether its addresses and ranges are some.
    ///
    /// # Errors
    ///
    /// Which setting it is, and why.
    pub fn check(&self) -> Result<(), Error> {
        for (ipv4, bip, address, fixed, range, gateway) in families(self) {
            pool_of((bip, address), (fixed, range), gateway, ipv4)?;
        }
        Ok(())
    }
}

/// What is set for a family: whether it is IPv4; the bridge's address and the part that is given out, each with its
/// key before it; and the way out.
type Family<'s> = (bool, &'static str, &'s String, &'static str, &'s String, &'s String);

fn families(set: &DefaultBridge) -> [Family<'_>; 2] {
    [
        (true, "bip", &set.address, "fixed-cidr", &set.range, &set.gateway),
        (false, "bip6", &set.address6, "fixed-cidr-v6", &set.range6, &set.gateway6),
    ]
}

/// A range of the default network, from the address of its bridge and the part that is given out.
fn pool_of(
    (bip, address): (&'static str, &str),
    (fixed, range): (&'static str, &str),
    gateway: &str,
    ipv4: bool,
) -> Result<PoolRequest, Error> {
    let parse = |key, text: &str| {
        let of_family = split(text).filter(|(address, _)| address.is_ipv4() == ipv4);
        let found = of_family
            .and_then(|(address, prefix)| Some((address, Subnet::around(address, prefix)?)));
        let reason = || format!("invalid CIDR address: {text}");
        found.ok_or_else(|| Error::Setting { key, reason: reason() })
    };
    let mut pool = PoolRequest::default();
    if !range.is_empty() {
        let (_, subnet) = parse(fixed, range)?;
        pool.range = subnet.to_string();
        pool.subnet.clone_from(&pool.range);
    }
    if !address.is_empty() {
        let (own, subnet) = parse(bip, address)?;
        pool.subnet = subnet.to_string();
        // The range itself means its first address.
        if subnet.is_host(own) {
            pool.gateway = own.to_string();
        }
    }
    if !gateway.is_empty() {
        let router = if ipv4 { "DefaultGatewayIPv4" } else { "DefaultGatewayIPv6" };
        pool.reserved.insert(router.to_owned(), gateway.to_owned());
    }
    Ok(pool)
}

/// Which of a bridge's addresses is that of the network: as in Docker, one in the range that is given out, or else one
/// around which that lies, or else the first.
fn own_address(addresses: &[(IpAddr, u8)], ipv4: bool, range: &str) -> Option<(IpAddr, u8)> {
    let around = |one: &(IpAddr, u8)| Subnet::around(one.0, one.1);
    let range = split(range).as_ref().and_then(around);
    let of_family = || addresses.iter().filter(|one| one.0.is_ipv4() == ipv4);
    let is_in_range = |one: &&(IpAddr, u8)| range.is_some_and(|range| range.contains(one.0));
    let is_around = |one: &&(IpAddr, u8)| {
        range.zip(around(one)).is_some_and(|(range, subnet)| subnet.covers(&range))
    };
    let found = of_family().find(is_in_range).or_else(|| of_family().find(is_around));
    found.or_else(|| of_family().next()).copied()
}

/// The addresses of a bridge that somebody else has made.
fn addresses_of(bridge: &str) -> Result<Vec<(IpAddr, u8)>, Error> {
    let mut socket = RouteSocket::open()?;
    let missing = || Error::Setting {
        key: "bridge",
        reason: format!("bridge device with non default name {bridge} must be created manually"),
    };
    let link = socket.link(bridge)?.filter(|link| link.kind == "bridge").ok_or_else(missing)?;
    let all = socket.addresses()?.into_iter().filter(|one| one.index == link.index);
    // Those that the kernel gives it itself are nobody's network.
    let local = |address: &IpAddr| match address {
        IpAddr::V6(v6) => v6.segments()[..4] == [0xfe80, 0, 0, 0],
        IpAddr::V4(_) => false,
    };
    Ok(all.map(|one| (one.address, one.prefix)).filter(|one| !local(&one.0)).collect())
}

/// Whether somebody's interface is on this bridge.
pub(crate) fn has_ports(bridge: &str) -> Result<bool, Error> {
    if bridge.is_empty() {
        return Ok(false);
    }
    let mut socket = RouteSocket::open()?;
    let Some(link) = socket.link(bridge)? else { return Ok(false) };
    Ok(socket.links()?.iter().any(|one| one.master == Some(link.index)))
}

fn present(tx: &Read) -> Result<bool, Error> {
    Ok(tx.network_named("none")?.is_some())
}

fn without_bridge(name: &str, driver: Driver) -> Result<Network, Error> {
    let config = Config {
        driver,
        pools: Vec::new(),
        idle: Vec::new(),
        ipam_options: None,
        bridge: String::new(),
        mtu: DEFAULT_MTU,
        internal: false,
        icc: true,
        masquerade: false,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        attachable: false,
        extras: Extras::default(),
        parent: None,
        template: None,
        configured_by: None,
    };
    Ok(Network { id: random_id()?, name: name.to_owned(), created: now(), config })
}

/// The options that Docker shows on its default network.
fn predefined_options(set: &DefaultBridge, bridge: &str) -> BTreeMap<String, String> {
    let mtu = if set.mtu == 0 { DEFAULT_MTU } else { set.mtu };
    let binding = if set.binding.is_empty() { "0.0.0.0" } else { &set.binding };
    [
        (options::DEFAULT_BRIDGE, "true".to_owned()),
        (options::ICC, (!set.isolated).to_string()),
        (options::MASQUERADE, (!set.unmasked).to_string()),
        (options::HOST_BINDING, binding.to_owned()),
        (options::BRIDGE, bridge.to_owned()),
        (options::MTU, mtu.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_that_counts_which_fits_the_range() {
        let texts = [
            "192.168.160.88/20",
            "192.168.176.88/20",
            "fdd1:8161:2d2c::8888/60",
            "fdd1:8161:2d2c:10::8888/60",
            "fe80:1234::88/56",
        ];
        let addresses = texts.map(|text| split(text).unwrap());
        let own = |ipv4, range: &str| {
            let found = own_address(&addresses, ipv4, range);
            found.map(|(address, prefix)| format!("{address}/{prefix}")).unwrap_or_default()
        };
        for (ipv4, range, want) in [
            (true, "", texts[0]),
            (true, "nonsense", texts[0]),
            (true, "192.168.176.0/24", texts[1]),
            (true, "192.168.177.0/24", texts[1]),
            (true, "10.0.0.0/8", texts[0]),
            (false, "", texts[2]),
            (false, "fdd1:8161:2d2c:10::/64", texts[3]),
            (false, "fdd1:8161:2d2c:11::8888/64", texts[3]),
            (false, "fe80:1234::/64", texts[4]),
        ] {
            assert_eq!(own(ipv4, range), want, "{range}");
        }
        assert_eq!(own_address(&addresses[..1], false, ""), None);
    }
}
