//! Removing networks, while others start containers.
//!
//! A network's record goes in a transaction that sees who has an address in it. That does not tell who is about
//! to run: one that does not run has its addresses, too, and a network may give none. So those who are in it,
//! or will be with their next start, are held still while it goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use metadata::Read;
use network::Network;

use crate::engine::Engine;
use crate::lock::Lock;
use crate::record::{Container, Record};
use crate::{Error, events};

impl Engine {
    /// Removes a network in which no container runs.
    pub fn network_remove(&self, wanted: &str) -> Result<(), Error> {
        let network = self.networks.inspect(&self.shared.db, wanted)?;
        let network = self.take_away(&network, &|id| self.running_name(id).is_some())?;
        if network.is_configuration() {
            // Nothing goes with it, and Docker tells of nothing.
            return Ok(());
        }
        self.emit(&events::of(
            "network",
            "destroy",
            &network.id,
            &[("name", &network.name), ("type", network.driver().name())],
        ));
        Ok(())
    }

    /// Removes all networks made by people, but no configurations, for which `chosen` holds and in which no
    /// container runs or has an address. Returns those removed.
    pub fn network_prune(&self, chosen: &dyn Fn(&Network) -> bool) -> Result<Vec<Network>, Error> {
        let db = &self.shared.db;
        let mut removed = Vec::new();
        for network in self.networks.list(db)?.into_iter().filter(may_have_members) {
            if !chosen(&network) || !self.networks.leases(db, &network)?.is_empty() {
                continue;
            }
            match self.take_away(&network, &|_| true) {
                Ok(network) => removed.push(network),
                // Whoever has come in by now keeps the network.
                Err(Error::Network(
                    network::Error::ActiveEndpoints { .. } | network::Error::NotFound { .. },
                )) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(removed)
    }

    fn take_away(
        &self,
        network: &Network,
        running: &dyn Fn(&str) -> bool,
    ) -> Result<Network, Error> {
        let db = &self.shared.db;
        if !may_have_members(network) {
            return Ok(self.networks.remove(db, &network.id, running)?);
        }
        let held = self.hold_still(network)?;
        // Whoever was made, or was to join it, since then.
        let others = |tx: &Read| -> Result<Vec<(String, String)>, network::Error> {
            let is_new = |one: &Container| {
                !held.contains_key(&one.id) && self.paths().data(&one.id).exists()
            };
            let new = joining(tx, network)?.into_iter().filter(is_new);
            Ok(new.map(|one| (one.name, one.id)).collect())
        };
        Ok(self.networks.remove_unless(db, &network.id, running, &others)?)
    }

    /// The locks of all containers that are in a network or will be with their next start, by their ids: as
    /// long as they are held, none is started. An error tells of those who run in it.
    fn hold_still(&self, network: &Network) -> Result<BTreeMap<String, Lock>, Error> {
        loop {
            let (mut held, mut endpoints, mut obstacle) = (BTreeMap::new(), Vec::new(), None);
            // The oldest first, as they are told of.
            for container in self.shared.db.read(|tx| joining(tx, network))?.into_iter().rev() {
                let data = self.paths().data(&container.id);
                match Lock::attempt(&data)? {
                    Some(_lock) if self.is_lost(&container.id)? => {
                        obstacle = Some(Obstacle::Lost(container.id));
                        break;
                    }
                    Some(lock) => {
                        if self.runs_in(&container.id, network)? {
                            endpoints.push((container.name, container.id.clone()));
                        }
                        held.insert(container.id, lock);
                    }
                    // It is being removed: the folder goes before the record.
                    None if !data.exists() => {}
                    // It runs: what is done with it does not matter.
                    None if self.runs_in(&container.id, network)? => {
                        endpoints.push((container.name, container.id));
                    }
                    None => {
                        obstacle = Some(Obstacle::Busy(data));
                        break;
                    }
                }
            }
            let Some(obstacle) = obstacle else {
                if endpoints.is_empty() {
                    return Ok(held);
                }
                let name = network.name.clone();
                return Err(network::Error::ActiveEndpoints { name, endpoints }.into());
            };
            // With nothing held, lest two wait for each other.
            drop(held);
            match obstacle {
                Obstacle::Busy(data) => drop(Lock::wait(&data)?),
                Obstacle::Lost(id) => drop(self.status(&id)?),
            }
        }
    }

    fn is_lost(&self, id: &str) -> Result<bool, Error> {
        self.shared.lost_its_shim(id, &self.shared.status(id)?)
    }

    /// Whether a container runs and has its place in a network.
    fn runs_in(&self, id: &str, network: &Network) -> Result<bool, Error> {
        if !self.shared.status(id)?.phase.is_alive() {
            return Ok(false);
        }
        // It may have been started since it was looked for, and be gone by now.
        match self.find(id) {
            Err(Error::NoContainer(_)) => Ok(false),
            found => Ok(is_connected(&found?.record, network)),
        }
    }
}

/// What is in the way of holding all.
enum Obstacle {
    /// Somebody else changes the container that has this folder.
    Busy(PathBuf),
    /// The supervisor of the container with this id was killed: it ends, or is started again, as its policy says.
    Lost(String),
}

/// Whether a network is one that can go while somebody wants to be in it.
fn may_have_members(network: &Network) -> bool {
    network.is_user_defined() && !network.is_configuration()
}

/// Those who are in a network, or will be with their next start. One whose record cannot be read cannot be
/// started either.
fn joining(tx: &Read, network: &Network) -> Result<Vec<Container>, metadata::Error> {
    let all = tx.containers()?.into_iter().filter_map(|row| Container::from_row(row).ok());
    Ok(all.filter(|one| joins(&one.record, network)).collect())
}

fn joins(record: &Record, network: &Network) -> bool {
    // By its name, its id, or the start of that.
    let is = |name: &str| name == network.name || !name.is_empty() && network.id.starts_with(name);
    is_connected(record, network)
        || !record.unplugged && is(&record.host.network_mode)
        || record.endpoints.keys().any(|name| is(name))
}

fn is_connected(record: &Record, network: &Network) -> bool {
    record.connected.iter().any(|(_, one)| one.network_id == network.id)
}
