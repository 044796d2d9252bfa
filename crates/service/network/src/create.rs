use std::collections::BTreeMap;
use std::net::IpAddr;

use metadata::{Db, Read};
use serde::{Deserialize, Serialize};

use crate::claim::{self, Chosen};
use crate::ensure::{Ensured, Making};
use crate::options::{self, Extras};
use crate::parent::Parent;
use crate::record::{Config, is_predefined};
use crate::subnet::Malformed;
use crate::template::configured;
use crate::{Driver, Error, Network, Networks, Pool, Subnet, name, now, pool};

/// What a network is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Its name, not yet taken.
    pub name: String,
    /// `bridge`, `macvlan`, `ipvlan`; empty means the first.
    pub driver: String,
    /// Ranges of addresses; a free one is chosen where none is given.
    pub pools: Vec<PoolRequest>,
    /// Options of what gives the addresses; none of them means anything.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// Give it IPv4 addresses; where nothing is said, what the options say, or else it has them.
    pub ipv4: Option<bool>,
    /// The same for IPv6; or else it has none.
    pub ipv6: Option<bool>,
    /// No way out of it.
    pub internal: bool,
    /// Kept as it is given.
    pub attachable: bool,
    /// The driver's options (`com.docker.network.bridge.*`, `parent`).
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// It is a configuration, by which others are made, and no network.
    pub config_only: bool,
    /// The configuration that says all of it.
    pub config_from: Option<String>,
}

/// A range of addresses, as text that came from a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
pub(crate) const DEFAULT_MTU: u32 = 1500;

impl Networks {
    /// Makes a network: its record, then its bridge and rules or its parent, which others may want to see. Those of an
    /// ordinary user's engine are made when a container needs them.
    pub fn create(&self, db: &Db, request: &CreateRequest) -> Result<Network, Error> {
        check_name(&request.name)?;
        match request.driver.as_str() {
            // Of one that is never made it does not matter.
            _ if request.config_only => {}
            "" | "bridge" | "macvlan" | "ipvlan" => {}
            "host" => return Err(Error::SingleInstance { driver: "host" }),
            "null" | "none" => return Err(Error::SingleInstance { driver: "null" }),
            "overlay" => return Err(Error::Driver { driver: "overlay".to_owned() }),
            other => return Err(Error::NoDriver { driver: other.to_owned() }),
        }
        let request = &match &request.config_from {
            None => self.with_defaults(request),
            Some(_) => db.read(|tx| configured(tx, request))?,
        };
        let parent = if request.config_only { None } else { Parent::parse(request)? };
        let foreign = match &parent {
            Some(parent) => {
                self.check_parent(parent)?;
                None
            }
            None => self.inside_if_there(|| options::is_there(&request.options))?,
        };
        let foreign = foreign.unwrap_or(false);
        let chosen = Chosen::of(request);
        for _ in 0..claim::ROUNDS {
            let network = self.record(db, request, foreign)?;
            if self.site.is_some() {
                return Ok(network);
            }
            let may_move = network.driver() == Driver::Bridge && !foreign;
            let making = if may_move { Making::Unless(chosen) } else { Making::All };
            let made = self.ensure_as(&network, making);
            if matches!(made, Ok(Ensured::Whole)) {
                return Ok(network);
            }
            // What cannot be made is not there. Why it could not is what matters.
            let _ = self.unmake(db, &network);
            db.write(|tx| Ok::<_, Error>(tx.delete_network(&network.id)?))?;
            claim::stand_back(made? == Ensured::Taken { later: true });
        }
        Err(Error::Contested { name: request.name.clone() })
    }

    /// Makes the record of a network, with ranges that nobody has yet. `foreign`: its bridge is somebody else's.
    fn record(&self, db: &Db, request: &CreateRequest, foreign: bool) -> Result<Network, Error> {
        let host = pool::used(&[])?;
        failpoint::hit("network.create")?;
        let network = db.write(|tx| -> Result<Network, Error> {
            let networks = all(tx)?;
            if networks.iter().any(|one| one.name == request.name) {
                return Err(Error::NameInUse { name: request.name.clone() });
            }
            let network = if request.config_only {
                self.template(request, &networks)?
            } else {
                let mut network = self.compute(request, &networks, host)?;
                network.config.extras.foreign = foreign;
                network
            };
            tx.insert_network(&network.to_row()?)?;
            Ok(network)
        })?;
        failpoint::hit("network.created")?;
        Ok(network)
    }

