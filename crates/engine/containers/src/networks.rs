//! Networks, as far as containers have a part in them.

use docker::EndpointSettings;

use crate::engine::Engine;
use crate::error::At as _;
use crate::{Error, attachment, events};

impl Engine {
    /// Removes a network in which no container runs.
    pub fn network_remove(&self, wanted: &str) -> Result<(), Error> {
        let network =
            self.networks.remove(&self.shared.db, wanted, &|id| self.running_name(id).is_some())?;
        self.emit(&events::of(
            "network",
            "destroy",
            &network.id,
            &[("name", &network.name), ("type", network.driver().name())],
        ));
        Ok(())
    }

    /// The name of a container, if it runs.
    pub fn running_name(&self, id: &str) -> Option<String> {
        let phase = self.status(id).ok()?.phase;
        phase.is_alive().then(|| self.find(id).ok())?.map(|c| c.name)
    }

    /// Has a container join one more network when it starts.
    pub fn network_connect(
        &self,
        network: &str,
        wanted: &str,
        settings: &EndpointSettings,
    ) -> Result<(), Error> {
        let network = self.networks.inspect(&self.shared.db, network)?;
        let (mut container, lock) = self.find_locked(wanted)?;
        let phase = self.status_locked(&container.id, &lock)?.phase;
        if phase.is_alive() {
            return Err(Error::NotYet(
                "connecting a container that runs to a network (stop it first): it".into(),
            ));
        }
        let record = &mut container.record;
        let joined = record.host.network_mode == network.name
            || record.endpoints.keys().any(|name| *name == network.name || *name == network.id);
        if joined {
            return Err(Error::Conflict(format!(
                "endpoint with name {} already exists in network {}",
                container.name, network.name
            )));
        }
        for lone in ["host", "none"] {
            if record.host.network_mode == lone || network.name == lone {
                return Err(Error::Invalid(format!(
                    "container cannot be connected to multiple networks with one of the networks in {lone} mode"
                )));
            }
        }
        record.endpoints.insert(network.name.clone(), settings.clone());
        attachment::attachments(&record.config, &record.host, &record.endpoints)?;
        self.set_record(&container)?;
        let attributes = [("container", container.id.as_str()), ("name", &network.name)];
        self.emit(&events::of("network", "connect", &network.id, &attributes));
        Ok(())
    }

    /// Has a container no longer join a network when it starts.
    pub fn network_disconnect(
        &self,
        network: &str,
        wanted: &str,
        _force: bool,
    ) -> Result<(), Error> {
        let network = self.networks.inspect(&self.shared.db, network)?;
        let (mut container, lock) = self.find_locked(wanted)?;
        let phase = self.status_locked(&container.id, &lock)?.phase;
        if phase.is_alive() {
            return Err(Error::NotYet(
                "disconnecting a container that runs from a network (stop it first): it".into(),
            ));
        }
        let record = &mut container.record;
        let is = |name: &String| *name == network.name || *name == network.id;
        let key = record.endpoints.keys().find(|name| is(name)).cloned();
        let main = record.host.network_mode == network.name;
        if key.is_none() && !main {
            return Err(Error::Conflict(format!(
                "container {} is not connected to network {}",
                container.id, network.name
            )));
        }
        if let Some(key) = key {
            record.endpoints.remove(&key);
        }
        if main {
            // The next one takes its place; without any it has none at all.
            record.host.network_mode =
                record.endpoints.keys().next().cloned().unwrap_or_else(|| "none".into());
        }
        let now = crate::clock::now();
        self.shared.db.write(|tx| tx.release_addresses_in(&network.id, &container.id, now))?;
        self.set_record(&container)?;
        let attributes = [("container", container.id.as_str()), ("name", &network.name)];
        self.emit(&events::of("network", "disconnect", &network.id, &attributes));
        Ok(())
    }

    fn set_record(&self, container: &crate::record::Container) -> Result<(), Error> {
        let config = container.config_json()?;
        failpoint::hit("engine.connect").at("record", self.root())?;
        self.shared.db.write(|tx| tx.set_container_config(&container.id, &config))?;
        failpoint::hit("engine.connected").at("record", self.root())?;
        Ok(())
    }
}
