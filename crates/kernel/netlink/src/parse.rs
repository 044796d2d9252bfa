//! What the kernel's dumps say. Pure: bytes in, values out, nothing believed that is not there.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nlmsg::Message;

use crate::request::{
    ADDRESS_HEADER_BYTES, AF_INET, AF_INET6, LINK_HEADER_BYTES, ROUTE_HEADER_BYTES, RTM_NEWADDR,
    RTM_NEWLINK, RTM_NEWROUTE, ifa, ifla, rta,
};

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth` and so on; empty for a real device.
    pub kind: String,
    /// `IFF_*`, see [`Link::is_up`].
    pub flags: u32,
    /// The bridge that it is a port of, by index.
    pub master: Option<u32>,
    /// The index of what it is tied to, in that one's namespace: for a veth its other end, for a link on top of
    /// another that one.
    pub peer: Option<u32>,
    /// What was noted on it ([`crate::Requests::set_alias`]).
    pub alias: String,
    /// The hardware address.
    pub mac: Vec<u8>,
    /// Bytes.
    pub mtu: u32,
}

impl Link {
    /// Whether it was set up (`IFF_UP`).
    pub fn is_up(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix, in bits.
    pub prefix: u8,
    /// The other end's address, on a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Where all of the network is reached at once.
    pub broadcast: Option<IpAddr>,
    /// `IFA_F_*`, see [`Address::is_permanent`].
    pub flags: u32,
    /// `RT_SCOPE_*`, see [`Address::is_global`].
    pub scope: u8,
}

impl Address {
    /// Whether it was set to stay, and not leased or made up by the kernel (`IFA_F_PERMANENT`).
    pub fn is_permanent(&self) -> bool {
        self.flags & 0x80 != 0
    }

    /// Whether it is good everywhere (`RT_SCOPE_UNIVERSE`).
    pub fn is_global(&self) -> bool {
        self.scope == 0
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to: the first address of it.
    pub destination: IpAddr,
    /// The length of its prefix, in bits; 0 is the default route.
    pub prefix: u8,
    /// The interface by which it leaves.
    pub index: Option<u32>,
    /// By way of whom.
    pub gateway: Option<IpAddr>,
}

/// Reads a link; `None` is a message of another kind, or one that lacks a name.
pub fn parse_link(message: &Message<'_>) -> Option<Link> {
    if message.kind != RTM_NEWLINK {
        return None;
    }
    let header = message.payload.get(..LINK_HEADER_BYTES)?;
    let mut link = Link { index: u32_at(header, 4)?, flags: u32_at(header, 8)?, ..Link::default() };
    for attribute in message.attributes(LINK_HEADER_BYTES) {
        let attribute = attribute.ok()?;
        match attribute.kind {
            ifla::ADDRESS => link.mac = attribute.value.to_vec(),
            ifla::IFNAME => attribute.text()?.clone_into(&mut link.name),
            ifla::MTU => link.mtu = attribute.u32()?,
            // Whoever owns the namespace may write what is no text there.
            ifla::IFALIAS => attribute.text().unwrap_or_default().clone_into(&mut link.alias),
            ifla::LINK => link.peer = attribute.u32(),
            ifla::MASTER => link.master = attribute.u32(),
            ifla::LINKINFO => {
                let kind = attribute.nested().flatten().find(|one| one.kind == ifla::INFO_KIND);
                kind.and_then(|kind| kind.text()).unwrap_or_default().clone_into(&mut link.kind);
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// Reads an address; `None` is a message of another kind.
pub fn parse_address(message: &Message<'_>) -> Option<Address> {
    if message.kind != RTM_NEWADDR {
        return None;
    }
    let header = message.payload.get(..ADDRESS_HEADER_BYTES)?;
    let (family, prefix, index) = (*header.first()?, *header.get(1)?, u32_at(header, 4)?);
    let (mut flags, scope) = (u32::from(*header.get(2)?), *header.get(3)?);
    let (mut address, mut local, mut broadcast) = (None, None, None);
    for attribute in message.attributes(ADDRESS_HEADER_BYTES) {
        let attribute = attribute.ok()?;
        match attribute.kind {
            ifa::ADDRESS => address = ip(family, attribute.value),
            ifa::LOCAL => local = ip(family, attribute.value),
            ifa::BROADCAST => broadcast = ip(family, attribute.value),
            ifa::FLAGS => flags = attribute.u32()?,
            _ => {}
        }
    }
    // On a point-to-point link the one is the other end's, and the other is ours.
    let peer = address.filter(|address| local.is_some_and(|local| local != *address));
    Some(Address { index, address: local.or(address)?, prefix, peer, broadcast, flags, scope })
}

/// Reads a route; `None` is a message of another kind or family.
pub fn parse_route(message: &Message<'_>) -> Option<Route> {
    if message.kind != RTM_NEWROUTE {
        return None;
    }
    let header = message.payload.get(..ROUTE_HEADER_BYTES)?;
    let (family, prefix) = (*header.first()?, *header.get(1)?);
    let mut route = Route {
        destination: match family {
            AF_INET => Ipv4Addr::UNSPECIFIED.into(),
            AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        },
        prefix,
        index: None,
        gateway: None,
    };
    for attribute in message.attributes(ROUTE_HEADER_BYTES) {
        let attribute = attribute.ok()?;
        match attribute.kind {
            rta::DST => route.destination = ip(family, attribute.value)?,
            rta::OIF => route.index = attribute.u32(),
            rta::GATEWAY => route.gateway = ip(family, attribute.value),
            _ => {}
        }
    }
    Some(route)
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        AF_INET6 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_answer_can_make_a_parser_panic(kind in 16_u16..28, payload: Vec<u8>) {
            let message = Message { kind, flags: 0, seq: 0, payload: &payload };
            let _ = (parse_link(&message), parse_address(&message), parse_route(&message));
        }
    }
}
