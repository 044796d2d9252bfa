//! The drivers `macvlan` and `ipvlan`: their networks share a link of the host's, the parent.
//!
//! A parent that is there stays. One that is not is made, where its name says how: `eth0.10` is the VLAN 10 of
//! `eth0`; and a network that names none has a dummy to itself, from which no way leads out. What was made goes
//! with the last network that has it. The names and words are Docker's.
use std::collections::BTreeMap;

use endpoint::{IpvlanFlag, IpvlanMode, Kind, MacvlanMode};
use metadata::Db;
use netlink::{Link, Requests, RouteSocket};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::create::all;
use crate::name::{self, LINK_NAME_BYTES};
use crate::{CreateRequest, Driver, Error, Network, Networks};

const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_MODE: &str = "ipvlan_mode";
const IPVLAN_FLAG: &str = "ipvlan_flag";

/// The ids of VLANs (IEEE 802.1Q).
const VLAN_IDS: std::ops::RangeInclusive<i64> = 1..=4094;

/// The link that a network shares with the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    /// Its name; empty in a request that names none.
    pub(crate) name: String,
    /// An engine's network made it.
    pub(crate) made: bool,
    /// How the network's containers share it.
    pub(crate) kind: Kind,
}

impl Parent {
    /// What the options say; `None` for drivers that share no link.
    pub(crate) fn parse(request: &CreateRequest) -> Result<Option<Self>, Error> {
        let driver = match request.driver.as_str() {
            "macvlan" => Driver::Macvlan,
            "ipvlan" => Driver::Ipvlan,
            _ => return Ok(None),
        };
        let options = &request.options;
        let kind = match driver {
            Driver::Macvlan => Kind::Macvlan(macvlan_mode(options)?),
            _ => Kind::Ipvlan(ipvlan_mode(options)?, ipvlan_flag(options)?),
        };
        let name = options.get(PARENT).cloned().unwrap_or_default();
        if name == "lo" {
            return Err(Error::LoopbackParent { driver: driver.name() });
        }
        Ok(Some(Self { name, made: false, kind }))
    }

    pub(crate) fn driver(&self) -> Driver {
        if matches!(self.kind, Kind::Ipvlan(..)) { Driver::Ipvlan } else { Driver::Macvlan }
    }

    /// Whether its containers send all that has no other way out by the link itself: there are no neighbours.
    pub(crate) fn is_routed(&self) -> bool {
        matches!(self.kind, Kind::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s, _))
    }

    /// Whether nobody in the network is asked to pass anything on.
    pub(crate) fn has_no_gateway(&self, internal: bool) -> bool {
        internal || self.name.is_empty() || self.is_routed()
    }

    /// Chooses the name of one that has none, sees that others get along with it, and finds out whether it has to
    /// be made.
    pub(crate) fn settle(&mut self, id: &str, networks: &[Network]) -> Result<(), Error> {
        if self.name.is_empty() {
            self.name = name::dummy(self.driver(), id);
            self.made = true;
            return Ok(());
        }
        let others = || networks.iter().filter_map(|one| Some((one, one.config.parent.as_ref()?)));
        let beside = || others().filter(|(_, other)| other.name == self.name);
        for (network, other) in beside().filter(|(_, other)| other.driver() == self.driver()) {
            self.check_beside(network, other)?;
        }
        if find(&self.name)?.is_some() {
            self.made = beside().any(|(_, other)| other.made);
        } else {
            Vlan::parse(&self.name)?;
            self.made = true;
        }
        Ok(())
    }

    /// What the kernel would not do for two networks' containers at once.
    fn check_beside(&self, network: &Network, other: &Self) -> Result<(), Error> {
        let passthru = Kind::Macvlan(MacvlanMode::Passthru);
        let parent = self.name.clone();
        match self.kind {
            Kind::Ipvlan(..) => {
                let holder = name::dummy(Driver::Ipvlan, &network.id);
                Err(Error::ParentInUse { holder, parent })
            }
            kind if kind == passthru => {
                Err(Error::PassthruInUse { holder: network.id.clone(), parent })
            }
            _ if other.kind == passthru => {
                Err(Error::PassthruOfAnother { holder: network.id.clone(), parent })
            }
            _ => Ok(()),
        }
    }
}

