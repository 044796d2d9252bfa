use std::collections::BTreeMap;
use std::net::IpAddr;

use metadata::{Read, Write};
use serde::{Deserialize, Serialize};

use crate::options::Extras;
use crate::parent::Parent;
use crate::template::Template;
use crate::{DEFAULT, Error, PoolRequest, Subnet, name};

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// All else.
    pub(crate) config: Config,
}

/// What makes a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of this host.
    Bridge,
    /// A link of this host that containers share, each with a hardware address of its own.
    Macvlan,
    /// A link of this host that containers share, with its hardware address.
    Ipvlan,
    /// The host's own network namespace.
    Host,
    /// Nothing but loopback.
    Null,
}

impl Driver {
    /// Its name in Docker's API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Host => "host",
            Self::Null => "null",
        }
    }

    /// Whether containers have interfaces in its networks.
    pub fn has_links(self) -> bool {
        match self {
            Self::Bridge | Self::Macvlan | Self::Ipvlan => true,
            Self::Host | Self::Null => false,
        }
    }

    /// Whether its networks share a link of the host's: the host itself has no address there, publishes no ports
    /// and has no rules.
    pub fn shares_link(self) -> bool {
        matches!(self, Self::Macvlan | Self::Ipvlan)
    }
}

/// The record, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) driver: Driver,
    pub(crate) pools: Vec<Pool>,
    /// IPv6 ranges that were given without IPv6 being asked for: Docker shows them and gives nobody
    /// an address of them.
    #[serde(default)]
    pub(crate) idle: Vec<Pool>,
    /// The IPAM driver's options, as they were given: it has none.
    #[serde(default)]
    pub(crate) ipam_options: Option<BTreeMap<String, String>>,
    /// Empty for all drivers but `bridge`.
    pub(crate) bridge: String,
    /// Bytes.
    pub(crate) mtu: u32,
    pub(crate) internal: bool,
    /// Whether its containers may speak to each other.
    pub(crate) icc: bool,
    pub(crate) masquerade: bool,
    pub(crate) labels: BTreeMap<String, String>,
    /// As they were given.
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) attachable: bool,
    /// What the options say beyond that.
    #[serde(default)]
    pub(crate) extras: Extras,
    /// What the drivers `macvlan` and `ipvlan` share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Parent>,
    /// It is no network: others are made with what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<Template>,
    /// The configuration that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) configured_by: Option<String>,
}

/// A range of addresses that containers get theirs from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// All of them.
    pub subnet: Subnet,
    /// The bridge's own address, and the containers' way out; none where nobody is asked to pass
    /// anything on.
    pub gateway: Option<IpAddr>,
    /// Those that are given to containers that ask for none; `None` is all.
    pub range: Option<Subnet>,
    /// Addresses that are somebody else's, by the name that says whose.
    #[serde(default)]
    pub reserved: BTreeMap<String, IpAddr>,
    /// Nobody asked for this one: it was free. Made anew, the network has another, so nobody asks for an address in
    /// it either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
}

/// The words of Docker's for addresses that are set aside for a router that is not the bridge.
const ROUTERS: [&str; 2] = ["DefaultGatewayIPv4", "DefaultGatewayIPv6"];

impl Pool {
    /// Whom containers send what has no other way: the bridge, unless another router was named.
    pub fn way_out(&self) -> Option<IpAddr> {
        let router = ROUTERS.iter().find_map(|name| self.reserved.get(*name));
        router.copied().or(self.gateway)
    }
}

impl Network {
    pub(crate) fn from_row(row: metadata::Network) -> Result<Self, Error> {
        let config = serde_json::from_str(&row.config)
            .map_err(|source| Error::Record { id: row.id.clone(), source })?;
        Ok(Self { id: row.id, name: row.name, created: row.created, config })
    }

    pub(crate) fn to_row(&self) -> Result<metadata::Network, Error> {
        Ok(metadata::Network {
            id: self.id.clone(),
            name: self.name.clone(),
            created: self.created,
            config: self.config_text()?,
        })
    }

    fn config_text(&self) -> Result<String, Error> {
        serde_json::to_string(&self.config)
            .map_err(|source| Error::Record { id: self.id.clone(), source })
    }

    /// Writes its record back.
    pub(crate) fn store(&self, tx: &Write) -> Result<(), Error> {
        tx.set_network_config(&self.id, &self.config_text()?)?;
        Ok(())
    }

