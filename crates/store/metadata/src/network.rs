//! Networks, leases of addresses, and reservations of host ports.

use std::net::IpAddr;

use rusqlite::{Row, params};

use crate::text::{Text, after_prefix, is_id_prefix};
use crate::{Error, Read, Write};

/// A network's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// No two have the same.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// The network service's record, JSON.
    pub config: String,
}

/// An address that a container has, or had until lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The network's id.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// The container's id.
    pub container: String,
    /// Since when it is free, nanoseconds since 1970. The kernel takes a link down some time after it was told
    /// to: who gives the address to another one looks for that.
    pub released: Option<i64>,
}

/// A port of the host that is forwarded to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The host's address, perhaps the unspecified one.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The container's id.
    pub container: String,
}

fn network(row: &Row<'_>) -> rusqlite::Result<Network> {
    Ok(Network { id: row.get(0)?, name: row.get(1)?, created: row.get(2)?, config: row.get(3)? })
}

fn lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        network: row.get(0)?,
        address: row.get::<_, Text<IpAddr>>(1)?.0,
        container: row.get(2)?,
        released: row.get(3)?,
    })
}

fn port(row: &Row<'_>) -> rusqlite::Result<Port> {
    Ok(Port {
        protocol: row.get(0)?,
        address: row.get::<_, Text<IpAddr>>(1)?.0,
        port: row.get(2)?,
        container: row.get(3)?,
    })
}

impl Read {
    /// All networks, by name.
    pub fn networks(&self) -> Result<Vec<Network>, Error> {
        let sql = "SELECT id, name, created, config FROM networks ORDER BY name";
        self.all("list networks", sql, [], network)
    }

    /// The network with exactly this id.
    pub fn network(&self, id: &str) -> Result<Option<Network>, Error> {
        let sql = "SELECT id, name, created, config FROM networks WHERE id = ?1";
        self.first("look up a network", sql, [id], network)
    }

    /// The network with exactly this name.
    pub fn network_named(&self, name: &str) -> Result<Option<Network>, Error> {
        let sql = "SELECT id, name, created, config FROM networks WHERE name = ?1";
        self.first("look up a network", sql, [name], network)
    }

    /// The network that a person means: by its id, else its name, else the start of its id.
    pub fn find_network(&self, wanted: &str) -> Result<Network, Error> {
        if let Some(found) = self.network(wanted)? {
            return Ok(found);
        }
        if let Some(found) = self.network_named(wanted)? {
            return Ok(found);
        }
        let not_found = || Error::NotFound { what: "network", name: wanted.into() };
        if !is_id_prefix(wanted) {
            return Err(not_found());
        }
        let sql =
            "SELECT id, name, created, config FROM networks WHERE id >= ?1 AND id < ?2 LIMIT 2";
        let range = [wanted, &after_prefix(wanted)];
        let mut found = self.all("look up a network", sql, range, network)?;
        match found.len() {
            2 => Err(Error::Ambiguous { what: "network", prefix: wanted.into() }),
            _ => found.pop().ok_or_else(not_found),
        }
    }

    /// All leases of a network, those released too.
    pub fn leases(&self, network: &str) -> Result<Vec<Lease>, Error> {
        let sql = "SELECT network, address, container, released FROM leases WHERE network = ?1";
        self.all("list leases", sql, [network], lease)
    }

    /// Who has an address, or had it last.
    pub fn lease(&self, network: &str, address: IpAddr) -> Result<Option<Lease>, Error> {
        let sql = "SELECT network, address, container, released FROM leases
                   WHERE network = ?1 AND address = ?2";
        self.first("look up a lease", sql, params![network, Text(address)], lease)
    }

    /// The addresses that a container has, in every network.
    pub fn leases_of(&self, container: &str) -> Result<Vec<Lease>, Error> {
        let sql = "SELECT network, address, container, released FROM leases
                   WHERE container = ?1 AND released IS NULL";
        self.all("list leases", sql, [container], lease)
    }

    /// Every reservation of this port, on whatever address.
    pub fn ports(&self, protocol: &str, number: u16) -> Result<Vec<Port>, Error> {
        let sql = "SELECT protocol, address, port, container FROM ports
                   WHERE protocol = ?1 AND port = ?2";
        self.all("list ports", sql, params![protocol, number], port)
    }

