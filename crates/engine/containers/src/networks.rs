//! Networks, as far as containers have a part in them.

use std::collections::BTreeMap;

use docker::EndpointSettings;
use network::{Driver, Member, Network};

use crate::engine::Engine;
use crate::error::At as _;
use crate::record::{Container, Record};
use crate::rewire::Wire;
use crate::spec::namespaces::{Mode, mode};
use crate::{Error, attachment, events};

/// Docker's words for what is not done with the host's network.
const JOINS_HOST: &str =
    "cannot connect container to host network - container must be created in host network mode";
const LEAVES_HOST: &str =
    "cannot disconnect container from host network - container was created in host network mode";
/// And with networks that are shared.
const SHARED: &str = "container sharing network namespace with another container or host cannot be connected to any other network";

impl Engine {
    /// The names and ids of those who run in a network that gives no addresses, by which others are known.
    pub fn members_without_address(
        &self,
        network: &Network,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut members = Vec::new();
        if !network.driver().shares_link() || !network.pools().is_empty() {
            return Ok(members);
        }
        for row in self.shared.db.read(metadata::Read::containers)? {
            let container = Container::from_row(row)?;
            let mut connected = container.record.connected.iter();
            if connected.any(|(_, one)| one.network_id == network.id)
                && let Some(name) = self.running_name(&container.id)
            {
                members.push((name, container.id));
            }
        }
        Ok(members)
    }

    /// The name of a container, if it runs.
    pub fn running_name(&self, id: &str) -> Option<String> {
        let phase = self.status(id).ok()?.phase;
        phase.is_alive().then(|| self.find(id).ok())?.map(|c| c.name)
    }

    /// Has a container join one more network: at once if it runs, else when it starts.
    pub fn network_connect(
        &self,
        network: &str,
        wanted: &str,
        settings: &EndpointSettings,
    ) -> Result<(), Error> {
        let network = self.networks.inspect(&self.shared.db, network)?;
        let (mut container, lock) = self.find_locked(wanted)?;
        let alive = self.status_locked(&container.id, &lock)?.phase.is_alive();
        self.may_join(&container, &network, settings)?;
        let before = container.record.clone();
        let record = &mut container.record;
        record.unplugged &= !attachment::is_main(&record.host, &network.name);
        record.endpoints.insert(network.name.clone(), settings.clone());
        attachment::attachments(&record.config, &record.host, &record.endpoints, record.unplugged)?;
        if alive {
            self.rewire(&mut container, before, Wire::Join(&network.id))?;
        } else {
            if network.is_user_defined() && network.driver().has_links() {
                // As Docker shows it, the names are known from now on.
                let hostname = &container.record.config.hostname;
                let member = Member { id: &container.id, name: &container.name, hostname };
                let names = network::names(&member, &settings.aliases);
                if let Some(own) = container.record.endpoints.get_mut(&network.name) {
                    own.dns_names = names.into();
                }
            }
            self.set_record(&container, Some(&network))?;
        }
        self.tell_of_network("connect", &container, &network);
        Ok(())
    }

    /// Refuses at once addresses that a network does not have. One that is not there yet is looked at when the
    /// container is started.
    pub(crate) fn check_addresses(
        &self,
        endpoints: &BTreeMap<String, EndpointSettings>,
    ) -> Result<(), Error> {
        let asks = |settings: &EndpointSettings| {
            let ipam = settings.ipam_config.as_ref();
            ipam.is_some_and(|ipam| !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty())
        };
        for (name, settings) in endpoints.iter().filter(|(_, settings)| asks(settings)) {
            let network = match self.networks.inspect(&self.shared.db, name) {
                Err(network::Error::NotFound { .. }) => continue,
                found => found?,
            };
            attachment::check_settings(&network, settings).map_err(|err| match err {
                Error::Invalid(why) => {
                    Error::Invalid(format!("invalid config for network {name}: {why}"))
                }
                err => err,
            })?;
        }
        Ok(())
    }

    /// Docker's rules for who may join what.
    fn may_join(
        &self,
        container: &Container,
        network: &Network,
        settings: &EndpointSettings,
    ) -> Result<(), Error> {
        if network.is_configuration() {
            return Err(network::Error::OnlyConfiguration.into());
        }
        let record = &container.record;
        if matches!(mode(&record.host.network_mode), Mode::Container(_) | Mode::Host) {
            return Err(Error::Invalid(SHARED.into()));
        }
        // Before what the container has to do with it, as Docker does.
        attachment::check_settings(network, settings)?;
        if network.driver() == Driver::Host {
            return Err(Error::Invalid(JOINS_HOST.into()));
        }
        let joined = self.joined_networks(container)?;
        if joined.iter().any(|one| one.id == network.id) {
            return Err(Error::Denied(format!(
                "endpoint with name {} already exists in network {}",
                container.name, network.name
            )));
        }
        let lone = |one: &Network| one.driver() == Driver::Null;
        if joined.iter().any(lone) || lone(network) && !joined.is_empty() {
            return Err(Error::Invalid(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode".into(),
            ));
        }
        Ok(())
    }

    /// The networks that a container is in, or will be when it starts; those that are gone left out.
    fn joined_networks(&self, container: &Container) -> Result<Vec<Network>, Error> {
        let record = &container.record;
        let main = (!record.unplugged).then_some(&record.host.network_mode);
        let mut networks = Vec::new();
        for name in main.into_iter().chain(record.endpoints.keys()) {
            match self.networks.inspect(&self.shared.db, name) {
                Ok(network) => networks.push(network),
                Err(network::Error::NotFound { .. }) => {}
                Err(err) => return Err(err.into()),
            }
        }
        Ok(networks)
    }