fn macvlan_mode(options: &BTreeMap<String, String>) -> Result<MacvlanMode, Error> {
    match options.get(MACVLAN_MODE).map_or("", String::as_str) {
        "" | "bridge" => Ok(MacvlanMode::Bridge),
        "private" => Ok(MacvlanMode::Private),
        "vepa" => Ok(MacvlanMode::Vepa),
        "passthru" => Ok(MacvlanMode::Passthru),
        other => Err(Error::Mode {
            driver: "macvlan",
            what: "mode",
            value: other.to_owned(),
            usual: "'bridge' mode",
        }),
    }
}

fn ipvlan_mode(options: &BTreeMap<String, String>) -> Result<IpvlanMode, Error> {
    match options.get(IPVLAN_MODE).map_or("", String::as_str) {
        "" | "l2" => Ok(IpvlanMode::L2),
        "l3" => Ok(IpvlanMode::L3),
        "l3s" => Ok(IpvlanMode::L3s),
        other => Err(Error::Mode {
            driver: "ipvlan",
            what: "mode",
            value: other.to_owned(),
            usual: "'l2' mode",
        }),
    }
}

fn ipvlan_flag(options: &BTreeMap<String, String>) -> Result<IpvlanFlag, Error> {
    match options.get(IPVLAN_FLAG).map_or("", String::as_str) {
        "" | "bridge" => Ok(IpvlanFlag::Bridge),
        "private" => Ok(IpvlanFlag::Private),
        "vepa" => Ok(IpvlanFlag::Vepa),
        other => Err(Error::Mode {
            driver: "ipvlan",
            what: "flag",
            value: other.to_owned(),
            usual: "'bridge'",
        }),
    }
}

/// A VLAN's subinterface, as its name says.
#[derive(Debug)]
struct Vlan {
    /// The index of the link that it is a part of.
    lower: u32,
    id: u16,
}

impl Vlan {
    /// The link below has to be there.
    fn parse(name: &str) -> Result<Self, Error> {
        let invalid = |reason: String| Err(Error::Parent(reason));
        if !name.contains('.') {
            return invalid(format!(
                "invalid subinterface vlan name {name}, example formatting is eth0.10"
            ));
        }
        let Some((lower, id)) = name.split_once('.').filter(|(_, id)| !id.contains('.')) else {
            return invalid(format!(
                "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, \
                 instead received {name}"
            ));
        };
        let Ok(number) = id.parse::<i64>() else {
            return invalid(format!(
                "unable to parse a valid vlan id from: {id} (ex. eth0.10 for vlan 10)"
            ));
        };
        let Some(found) = find(lower)? else {
            return invalid(format!("-o parent interface was not found on the host: {lower}"));
        };
        let id = u16::try_from(number).ok().filter(|_| VLAN_IDS.contains(&number));
        let Some(id) = id else {
            return invalid(format!("vlan id must be between 1-4094, received: {number}"));
        };
        if name.len() > LINK_NAME_BYTES {
            return invalid(format!(
                "failed to create {name} vlan link: the name is longer than {LINK_NAME_BYTES} bytes"
            ));
        }
        Ok(Self { lower: found.index, id })
    }
}

/// A link of this network namespace; the kernel refuses to look for what can be no name. It also finds one by
/// another name of it, by which nobody would see that two networks have the same parent.
fn find(name: &str) -> Result<Option<Link>, Error> {
    if !(1..=LINK_NAME_BYTES).contains(&name.len()) {
        return Ok(None);
    }
    Ok(RouteSocket::open()?.link(name)?.filter(|link| link.name == name))
}