    /// The ports reserved for a container.
    pub fn ports_of(&self, container: &str) -> Result<Vec<Port>, Error> {
        let sql = "SELECT protocol, address, port, container FROM ports WHERE container = ?1
                   ORDER BY port, protocol, address";
        self.all("list ports", sql, [container], port)
    }
}

impl Write {
    /// Adds a network. [`Error::InUse`] where its name is taken.
    pub fn insert_network(&self, new: &Network) -> Result<(), Error> {
        if let Some(other) = self.network_named(&new.name)? {
            return Err(Error::InUse {
                what: "network name",
                name: new.name.clone(),
                holder: other.id,
            });
        }
        self.execute(
            "add a network",
            "INSERT INTO networks (id, name, created, config) VALUES (?1, ?2, ?3, ?4)",
            params![new.id, new.name, new.created, new.config],
        )?;
        Ok(())
    }

    /// Replaces a network's record. Whether there is such a network.
    pub fn set_network_config(&self, id: &str, config: &str) -> Result<bool, Error> {
        let sql = "UPDATE networks SET config = ?2 WHERE id = ?1";
        Ok(self.execute("change a network", sql, [id, config])? > 0)
    }

    /// Takes a network out, with all its leases. Whether there was one.
    pub fn delete_network(&self, id: &str) -> Result<bool, Error> {
        Ok(self.execute("remove a network", "DELETE FROM networks WHERE id = ?1", [id])? > 0)
    }

    /// Gives an address to a container. [`Error::InUse`] where another one has it. A container may take its
    /// own again, and anybody one that was released.
    pub fn lease_address(
        &self,
        network: &str,
        address: IpAddr,
        container: &str,
    ) -> Result<(), Error> {
        let old = self.lease(network, address)?;
        let is_taken = |old: &Lease| old.container != container && old.released.is_none();
        if let Some(old) = old.filter(is_taken) {
            return Err(Error::InUse {
                what: "address",
                name: address.to_string(),
                holder: old.container,
            });
        }
        self.execute(
            "lease an address",
            "INSERT OR REPLACE INTO leases (network, address, container, released)
             VALUES (?1, ?2, ?3, NULL)",
            params![network, Text(address), container],
        )?;
        Ok(())
    }

    /// Releases every address of a container as of `now` (nanoseconds since 1970).
    pub fn release_addresses(&self, container: &str, now: i64) -> Result<(), Error> {
        let sql = "UPDATE leases SET released = ?2 WHERE container = ?1 AND released IS NULL";
        self.execute("release addresses", sql, params![container, now])?;
        Ok(())
    }

    /// Releases the addresses of a container in one network as of `now`.
    pub fn release_addresses_in(
        &self,
        network: &str,
        container: &str,
        now: i64,
    ) -> Result<(), Error> {
        let sql = "UPDATE leases SET released = ?3
                   WHERE network = ?1 AND container = ?2 AND released IS NULL";
        self.execute("release addresses", sql, params![network, container, now])?;
        Ok(())
    }

    /// Forgets the leases that were released before `rested`.
    pub fn forget_leases(&self, network: &str, rested: i64) -> Result<(), Error> {
        let sql = "DELETE FROM leases WHERE network = ?1 AND released < ?2";
        self.execute("forget leases", sql, params![network, rested])?;
        Ok(())
    }

    /// Reserves a port of the host. [`Error::InUse`] where another container has the same port on
    /// the same address, or either address is the unspecified one of their family.
    pub fn reserve_port(&self, new: &Port) -> Result<(), Error> {
        let clash = self.ports(&new.protocol, new.port)?.into_iter().find(|old| {
            let overlap = old.address == new.address
                || (old.address.is_ipv4() == new.address.is_ipv4()
                    && (old.address.is_unspecified() || new.address.is_unspecified()));
            overlap && old.container != new.container
        });
        if let Some(old) = clash {
            return Err(Error::InUse {
                what: "port",
                name: format!("{}:{}/{}", new.address, new.port, new.protocol),
                holder: old.container,
            });
        }
        self.execute(
            "reserve a port",
            "INSERT OR REPLACE INTO ports (protocol, port, address, container)
             VALUES (?1, ?2, ?3, ?4)",
            params![new.protocol, new.port, Text(new.address), new.container],
        )?;
        Ok(())
    }

    /// Gives back every port of a container.
    pub fn release_ports(&self, container: &str) -> Result<(), Error> {
        self.execute("release ports", "DELETE FROM ports WHERE container = ?1", [container])?;
        Ok(())
    }
}
