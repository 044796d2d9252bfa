//! Telling the neighbours on a container's links which hardware address its addresses have.
//!
//! Mostly nobody needs to be told: a hardware address follows from the IPv4 address, so whoever has that
//! one later has the same hardware address. It does not where one was asked for, and an IPv6 address may
//! have been with another IPv4 address before: then those who knew the former owner would go on sending
//! to it until their caches are old. On a link that is shared with the host's neighbours, any of those may have had
//! the address, so all is told there; an ipvlan has its parent's hardware address, and tells nothing, as in Docker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use netlink::RouteSocket;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sys::Call as _;

use crate::apply::{index, is_ipv6_off};
use crate::{Advertise, Error, Link, Plan};

/// What neighbours are told, ready to be sent. The network namespace lasts as long as this.
#[derive(Debug)]
pub struct Announcements {
    socket: OwnedFd,
    /// Links, by their numbers, how often something is to be sent there, and what.
    frames: Vec<(u32, u8, Vec<u8>)>,
}

impl Announcements {
    /// How neighbours have to be told; `None`: there is nothing that might be news to them. Of several links the
    /// shortest period counts, and each is told as often as it says.
    #[must_use]
    pub fn wanted(plan: &Plan) -> Option<Advertise> {
        let links = plan.links.iter().filter(|_| !plan.shared);
        let told = links.filter(|link| link.advertise.times > 0 && !frames(link).is_empty());
        told.map(|link| link.advertise).reduce(|one, other| Advertise {
            times: one.times.max(other.times),
            period_ms: one.period_ms.min(other.period_ms),
        })
    }

    /// Readies what is to be told of a plan that was applied to `netns`.
    ///
    /// The calling thread visits `netns` to open sockets there.
    pub fn prepare(plan: &Plan, netns: BorrowedFd<'_>) -> Result<Self, Error> {
        let (mut inside, socket, off) = netlink::inside(netns, || -> Result<_, Error> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // Without a protocol it receives nothing.
            let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
            let socket = rustix::net::socket_with(family, kind, flags, None)
                .call(|| "socket(AF_PACKET, SOCK_RAW)")?;
            Ok((RouteSocket::open()?, socket, is_ipv6_off()))
        })??;
        let mut all = Vec::new();
        for link in &plan.links {
            let told = if off { frames(&link.without_ipv6()) } else { frames(link) };
            if !told.is_empty() {
                let index = index(&mut inside, link)?;
                all.extend(told.into_iter().map(|frame| (index, link.advertise.times, frame)));
            }
        }
        Ok(Self { socket, frames: all })
    }

    /// Tells all of it that is to be told more than `before` times.
    pub fn send(&self, before: u8) -> Result<(), Error> {
        for (index, _, frame) in self.frames.iter().filter(|(_, times, _)| *times > before) {
            sys::send_frame(self.socket.as_fd(), *index, frame)?;
        }
        Ok(())
    }
}

/// What those on a link are to be told.
fn frames(link: &Link) -> Vec<Vec<u8>> {
    let Some(mac) = link.hardware_address() else { return Vec::new() };
    let is_bridged = link.kind.is_veth();
    let frame = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (!is_bridged || mac != [0x02, 0x42, a, b, c, d]).then(|| arp(mac, address))
        }
        IpAddr::V6(address) => Some(advertisement(mac, address)),
    };
    link.addresses.iter().filter_map(|(address, _)| frame(*address)).collect()
}

