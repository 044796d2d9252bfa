//! Files by which the containers of one network find each other by name: one for each container,
//! written and removed by its own shim, read by the name servers of all.
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::{fs, io};

use crate::{Error, Link, Name};

/// Writes the files of all links that have one.
pub(crate) fn write(links: &[Link]) -> Result<(), Error> {
    for link in links {
        let Some(name) = &link.name else { continue };
        failpoint::hit("endpoint.name")?;
        write_one(link, name).map_err(|source| Error::Names {
            doing: "write",
            path: name.path(),
            source,
        })?;
        failpoint::hit("endpoint.named")?;
    }
    Ok(())
}

/// A reader finds all of it or nothing of it.
fn write_one(link: &Link, name: &Name) -> io::Result<()> {
    fs::create_dir_all(&name.directory)?;
    let beside = name.path_beside();
    fs::write(&beside, text(link, name))?;
    fs::rename(&beside, name.path())
}

fn text(link: &Link, name: &Name) -> String {
    let mut text = String::new();
    for one in &name.names {
        // An address of one link means another machine on each.
        let local = |address: &IpAddr| matches!(address, IpAddr::V4(v4) if v4.is_link_local());
        for (address, _) in link.addresses.iter().filter(|(address, _)| !local(address)) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{one} {address}");
        }
    }
    text
}

/// Removes the files of all links that have one. Tries all, and returns the first failure.
pub(crate) fn remove(links: &[Link]) -> Result<(), Error> {
    let mut result = Ok(());
    for name in links.iter().filter_map(|link| link.name.as_ref()) {
        failpoint::hit("endpoint.unname")?;
        for path in [name.path_beside(), name.path()] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    result = result.and(Err(Error::Names { doing: "remove", path, source }));
                }
                _ => {}
            }
        }
        failpoint::hit("endpoint.unnamed")?;
    }
    result
}

impl Name {
    fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }

    /// Where the file is written, hidden from those who list the directory by its dot.
    fn path_beside(&self) -> PathBuf {
        self.directory.join(format!(".{}.new", self.file))
    }
}
