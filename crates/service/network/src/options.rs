//! The options of a bridge, under the names that Docker's driver has for them.
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use endpoint::Advertise;
use netlink::RouteSocket;
use serde::{Deserialize, Serialize};

use crate::record::Config;
use crate::{Driver, Error, Network, name};

/// The smallest that IPv4 allows, and the largest of its packets, in bytes.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;

pub(crate) const BRIDGE: &str = "com.docker.network.bridge.name";
pub(crate) const ICC: &str = "com.docker.network.bridge.enable_icc";
pub(crate) const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
pub(crate) const MTU: &str = "com.docker.network.driver.mtu";
pub(crate) const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
pub(crate) const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const MODE_4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const MODE_6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const INHIBIT_4: &str = "com.docker.network.bridge.inhibit_ipv4";
const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";
const SOURCE_4: &str = "com.docker.network.host_ipv4";
const SOURCE_6: &str = "com.docker.network.host_ipv6";
const ADVERTISE_PERIOD: &str = "com.docker.network.advertise_addr_ms";
const ADVERTISE_TIMES: &str = "com.docker.network.advertise_addr_nmsgs";
const INTERFACES: &str = "com.docker.network.container_iface_prefix";
/// Whether a network has addresses of a family, where the request itself does not say so.
pub(crate) const ENABLE_4: &str = "com.docker.network.enable_ipv4";
pub(crate) const ENABLE_6: &str = "com.docker.network.enable_ipv6";

/// How containers are reached from elsewhere, and what they are seen as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Routing {
    /// By ports of the host alone; what goes out bears the host's address.
    #[default]
    Nat,
    /// Like that, and by all ports of their own addresses.
    NatUnprotected,
    /// By those ports of their own addresses that are published; what goes out bears these addresses.
    Routed,
    /// Not at all: the host itself has no address there.
    Isolated,
}

/// What a network's options say beyond what every network has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extras {
    /// How its containers are reached by IPv4.
    pub(crate) routing4: Routing,
    /// The same for IPv6.
    pub(crate) routing6: Routing,
    /// How neighbours are told of its containers' addresses.
    pub(crate) advertise: Advertise,
    /// The bridge has no IPv4 address of its own.
    pub(crate) inhibit4: bool,
    /// What goes out by IPv4 has this source.
    pub(crate) source4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub(crate) source6: Option<Ipv6Addr>,
    /// Where ports are published that name no address; an unspecified one of IPv4 means all.
    pub(crate) binding: Option<IpAddr>,
    /// What the names of its interfaces in containers start with.
    pub(crate) interfaces: Option<String>,
    /// Links of this host from which its containers may be reached by their own addresses.
    pub(crate) trusted: Vec<String>,
    /// Its containers may be reached so by any link.
    pub(crate) direct: bool,
    /// The bridge was there before: it stays when the network goes.
    pub(crate) foreign: bool,
    /// The settings that the default network was made with.
    pub(crate) made_with: String,
}

impl Extras {
    /// The way that containers are reached by this family.
    pub(crate) fn routing(&self, ipv4: bool) -> Routing {
        if ipv4 { self.routing4 } else { self.routing6 }
    }

    /// The address that what goes out has as its source.
    pub(crate) fn source(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.source4.map(Into::into) } else { self.source6.map(Into::into) }
    }
}

/// Those that are heeded whatever the driver; all others are a bridge's.
const OF_ALL_DRIVERS: [&str; 4] = [ENABLE_4, ENABLE_6, ADVERTISE_PERIOD, ADVERTISE_TIMES];

