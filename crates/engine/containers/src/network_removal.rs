//! Removing networks, while others start containers.
//!
//! A network's record goes in a transaction that sees who has an address in it. That does not tell who is about
//! to run: one that does not run has its addresses, too, and a network may give none. So nobody may be about to be
//! in it while it goes ([`NetworkLock`]).

use std::collections::BTreeSet;

use metadata::Read;
use network::Network;
use sys::ByteLock;

use crate::engine::Engine;
use crate::lock::Lock;
use crate::network_lock::NetworkLock;
use crate::record::{Container, Record};
use crate::{Error, events};

impl Engine {
    /// Removes a network in which no container runs.
    pub fn network_remove(&self, wanted: &str) -> Result<(), Error> {
        let network = self.networks.inspect(&self.shared.db, wanted)?;
        // One that has lost its supervisor is not dealt with now: it would be started again, and wait for us.
        let runs = |id: &str| self.shared.status(id).is_ok_and(|status| status.phase.is_alive());
        let network = self.take_away(&network, &runs)?;
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
        NetworkLock::wait_for_makers(&self.paths().network_locks())?;
        let (_lock, seen) = self.hold_alone(network)?;
        // Whoever was made, or was to join it, since then.
        let others = |tx: &Read| -> Result<Vec<(String, String)>, network::Error> {
            let is_new =
                |one: &Container| !seen.contains(&one.id) && self.paths().data(&one.id).exists();
            let new = joining(tx, network)?.into_iter().filter(is_new);
            Ok(new.map(|one| (one.name, one.id)).collect())
        };
        Ok(self.networks.remove_unless(db, &network.id, running, &others)?)
    }

    /// The lock of a network in which nobody runs, with the ids of those who will be in it with their next start:
    /// as long as it is held, none is started. An error tells of those who run in it.
    fn hold_alone(&self, network: &Network) -> Result<(NetworkLock, BTreeSet<String>), Error> {
        let path = self.paths().network_locks();
        loop {
            let lock = NetworkLock::wait(&path, &network.id, ByteLock::Exclusive)?;
            let (mut seen, mut endpoints, mut lost) = (BTreeSet::new(), Vec::new(), None);
            // The oldest first, as they are told of.
            for container in self.shared.db.read(|tx| joining(tx, network))?.into_iter().rev() {
                let status = self.shared.status(&container.id)?;
                if self.shared.lost_its_shim(&container.id, &status)? {
                    lost = Some(container.id);
                    break;
                }
                if status.phase.is_alive() && is_in(&container.record, network) {
                    endpoints.push((container.name, container.id.clone()));
                }
                seen.insert(container.id);
            }
            let Some(id) = lost else {
                if endpoints.is_empty() {
                    return Ok((lock, seen));
                }
                let name = network.name.clone();
                return Err(network::Error::ActiveEndpoints { name, endpoints }.into());
            };
            // It ends, or is started again, as its policy says: with nothing held, lest that waits for us. Whoever
            // has its lock finds out as well.
            drop(lock);
            drop(Lock::wait(&self.paths().data(&id))?);
            self.status(&id)?;
        }
    }
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

/// The same of one that runs: of a step of a build it is not written down where it is.
fn is_in(record: &Record, network: &Network) -> bool {
    is_connected(record, network) || record.step.is_some() && joins(record, network)
}
