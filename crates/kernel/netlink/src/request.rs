use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nlmsg::{Writer, flag};
use rustix::io::Errno;

use crate::{Address, LOOPBACK_INDEX};

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_GETADDR: u16 = 22;
pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
pub(crate) const RTM_GETROUTE: u16 = 26;

/// The size of `struct ifinfomsg`, in bytes.
pub(crate) const LINK_HEADER_BYTES: usize = 16;
/// The size of `struct ifaddrmsg`, in bytes.
pub(crate) const ADDRESS_HEADER_BYTES: usize = 8;
/// The size of `struct rtmsg`, in bytes.
pub(crate) const ROUTE_HEADER_BYTES: usize = 12;

pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;

/// Attributes of links (`linux/if_link.h`).
pub(crate) mod ifla {
    pub(crate) const ADDRESS: u16 = 1;
    pub(crate) const IFNAME: u16 = 3;
    pub(crate) const MTU: u16 = 4;
    pub(crate) const LINK: u16 = 5;
    pub(crate) const MASTER: u16 = 10;
    pub(crate) const LINKINFO: u16 = 18;
    pub(crate) const IFALIAS: u16 = 20;
    pub(crate) const AF_SPEC: u16 = 26;
    pub(crate) const NET_NS_FD: u16 = 28;
    pub(crate) const EXT_MASK: u16 = 29;
    pub(crate) const NUM_TX_QUEUES: u16 = 31;
    pub(crate) const NUM_RX_QUEUES: u16 = 32;

    /// Inside `LINKINFO`.
    pub(crate) const INFO_KIND: u16 = 1;
    pub(crate) const INFO_DATA: u16 = 2;
    pub(crate) const INFO_SLAVE_KIND: u16 = 4;
    pub(crate) const INFO_SLAVE_DATA: u16 = 5;
    /// Inside `INFO_DATA` of a veth.
    pub(crate) const VETH_INFO_PEER: u16 = 1;
    /// Inside `INFO_SLAVE_DATA` of a bridge's port.
    pub(crate) const BRPORT_ISOLATED: u16 = 33;
    /// Inside `AF_SPEC`, inside `AF_INET6`.
    pub(crate) const INET6_ADDR_GEN_MODE: u16 = 8;
}

/// Attributes of addresses (`linux/if_addr.h`).
pub(crate) mod ifa {
    pub(crate) const ADDRESS: u16 = 1;
    pub(crate) const LOCAL: u16 = 2;
    pub(crate) const BROADCAST: u16 = 4;
    pub(crate) const FLAGS: u16 = 8;
}

/// Attributes of routes (`linux/rtnetlink.h`).
pub(crate) mod rta {
    pub(crate) const DST: u16 = 1;
    pub(crate) const OIF: u16 = 4;
    pub(crate) const GATEWAY: u16 = 5;
}

/// `IFF_UP`.
const UP: u32 = 1;
/// `IFA_F_NODAD`: no one else can have it, so do not spend a second asking.
const NO_DUPLICATE_DETECTION: u8 = 2;
/// Flags of an address that are an administrator's to set, and not what the kernel found out about
/// it: `IFA_F_NODAD`, `HOMEADDRESS`, `MANAGETEMPADDR`, `NOPREFIXROUTE`, `MCAUTOJOIN`.
const SETTABLE_FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;
/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_LINK_LOCAL: u8 = 1;

/// A pair of interfaces, of which one is here, a port of a bridge and up, and the other is in
/// another network namespace and down.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The name of the end here.
    pub name: &'a str,
    /// The bridge's index.
    pub bridge: u32,
    /// The namespace of the other end.
    pub peer_netns: BorrowedFd<'a>,
    /// The name of the other end.
    pub peer_name: &'a str,
    /// The hardware address of the other end.
    pub peer_mac: [u8; 6],
    /// Bytes, of both.
    pub mtu: u32,
}

/// Changes to links, addresses and routes, in their order. All are tried, also after one failed;
/// the first failure is returned.
#[derive(Debug, Default)]
pub struct Requests {
    /// What is to be written, in a closure for each, so that the last can ask for an answer.
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug)]
pub(crate) struct Step {
    /// For errors: what is done to what.
    pub(crate) doing: String,
    /// The error that means that there was nothing to do.
    pub(crate) forgiven: Option<Errno>,
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    /// The family's header and the attributes.
    pub(crate) body: Vec<u8>,
}

impl Requests {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Makes a bridge, down and without address. Fails with EEXIST if the name is taken.
    ///
    /// It keeps `mac`; without one, a bridge takes after its ports, and changes as they come and go.
    pub fn add_bridge(&mut self, name: &str, mac: [u8; 6], mtu: u32) {
        let body = link_body(0, 0, |w| {
            w.attr_str(ifla::IFNAME, name);
            w.attr(ifla::ADDRESS, &mac);
            w.attr_u32(ifla::MTU, mtu);
            w.nest(ifla::LINKINFO, |w| w.attr_str(ifla::INFO_KIND, "bridge"));
        });
        self.step(format!("add bridge {name}"), RTM_NEWLINK, flag::CREATE | flag::EXCL, body);
    }