/// Reads the options that mean something; others are kept and mean nothing, as with Docker.
pub(crate) fn apply(config: &mut Config, id: &str, networks: &[Network]) -> Result<(), Error> {
    let is_bridge = config.driver == Driver::Bridge;
    let Config { options, extras, .. } = config;
    let means = |option: &str| is_bridge || OF_ALL_DRIVERS.contains(&option);
    for (option, value) in options.iter().filter(|(option, _)| means(option)) {
        let invalid =
            |reason: String| Error::Option { name: option.clone(), value: value.clone(), reason };
        let flag = || parse_flag(value).ok_or_else(|| invalid(no_flag(value)));
        let address = || value.parse::<IpAddr>().map_err(|_| invalid("nil ip".to_owned()));
        match option.as_str() {
            BRIDGE => {
                if !is_link_name(value) {
                    let rule = "a link's name has 1 to 15 bytes, and no / or space";
                    return Err(invalid(rule.to_owned()));
                }
                if let Some(other) = networks.iter().find(|one| one.bridge() == value) {
                    let (id, holder) = (id.to_owned(), other.id.clone());
                    return Err(Error::BridgeInUse { id, holder, bridge: value.clone() });
                }
                config.bridge.clone_from(value);
            }
            ICC => config.icc = flag()?,
            MASQUERADE => config.masquerade = flag()?,
            INHIBIT_4 => extras.inhibit4 = flag()?,
            DEFAULT_BRIDGE | ENABLE_4 | ENABLE_6 => drop(flag()?),
            MTU => {
                let number = value.parse().ok();
                let number = number.filter(|mtu| *mtu == 0 || MTU_RANGE.contains(mtu));
                let rule = "it is a number of bytes from 68 to 65535";
                let mtu: u32 = number.ok_or_else(|| invalid(rule.to_owned()))?;
                // Docker's word for what is usual.
                if mtu != 0 {
                    config.mtu = mtu;
                }
            }
            MODE_4 | MODE_6 => {
                let mode = parse_mode(value)
                    .ok_or_else(|| invalid(format!("unknown gateway mode {value}")))?;
                if mode == Routing::Isolated && !config.internal {
                    return Err(Error::IsolatedNotInternal);
                }
                let which = option == MODE_4;
                *(if which { &mut extras.routing4 } else { &mut extras.routing6 }) = mode;
            }
            HOST_BINDING => extras.binding = Some(address()?),
            SOURCE_4 | SOURCE_6 => match (address()?, option == SOURCE_4) {
                (IpAddr::V4(v4), true) => extras.source4 = Some(v4),
                (IpAddr::V6(v6), false) => extras.source6 = Some(v6),
                _ => return Err(invalid("it is of the other family".to_owned())),
            },
            INTERFACES => {
                // A number follows.
                if !value.is_empty() && !is_link_name(&format!("{value}0")) {
                    let rule = "a link's name has 1 to 15 bytes, and no / or space";
                    return Err(invalid(rule.to_owned()));
                }
                extras.interfaces = Some(value.clone()).filter(|prefix| !prefix.is_empty());
            }
            // Checked, and no more: neighbours are told where they may have to be.
            ADVERTISE_PERIOD => {
                let period = in_range(option, value, &(100..=2000), "integer milliseconds");
                extras.advertise.period_ms = period.map_err(invalid)?;
            }
            ADVERTISE_TIMES => {
                let times = in_range(option, value, &(0..=3), "an integer");
                extras.advertise.times = times.map_err(invalid)?;
            }
            TRUSTED => {
                let names = value.split(':').filter(|name| !name.is_empty());
                extras.trusted = names.map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads a number; what is wrong with it is said in Docker's words.
fn in_range<T: TryFrom<i64> + PartialOrd + std::fmt::Display>(
    option: &str,
    value: &str,
    range: &std::ops::RangeInclusive<T>,
    what: &str,
) -> Result<T, String> {
    let number: i64 =
        value.parse().map_err(|_| format!("value for option {option} {value:?} must be {what}"))?;
    T::try_from(number).ok().filter(|number| range.contains(number)).ok_or_else(|| {
        format!("{option} must be in the range {} to {}", range.start(), range.end())
    })
}

/// Whether the pools of this family have no gateway: nobody would be asked to pass anything on.
pub(crate) fn skips_gateway(
    options: &BTreeMap<String, String>,
    internal: bool,
    ipv4: bool,
) -> bool {
    let is = |option: &str| options.get(option).and_then(|text| parse_flag(text)) == Some(true);
    let mode = options.get(if ipv4 { MODE_4 } else { MODE_6 });
    mode.is_some_and(|mode| mode == "isolated") || (ipv4 && internal && is(INHIBIT_4))
}

fn parse_mode(text: &str) -> Option<Routing> {
    match text {
        "nat" => Some(Routing::Nat),
        "nat-unprotected" => Some(Routing::NatUnprotected),
        "routed" => Some(Routing::Routed),
        "isolated" => Some(Routing::Isolated),
        _ => None,
    }
}

/// A word for true or false, of those that Go knows.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn no_flag(text: &str) -> String {
    format!("strconv.ParseBool: parsing {text:?}: invalid syntax")
}

/// Whether a bridge that was asked for by name is there already: then it is used, and stays when the
/// network goes. Any other link of that name is in the way.
pub(crate) fn is_there(options: &BTreeMap<String, String>) -> Result<bool, Error> {
    let Some(name) = options.get(BRIDGE).filter(|name| is_link_name(name)) else {
        return Ok(false);
    };
    match RouteSocket::open()?.link(name)? {
        None => Ok(false),
        Some(link) if link.kind == "bridge" => Ok(true),
        Some(_) => Err(Error::Option {
            name: BRIDGE.to_owned(),
            value: name.clone(),
            reason: "a link of this name exists, and is no bridge".to_owned(),
        }),
    }
}

/// Whether the kernel takes this as the name of an interface, and nobody mistakes it for another word.
pub fn is_link_name(name: &str) -> bool {
    (1..=name::LINK_NAME_BYTES).contains(&name.len())
        && !matches!(name, "." | ".." | "lo" | "all" | "default")
        && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'))
}
