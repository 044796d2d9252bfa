//! Which container has which port of the host.
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use endpoint::{Protocol, PublishedPort};
use metadata::{Port, Write};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

use crate::Error;

/// Linux's default for `ip_local_port_range`.
const DEFAULT_EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// A port of a container that is to be reached from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRequest {
    /// The container's port.
    pub container: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The host's address; `None` means all, of IPv4 and IPv6.
    pub host_address: Option<IpAddr>,
    /// The host's port: the first free one of these. `None` lets us choose.
    pub host_ports: Option<RangeInclusive<u16>>,
}

/// Why a reservation ended early.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It depends on whether this container runs, which cannot be found out in a transaction.
    Ask(String),
    /// It cannot be made.
    Error(Error),
}

impl<E: Into<Error>> From<E> for Halt {
    fn from(err: E) -> Self {
        Self::Error(err.into())
    }
}

/// Which containers are known to run, or not to.
pub(crate) type Running = BTreeMap<String, bool>;

/// How a container is reached from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    /// Its address that ports of the host's IPv4 addresses lead to.
    pub(crate) ipv4: Option<IpAddr>,
    /// The same for IPv6, where it has no IPv4 address that they could lead to.
    pub(crate) ipv6: Option<IpAddr>,
    /// Whether it is reached by its own addresses, of IPv4 and of IPv6: then no port of the host leads there.
    pub(crate) routed: (bool, bool),
    /// Where ports are published that name no address; an unspecified one of IPv4 means all.
    pub(crate) binding: Option<IpAddr>,
}

impl Reach {
    /// Where a port of this address of the host leads to.
    fn target(&self, host: IpAddr) -> Option<IpAddr> {
        match host {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(_) if self.routed.1 => None,
            IpAddr::V6(_) => self.ipv4.or(self.ipv6),
        }
    }
}

/// Reserves ports for a container, instead of those that it had.
///
/// A port of a container that does not run can be taken from it: it will get another, or an error,
/// when it starts again, as in Docker.
pub(crate) fn reserve(
    tx: &Write,
    container_id: &str,
    reach: &Reach,
    requests: &[PortRequest],
    running: &Running,
) -> Result<Vec<PublishedPort>, Halt> {
    tx.release_ports(container_id)?;
    let mut table = Reservations { tx, container_id, running, own: BTreeSet::new() };
    let mut published = Vec::new();
    for request in requests {
        let mut addresses = host_addresses(request.host_address, reach.binding);
        if request.protocol == Protocol::Sctp {
            check_sctp(&mut addresses)?;
        }
        addresses.retain(|address| reach.target(*address).is_some());
        if addresses.is_empty() {
            continue;
        }
        let port = table.choose(request, &addresses)?;
        let led = addresses.into_iter().filter_map(|host| Some((host, reach.target(host)?)));
        published.extend(led.map(|(host, container)| PublishedPort {
            host: SocketAddr::new(host, port),
            container: SocketAddr::new(container, request.container),
            protocol: request.protocol,
        }));
    }
    Ok(published)
}

/// All addresses on which a port is to be reserved.
fn host_addresses(wanted: Option<IpAddr>, binding: Option<IpAddr>) -> Vec<IpAddr> {
    let everywhere = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    match wanted.or(binding.filter(|address| *address != everywhere)) {
        Some(address) => vec![address],
        None if has_ipv6() => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        None => vec![Ipv4Addr::UNSPECIFIED.into()],
    }
}

/// Leaves those addresses on which SCTP can be published: rules lead it into the container, and those are of IPv4,
/// and not of loopback.
fn check_sctp(addresses: &mut Vec<IpAddr>) -> Result<(), Error> {
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let without =
        [Errno::PROTONOSUPPORT, Errno::SOCKTNOSUPPORT, Errno::AFNOSUPPORT, Errno::OPNOTSUPP];
    if try_out(any, Protocol::Sctp).is_err_and(|errno| without.contains(&errno)) {
        return Err(Error::Sctp("this kernel has no SCTP"));
    }
    addresses.retain(|address| address.is_ipv4() && !address.is_loopback());
    if addresses.is_empty() {
        return Err(Error::Sctp("only IPv4 addresses that are not loopback lead into a container"));
    }
    Ok(())
}

/// Whether somebody could listen on an IPv6 address at all.
fn has_ipv6() -> bool {
    is_free(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0), Protocol::Tcp)
}

struct Reservations<'a> {
    tx: &'a Write,
    container_id: &'a str,
    running: &'a Running,
    /// What this container got already: it cannot have a port twice.
    own: BTreeSet<(Protocol, IpAddr, u16)>,
}

