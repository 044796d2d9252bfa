//! Looking for rows that point at nothing.

use std::collections::BTreeMap;

use oci::Digest;

use crate::text::Text;
use crate::{Error, Read, Write};

/// A row that names what has no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dangling {
    /// An address that a container without a record has.
    Lease {
        /// The network's id.
        network: String,
        /// The address.
        address: String,
        /// The container's id.
        container: String,
    },
    /// A port of the host that a container without a record has.
    Port {
        /// `tcp` or `udp`.
        protocol: String,
        /// The port.
        port: u16,
        /// The container's id.
        container: String,
    },
    /// A container of an image that has no record.
    Image {
        /// The container's id.
        container: String,
        /// The image's.
        image: Digest,
    },
}

impl Read {
    /// What SQLite finds wrong with the file; nothing where all is right.
    pub fn integrity(&self) -> Result<Vec<String>, Error> {
        let doing = "check the database";
        let mut wrong: Vec<String> =
            self.all(doing, "PRAGMA integrity_check", [], |row| row.get(0))?;
        wrong.retain(|line| line != "ok");
        let of_keys = self.all(doing, "PRAGMA foreign_key_check", [], |row| {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            Ok(format!("a row of `{table}` names one of `{parent}` that is not there"))
        })?;
        wrong.extend(of_keys);
        Ok(wrong)
    }

    /// Every row that names what has no row.
    pub fn dangling(&self) -> Result<Vec<Dangling>, Error> {
        let doing = "look for rows that point at nothing";
        let leases = "SELECT network, address, container FROM leases WHERE released IS NULL
                      AND container NOT IN (SELECT id FROM containers)";
        let mut found = self.all(doing, leases, [], |row| {
            let (network, address, container) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Dangling::Lease { network, address, container })
        })?;
        let ports = "SELECT protocol, port, container FROM ports
                     WHERE container NOT IN (SELECT id FROM containers)";
        found.extend(self.all(doing, ports, [], |row| {
            let (protocol, port, container) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Dangling::Port { protocol, port, container })
        })?);
        let images = "SELECT id, image FROM containers WHERE image IS NOT NULL
                      AND image NOT IN (SELECT id FROM images)";
        found.extend(self.all(doing, images, [], |row| {
            let (container, image) = (row.get(0)?, row.get::<_, Text<Digest>>(1)?.0);
            Ok(Dangling::Image { container, image })
        })?);
        Ok(found)
    }

    /// What the registry of our own was given: blobs, each with the repositories that need it.
    pub fn served_blobs(&self) -> Result<BTreeMap<Digest, Vec<String>>, Error> {
        let sql = "SELECT digest, repository FROM served_manifests
                   UNION SELECT part, repository FROM served_parts ORDER BY 1, 2";
        let rows = self.all("list what is served", sql, [], |row| {
            Ok((row.get::<_, Text<Digest>>(0)?.0, row.get::<_, String>(1)?))
        })?;
        let mut blobs: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for (blob, repository) in rows {
            blobs.entry(blob).or_default().push(repository);
        }
        Ok(blobs)
    }

    /// Who holds a blob or a layer.
    pub fn holders_of(&self, target: &Digest) -> Result<Vec<String>, Error> {
        let sql = "SELECT holder FROM pull_holds WHERE target = ?1";
        self.all("list holders", sql, [Text(target)], |row| row.get(0))
    }
}

impl Write {
    /// Gives back the addresses and ports of containers that have no record, as of `now`
    /// (nanoseconds since 1970).
    pub fn release_dangling(&self, now: i64) -> Result<(), Error> {
        for dangling in self.dangling()? {
            match dangling {
                Dangling::Lease { container, .. } => self.release_addresses(&container, now)?,
                Dangling::Port { container, .. } => self.release_ports(&container)?,
                Dangling::Image { .. } => {}
            }
        }
        Ok(())
    }
}
