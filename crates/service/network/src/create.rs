use std::collections::BTreeMap;
use std::net::IpAddr;

use metadata::{Db, Read};
use netlink::RouteSocket;

use crate::record::{Config, is_predefined};
use crate::{DEFAULT, Driver, Error, Network, Networks, Pool, Subnet, name, now, pool};

/// What a network is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Its name, not yet taken.
    pub name: String,
    /// `bridge`; empty means the same.
    pub driver: String,
    /// Ranges of addresses; for IPv4 a free one is chosen where none is given.
    pub pools: Vec<PoolRequest>,
    /// Options of what gives the addresses; none of them means anything.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// Give it IPv6 addresses; where no range is given, one of unique local addresses.
    pub ipv6: bool,
    /// No way out of it.
    pub internal: bool,
    /// Kept as it is given.
    pub attachable: bool,
    /// The driver's options (`com.docker.network.bridge.*`).
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A range of addresses, as text that came from a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolRequest {
    /// `172.30.0.0/16`; empty chooses.
    pub subnet: String,
    /// The part of it that containers get their addresses from; empty is all.
    pub range: String,
    /// The bridge's own address; empty is the first.
    pub gateway: String,
    /// Addresses that are not given to containers, by name.
    pub reserved: BTreeMap<String, String>,
}

/// Bytes of an Ethernet frame's payload.
const DEFAULT_MTU: u32 = 1500;
/// The smallest that IPv4 allows, and the largest of its packets, in bytes.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;

const OPTION_BRIDGE: &str = "com.docker.network.bridge.name";
const OPTION_ICC: &str = "com.docker.network.bridge.enable_icc";
const OPTION_MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const OPTION_MTU: &str = "com.docker.network.driver.mtu";
const OPTION_DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
const OPTION_HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";

impl Networks {
    /// Makes a network's record. Its bridge and rules are made when a container needs them.
    pub fn create(&self, db: &Db, request: &CreateRequest) -> Result<Network, Error> {
        check_name(&request.name)?;
        match request.driver.as_str() {
            "" | "bridge" => {}
            "host" => return Err(Error::SingleInstance { driver: "host" }),
            "null" | "none" => return Err(Error::SingleInstance { driver: "null" }),
            other => return Err(Error::Driver { driver: other.to_owned() }),
        }
        self.inside_if_there(|| check_bridge(&request.options))?;
        let host = pool::used(&[])?;
        failpoint::hit("network.create")?;
        let network = db.write(|tx| -> Result<Network, Error> {
            let networks = all(tx)?;
            if networks.iter().any(|one| one.name == request.name) {
                return Err(Error::NameInUse { name: request.name.clone() });
            }
            let network = self.compute(request, &networks, host)?;
            tx.insert_network(&network.to_row()?)?;
            Ok(network)
        })?;
        failpoint::hit("network.created")?;
        Ok(network)
    }

