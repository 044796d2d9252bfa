use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Kind;

/// All of a container's networking. The default is a namespace with nothing but loopback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Leave the namespace as it is: it is the host's, or another container's.
    pub shared: bool,
    /// The interfaces, the first of which carries the default route.
    pub links: Vec<Link>,
    /// Ports of the host that lead into the container.
    pub ports: Vec<PublishedPort>,
    /// Its addresses that others reach without translation, by the ports that are open.
    pub guards: Vec<Guard>,
    /// What passes between it and neighbours from whom it is kept apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
    /// The nftables table that holds this container's own rules, of the families `ip` and `ip6`; made
    /// only when there are ports, guards or neighbours, deleted whole when the container ends.
    pub table: String,
    /// The name server inside, at 127.0.0.11.
    pub dns: Option<Dns>,
}

/// An address of a container that is reached without translation: who is elsewhere reaches those ports of it
/// that are open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The bridge that leads to it.
    pub bridge: String,
    /// The links of the host by which it is reached so: what comes by others is the network's business.
    /// None are named where it is by all of them (a network that is routed).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// What it sends bears the host's address, as otherwise: it answers no ping from there, as one does in a
    /// network that is routed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub translated: bool,
    /// The container's address.
    pub address: IpAddr,
    /// The container's ports.
    pub ports: Vec<(Protocol, u16)>,
}

/// What passes between a container and its neighbours on a bridge that keeps them apart: who is linked to it
/// reaches the ports that it exposes (`--link`).
///
/// What it exposes is in its own table, and to whom somebody is linked in that one's, so each goes with its
/// container, and none holds for another one that gets the same address. A packet to a port that is exposed gets
/// the mark of its container, and where it comes from who is linked to that one, then [`Neighbours::PASSES`], with
/// which the bridge's own rules let it through, without a mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// The bridge.
    pub bridge: String,
    /// The container's address, of IPv4.
    pub address: IpAddr,
    /// Its mark ([`Neighbours::mark_of`]).
    pub mark: u32,
    /// The ports that it exposes.
    pub ports: Vec<(Protocol, u16)>,
    /// The marks of those that it is linked to.
    pub linked: Vec<u32>,
}

impl Neighbours {
    /// The mark of a packet that one sends to another one that it is linked to: `dhow`, in ASCII.
    pub const PASSES: u32 = 0x6468_6f77;

    /// The mark of a packet to a port that the container with this id exposes, while it is judged.
    pub fn mark_of(container_id: &str) -> u32 {
        let digits = container_id.get(..8).unwrap_or_default();
        match u32::from_str_radix(digits, 16).unwrap_or_default() {
            // None, and one that means something else.
            0 | Self::PASSES => 1,
            mark => mark,
        }
    }
}

/// An interface of the container, and how it leads out: a veth pair, or a share of a link of the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it is.
    #[serde(default, skip_serializing_if = "Kind::is_veth")]
    pub kind: Kind,
    /// The bridge, or the link that it shares: either exists.
    pub bridge: String,
    /// The end on the host, at most 15 bytes; where there is none, what the interface is known by all the same.
    pub host_name: String,
    /// The end in the container.
    pub container_name: String,
    /// The container's end's hardware address; of an ipvlan it means nothing ([`Link::hardware_address`]).
    pub mac: [u8; 6],
    /// Its addresses, with the length of the prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The default route's gateway; `None` on an internal network and on all links but one. An unspecified
    /// address means the link itself: all are neighbours there.
    pub gateway: Option<IpAddr>,
    /// The same for IPv6.
    #[serde(default)]
    pub gateway6: Option<IpAddr>,
    /// Bytes; one that shares a link has that one's.
    pub mtu: u32,
    /// Whether it is kept from the other isolated ends on its bridge (`enable_icc=false`).
    #[serde(default)]
    pub isolated: bool,
    /// The kernel's parameters of the container's end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// Where, and under which names, others on this network find this container.
    pub name: Option<Name>,
    /// How neighbours are told of its hardware address, where that may be news to them.
    #[serde(default, skip_serializing_if = "Advertise::is_usual")]
    pub advertise: Advertise,
}

/// How neighbours on a link are told which hardware address an address has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertise {
    /// How often; 0: not at all.
    pub times: u8,
    /// Between two, in milliseconds.
    pub period_ms: u16,
}

impl Advertise {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// As Docker has it: one or two may be lost.
impl Default for Advertise {
    fn default() -> Self {
        Self { times: 3, period_ms: 1000 }
    }
}

/// A parameter of an interface: `/proc/sys/net/FAMILY/GROUP/INTERFACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// `ipv4`, `ipv6` or `mpls`.
    pub family: String,
    /// `conf`, `neigh`.
    pub group: String,
    /// `forwarding`.
    pub name: String,
    /// What it is to be.
    pub value: String,
}

/// A file `DIRECTORY/CONTAINER` that maps names to addresses for those on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// `STATE/networks/NETWORK/names`.
    pub directory: PathBuf,
    /// The file: the container's id.
    pub file: String,
    /// Its name, short id and aliases, lower case. Each is one line `NAME ADDRESS` of the file.
    pub names: Vec<String>,
}

/// A port of the host that leads into the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address and port; the unspecified address means all of the host's.
    pub host: SocketAddr,
    /// The container's address and port.
    pub container: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, which is led into the container by rules alone: nobody listens on the host's side.
    Sctp,
}

/// What the name server inside knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Directories of name files, one for each network of the container ([`Name::directory`]).
    pub directories: Vec<PathBuf>,
    /// What this container alone calls others, lower case, and the names that those have there.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Whom it asks for all other names, from the host's network namespace.
    pub upstream: Vec<SocketAddr>,
    /// It asks them from the container's own instead: they may be in there, or behind a tunnel that is.
    #[serde(default)]
    pub inside: bool,
}

impl Link {
    /// The same in a container that has no IPv6.
    pub(crate) fn without_ipv6(&self) -> Self {
        let mut link = self.clone();
        link.addresses.retain(|(address, _)| address.is_ipv4());
        link.gateway6 = None;
        link
    }

    /// Whether the container has an IPv6 address here.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|(address, _)| address.is_ipv6())
    }
}