    /// Makes both ends where they belong, in one go. Fails with EEXIST if a name is taken.
    pub fn add_veth(&mut self, veth: &Veth<'_>) {
        let body = link_body(0, UP, |w| {
            w.attr_str(ifla::IFNAME, veth.name);
            w.attr_u32(ifla::MTU, veth.mtu);
            w.attr_u32(ifla::MASTER, veth.bridge);
            one_queue(w);
            w.nest(ifla::LINKINFO, |w| {
                w.attr_str(ifla::INFO_KIND, "veth");
                w.nest(ifla::INFO_DATA, |w| w.nest(ifla::VETH_INFO_PEER, |w| peer(w, veth)));
            });
        });
        let doing = format!("add veth pair {} and {}", veth.name, veth.peer_name);
        self.step(doing, RTM_NEWLINK, flag::CREATE | flag::EXCL, body);
    }

    /// Keeps the kernel from giving a link an IPv6 address of its own accord. Where there is no
    /// IPv6, there is nothing to do.
    pub fn no_link_local(&mut self, name: &str) {
        let body = link_body(0, 0, |w| {
            w.attr_str(ifla::IFNAME, name);
            w.nest(ifla::AF_SPEC, |w| {
                w.nest(u16::from(AF_INET6), |w| {
                    w.attr(ifla::INET6_ADDR_GEN_MODE, &[NO_LINK_LOCAL]);
                });
            });
        });
        self.step(format!("turn off IPv6 on {name}"), RTM_NEWLINK, 0, body);
        self.forgive(Errno::AFNOSUPPORT);
    }

    /// Keeps a bridge's port from exchanging packets with other such ports.
    pub fn isolate_port(&mut self, name: &str) {
        let body = link_body(0, 0, |w| {
            w.attr_str(ifla::IFNAME, name);
            w.nest(ifla::LINKINFO, |w| {
                w.attr_str(ifla::INFO_SLAVE_KIND, "bridge");
                w.nest(ifla::INFO_SLAVE_DATA, |w| w.attr(ifla::BRPORT_ISOLATED, &[1]));
            });
        });
        self.step(format!("isolate port {name}"), RTM_NEWLINK, 0, body);
    }

    /// Moves a link to the network namespace `netns`, where it is called `name`; with `%d` at its
    /// end the kernel finds a number. It is down there and has no addresses. `now` is for errors.
    pub fn move_link(&mut self, index: u32, now: &str, netns: BorrowedFd<'_>, name: &str) {
        let body = link_body(index, 0, |w| {
            w.attr_u32(ifla::NET_NS_FD, netns.as_raw_fd().cast_unsigned());
            w.attr_str(ifla::IFNAME, name);
        });
        self.step(
            format!("move {now} to another network namespace as {name}"),
            RTM_NEWLINK,
            0,
            body,
        );
    }

    /// Gives a link the address that another has, or had. `name` is for errors.
    pub fn restore_address(&mut self, index: u32, name: &str, address: &Address) {
        let family = if address.address.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut header = vec![family, address.prefix, 0, address.scope];
        header.extend_from_slice(&index.to_ne_bytes());
        let body = body(&header, |w| {
            w.attr(ifa::LOCAL, &octets(address.address));
            w.attr(ifa::ADDRESS, &octets(address.peer.unwrap_or(address.address)));
            if let Some(broadcast) = address.broadcast {
                w.attr(ifa::BROADCAST, &octets(broadcast));
            }
            w.attr_u32(ifa::FLAGS, address.flags & SETTABLE_FLAGS);
        });
        let doing = format!("add address {}/{} to {name}", address.address, address.prefix);
        self.step(doing, RTM_NEWADDR, flag::CREATE | flag::EXCL, body);
        self.forgive(Errno::EXIST);
    }

    /// Sets a link up.
    pub fn set_up(&mut self, index: u32, name: &str) {
        let body = link_body(index, UP, |_| ());
        self.step(format!("set up {name}"), RTM_NEWLINK, 0, body);
    }

    /// Sets the loopback interface up.
    pub fn set_loopback_up(&mut self) {
        self.set_up(LOOPBACK_INDEX, "lo");
    }

    /// Gives a link an address, unless it has it. `name` is for errors.
    pub fn add_address(&mut self, index: u32, name: &str, address: IpAddr, prefix: u8) {
        let (family, flags) = match address {
            IpAddr::V4(_) => (AF_INET, 0),
            IpAddr::V6(_) => (AF_INET6, NO_DUPLICATE_DETECTION),
        };
        let mut header = vec![family, prefix, flags, 0];
        header.extend_from_slice(&index.to_ne_bytes());
        let body = body(&header, |w| {
            w.attr(ifa::LOCAL, &octets(address));
            w.attr(ifa::ADDRESS, &octets(address));
            if let Some(broadcast) = broadcast(address, prefix) {
                w.attr(ifa::BROADCAST, &broadcast);
            }
        });
        let doing = format!("add address {address}/{prefix} to {name}");
        self.step(doing, RTM_NEWADDR, flag::CREATE | flag::EXCL, body);
        self.forgive(Errno::EXIST);
    }