    /// Whether it is the default network, and an administrator wants none.
    pub(crate) fn is_switched_off(&self) -> bool {
        self.name == DEFAULT && self.config.driver == Driver::Null
    }

    /// The network that a person means: by name, id, or the start of an id. `default` and the
    /// empty name are [`DEFAULT`].
    pub(crate) fn find(tx: &Read, wanted: &str) -> Result<Self, Error> {
        let name = if matches!(wanted, "" | "default") { DEFAULT } else { wanted };
        match tx.find_network(name) {
            Ok(row) => Self::from_row(row),
            Err(metadata::Error::NotFound { .. }) => {
                Err(Error::NotFound { wanted: wanted.to_owned() })
            }
            Err(metadata::Error::Ambiguous { .. }) => {
                Err(Error::Ambiguous { wanted: wanted.to_owned() })
            }
            Err(err) => Err(err.into()),
        }
    }

    /// What makes it.
    pub fn driver(&self) -> Driver {
        self.config.driver
    }

    /// Its ranges of addresses.
    pub fn pools(&self) -> &[Pool] {
        &self.config.pools
    }

    /// Ranges that were given, and that nobody gets an address of.
    pub fn idle_pools(&self) -> &[Pool] {
        &self.config.idle
    }

    /// The options of what gives it addresses; `None` where none were given.
    pub fn ipam_options(&self) -> Option<&BTreeMap<String, String>> {
        self.config.ipam_options.as_ref()
    }

    /// Its bridge's name; empty for other drivers.
    pub fn bridge(&self) -> &str {
        &self.config.bridge
    }

    /// The largest packet, in bytes.
    pub fn mtu(&self) -> u32 {
        self.config.mtu
    }

    /// The link of the host that it shares; `None` for drivers that share none.
    pub fn parent(&self) -> Option<&str> {
        self.config.parent.as_ref().map(|parent| parent.name.as_str())
    }

    /// Whether it named no parent, and has a dummy for one.
    pub(crate) fn has_dummy(&self) -> bool {
        self.parent().is_some_and(|parent| parent == name::dummy(self.driver(), &self.id))
    }

    /// Whether nothing leads out of it, be that what was asked for or for want of a parent.
    pub(crate) fn is_shut_in(&self) -> bool {
        self.is_internal() || self.has_dummy()
    }

    /// Whether it was asked for that there is no way out of it.
    pub fn is_internal(&self) -> bool {
        self.config.internal
    }

    /// Whether it is a configuration only, by which others are made.
    pub fn is_configuration(&self) -> bool {
        self.config.template.is_some()
    }

    /// The configuration that it was made with.
    pub fn configured_by(&self) -> Option<&str> {
        self.config.configured_by.as_deref()
    }

    /// The ranges that a configuration says, as they were given.
    pub fn configured_pools(&self) -> &[PoolRequest] {
        self.config.template.as_ref().map_or(&[], |template| &template.pools)
    }

    /// Whether it has IPv4 addresses.
    pub fn has_ipv4(&self) -> bool {
        if let Some(template) = &self.config.template {
            return template.ipv4;
        }
        !self.config.driver.has_links()
            || self.config.pools.iter().any(|pool| pool.subnet.is_ipv4())
    }

    /// Whether it has IPv6 addresses.
    pub fn has_ipv6(&self) -> bool {
        if let Some(template) = &self.config.template {
            return template.ipv6;
        }
        self.config.pools.iter().any(|pool| !pool.subnet.is_ipv4())
    }

    /// Whether its containers are kept from each other, but for those that are linked: on the default network alone
    /// links are a matter of addresses. A bridge that is somebody else's does not answer for them.
    pub fn opens_to_links(&self) -> bool {
        let is_own = self.driver() == Driver::Bridge && !self.config.extras.foreign;
        self.name == DEFAULT && is_own && !self.config.icc
    }

    /// Whether it may be joined by hand; swarm's word, kept as it was given.
    pub fn is_attachable(&self) -> bool {
        self.config.attachable
    }

    /// Labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.config.labels
    }

    /// The driver's options, as they were given.
    pub fn options(&self) -> &BTreeMap<String, String> {
        &self.config.options
    }

    /// Whether a person made it: only there do containers find each other by name, and may ask for
    /// an address.
    pub fn is_user_defined(&self) -> bool {
        !is_predefined(&self.name)
    }
}

/// Whether this name is of a network that is always there.
pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, DEFAULT | "host" | "none")
}