/// Who asks all for its own address (RFC 826, RFC 5227).
fn arp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend([0xff; 6]);
    frame.extend(mac);
    frame.extend([0x08, 0x06]);
    // Ethernet and IPv4, how long their addresses are, and that it is a question.
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// An advertisement to all nodes that nobody has asked for (RFC 4861), which overrides what they know.
fn advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ICMP: u8 = 58;
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    // The sender's hardware address, in units of eight bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let length = message.len() as u8;
    let ends = [address.octets(), ALL_NODES.octets()].concat();
    let sum = checksum(&[&ends[..], &[0, 0, 0, length, 0, 0, 0, ICMP], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = Vec::with_capacity(86);
    frame.extend([0x33, 0x33, 0, 0, 0, 1]);
    frame.extend(mac);
    frame.extend([0x86, 0xdd]);
    // Only what no router has passed on counts: 255 hops.
    frame.extend([0x60, 0, 0, 0, 0, length, ICMP, 255]);
    frame.extend(ends);
    frame.extend(message);
    frame
}

/// The internet's checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IpvlanFlag, IpvlanMode, Kind, MacvlanMode};

    fn link(mac: [u8; 6], addresses: &[&str]) -> Link {
        Link {
            kind: Kind::Veth,
            bridge: "br".into(),
            host_name: "veth".into(),
            container_name: "eth0".into(),
            mac,
            addresses: addresses.iter().map(|one| (one.parse().unwrap(), 24)).collect(),
            gateway: None,
            gateway6: None,
            mtu: 1500,
            isolated: false,
            parameters: Vec::new(),
            name: None,
            advertise: Advertise::default(),
        }
    }

    #[test]
    fn only_what_may_be_news_is_told() {
        let usual = [0x02, 0x42, 172, 30, 0, 50];
        let own = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
        for (mac, addresses, n_frames) in [
            (usual, &["172.30.0.50"][..], 0),
            (usual, &["172.30.0.50", "fd00::50"], 1),
            (usual, &["172.30.0.51"], 1),
            (own, &["172.30.0.50", "fd00::50"], 2),
            (own, &[], 0),
        ] {
            let link = link(mac, addresses);
            assert_eq!(frames(&link).len(), n_frames, "{link:?}");
            let plan = Plan { links: vec![link], ..Plan::default() };
            assert_eq!(Announcements::wanted(&plan).is_some(), n_frames > 0);
            assert_eq!(Announcements::wanted(&Plan { shared: true, ..plan }), None);
        }
    }

    #[test]
    fn neighbours_of_the_host_are_told_of_hardware_addresses_that_are_ones_own() {
        let usual = [0x02, 0x42, 172, 30, 0, 50];
        let both = link(usual, &["172.30.0.50", "fd00::50"]);
        let macvlan = Link { kind: Kind::Macvlan(MacvlanMode::Bridge), ..both.clone() };
        let ipvlan = Link { kind: Kind::Ipvlan(IpvlanMode::L2, IpvlanFlag::Bridge), ..both };
        assert_eq!((frames(&macvlan).len(), frames(&ipvlan).len()), (2, 0));
    }

    #[test]
    fn it_is_told_as_is_said() {
        let own = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
        let said = |all: &[(u8, u16)]| {
            let link = |&(times, period_ms): &(u8, u16)| {
                let advertise = Advertise { times, period_ms };
                Link { advertise, ..link(own, &["172.30.0.50"]) }
            };
            let plan = Plan { links: all.iter().map(link).collect(), ..Plan::default() };
            Announcements::wanted(&plan).map(|how| (how.times, how.period_ms))
        };
        assert_eq!(said(&[(0, 1000)]), None);
        assert_eq!(said(&[(0, 100), (1, 500)]), Some((1, 500)));
        assert_eq!(said(&[(1, 500), (3, 2000)]), Some((3, 500)));
    }

    #[test]
    fn frames_are_what_the_standards_say() {
        let mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
        let frame = arp(mac, Ipv4Addr::new(172, 30, 0, 50));
        assert_eq!((frame.len(), &frame[..6], &frame[6..12]), (42, &[0xff; 6][..], &mac[..]));
        assert_eq!((&frame[28..32], &frame[38..]), (&[172, 30, 0, 50][..], &[172, 30, 0, 50][..]));

        let frame = advertisement(mac, "fd00:30::50".parse().unwrap());
        assert_eq!((frame.len(), &frame[12..14]), (86, &[0x86, 0xdd][..]));
        assert_eq!((frame[21], frame[54], frame[58]), (255, 136, 0x20));
        assert_eq!(&frame[78..], &[2, 1, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55][..]);
        // With its own checksum in it the sum of a message is nothing.
        let whole = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &frame[54..]].concat();
        assert_eq!(checksum(&whole), 0);
    }
}
