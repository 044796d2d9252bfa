use std::net::IpAddr;
use std::path::PathBuf;

use crate::Subnet;

/// Why a network, or a container's place in it, is not as was asked. The wording is Docker's where
/// Docker has one: clients look for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("network {wanted} not found")]
    NotFound {
        /// As asked for.
        wanted: String,
    },
    /// Several ids start like that.
    #[error("network {wanted} is ambiguous: several ids start with it")]
    Ambiguous {
        /// As asked for.
        wanted: String,
    },
    /// The name is another's.
    #[error("network with name {name} already exists")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// No name can look like that.
    #[error("{}", invalid_name(name))]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Only one of the kind, which is always there.
    #[error("only one instance of \"{driver}\" network is allowed")]
    SingleInstance {
        /// `host` or `null`.
        driver: &'static str,
    },
    /// The name is of a network that is always there.
    // With the space: as Docker, whose clients compare it.
    #[error("operation is not permitted on predefined {name} network ")]
    Predefined {
        /// The name.
        name: String,
    },
    /// Networks that are always there stay.
    #[error("{name} is a pre-defined network and cannot be removed")]
    CannotRemove {
        /// The name.
        name: String,
    },
    /// Containers run in it.
    #[error(
        "error while removing network: network {name} has active endpoints ({})",
        list(endpoints)
    )]
    ActiveEndpoints {
        /// The network.
        name: String,
        /// The containers: names and ids.
        endpoints: Vec<(String, String)>,
    },
    /// What a configuration, or a network that is made with one, cannot be.
    #[error("{0}")]
    Configuration(&'static str),
    /// There is no configuration of that name.
    #[error("configuration network {name:?} does not exist")]
    NoConfiguration {
        /// The name.
        name: String,
    },
    /// Networks were made with a configuration.
    #[error("error while removing network: configuration network {name:?} is in use")]
    ConfigurationInUse {
        /// Its name.
        name: String,
    },
    /// Nobody can be in a configuration.
    #[error("cannot create endpoint on configuration-only network")]
    OnlyConfiguration,
    /// A driver that nobody has.
    #[error("plugin {driver:?} not found")]
    NoDriver {
        /// The driver.
        driver: String,
    },
    /// A driver of Docker's that we do not have.
    #[error("network driver `{driver}` is not supported: use bridge, macvlan or ipvlan")]
    Driver {
        /// The driver.
        driver: String,
    },
    /// An option or its value that means nothing.
    #[error("failed to parse {name} value: {value} ({reason})")]
    Option {
        /// The option.
        name: String,
        /// Its value.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// The same of one that the driver does not read.
    #[error("driver-opt {option:?} is not a valid bool")]
    Flag {
        /// The option.
        option: String,
    },
    /// A mode of a driver that there is not.
    #[error(
        "requested {driver} {what} '{value}' is not valid, {usual} is the {driver} driver default"
    )]
    Mode {
        /// `macvlan`, `ipvlan`.
        driver: &'static str,
        /// `mode`, `flag`.
        what: &'static str,
        /// What was asked for.
        value: String,
        /// What it is where nothing is.
        usual: &'static str,
    },
    /// Loopback leads nowhere.
    #[error("loopback interface is not a valid {driver} parent link")]
    LoopbackParent {
        /// `macvlan`, `ipvlan`.
        driver: &'static str,
    },
    /// A parent that is not there, and of which the name does not say how to make it.
    #[error("{0}")]
    Parent(String),
    /// A parent that is not there any more.
    #[error("the requested parent interface {parent} was not found on the Docker host")]
    NoParent {
        /// Its name.
        parent: String,
    },
    /// The kernel did not make the subinterface of a VLAN.
    #[error("failed to create {parent} vlan link")]
    VlanLink {
        /// Its name.
        parent: String,
        /// Why.
        source: netlink::Error,
    },
    /// A parent that was made could not be set up: what is below it may be down.
    #[error("failed to enable {parent} the {driver} parent link")]
    ParentDown {
        /// Its name.
        parent: String,
        /// `macvlan`, `ipvlan`.
        driver: &'static str,
        /// Why.
        source: netlink::Error,
    },
    /// A parent that one network has for itself.
    #[error("network {holder} is already using parent interface {parent}")]
    ParentInUse {
        /// That network, as Docker calls it here.
        holder: String,
        /// The link.
        parent: String,
    },
    /// The same, since this network would want it for itself.
    #[error(
        "cannot use mode passthru, macvlan network {holder} is already using parent interface {parent}"
    )]
    PassthruInUse {
        /// The network that has it.
        holder: String,
        /// The link.
        parent: String,
    },
    /// The same, since the other network wants it for itself.
    #[error("macvlan network {holder} is already using parent interface {parent} in mode passthru")]
    PassthruOfAnother {
        /// The network that has it.
        holder: String,
        /// The link.
        parent: String,
    },
    /// An ordinary user's engine has none of the machine's links.
    #[error(
        "cannot share parent interface {parent}: the engine of an ordinary user has a network namespace of its own, \
         and none of the machine's links is in it"
    )]
    ParentOfMachine {
        /// The link.
        parent: String,
    },
    /// The kernel lacks a driver.
    #[error("this kernel has no driver {driver}")]
    NoKernelDriver {
        /// `macvlan`, `ipvlan`, `8021q`, `dummy`.
        driver: &'static str,
    },
    /// An ipvlan has its parent's hardware address.
    #[error("ipvlan interfaces do not support custom mac address assignment")]
    IpvlanAddress,
    /// A network without any addresses.
    #[error("IPv4 or IPv6 must be enabled")]
    NoFamily,
    /// A bridge that is another network's.
    #[error(
        "cannot create network {id} ({bridge}): conflicts with network {holder} ({bridge}): \
         networks have same bridge name"
    )]
    BridgeInUse {
        /// The network that cannot be.
        id: String,
        /// The one that has the bridge.
        holder: String,
        /// The bridge's name.
        bridge: String,
    },
    /// There would be no way out, and it was not said that there should be none.
    #[error("gateway mode 'isolated' can only be used for an internal network")]
    IsolatedNotInternal,
    /// A setting of networks that cannot be.
    #[error("\"{key}\": {reason}")]
    Setting {
        /// In the administrator's file.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Ranges of addresses that do not fit together.
    // As Docker, whose list it is the only one of.
    #[error("invalid network config:\n{0}")]
    Pool(String),
    /// Some addresses are in two networks.
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    Overlap {
        /// What was asked for.
        subnet: Subnet,
    },
    /// All default ranges are used.
    #[error("all predefined address pools have been fully subnetted")]
    NoPool,
    /// Other engines were faster with each range that was free.
    #[error("network {name}: others took each range of addresses that was free")]
    Contested {
        /// The network.
        name: String,
    },
    /// All addresses are used.
    #[error("no available IPv4 addresses on this network's address pools: {name} ({id})")]
    Exhausted {
        /// The network.
        name: String,
        /// Its id.
        id: String,
    },
    /// The address is another's.
    #[error("Address already in use")]
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// The container that has it.
        holder: String,
    },
    /// The address is in none of the network's ranges.
    #[error("no configured subnet contains IP address {address}")]
    OutsideOfNetwork {
        /// The address.
        address: IpAddr,
    },
    /// What only networks made by people offer.
    #[error("{what} supported on user defined networks only")]
    UserDefinedOnly {
        /// With its verb.
        what: &'static str,
    },
    /// The host's network, or none, is not joined with others.
    #[error("container cannot be attached to the {name} network and to others")]
    Exclusive {
        /// The network.
        name: String,
    },
    /// Twice the same network.
    #[error("container is attached to network {name} twice")]
    AttachedTwice {
        /// The network.
        name: String,
    },
    /// Another container has the port.
    #[error("Bind for {host} failed: port is already allocated", host = std::net::SocketAddr::new(*address, *port))]
    PortAllocated {
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// No port is left of those that may be chosen from.
    #[error("all ports are allocated")]
    NoPort,
    /// A port of SCTP that cannot be published.
    #[error("cannot publish an SCTP port: {0}")]
    Sctp(&'static str),
    /// The record is not what we wrote.
    #[error("record of network {id}")]
    Record {
        /// The network.
        id: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The database.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// The kernel.
    #[error("network {name}")]
    Kernel {
        /// The network.
        name: String,
        /// What it refused.
        source: netlink::Error,
    },
    /// The kernel, on nothing of ours in particular.
    #[error(transparent)]
    Host(#[from] netlink::Error),
    /// A file.
    #[error("{doing} \"{path}\"", path = path.display())]
    File {
        /// `read`, `write`, `remove`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The network namespace of an ordinary user's engine.
    #[error(transparent)]
    Rootless(#[from] rootless::Error),
    /// A test asked for it, or there was no randomness.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Name something that exists.
    NotFound,
    /// Choose another name, or wait.
    Conflict,
    /// Ask for something else.
    Invalid,
    /// Leave it: it is not allowed.
    Denied,
    /// Give something back first: all of it is used.
    Unavailable,
    /// Look at the machine.
    Internal,
}

impl Error {
    /// See [`Class`].
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } | Self::NoConfiguration { .. } | Self::NoDriver { .. } => {
                Class::NotFound
            }
            Self::NameInUse { .. } => Class::Conflict,
            Self::Ambiguous { .. }
            | Self::InvalidName { .. }
            | Self::Option { .. }
            | Self::Flag { .. }
            | Self::NoFamily
            | Self::Driver { .. }
            | Self::ParentOfMachine { .. }
            | Self::Pool(_)
            | Self::Sctp(_)
            | Self::OutsideOfNetwork { .. }
            | Self::UserDefinedOnly { .. }
            | Self::Exclusive { .. }
            | Self::AttachedTwice { .. } => Class::Invalid,
            Self::SingleInstance { .. }
            | Self::Predefined { .. }
            | Self::CannotRemove { .. }
            | Self::ActiveEndpoints { .. }
            | Self::Configuration(_)
            | Self::ConfigurationInUse { .. }
            | Self::OnlyConfiguration
            | Self::Overlap { .. }
            | Self::BridgeInUse { .. }
            | Self::AddressInUse { .. } => Class::Denied,
            Self::NoPool
            | Self::Contested { .. }
            | Self::Exhausted { .. }
            | Self::NoPort => Class::Unavailable,
            Self::PortAllocated { .. }
            | Self::Record { .. }
            | Self::IsolatedNotInternal
            // As Docker's, which have no class there.
            | Self::Mode { .. }
            | Self::LoopbackParent { .. }
            | Self::Parent(_)
            | Self::NoParent { .. }
            | Self::VlanLink { .. }
            | Self::ParentDown { .. }
            | Self::ParentInUse { .. }
            | Self::PassthruInUse { .. }
            | Self::PassthruOfAnother { .. }
            | Self::NoKernelDriver { .. }
            | Self::IpvlanAddress
            | Self::Setting { .. }
            | Self::Metadata(_)
            | Self::Kernel { .. }
            | Self::Host(_)
            | Self::File { .. }
            | Self::Rootless(_)
            | Self::Io(_) => Class::Internal,
        }
    }
}

/// Docker has words for no name only, and takes all else.
fn invalid_name(name: &str) -> String {
    if name.trim().is_empty() {
        return "invalid name: name is empty".to_owned();
    }
    format!(
        "invalid network name {name:?}: up to 255 bytes, no control characters, not container:..."
    )
}

fn list(endpoints: &[(String, String)]) -> String {
    let list: Vec<_> = endpoints
        .iter()
        .map(|(name, id)| format!("name:\"{name}\" id:\"{}\"", crate::name::short(id)))
        .collect();
    list.join(", ")
}