    /// Makes the records of the networks that are always there, where they are missing: `bridge`,
    /// `host` and `none`.
    pub fn ensure_predefined(&self, db: &Db) -> Result<(), Error> {
        let present =
            |tx: &Read| -> Result<bool, Error> { Ok(tx.network_named("none")?.is_some()) };
        if db.read(present)? {
            return Ok(());
        }
        let host = pool::used(&[])?;
        db.write(|tx| {
            // Another process may have been faster.
            if present(tx)? {
                return Ok(());
            }
            let request = CreateRequest {
                name: DEFAULT.to_owned(),
                options: predefined_options(&name::default_bridge(&self.prefix)),
                ..CreateRequest::default()
            };
            let bridge = self.compute(&request, &all(tx)?, host)?;
            tx.insert_network(&bridge.to_row()?)?;
            for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
                tx.insert_network(&without_bridge(name, driver)?.to_row()?)?;
            }
            Ok(())
        })
    }

    /// The whole record, with a new id. `used` is what the host itself occupies.
    fn compute(
        &self,
        request: &CreateRequest,
        networks: &[Network],
        mut used: Vec<Subnet>,
    ) -> Result<Network, Error> {
        let id = self.new_id(networks)?;
        let mut pools = Vec::new();
        for wanted in request.pools.iter().filter(|one| !one.subnet.is_empty()) {
            pools.push(explicit_pool(wanted, networks, &pools)?);
        }
        used.extend(networks.iter().flat_map(Network::pools).map(|pool| pool.subnet));
        if !pools.iter().any(|pool| pool.subnet.is_ipv4()) {
            let subnet = pool::choose(&used).ok_or(Error::NoPool)?;
            let wanted = request.pools.iter().find(|one| one.subnet.is_empty());
            pools.insert(0, chosen_pool(subnet, wanted)?);
        }
        let mut idle = Vec::new();
        if !request.ipv6 {
            idle = pools.extract_if(.., |pool| !pool.subnet.is_ipv4()).collect();
        } else if pools.iter().all(|pool| pool.subnet.is_ipv4()) {
            let subnet = pool::unique_local(&id).ok_or(Error::NoPool)?;
            pools.push(chosen_pool(subnet, None)?);
        }
        let mut config = Config {
            driver: Driver::Bridge,
            pools,
            idle,
            ipam_options: request.ipam_options.clone(),
            bridge: name::bridge(&self.prefix, &id),
            mtu: DEFAULT_MTU,
            internal: request.internal,
            icc: true,
            masquerade: true,
            labels: request.labels.clone(),
            options: request.options.clone(),
            attachable: request.attachable,
        };
        apply_options(&mut config, networks)?;
        Ok(Network { id, name: request.name.clone(), created: now(), config })
    }

    /// An id that no network has, and whose names in the kernel no network has either.
    fn new_id(&self, networks: &[Network]) -> Result<String, Error> {
        loop {
            let id = random_id()?;
            let bridge = name::bridge(&self.prefix, &id);
            let short = name::short(&id);
            if !networks.iter().any(|one| one.bridge() == bridge || one.id.starts_with(short)) {
                return Ok(id);
            }
        }
    }
}

/// All networks, by name.
pub(crate) fn all(tx: &Read) -> Result<Vec<Network>, Error> {
    tx.networks()?.into_iter().map(Network::from_row).collect()
}

fn check_name(name: &str) -> Result<(), Error> {
    if is_predefined(name) {
        return Err(Error::Predefined { name: name.to_owned() });
    }
    if name == "default" {
        return Err(Error::Predefined { name: name.to_owned() });
    }
    let good = !name.trim().is_empty()
        && name.len() <= 255
        // It means something else, and is no word for people.
        && !name.starts_with("container:")
        && !name.contains(char::is_control);
    if good { Ok(()) } else { Err(Error::InvalidName { name: name.to_owned() }) }
}

