//! What an administrator has set for networks.
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::{Error, Subnet};

/// What is set for networks that do not say otherwise, and for the default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Ranges from which networks get theirs that ask for none; for IPv4 Docker's where there is none.
    pub pools: Vec<SplitPool>,
    /// Options of networks that do not have them, by the driver.
    pub options: BTreeMap<String, BTreeMap<String, String>>,
    /// The network that is there without anybody making it.
    pub bridge: DefaultBridge,
    /// Whether containers of networks that are made are reached from elsewhere at their own addresses, too, by
    /// the ports that they publish.
    pub direct: bool,
    /// Whether the machine is made to pass packets on.
    pub forward: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            options: BTreeMap::new(),
            bridge: DefaultBridge::default(),
            direct: false,
            forward: true,
        }
    }
}

/// A range that is given out in parts of `size` bits of prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SplitPool {
    /// All of it.
    pub base: Subnet,
    /// The prefix of a part.
    pub size: u8,
}

impl SplitPool {
    /// Refuses what has no parts.
    pub fn new(base: &str, size: u8) -> Result<Self, Error> {
        let refuse = |reason| Error::Setting { key: "default-address-pools", reason };
        let (address, prefix) = split(base).ok_or_else(|| refuse(format!("{base} is no range")))?;
        let around = Subnet::around(address, prefix);
        let base = around.ok_or_else(|| refuse(format!("{base} is no range")))?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        if !(base.prefix()..=bits).contains(&size) {
            return Err(refuse(format!("{base} has no parts of size {size}")));
        }
        Ok(Self { base, size })
    }
}

/// How the default network is to be. Texts are as the administrator wrote them; empty ones say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DefaultBridge {
    /// `none`, or a bridge that somebody else has made; empty: our own.
    pub name: String,
    /// The bridge's address with its prefix.
    pub address: String,
    /// The same for IPv6.
    pub address6: String,
    /// The part of the range that containers get their addresses from.
    pub range: String,
    /// The same for IPv6.
    pub range6: String,
    /// The containers' way out, if it is not the bridge.
    pub gateway: String,
    /// The same for IPv6.
    pub gateway6: String,
    /// Bytes; 0: as usual.
    pub mtu: u32,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Whether its containers are kept from each other.
    pub isolated: bool,
    /// Whether what goes out keeps its source.
    pub unmasked: bool,
    /// Where ports are published that name no address; empty: everywhere.
    pub binding: String,
}

impl DefaultBridge {
    /// The name by which an administrator wants no default network.
    pub(crate) const NONE: &'static str = "none";
}

impl Defaults {
    /// All that matters of them to the default network, as text; empty where nothing is set.
    pub(crate) fn fingerprint(&self) -> String {
        let Self { pools, bridge, direct, .. } = self;
        let mut text = if *bridge == DefaultBridge::default() && pools.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&(bridge, pools)).unwrap_or_default()
        };
        if *direct {
            text.push_str(" direct");
        }
        text
    }
}

/// An address and a prefix, which need not be the start of a range.
pub(crate) fn split(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?))
}
