//! Links that are on top of another one, and such as stand for themselves alone.
use std::os::fd::{AsRawFd, BorrowedFd};

use nlmsg::{Writer, flag};

use crate::Requests;
use crate::request::{RTM_NEWLINK, ifla, link_body};

/// Inside `INFO_DATA` of a macvlan, an ipvlan, a VLAN (`linux/if_link.h`).
const MACVLAN_MODE: u16 = 1;
const IPVLAN_MODE: u16 = 1;
const IPVLAN_FLAGS: u16 = 2;
const VLAN_ID: u16 = 1;

/// Who hears whom of the macvlans of one link (`MACVLAN_MODE_*`, `linux/if_link.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Nobody hears another.
    Private,
    /// They hear each other by way of a switch outside that sends back what came from there.
    Vepa,
    /// They hear each other.
    Bridge,
    /// There is one, which has the link with its hardware address for itself.
    Passthru,
}

/// What an ipvlan is to its link (`IPVLAN_MODE_*`, `linux/if_link.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpvlanMode {
    /// A switch's port: neighbours are asked for.
    L2,
    /// A router's: packets are sent by the routes of the link's namespace, and there is no broadcast.
    L3,
    /// The same, and packets also pass the netfilter of the link's namespace.
    L3s,
}

/// Who hears whom of the ipvlans of one link (`IPVLAN_F_*`, `linux/if_link.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpvlanFlag {
    /// They hear each other.
    Bridge,
    /// Nobody hears another.
    Private,
    /// They hear each other by way of a router outside that sends back what came from there.
    Vepa,
}

/// How one link shares another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// With a hardware address of its own.
    Macvlan(MacvlanMode),
    /// With the other's hardware address, told apart by IP addresses.
    Ipvlan(IpvlanMode, IpvlanFlag),
}

impl Sharing {
    /// What the kernel calls such a link: `macvlan`, `ipvlan`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(..) => "ipvlan",
        }
    }

    fn write(self, w: &mut Writer) {
        match self {
            Self::Macvlan(mode) => {
                let mode = match mode {
                    MacvlanMode::Private => 1,
                    MacvlanMode::Vepa => 2,
                    MacvlanMode::Bridge => 4,
                    MacvlanMode::Passthru => 8,
                };
                w.attr_u32(MACVLAN_MODE, mode);
            }
            Self::Ipvlan(mode, flag) => {
                let mode: u16 = match mode {
                    IpvlanMode::L2 => 0,
                    IpvlanMode::L3 => 1,
                    IpvlanMode::L3s => 2,
                };
                let flag: u16 = match flag {
                    IpvlanFlag::Bridge => 0,
                    IpvlanFlag::Private => 1,
                    IpvlanFlag::Vepa => 2,
                };
                w.attr(IPVLAN_MODE, &mode.to_ne_bytes());
                w.attr(IPVLAN_FLAGS, &flag.to_ne_bytes());
            }
        }
    }
}

/// An interface in another network namespace that shares a link of this one. Nothing of it is here.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    /// The link here, by its index.
    pub lower: u32,
    /// The namespace of the interface.
    pub netns: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a str,
    /// Its hardware address; an ipvlan has none of its own.
    pub mac: Option<[u8; 6]>,
    /// How it shares the link.
    pub sharing: Sharing,
}

impl Requests {
    /// Makes it where it belongs, down. Fails with EEXIST if the name is taken there, with EOPNOTSUPP where the
    /// kernel has no such links, and with EBUSY or EINVAL where the link is shared in another way already.
    pub fn add_upper(&mut self, upper: &Upper<'_>) {
        let kind = upper.sharing.kind();
        let body = link_body(0, 0, |w| {
            w.attr_str(ifla::IFNAME, upper.name);
            w.attr_u32(ifla::LINK, upper.lower);
            w.attr_u32(ifla::NET_NS_FD, upper.netns.as_raw_fd().cast_unsigned());
            if let Some(mac) = upper.mac {
                w.attr(ifla::ADDRESS, &mac);
            }
            w.nest(ifla::LINKINFO, |w| {
                w.attr_str(ifla::INFO_KIND, kind);
                w.nest(ifla::INFO_DATA, |w| upper.sharing.write(w));
            });
        });
        let doing = format!("add {kind} {}", upper.name);
        self.step(doing, RTM_NEWLINK, flag::CREATE | flag::EXCL, body);
    }

    /// Makes the subinterface of `lower`, an index, for the packets of one VLAN (IEEE 802.1Q), down. `id` is from
    /// 1 to 4094. Fails with EEXIST if the name is taken, with EOPNOTSUPP where the kernel has no VLANs.
    pub fn add_vlan(&mut self, name: &str, lower: u32, id: u16) {
        let body = link_body(0, 0, |w| {
            w.attr_str(ifla::IFNAME, name);
            w.attr_u32(ifla::LINK, lower);
            w.nest(ifla::LINKINFO, |w| {
                w.attr_str(ifla::INFO_KIND, "vlan");
                w.nest(ifla::INFO_DATA, |w| w.attr(VLAN_ID, &id.to_ne_bytes()));
            });
        });
        self.step(format!("add vlan {name}"), RTM_NEWLINK, flag::CREATE | flag::EXCL, body);
    }

    /// Makes a link behind which there is nothing, down. Fails with EEXIST if the name is taken, with EOPNOTSUPP
    /// where the kernel has none.
    pub fn add_dummy(&mut self, name: &str) {
        let body = link_body(0, 0, |w| {
            w.attr_str(ifla::IFNAME, name);
            w.nest(ifla::LINKINFO, |w| w.attr_str(ifla::INFO_KIND, "dummy"));
        });
        self.step(format!("add dummy {name}"), RTM_NEWLINK, flag::CREATE | flag::EXCL, body);
    }

    /// Asks for a link of a kind that is always on top of another, without saying of which: the kernel makes none,
    /// and answers EOPNOTSUPP where it has no links of that kind, else EINVAL.
    pub(crate) fn probe(&mut self, kind: &str) {
        let body = link_body(0, 0, |w| {
            w.nest(ifla::LINKINFO, |w| w.attr_str(ifla::INFO_KIND, kind));
        });
        self.step(format!("look for {kind}"), RTM_NEWLINK, flag::CREATE | flag::EXCL, body);
    }

    /// Gives a link, which is down or can do it live, a hardware address. `name` is for errors.
    pub fn set_mac(&mut self, index: u32, name: &str, mac: [u8; 6]) {
        let body = link_body(index, 0, |w| w.attr(ifla::ADDRESS, &mac));
        self.step(format!("set hardware address of {name}"), RTM_NEWLINK, 0, body);
    }

    /// Notes on a link whose it is: up to 255 bytes that mean nothing to the kernel. `name` is for errors.
    pub fn set_alias(&mut self, index: u32, name: &str, alias: &str) {
        // Without a NUL: the kernel would keep it.
        let body = link_body(index, 0, |w| w.attr(ifla::IFALIAS, alias.as_bytes()));
        self.step(format!("set alias of {name}"), RTM_NEWLINK, 0, body);
    }
}
