use std::io;
use std::path::Path;

use metadata::Db;
use netlink::{FilterSocket, Link, Requests, RouteSocket};
use nft::{Batch, Family};

use crate::create::all;
use crate::name::{self, Table, is_bridge, parse_table, short};
use crate::{Error, Network, Networks};

impl Networks {
    /// Recovery: takes away what is of no network that there is, and of no container that lives:
    /// tables, bridges, and files of names.
    ///
    /// `live` says whether the container with this id runs or is being started; it is asked about
    /// containers that have a record. Of what others made, nothing is read but the names of their
    /// tables and links.
    pub fn sweep(&self, db: &Db, live: &dyn Fn(&str) -> bool) -> Result<(), Error> {
        // First what there is, then whose it may be: what comes up in between is not seen.
        let (tables, links) = self.inside_if_there(look)?.unwrap_or_default();
        let names = self.files_of_names()?;
        let (networks, containers) = db.read(|tx| {
            let containers = tx.containers()?.into_iter().map(|container| container.id);
            Ok::<_, Error>((all(tx)?, containers.collect::<Vec<_>>()))
        })?;
        let live: Vec<String> = containers.into_iter().filter(|id| live(id)).collect();

        let mut batch = Batch::new();
        let mut stale = false;
        for (family, table) in &tables {
            if self.is_stale_table(table, &live, &networks) {
                batch.delete(*family, table);
                stale = true;
            }
        }
        let mut requests = Requests::new();
        for link in links.iter().filter(|link| link.kind == "bridge") {
            let ours = is_bridge(&self.prefix, &link.name);
            if ours && !networks.iter().any(|network| network.bridge() == link.name) {
                requests.delete_link(&link.name);
            }
        }
        self.inside_if_there(|| take_away(stale.then_some(batch), &requests))?;
        for (network, files) in &names {
            if !networks.iter().any(|one| one.id == *network) {
                remove(&self.directory.join(network))?;
                continue;
            }
            for file in files {
                // A file that is being written is `.ID.new`.
                let owner = file.strip_prefix('.').and_then(|file| file.strip_suffix(".new"));
                if !live.iter().any(|id| id == owner.unwrap_or(file)) {
                    remove(&self.names_directory(network).join(file))?;
                }
            }
        }
        Ok(())
    }

    fn is_stale_table(&self, table: &str, live: &[String], networks: &[Network]) -> bool {
        match parse_table(&self.prefix, table) {
            None => false,
            Some(Table::Container(id)) => !live.iter().any(|one| short(one) == id),
            Some(Table::Network(id)) => !networks.iter().any(|one| short(&one.id) == id),
        }
    }

    /// The directory of each network, by its id, and the files of names in it.
    fn files_of_names(&self) -> Result<Vec<(String, Vec<String>)>, Error> {
        let mut files = Vec::new();
        for network in entries(&self.directory)? {
            let names = entries(&self.names_directory(&network))?;
            files.push((network, names));
        }
        Ok(files)
    }

    /// The host's end of a container's link in a network, by which it can be looked for.
    pub fn link_name(container_id: &str, network_id: &str) -> String {
        name::veth(container_id, network_id)
    }
}

/// All tables, by family and name, and all links.
type Seen = (Vec<(Family, String)>, Vec<Link>);

fn look() -> Result<Seen, Error> {
    let mut filter = FilterSocket::open()?;
    let mut tables = Vec::new();
    for family in [Family::Ip, Family::Ip6] {
        tables.extend(filter.tables(family)?.into_iter().map(|table| (family, table)));
    }
    Ok((tables, RouteSocket::open()?.links()?))
}

fn take_away(tables: Option<Batch>, links: &Requests) -> Result<(), Error> {
    if let Some(tables) = tables {
        failpoint::hit("network.sweep")?;
        FilterSocket::open()?.execute(tables)?;
        failpoint::hit("network.swept")?;
    }
    Ok(RouteSocket::open()?.execute(links)?)
}

/// The names in a directory; none where there is none.
fn entries(directory: &Path) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    match read() {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(|source| Error::File {
            doing: "read",
            path: directory.to_owned(),
            source,
        }),
    }
}

/// Removes a file or a directory with all in it, if it is there.
fn remove(path: &Path) -> Result<(), Error> {
    let removed = match std::fs::remove_file(path) {
        Err(err) if err.kind() == io::ErrorKind::IsADirectory => std::fs::remove_dir_all(path),
        result => result,
    };
    match removed {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        result => {
            result.map_err(|source| Error::File { doing: "remove", path: path.to_owned(), source })
        }
    }
}