    /// Has a container leave a network: at once if it runs. What it has of it is forgotten.
    pub fn network_disconnect(
        &self,
        network: &str,
        wanted: &str,
        _force: bool,
    ) -> Result<(), Error> {
        let network = match self.networks.inspect(&self.shared.db, network) {
            Err(gone @ network::Error::NotFound { .. }) => {
                return self.disconnect_gone(network, wanted, gone);
            }
            found => found?,
        };
        let (mut container, lock) = self.find_locked(wanted)?;
        let alive = self.status_locked(&container.id, &lock)?.phase.is_alive();
        if container.record.host.network_mode == "host" && network.driver() == Driver::Host {
            return Err(Error::Invalid(LEAVES_HOST.into()));
        }
        let before = container.record.clone();
        if !leave(&mut container.record, &network) {
            return Err(Error::Conflict(format!(
                "container {} is not connected to the network {}",
                container.id, network.name
            )));
        }
        if alive {
            self.rewire(&mut container, before, Wire::Leave(&network.id))?;
        } else {
            let now = crate::clock::now();
            self.shared.db.write(|tx| tx.release_addresses_in(&network.id, &container.id, now))?;
            self.set_record(&container, None)?;
        }
        self.tell_of_network("disconnect", &container, &network);
        Ok(())
    }

    /// The same of a network that was removed while the container did not run: it could not start any more.
    fn disconnect_gone(
        &self,
        network: &str,
        wanted: &str,
        gone: network::Error,
    ) -> Result<(), Error> {
        let (mut container, lock) = self.find_locked(wanted)?;
        let alive = self.status_locked(&container.id, &lock)?.phase.is_alive();
        if alive || !leave_gone(&mut container.record, network) {
            return Err(gone.into());
        }
        // Its addresses went with it, and nobody is told, as by Docker.
        self.set_record(&container, None)
    }

    fn tell_of_network(&self, action: &str, container: &Container, network: &Network) {
        let driver = network.driver().name();
        let attributes =
            [("container", container.id.as_str()), ("name", &network.name), ("type", driver)];
        self.emit(&events::of("network", action, &network.id, &attributes));
    }

    /// Keeps a record, in which `joined` is new: that may have been removed meanwhile.
    fn set_record(&self, container: &Container, joined: Option<&Network>) -> Result<(), Error> {
        let config = container.config_json()?;
        failpoint::hit("engine.connect").at("record", self.root())?;
        self.shared.db.write(|tx| {
            if let Some(network) = joined
                && tx.network(&network.id)?.is_none()
            {
                let wanted = network.name.clone();
                return Err(network::Error::NotFound { wanted }.into());
            }
            Ok::<_, Error>(tx.set_container_config(&container.id, &config)?)
        })?;
        failpoint::hit("engine.connected").at("record", self.root())?;
        Ok(())
    }
}

/// Takes a network out of a record. Whether it was there.
pub(crate) fn leave(record: &mut Record, network: &Network) -> bool {
    leave_called(record, &[network.name.as_str(), network.id.as_str()])
}

/// The same of a network that is gone, by its name or its id.
fn leave_gone(record: &mut Record, wanted: &str) -> bool {
    if matches!(mode(&record.host.network_mode), Mode::Container(_)) {
        return false;
    }
    // The record calls it as whoever made the container did; both are known from its last start.
    let last =
        record.connected.iter().find(|(name, one)| *name == wanted || one.network_id == wanted);
    let last = last.map(|(name, one)| (name.clone(), one.network_id.clone()));
    let (name, id) = last.unwrap_or_default();
    leave_called(record, &[wanted, &name, &id])
}

fn leave_called(record: &mut Record, names: &[&str]) -> bool {
    let is = |name: &str| !name.is_empty() && names.contains(&name);
    let n_endpoints = record.endpoints.len();
    record.endpoints.retain(|name, _| !is(name));
    let main = !record.unplugged && is(&record.host.network_mode);
    record.unplugged |= main;
    main || record.endpoints.len() < n_endpoints
}

#[cfg(test)]
mod tests {
    use docker::HostConfig;

    use super::*;

    fn record(network_mode: &str, endpoints: &[&str]) -> Record {
        Record {
            host: HostConfig { network_mode: network_mode.into(), ..HostConfig::default() },
            endpoints: endpoints
                .iter()
                .map(|name| ((*name).to_owned(), EndpointSettings::default()))
                .collect(),
            ..Record::default()
        }
    }

    #[test]
    fn a_network_that_is_gone_is_left_by_whatever_it_was_called() {
        let mut one = record("test", &["test", "other"]);
        assert!(!leave_gone(&mut one, "nope") && !one.unplugged);
        assert!(leave_gone(&mut one, "test") && one.unplugged);
        assert_eq!(one.endpoints.keys().collect::<Vec<_>>(), ["other"]);
        assert!(!leave_gone(&mut one, "test"));
        assert!(leave_gone(&mut one, "other") && one.endpoints.is_empty());
        // By its name, where it was made by its id; and the other way round.
        for (made, left) in [("0123", "test"), ("test", "0123")] {
            let mut one = record(made, &[]);
            let settings =
                EndpointSettings { network_id: "0123".into(), ..EndpointSettings::default() };
            one.connected.insert("test".into(), settings);
            assert!(leave_gone(&mut one, left) && one.unplugged, "{made}");
        }
        // That is nobody's network.
        let mut guest = record("container:x", &[]);
        assert!(!leave_gone(&mut guest, "container:x") && !guest.unplugged);
    }
}