    /// What was asked for, with what an administrator has set for networks that do not say otherwise.
    fn with_defaults(&self, request: &CreateRequest) -> CreateRequest {
        let mut request = request.clone();
        let driver = if request.driver.is_empty() { "bridge" } else { request.driver.as_str() };
        for (option, value) in self.defaults.options.get(driver).into_iter().flatten() {
            request.options.entry(option.clone()).or_insert_with(|| value.clone());
        }
        // One that counts for nothing would look wrong.
        if request.ipv4.is_some() {
            request.options.remove(options::ENABLE_4);
        }
        if request.ipv6.is_some() {
            request.options.remove(options::ENABLE_6);
        }
        request
    }

    /// The whole record, with a new id. `used` is what the host itself occupies.
    pub(crate) fn compute(
        &self,
        request: &CreateRequest,
        networks: &[Network],
        mut used: Vec<Subnet>,
    ) -> Result<Network, Error> {
        let id = self.new_id(networks)?;
        let ipv4 = enabled(request.ipv4, &request.options, options::ENABLE_4, true)?;
        let ipv6 = enabled(request.ipv6, &request.options, options::ENABLE_6, false)?;
        let mut parent = Parent::parse(request)?;
        if !ipv4 && !ipv6 && parent.is_none() {
            return Err(Error::NoFamily);
        }
        let skips = [true, false].map(|ipv4| match &parent {
            Some(parent) => parent.has_no_gateway(request.internal),
            None => options::skips_gateway(&request.options, request.internal, ipv4),
        });
        let gateways = Gateways { ipv4: !skips[0], ipv6: !skips[1] };
        let mut pools = Vec::new();
        for wanted in request.pools.iter().filter(|one| !one.subnet.is_empty()) {
            pools.push(explicit_pool(wanted, networks, &pools, gateways)?);
        }
        used.extend(networks.iter().flat_map(Network::pools).map(|pool| pool.subnet));
        if ipv4 && !pools.iter().any(|pool| pool.subnet.is_ipv4()) {
            let subnet = pool::choose(&self.defaults.pools, &used).ok_or(Error::NoPool)?;
            let wanted = request.pools.iter().find(|one| one.subnet.is_empty());
            pools.insert(0, automatic_pool(subnet, wanted, gateways)?);
        }
        let asked = |pool: &Pool| if pool.subnet.is_ipv4() { ipv4 } else { ipv6 };
        let idle = pools.extract_if(.., |pool| !asked(pool)).collect();
        if ipv6 && pools.iter().all(|pool| pool.subnet.is_ipv4()) {
            let subnet = pool::choose_ipv6(&self.defaults.pools, &used)
                .or_else(|| pool::unique_local(&id))
                .ok_or(Error::NoPool)?;
            pools.push(automatic_pool(subnet, None, gateways)?);
        }
        if let Some(parent) = &mut parent {
            parent.settle(&id, networks)?;
        }
        let driver = parent.as_ref().map_or(Driver::Bridge, Parent::driver);
        let is_bridge = driver == Driver::Bridge;
        let mut config = Config {
            driver,
            pools,
            idle,
            ipam_options: request.ipam_options.clone(),
            bridge: if is_bridge { name::bridge(&self.prefix, &id) } else { String::new() },
            mtu: DEFAULT_MTU,
            internal: request.internal,
            icc: true,
            masquerade: true,
            labels: request.labels.clone(),
            options: request.options.clone(),
            attachable: request.attachable,
            extras: Extras { direct: is_bridge && self.defaults.direct, ..Extras::default() },
            parent,
            template: None,
            configured_by: request.config_from.clone(),
        };
        options::apply(&mut config, &id, networks)?;
        Ok(Network { id, name: request.name.clone(), created: now(), config })
    }

    /// An id that no network has, and whose names in the kernel no network has either.
    pub(crate) fn new_id(&self, networks: &[Network]) -> Result<String, Error> {
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

/// Whether a network has addresses of a family.
pub(crate) fn enabled(
    said: Option<bool>,
    options: &BTreeMap<String, String>,
    option: &str,
    usual: bool,
) -> Result<bool, Error> {
    match (said, options.get(option)) {
        (Some(said), _) => Ok(said),
        (None, None) => Ok(usual),
        (None, Some(text)) => {
            options::parse_flag(text).ok_or_else(|| Error::Flag { option: option.to_owned() })
        }
    }
}

/// Whether pools of each family have an address for the bridge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gateways {
    ipv4: bool,
    ipv6: bool,
}

impl Gateways {
    /// As they usually are.
    pub(crate) const BOTH: Self = Self { ipv4: true, ipv6: true };