impl Networks {
    /// Refuses what this engine or this kernel has no links for.
    pub(crate) fn check_parent(&self, parent: &Parent) -> Result<(), Error> {
        if self.site.is_some() {
            // What is made when a container needs it is looked at then.
            return match parent.name.as_str() {
                "" => Ok(()),
                name => Err(Error::ParentOfMachine { parent: name.to_owned() }),
            };
        }
        let driver = parent.driver().name();
        if RouteSocket::open()?.has_kind(driver)? {
            return Ok(());
        }
        Err(Error::NoKernelDriver { driver })
    }

    /// Makes a network's parent, unless it is there. One that was made is set up last.
    pub(crate) fn ensure_parent(network: &Network, parent: &Parent) -> Result<(), Error> {
        let kernel = |source| Error::Kernel { name: network.name.clone(), source };
        let mut route = RouteSocket::open()?;
        let link = route.link(&parent.name).map_err(kernel)?;
        if link.as_ref().is_some_and(|link| !parent.made || link.is_up()) {
            return Ok(());
        }
        if !parent.made {
            return Err(Error::NoParent { parent: parent.name.clone() });
        }
        failpoint::hit("network.bridge")?;
        if link.is_none() {
            make(&mut route, network, parent)?;
        }
        let gone = || Error::NoParent { parent: parent.name.clone() };
        let link = route.link(&parent.name).map_err(kernel)?.ok_or_else(gone)?;
        let mut requests = Requests::new();
        if network.has_dummy() {
            // It is there for its containers, and has no business with an address of its own.
            requests.no_link_local(&parent.name);
        }
        requests.set_up(link.index, &parent.name);
        route.execute(&requests).map_err(|source| Error::ParentDown {
            parent: parent.name.clone(),
            driver: network.driver().name(),
            source,
        })?;
        failpoint::hit("network.bridged")?;
        Ok(())
    }

    /// Takes away what was made for this network and is no other's.
    pub(crate) fn unmake_parent(
        &self,
        db: &Db,
        network: &Network,
        parent: &Parent,
    ) -> Result<(), Error> {
        // In a transaction, since whoever makes a network on this parent looks for it in one.
        db.write(|tx| {
            let others = all(tx)?;
            let is_other = |one: &Network| {
                one.id != network.id
                    && one.config.parent.as_ref().is_some_and(|other| other.name == parent.name)
            };
            if !parent.made || others.iter().any(is_other) {
                return Ok(());
            }
            self.inside_if_there(|| delete(network, parent))?;
            Ok(())
        })
    }
}

fn make(route: &mut RouteSocket, network: &Network, parent: &Parent) -> Result<(), Error> {
    let mut requests = Requests::new();
    let driver = if network.has_dummy() {
        requests.add_dummy(&parent.name);
        "dummy"
    } else {
        let vlan = Vlan::parse(&parent.name)?;
        requests.add_vlan(&parent.name, vlan.lower, vlan.id);
        "8021q"
    };
    match route.execute(&requests) {
        // Another process was faster.
        Err(err) if err.errno() == Some(Errno::EXIST) => Ok(()),
        Err(err) if err.errno() == Some(Errno::OPNOTSUPP) => Err(Error::NoKernelDriver { driver }),
        Err(source) if network.has_dummy() => {
            Err(Error::Kernel { name: network.name.clone(), source })
        }
        Err(source) => Err(Error::VlanLink { parent: parent.name.clone(), source }),
        Ok(()) => Ok(()),
    }
}

/// Deletes a link that was made, if it is still what was made.
fn delete(network: &Network, parent: &Parent) -> Result<(), Error> {
    let kernel = |source| Error::Kernel { name: network.name.clone(), source };
    let mut route = RouteSocket::open()?;
    // By its name, as another network may have named this one's dummy, and outlived it.
    let made = if parent.name.contains('.') { "vlan" } else { "dummy" };
    let link = route.link(&parent.name).map_err(kernel)?;
    let mut requests = Requests::new();
    if link.is_some_and(|link| link.kind == made) {
        requests.delete_link(&parent.name);
    }
    failpoint::hit("network.unbridge")?;
    route.execute(&requests).map_err(kernel)?;
    failpoint::hit("network.unruled")?;
    Ok(())
}