    /// Sends all that has no other way by way of `gateway`; an unspecified address means the link itself, where all
    /// are taken to be neighbours.
    pub fn add_default_route(&mut self, index: u32, gateway: IpAddr) {
        let doing = format!("add default route {}", shown_way(gateway));
        let body = default_route(index, gateway);
        self.step(doing, RTM_NEWROUTE, flag::CREATE | flag::EXCL, body);
    }

    /// Takes back [`Requests::add_default_route`], if the route is there.
    pub fn delete_default_route(&mut self, index: u32, gateway: IpAddr) {
        let doing = format!("delete default route {}", shown_way(gateway));
        self.step(doing, RTM_DELROUTE, 0, default_route(index, gateway));
        self.forgive(Errno::SRCH);
    }

    /// Deletes a link if it is there. For a veth the kernel waits about 20 ms until no packet can
    /// be on its way through it.
    pub fn delete_link(&mut self, name: &str) {
        let body = link_body(0, 0, |w| w.attr_str(ifla::IFNAME, name));
        self.step(format!("delete link {name}"), RTM_DELLINK, 0, body);
        self.forgive(Errno::NODEV);
    }

    pub(crate) fn step(&mut self, doing: String, kind: u16, flags: u16, body: Vec<u8>) {
        self.steps.push(Step { doing, forgiven: None, kind, flags, body });
    }

    fn forgive(&mut self, errno: Errno) {
        if let Some(step) = self.steps.last_mut() {
            step.forgiven = Some(errno);
        }
    }
}

fn default_route(index: u32, gateway: IpAddr) -> Vec<u8> {
    let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
    let scope = if gateway.is_unspecified() { SCOPE_LINK } else { 0 };
    // No prefix, the main table, set by an administrator, unicast.
    let header = [family, 0, 0, 0, 254, 4, scope, 1, 0, 0, 0, 0];
    body(&header, |w| {
        if !gateway.is_unspecified() {
            w.attr(rta::GATEWAY, &octets(gateway));
        }
        w.attr_u32(rta::OIF, index);
    })
}

fn shown_way(gateway: IpAddr) -> String {
    match gateway {
        IpAddr::V4(v4) if v4.is_unspecified() => "of IPv4 by the link".to_owned(),
        IpAddr::V6(v6) if v6.is_unspecified() => "of IPv6 by the link".to_owned(),
        gateway => format!("via {gateway}"),
    }
}

/// A veth uses one queue each way, but unless it is told so the kernel makes one for each CPU, and
/// waits for a grace period of RCU at each end to put the others out of use (`veth_init_queues()`).
fn one_queue(w: &mut Writer) {
    w.attr_u32(ifla::NUM_TX_QUEUES, 1);
    w.attr_u32(ifla::NUM_RX_QUEUES, 1);
}

/// The other end's header and attributes, as inside of `VETH_INFO_PEER`.
fn peer(w: &mut Writer, veth: &Veth<'_>) {
    // A veth cannot be set up before it has both its ends.
    w.raw(&link_header(0, 0));
    w.attr_str(ifla::IFNAME, veth.peer_name);
    w.attr(ifla::ADDRESS, &veth.peer_mac);
    w.attr_u32(ifla::MTU, veth.mtu);
    one_queue(w);
    w.attr_u32(ifla::NET_NS_FD, veth.peer_netns.as_raw_fd().cast_unsigned());
}

/// `struct ifinfomsg`: which link, and which of its flags to set.
pub(crate) fn link_header(index: u32, flags: u32) -> [u8; LINK_HEADER_BYTES] {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

pub(crate) fn link_body(index: u32, flags: u32, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    body(&link_header(index, flags), write)
}

/// A header and attributes. Too long it can only be by names, which are cut to nothing here and
/// refused by the kernel then.
fn body(header: &[u8], write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.raw(header);
    write(&mut writer);
    writer.finish().unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The last address of an IPv4 network that has room for one.
fn broadcast(address: IpAddr, prefix: u8) -> Option<[u8; 4]> {
    let IpAddr::V4(v4) = address else { return None };
    if prefix > 30 {
        return None;
    }
    Some((v4.to_bits() | (u32::MAX >> prefix)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_addresses() {
        let of = |address: &str, prefix| broadcast(address.parse().unwrap(), prefix);
        assert_eq!(of("172.17.0.2", 16), Some([172, 17, 255, 255]));
        assert_eq!(of("10.0.0.1", 30), Some([10, 0, 0, 3]));
        assert_eq!(of("10.0.0.1", 31), None);
        assert_eq!(of("fd00::1", 64), None);
    }
}
