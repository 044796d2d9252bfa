use std::io;

use metadata::{Db, Lease, Read};
use netlink::{FilterSocket, Requests, RouteSocket};
use nft::{Batch, Family};

use crate::create::all;
use crate::record::is_predefined;
use crate::template::check_unused;
use crate::{Driver, Error, Network, Networks, name};

/// The name and the id of a container in a network.
type Member = (String, String);

impl Networks {
    /// All networks, by name.
    pub fn list(&self, db: &Db) -> Result<Vec<Network>, Error> {
        let mut networks = db.read(all)?;
        networks.retain(|network| !network.is_switched_off());
        Ok(networks)
    }

    /// The network that a person means: by name, id, or the start of an id; `default` and the
    /// empty name mean [`crate::DEFAULT`].
    pub fn inspect(&self, db: &Db, wanted: &str) -> Result<Network, Error> {
        let network = db.read(|tx| Network::find(tx, wanted))?;
        if network.is_switched_off() {
            return Err(Error::NotFound { wanted: wanted.to_owned() });
        }
        Ok(network)
    }

    /// Who has an address in a network: container ids and addresses.
    pub fn leases(&self, db: &Db, network: &Network) -> Result<Vec<Lease>, Error> {
        db.read(|tx| active(tx, &network.id))
    }

    /// Removes a network in which no container runs, and returns it. `running` says whether the
    /// container with an id runs; those that do not lose their addresses.
    pub fn remove(
        &self,
        db: &Db,
        wanted: &str,
        running: &dyn Fn(&str) -> bool,
    ) -> Result<Network, Error> {
        self.remove_unless(db, wanted, running, &|_| Ok(Vec::new()))
    }

    /// The same of a network that may have members without an address: `others` says who they are, by names and
    /// ids, before anything goes, and in the transaction in which its record does.
    pub fn remove_unless(
        &self,
        db: &Db,
        wanted: &str,
        running: &dyn Fn(&str) -> bool,
        others: &dyn Fn(&Read) -> Result<Vec<Member>, Error>,
    ) -> Result<Network, Error> {
        let network = self.inspect(db, wanted)?;
        if is_predefined(&network.name) {
            return Err(Error::CannotRemove { name: network.name });
        }
        let found = db.read(|tx| members(tx, &network.id))?;
        let (active, idle): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, id)| running(id));
        let endpoints = if active.is_empty() { db.read(others)? } else { active };
        if !endpoints.is_empty() {
            return Err(Error::ActiveEndpoints { name: network.name, endpoints });
        }
        self.unmake(db, &network)?;
        failpoint::hit("network.remove")?;
        db.write(|tx| {
            // Somebody may have come in while the bridge went away: its start fails, or makes a
            // bridge anew, for which the record has to stay.
            let mut new = members(tx, &network.id)?;
            new.retain(|member| !idle.contains(member));
            new.extend(others(tx)?);
            if !new.is_empty() {
                let name = network.name.clone();
                return Err(Error::ActiveEndpoints { name, endpoints: new });
            }
            check_unused(tx, &network)?;
            tx.delete_network(&network.id)?;
            Ok(())
        })?;
        failpoint::hit("network.removed")?;
        Ok(network)
    }

    /// Takes a network's rules, bridge or parent, and files away, whatever is there of them.
    pub(crate) fn unmake(&self, db: &Db, network: &Network) -> Result<(), Error> {
        match (&network.config.parent, network.driver()) {
            (Some(parent), _) => self.unmake_parent(db, network, parent)?,
            (None, Driver::Bridge) => {
                self.inside_if_there(|| self.unmake_here(network))?;
            }
            (None, _) => return Ok(()),
        }
        let path = self.directory.join(&network.id);
        match std::fs::remove_dir_all(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| Error::File { doing: "remove", path, source }),
        }
    }

    fn unmake_here(&self, network: &Network) -> Result<(), Error> {
        let kernel = |source| Error::Kernel { name: network.name.clone(), source };
        if !network.config.extras.foreign {
            let mut requests = Requests::new();
            requests.delete_link(network.bridge());
            failpoint::hit("network.unbridge")?;
            RouteSocket::open()?.execute(&requests).map_err(kernel)?;
        }
        failpoint::hit("network.unrule")?;
        // After the bridge: as long as there is one, it has rules.
        let table = name::network_table(&self.prefix, &network.id);
        let mut batch = Batch::new();
        batch.delete(Family::Ip, &table);
        if network.has_ipv6() {
            batch.delete(Family::Ip6, &table);
        }
        FilterSocket::open()?.execute(batch).map_err(kernel)?;
        failpoint::hit("network.unruled")?;
        Ok(())
    }
}

/// The leases that are not released.
pub(crate) fn active(tx: &Read, network_id: &str) -> Result<Vec<Lease>, Error> {
    let mut leases = tx.leases(network_id)?;
    leases.retain(|lease| lease.released.is_none());
    Ok(leases)
}

/// The names and ids of those who have an address in a network.
fn members(tx: &Read, network_id: &str) -> Result<Vec<(String, String)>, Error> {
    let mut members = Vec::new();
    for lease in active(tx, network_id)? {
        let name = tx.container(&lease.container)?.map(|container| container.name);
        members.push((name.unwrap_or_default(), lease.container));
    }
    members.dedup();
    Ok(members)
}
