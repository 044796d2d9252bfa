//! Which ranges of addresses are free.
use std::net::{IpAddr, Ipv4Addr};

use netlink::RouteSocket;

use crate::{Error, Network, SplitPool, Subnet};

/// Docker's default ranges: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in parts of /20.
fn defaults() -> impl Iterator<Item = Subnet> {
    let large = (17..32).map(|second| (Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..=255).step_by(16).map(|third| (Ipv4Addr::new(192, 168, third, 0), 20));
    large.chain(small).filter_map(|(address, prefix)| Subnet::around(address.into(), prefix))
}

/// The first range that overlaps nothing in `used`: of those that an administrator has set, or else of
/// Docker's.
pub(crate) fn choose(set: &[SplitPool], used: &[Subnet]) -> Option<Subnet> {
    let mut own = set.iter().filter(|pool| pool.base.is_ipv4()).peekable();
    if own.peek().is_some() {
        return own.find_map(|pool| first_free(pool, used));
    }
    defaults().find(|pool| !used.iter().any(|one| one.overlaps(pool)))
}

/// The first range of IPv6 among those that an administrator has set.
pub(crate) fn choose_ipv6(set: &[SplitPool], used: &[Subnet]) -> Option<Subnet> {
    set.iter().filter(|pool| !pool.base.is_ipv4()).find_map(|pool| first_free(pool, used))
}

/// The first part of a pool that overlaps nothing in `used`. What is used is passed over at once, however
/// many parts it has.
fn first_free(pool: &SplitPool, used: &[Subnet]) -> Option<Subnet> {
    let mut at = 0;
    loop {
        let part = Subnet::around(pool.base.nth(at)?, pool.size)?;
        let Some(taken) = used.iter().find(|one| one.overlaps(&part)) else { return Some(part) };
        let wider = if taken.prefix() < part.prefix() { taken } else { &part };
        // The end of what is taken, as seen from the start of the pool; a wider one has all of that.
        let start = pool.base.offset(wider.address())?;
        at = start.checked_add(wider.size())?;
    }
}

/// A /64 of unique local addresses (RFC 4193) that a network's id determines.
pub(crate) fn unique_local(network_id: &str) -> Option<Subnet> {
    let digits = u64::from_str_radix(network_id.get(..14)?, 16).ok()?;
    let address = (0xfd_u128 << 120) | (u128::from(digits) << 64);
    Subnet::around(IpAddr::V6(address.into()), 64)
}

/// All that other networks, and the host's own routes and addresses, occupy.
pub(crate) fn used(networks: &[Network]) -> Result<Vec<Subnet>, Error> {
    let mut socket = RouteSocket::open()?;
    let addresses = socket.addresses()?.into_iter().map(|one| (one.address, one.prefix));
    // The default route covers everything, and a multicast one nothing that we would use.
    let routes = socket.routes()?.into_iter().map(|one| (one.destination, one.prefix));
    let host = addresses.chain(routes).filter(|(_, prefix)| *prefix > 0);
    let host = host.filter_map(|(address, prefix)| Subnet::around(address, prefix));
    let pools = networks.iter().flat_map(Network::pools).map(|pool| pool.subnet);
    Ok(host.chain(pools).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(texts: &[&str]) -> Vec<Subnet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_first_that_overlaps_nothing_is_chosen() {
        for (used, want) in [
            (&[][..], Some("172.17.0.0/16")),
            (&["172.17.3.0/24"], Some("172.18.0.0/16")),
            (&["172.16.0.0/12"], Some("192.168.0.0/20")),
            (&["172.16.0.0/12", "192.168.15.255/32"], Some("192.168.16.0/20")),
            (&["172.16.0.0/12", "192.168.0.0/16"], None),
            (&["fd00::/8", "10.0.0.0/8"], Some("172.17.0.0/16")),
        ] {
            let chosen = choose(&[], &subnets(used)).map(|pool| pool.to_string());
            assert_eq!(chosen.as_deref(), want, "{used:?}");
        }
        assert_eq!(defaults().count(), 31);
    }

    #[test]
    fn what_was_set_is_split_and_chosen_from() {
        let set: Vec<SplitPool> = [("10.7.0.0/16", 24), ("fd00:7::/32", 64), ("10.8.0.0/30", 30)]
            .map(|(base, size)| SplitPool { base: base.parse().unwrap(), size })
            .into();
        for (used, want) in [
            (&[][..], Some("10.7.0.0/24")),
            (&["10.7.0.5/32", "10.7.1.0/25"], Some("10.7.2.0/24")),
            (&["10.7.0.0/17"], Some("10.7.128.0/24")),
            (&["10.0.0.0/13"], Some("10.8.0.0/30")),
            (&["10.0.0.0/8"], None),
        ] {
            let chosen = choose(&set, &subnets(used)).map(|pool| pool.to_string());
            assert_eq!(chosen.as_deref(), want, "{used:?}");
        }
        let ipv6 = |used: &[&str]| choose_ipv6(&set, &subnets(used)).map(|pool| pool.to_string());
        assert_eq!(ipv6(&["fd00:7::/48"]).as_deref(), Some("fd00:7:1::/64"));
        assert_eq!(ipv6(&["fd00::/16"]), None);
        assert_eq!(choose_ipv6(&[], &[]), None);
    }

    #[test]
    fn a_unique_local_range_is_local_and_of_the_network() {
        let pool = unique_local(&"0123456789abcdef".repeat(4)).unwrap();
        assert_eq!(pool.to_string(), "fd01:2345:6789:abcd::/64");
        assert_eq!(unique_local("x"), None);
    }
}
