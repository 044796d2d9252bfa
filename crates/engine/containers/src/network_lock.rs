//! Who is about to be in a network, and who takes it away: the ones or the other, over all processes.
//!
//! Who starts a container holds the networks that it is to be in, from before they are looked up until it can be
//! seen that it runs there; any number may hold one. Who removes a network holds it alone: then nobody is about to
//! be in it, and who is can be seen. That is a lock of one byte of one file for each network, so it takes one
//! descriptor, however many containers a network has, and waits for nobody who does something else with one of
//! them. The kernel takes it back however its holder ends.
//!
//! A network has its record before it is made. Who makes one holds another byte meanwhile, with others, and who
//! removes networks waits for those: else a bridge would come after its record has gone, and nobody would look for it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use network::{CreateRequest, Network};
use sys::{ByteLock, lock_byte_of_open_file};

use crate::Error;
use crate::engine::Engine;
use crate::error::At as _;
use crate::record::Record;

/// What stands for the id of a network where it is about all that are being made.
const MAKING: &str = "00000000";

/// The right to be about to be in a network, or to take it away.
#[derive(Debug)]
pub(crate) struct NetworkLock(#[expect(dead_code, reason = "held, not used")] File);

impl NetworkLock {
    /// Makes the file of the locks, where it is not there.
    pub(crate) fn make(path: &Path) -> Result<(), Error> {
        if path.exists() { Ok(()) } else { open(path).map(drop) }
    }

    /// Waits until all networks that have a record by now are made, or will never be.
    pub(crate) fn wait_for_makers(path: &Path) -> Result<(), Error> {
        Self::wait(path, MAKING, ByteLock::Exclusive).map(drop)
    }

    /// Waits for the lock of a network.
    pub(crate) fn wait(path: &Path, network_id: &str, kind: ByteLock) -> Result<Self, Error> {
        let file = open(path)?;
        let locked = lock_byte_of_open_file(file.as_fd(), byte(network_id), kind);
        locked.map_err(|err| err.errno()).at("fcntl", path)?;
        Ok(Self(file))
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).at("open", path)
}

/// Networks whose ids start alike share one: then one waits for the other without need, and no more.
fn byte(network_id: &str) -> u32 {
    network_id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

impl Engine {
    /// Makes a network ([`network::Networks::create`]).
    pub fn network_create(&self, request: &CreateRequest) -> Result<Network, Error> {
        let _making = NetworkLock::wait(&self.paths().network_locks(), MAKING, ByteLock::Shared)?;
        Ok(self.networks.create(&self.shared.db, request)?)
    }

    /// Holds the networks that a container is to be in with its next start.
    pub(crate) fn hold_networks(&self, record: &Record) -> Result<Vec<NetworkLock>, Error> {
        let main = (!record.unplugged).then_some(record.host.network_mode.as_str());
        let others = record.endpoints.keys().map(String::as_str);
        let names: BTreeSet<&str> = main.into_iter().chain(others).collect();
        let mut held = Vec::new();
        for name in names {
            held.extend(self.hold_network(name)?);
        }
        Ok(held)
    }

    /// Holds one network, by its name or id. `None`: there is none, of which others tell; or it is always there.
    pub(crate) fn hold_network(&self, wanted: &str) -> Result<Option<NetworkLock>, Error> {
        if matches!(wanted, "" | "default" | "bridge" | "host" | "none") {
            return Ok(None);
        }
        loop {
            let Some(network) = self.network_called(wanted)? else { return Ok(None) };
            if !network.is_user_defined() {
                return Ok(None);
            }
            let path = self.paths().network_locks();
            let lock = NetworkLock::wait(&path, &network.id, ByteLock::Shared)?;
            // It may have gone while we waited, and another one of its name have come.
            if self.network_called(wanted)?.is_some_and(|now| now.id == network.id) {
                return Ok(Some(lock));
            }
        }
    }

    fn network_called(&self, wanted: &str) -> Result<Option<Network>, Error> {
        match self.networks.inspect(&self.shared.db, wanted) {
            Err(network::Error::NotFound { .. } | network::Error::Ambiguous { .. }) => Ok(None),
            found => Ok(Some(found?)),
        }
    }
}