    fn of(self, subnet: &Subnet) -> bool {
        if subnet.is_ipv4() { self.ipv4 } else { self.ipv6 }
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

pub(crate) fn random_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)?;
    if length < bytes.len() {
        return Err(std::io::Error::other("too few random bytes").into());
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A range that was asked for, checked against itself and all others.
fn explicit_pool(
    wanted: &PoolRequest,
    networks: &[Network],
    before: &[Pool],
    gateways: Gateways,
) -> Result<Pool, Error> {
    let subnet = parse_subnet("subnet", &wanted.subnet)?;
    // Without a gateway two may be all that there are (RFC 3021).
    let smallest = match (subnet.is_ipv4(), gateways.of(&subnet)) {
        (true, true) => 30,
        (true, false) => 31,
        (false, true) => 126,
        (false, false) => 127,
    };
    if subnet.prefix() > smallest {
        return Err(Error::Pool(format!(
            "subnet {subnet} has no room for a gateway and a container: use /{smallest} or less"
        )));
    }
    let pools = networks.iter().flat_map(Network::pools).chain(before);
    if pools.into_iter().any(|pool| pool.subnet.overlaps(&subnet)) {
        return Err(Error::Overlap { subnet });
    }
    chosen_pool(subnet, Some(wanted), gateways)
}

/// A range that nobody asked for, with what was said about it all the same.
fn automatic_pool(
    subnet: Subnet,
    wanted: Option<&PoolRequest>,
    gateways: Gateways,
) -> Result<Pool, Error> {
    Ok(Pool { automatic: true, ..chosen_pool(subnet, wanted, gateways)? })
}

/// A range with all that was said about it.
pub(crate) fn chosen_pool(
    subnet: Subnet,
    wanted: Option<&PoolRequest>,
    gateways: Gateways,
) -> Result<Pool, Error> {
    let nothing = PoolRequest::default();
    let wanted = wanted.unwrap_or(&nothing);
    let gateway = match wanted.gateway.as_str() {
        "" if !gateways.of(&subnet) => None,
        text => {
            let given = match text {
                "" => subnet.nth(1),
                text => Some(parse_address("gateway", text, subnet)?),
            };
            let taken = || {
                Error::Pool(format!("failed to allocate gateway ({text}): Address already in use"))
            };
            Some(given.filter(|gateway| subnet.is_host(*gateway)).ok_or_else(taken)?)
        }
    };
    let range = match wanted.range.as_str() {
        "" => None,
        text => Some(parse_subnet("ip-range", text)?),
    };
    if let Some(range) = range.filter(|range| !subnet.covers(range)) {
        return Err(Error::Pool(format!(
            "invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"
        )));
    }
    let mut reserved = BTreeMap::new();
    for (name, text) in &wanted.reserved {
        let of_name = |err| match err {
            Error::Pool(why) => Error::Pool(format!("invalid auxiliary address {name}: {why}")),
            err => err,
        };
        reserved.insert(name.clone(), address_in(text, subnet).map_err(of_name)?);
    }
    Ok(Pool { subnet, gateway, range, reserved, automatic: false })
}

/// A range, which is called `what`, in Docker's words for those that are none.
pub(crate) fn parse_subnet(what: &str, text: &str) -> Result<Subnet, Error> {
    text.parse().map_err(|err| {
        let why = match err {
            Malformed::Text(_) => "invalid CIDR block notation".to_owned(),
            Malformed::HostBits { meant, .. } => format!("it should be {meant}"),
        };
        Error::Pool(format!("invalid {what} {text}: {why}"))
    })
}

/// An address in a range, which is called `what`.
fn parse_address(what: &str, text: &str, subnet: Subnet) -> Result<IpAddr, Error> {
    address_in(text, subnet).map_err(|err| match err {
        Error::Pool(why) => Error::Pool(format!("invalid {what} {text}: {why}")),
        err => err,
    })
}

fn address_in(text: &str, subnet: Subnet) -> Result<IpAddr, Error> {
    let address = text.parse().map_err(|_| Error::Pool("invalid address".into()))?;
    if subnet.contains(address) {
        return Ok(address);
    }
    Err(Error::Pool(format!("parent subnet {subnet} doesn't contain this address")))
}