fn random_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)?;
    if length < bytes.len() {
        return Err(std::io::Error::other("too few random bytes").into());
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn without_bridge(name: &str, driver: Driver) -> Result<Network, Error> {
    let config = Config {
        driver,
        pools: Vec::new(),
        idle: Vec::new(),
        ipam_options: None,
        bridge: String::new(),
        mtu: DEFAULT_MTU,
        internal: false,
        icc: true,
        masquerade: false,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        attachable: false,
    };
    Ok(Network { id: random_id()?, name: name.to_owned(), created: now(), config })
}

/// The options that Docker shows on its default network.
fn predefined_options(bridge: &str) -> BTreeMap<String, String> {
    [
        (OPTION_DEFAULT_BRIDGE, "true"),
        (OPTION_ICC, "true"),
        (OPTION_MASQUERADE, "true"),
        (OPTION_HOST_BINDING, "0.0.0.0"),
        (OPTION_BRIDGE, bridge),
        (OPTION_MTU, "1500"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// A range that was asked for, checked against itself and all others.
fn explicit_pool(
    wanted: &PoolRequest,
    networks: &[Network],
    before: &[Pool],
) -> Result<Pool, Error> {
    let subnet: Subnet = parse(&wanted.subnet)?;
    let smallest = if subnet.is_ipv4() { 30 } else { 126 };
    if subnet.prefix() > smallest {
        return Err(Error::Pool(format!(
            "subnet {subnet} has no room for a gateway and a container: use /{smallest} or less"
        )));
    }
    let pools = networks.iter().flat_map(Network::pools).chain(before);
    if pools.into_iter().any(|pool| pool.subnet.overlaps(&subnet)) {
        return Err(Error::Overlap { subnet });
    }
    chosen_pool(subnet, Some(wanted))
}

/// A range with all that was said about it.
fn chosen_pool(subnet: Subnet, wanted: Option<&PoolRequest>) -> Result<Pool, Error> {
    let nothing = PoolRequest::default();
    let wanted = wanted.unwrap_or(&nothing);
    let gateway = match wanted.gateway.as_str() {
        "" => subnet.nth(1),
        text => Some(parse_address("gateway", text)?),
    };
    let gateway = gateway
        .filter(|gateway| subnet.is_host(*gateway))
        .ok_or_else(|| Error::Pool(format!("no matching subnet for gateway {}", wanted.gateway)))?;
    let range = match wanted.range.as_str() {
        "" => None,
        text => Some(parse::<Subnet>(text)?),
    };
    if let Some(range) = range.filter(|range| !subnet.covers(range)) {
        return Err(Error::Pool(format!("no matching subnet for range {range}")));
    }
    let mut reserved = BTreeMap::new();
    for (name, text) in &wanted.reserved {
        let address = parse_address("auxiliary address", text)?;
        if !subnet.contains(address) {
            return Err(Error::Pool(format!("no matching subnet for aux-address {address}")));
        }
        reserved.insert(name.clone(), address);
    }
    Ok(Pool { subnet, gateway, range, reserved, last: None })
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|err: T::Err| Error::Pool(err.to_string()))
}

fn parse_address(what: &str, text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| Error::Pool(format!("invalid {what} {text}: it is no address")))
}

/// Reads the options that we know, and refuses those that we do not: what is ignored is not there.
fn apply_options(config: &mut Config, networks: &[Network]) -> Result<(), Error> {
    for (option, value) in &config.options {
        let invalid = |reason| Error::Option { name: option.clone(), value: value.clone(), reason };
        let flag = || value.parse::<bool>().map_err(|_| invalid("it is true or false"));
        match option.as_str() {
            OPTION_BRIDGE => {
                if !is_link_name(value) {
                    return Err(invalid("a link's name has 1 to 15 bytes, and no / or space"));
                }
                if networks.iter().any(|one| one.bridge() == value) {
                    return Err(invalid("another network has this bridge"));
                }
                config.bridge.clone_from(value);
            }
            OPTION_ICC => config.icc = flag()?,
            OPTION_MASQUERADE => config.masquerade = flag()?,
            OPTION_MTU => {
                config.mtu = value
                    .parse()
                    .ok()
                    .filter(|mtu| MTU_RANGE.contains(mtu))
                    .ok_or_else(|| invalid("it is a number of bytes from 68 to 65535"))?;
            }
            OPTION_DEFAULT_BRIDGE => {
                flag()?;
            }
            OPTION_HOST_BINDING if value == "0.0.0.0" => {}
            OPTION_HOST_BINDING => {
                return Err(invalid("only 0.0.0.0 is supported: publish ports with an address"));
            }
            _ => return Err(invalid("there is no such option")),
        }
    }
    Ok(())
}

/// A bridge that was asked for by name is to be made, not taken over: it would be deleted with the
/// network.
fn check_bridge(options: &BTreeMap<String, String>) -> Result<(), Error> {
    let Some(name) = options.get(OPTION_BRIDGE).filter(|name| is_link_name(name)) else {
        return Ok(());
    };
    match RouteSocket::open()?.link(name)? {
        None => Ok(()),
        Some(_) => Err(Error::Option {
            name: OPTION_BRIDGE.to_owned(),
            value: name.clone(),
            reason: "a link of this name exists",
        }),
    }
}

/// Whether the kernel takes this as the name of an interface, and nobody mistakes it for another word.
pub fn is_link_name(name: &str) -> bool {
    (1..=name::LINK_NAME_BYTES).contains(&name.len())
        && !matches!(name, "." | ".." | "lo" | "all" | "default")
        && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'))
}