impl Reservations<'_> {
    /// Reserves one port on all of `addresses`.
    ///
    /// A port that was asked for is not tried out here: whether the host's own programs have it
    /// shows when the shim listens on it, which it does for all but SCTP.
    fn choose(&mut self, request: &PortRequest, addresses: &[IpAddr]) -> Result<u16, Halt> {
        let protocol = request.protocol;
        let exhausted = |port: Option<u16>| match (port, addresses.first()) {
            (Some(port), Some(address)) => Error::PortAllocated { address: *address, port },
            _ => Error::NoPort,
        };
        match &request.host_ports {
            Some(range) if range.start() == range.end() => {
                let port = *range.start();
                let free = |address: &IpAddr| is_free(SocketAddr::new(*address, port), protocol);
                let is_open = protocol != Protocol::Sctp || addresses.iter().all(free);
                if is_open && self.take(protocol, addresses, port)? {
                    return Ok(port);
                }
                Err(exhausted(Some(port)).into())
            }
            Some(range) => {
                let found = self.first(protocol, addresses, range.clone())?;
                found.ok_or_else(|| exhausted(Some(*range.end())).into())
            }
            None => {
                let range = ephemeral();
                // Not always the lowest: so the search is short however many are taken, and a port
                // that has become free rests.
                let start = start_of_search(self.container_id, &range);
                let all = (start..=*range.end()).chain(*range.start()..start);
                let found = self.first(protocol, addresses, all)?;
                found.ok_or_else(|| exhausted(None).into())
            }
        }
    }

    /// The first of `ports` that neither a container nor a program of the host has.
    fn first(
        &mut self,
        protocol: Protocol,
        addresses: &[IpAddr],
        ports: impl Iterator<Item = u16>,
    ) -> Result<Option<u16>, Halt> {
        for port in ports {
            let free = |address: &IpAddr| is_free(SocketAddr::new(*address, port), protocol);
            if addresses.iter().all(free) && self.take(protocol, addresses, port)? {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }

    /// Reserves a port; false where another container, or this one, has it.
    fn take(&mut self, protocol: Protocol, addresses: &[IpAddr], port: u16) -> Result<bool, Halt> {
        let clashes = |old: IpAddr| addresses.iter().any(|new| overlap(old, *new));
        let mut own = self.own.iter();
        if own.any(|(p, old, n)| *p == protocol && *n == port && clashes(*old)) {
            return Ok(false);
        }
        let mut holders = self.tx.ports(name(protocol), port)?;
        holders.retain(|old| clashes(old.address) && old.container != self.container_id);
        for old in &holders {
            match self.running.get(&old.container) {
                Some(true) => return Ok(false),
                Some(false) => {}
                None => return Err(Halt::Ask(old.container.clone())),
            }
        }
        for old in holders {
            self.tx.release_ports(&old.container)?;
        }
        for address in addresses {
            self.tx.reserve_port(&Port {
                protocol: name(protocol).to_owned(),
                address: *address,
                port,
                container: self.container_id.to_owned(),
            })?;
            self.own.insert((protocol, *address, port));
        }
        Ok(true)
    }
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// Whether two listeners on the same port would be in each other's way.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

/// Whether nobody listens there: tries it out, and lets go.
fn is_free(address: SocketAddr, protocol: Protocol) -> bool {
    try_out(address, protocol).is_ok()
}

fn try_out(address: SocketAddr, protocol: Protocol) -> Result<(), Errno> {
    let (kind, of) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Udp => (SocketType::DGRAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
    };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, of)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections that ended lately are no listeners.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)
}

/// The ports that the kernel gives to those that ask for none.
fn ephemeral() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    text.ok().and_then(|text| parse_range(&text)).unwrap_or(DEFAULT_EPHEMERAL)
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_ascii_whitespace().map(str::parse);
    let (first, last) = (words.next()?.ok()?, words.next()?.ok()?);
    (0 < first && first <= last).then_some(first..=last)
}

/// Somewhere in `range`, by the container's id, which is random.
fn start_of_search(container_id: &str, range: &RangeInclusive<u16>) -> u16 {
    let digits = container_id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let length = u32::from(range.end() - range.start()) + 1;
    let offset = digits.unwrap_or_default() % length;
    range.start() + u16::try_from(offset).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32_768..=60_999));
        for bad in ["", "1", "0 5", "9 5", "1 70000", "a b"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_search_starts_inside_the_range() {
        for (id, range, want) in [
            ("00000000ff", 100..=109, 100),
            ("0000000bff", 100..=109, 101),
            ("ffffffff", 65_535..=65_535, 65_535),
            ("ffffffff", 1..=65_535, 1),
            ("short", 100..=109, 100),
        ] {
            assert_eq!(start_of_search(id, &range), want, "{id} {range:?}");
        }
    }

    #[test]
    fn listeners_overlap_within_a_family() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (a, b, want) in [
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "::", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("::", "::1", true),
        ] {
            assert_eq!(overlap(ip(a), ip(b)), want);
            assert_eq!(overlap(ip(b), ip(a)), want);
        }
    }
}
