use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use netlink::{Requests, RouteSocket};
use rustix::io::Errno;

use crate::claim::{self, Chosen};
use crate::options::Routing;
use crate::predefined::has_ports;
use crate::{Driver, Error, Network, Networks};

/// How far a network is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    /// No further than it is: without a bridge that is up it is left alone.
    Nothing,
    /// All of it.
    All,
    /// All of it, unless another link has a range that was chosen for it.
    Unless(Chosen),
}

/// What there is of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// All of it.
    Whole,
    /// No bridge that is up ([`Making::Nothing`]).
    Missing,
    /// A bridge that is down, since its range is another's ([`Making::Unless`]). `later`: it was made after the
    /// other one.
    Taken { later: bool },
}

impl Networks {
    /// Makes a network's bridge and rules or its parent, or what is missing of them. Cheap where all is there:
    /// one look at the link, one at the table, whose rules are known to be those that it is to have.
    ///
    /// The bridge is set up last of all, so that one that is up has all the rest.
    pub fn ensure(&self, network: &Network) -> Result<(), Error> {
        self.ensure_as(network, Making::All)?;
        Ok(())
    }

    /// The same, as far as is said.
    pub(crate) fn ensure_as(&self, network: &Network, making: Making) -> Result<Ensured, Error> {
        match (&network.config.parent, network.driver()) {
            (Some(parent), _) => self.inside(|| Self::ensure_parent(network, parent))?,
            (None, Driver::Bridge) => return self.inside(|| self.ensure_here(network, making)),
            (None, _) => {}
        }
        Ok(Ensured::Whole)
    }

    fn ensure_here(&self, network: &Network, making: Making) -> Result<Ensured, Error> {
        let kernel = |source| Error::Kernel { name: network.name.clone(), source };
        let bridge = network.bridge();
        let mut route = RouteSocket::open()?;
        let link = route.glance(bridge).map_err(kernel)?;
        let is_up = link.as_ref().is_some_and(|link| link.is_up);
        if !is_up && making == Making::Nothing {
            return Ok(Ensured::Missing);
        }
        self.ensure_rules(network)?;
        if self.defaults.forward {
            forward(network)?;
        }
        if is_up {
            answer_for_neighbours(network)?;
            return Ok(Ensured::Whole);
        }
        failpoint::hit("network.bridge")?;
        let chosen = match making {
            // Whoever is on it has addresses of it.
            Making::Unless(chosen) if link.is_none() || !has_ports(bridge)? => Some(chosen),
            _ => None,
        };
        let index = match link {
            Some(link) => link.index,
            None => add_bridge(&mut route, network).map_err(kernel)?,
        };
        // What was there before keeps its ways.
        if !network.config.extras.foreign {
            restrict_ipv6(network)?;
        }
        answer_for_neighbours(network)?;
        let mut requests = addresses(network, index);
        if let Some(chosen) = chosen {
            route.execute(&requests).map_err(kernel)?;
            let rival = claim::rival(&mut route, network, index, chosen).map_err(kernel)?;
            if let Some(rival) = rival {
                return Ok(Ensured::Taken { later: rival < index });
            }
            requests = Requests::new();
        }
        requests.set_up(index, bridge);
        route.execute(&requests).map_err(kernel)?;
        failpoint::hit("network.bridged")?;
        Ok(Ensured::Whole)
    }
}

fn add_bridge(route: &mut RouteSocket, network: &Network) -> Result<u32, netlink::Error> {
    let bridge = network.bridge();
    let mut requests = Requests::new();
    requests.add_bridge(bridge, mac(network), network.mtu());
    match route.execute(&requests) {
        // Another process was faster.
        Err(err) if err.errno() == Some(Errno::EXIST) => {}
        result => result?,
    }
    let gone = || netlink::Error::Refused {
        doing: format!("look up link {bridge}"),
        text: None,
        source: Errno::NODEV,
    };
    Ok(route.glance(bridge)?.ok_or_else(gone)?.index)
}

/// The bridge's own addresses.
fn addresses(network: &Network, index: u32) -> Requests {
    let bridge = network.bridge();
    let mut requests = Requests::new();
    let extras = &network.config.extras;
    let isolated6 = extras.routing6 == Routing::Isolated;
    if !extras.foreign && (!network.has_ipv6() || isolated6) {
        requests.no_link_local(bridge);
    }
    for pool in network.pools() {
        let own = pool.gateway.filter(|gateway| !(gateway.is_ipv4() && extras.inhibit4));
        let own = own.filter(|one| extras.routing(one.is_ipv4()) != Routing::Isolated);
        if let Some(gateway) = own {
            requests.add_address(index, bridge, gateway, pool.subnet.prefix());
        }
    }
    requests
}

fn mac(network: &Network) -> [u8; 6] {
    let mut mac = hardware_address(network.pools().iter().filter_map(|pool| pool.gateway));
    if network.pools().iter().all(|pool| pool.gateway.is_none()) {
        // It has no address, and its containers have those that begin with 02:42.
        mac = hardware_address(network.pools().iter().map(|pool| pool.subnet.address()));
        mac[1] = 0x43;
    }
    mac
}

/// `02:42:` and an IPv4 address, as Docker makes it; without one, the end of an IPv6 address.
pub(crate) fn hardware_address(addresses: impl IntoIterator<Item = IpAddr>) -> [u8; 6] {
    let mut addresses: Vec<IpAddr> = addresses.into_iter().collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    let [a, b, c, d] = match addresses.first() {
        Some(IpAddr::V4(v4)) => v4.octets(),
        Some(IpAddr::V6(v6)) => {
            let [.., a, b, c, d] = v6.octets();
            [a, b, c, d]
        }
        None => [0; 4],
    };
    [0x02, 0x42, a, b, c, d]
}

/// No container may make itself the host's router (CVE-2020-13401), nor reach the host by IPv6
/// where nobody asked for it.
fn restrict_ipv6(network: &Network) -> Result<(), Error> {
    let directory = PathBuf::from("/proc/sys/net/ipv6/conf").join(network.bridge());
    set(directory.join("accept_ra"), "0")?;
    if !network.has_ipv6() {
        set(directory.join("disable_ipv6"), "1")?;
    }
    Ok(())
}

/// Has the bridge answer who looks for a neighbour from whom it is kept apart, at once: so what it sends there comes
/// to the rules, which know who is linked to whom. Without a delay of 0 the kernel takes up to 0.8 s.
fn answer_for_neighbours(network: &Network) -> Result<(), Error> {
    if !network.opens_to_links() {
        return Ok(());
    }
    let directory =
        |group: &str| PathBuf::from("/proc/sys/net/ipv4").join(group).join(network.bridge());
    set(directory("neigh").join("proxy_delay"), "0")?;
    set(directory("conf").join("proxy_arp_pvlan"), "1")
}

/// Lets the host pass packets on from one link to another.
fn forward(network: &Network) -> Result<(), Error> {
    set("/proc/sys/net/ipv4/ip_forward".into(), "1")?;
    if network.has_ipv6() {
        set("/proc/sys/net/ipv6/conf/all/forwarding".into(), "1")?;
    }
    Ok(())
}

/// Writes a setting that differs; a kernel without IPv6 has none of IPv6's.
fn set(path: PathBuf, value: &str) -> Result<(), Error> {
    match std::fs::read_to_string(&path) {
        Ok(now) if now.trim_end() == value => return Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Whatever stands in the way of reading will be said by writing.
        _ => {}
    }
    std::fs::write(&path, value).map_err(|source| Error::File { doing: "write", path, source })
}
