//! The rules of networks in the kernel: made where they are missing, and anew where another version of this program
//! has made them otherwise.

use std::iter::once;

use metadata::Db;
use netlink::FilterSocket;
use nft::{Batch, Chain, Family, Table};
use rustix::io::Errno;

use crate::create::all;
use crate::{Driver, Error, Network, Networks, name, rules};

impl Networks {
    /// Makes the rules of a network, unless they are there, and are the ones that it is to have.
    pub(crate) fn ensure_rules(&self, network: &Network) -> Result<(), Error> {
        let kernel = |source| Error::Kernel { name: network.name.clone(), source };
        let table = name::network_table(&self.prefix, &network.id);
        let (tables, mark) = ruleset(network, &table);
        let mut filter = FilterSocket::open()?;
        if !filter.has_chain(Family::Ip, &table, &mark).map_err(kernel)? {
            failpoint::hit("network.rules")?;
            filter.put(&tables).map_err(kernel)?;
            failpoint::hit("network.ruled")?;
        }
        Ok(())
    }

    /// Makes those rules anew that are there and are other ones than this program makes. A network that has none
    /// gets them with its next container.
    pub fn renew_rules(&self, db: &Db) -> Result<(), Error> {
        let mut networks = db.read(all)?;
        networks.retain(|network| network.driver() == Driver::Bridge);
        self.inside_if_there(|| {
            let mut filter = FilterSocket::open()?;
            let there = filter.tables(Family::Ip)?;
            for network in &networks {
                let table = name::network_table(&self.prefix, &network.id);
                if there.contains(&table) {
                    renew(&mut filter, network, &table)?;
                }
            }
            Ok::<_, Error>(())
        })?;
        Ok(())
    }
}

fn renew(filter: &mut FilterSocket, network: &Network, table: &str) -> Result<(), Error> {
    let kernel = |source| Error::Kernel { name: network.name.clone(), source };
    let (tables, mark) = ruleset(network, table);
    if filter.has_chain(Family::Ip, table, &mark).map_err(kernel)? {
        return Ok(());
    }
    let mut batch = Batch::new();
    for table in &tables {
        match table.family {
            Family::Ip => batch.rewrite(table),
            Family::Ip6 => batch.replace(table),
        }
    }
    failpoint::hit("network.rules")?;
    match filter.execute(batch) {
        // The network went in this moment.
        Err(err) if err.errno() == Some(Errno::NOENT) => {}
        written => written.map_err(kernel)?,
    }
    failpoint::hit("network.ruled")?;
    Ok(())
}

/// The tables of a network, and the name of an empty chain in the first of them, which says what all are: by that it
/// takes one question to know that they are there, and are these. IPv6 has a table where it has addresses; elsewhere
/// it is turned off on the bridge itself.
fn ruleset(network: &Network, table: &str) -> (Vec<Table>, String) {
    let of = |family| rules::table(network, family, table.to_owned());
    let ipv6 = network.has_ipv6().then(|| of(Family::Ip6));
    let mut tables: Vec<Table> = once(of(Family::Ip)).chain(ipv6).collect();
    let mark = format!("rules-{:016x}", digest(&tables));
    let chain = Chain { name: mark.clone(), base: None, rules: Vec::new() };
    tables[0].chains.push(chain);
    (tables, mark)
}

/// Of what the kernel is told to make them: 64 bits of FNV-1a. Nobody gains by finding others that have the same.
fn digest(tables: &[Table]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut batch = Batch::new();
    for table in tables {
        batch.add(table);
    }
    // What is too long is refused when it is written.
    let bytes = batch.finish().map(|encoded| encoded.bytes).unwrap_or_default();
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
