//! The kernel's parameters of a container's interfaces.
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::{Error, Link, Parameter, apply};

/// Sets those that were asked for. The interfaces are there.
pub(crate) fn set(links: &[Link], netns: BorrowedFd<'_>) -> Result<(), Error> {
    if links.iter().all(|link| link.parameters.is_empty()) {
        return Ok(());
    }
    netlink::inside(netns, || {
        for link in links {
            for parameter in &link.parameters {
                let path = path(link, parameter);
                let set = set_one(&path, &parameter.value);
                set.map_err(|source| Error::Parameter { path, source })?;
            }
        }
        Ok(())
    })?
}

fn path(link: &Link, parameter: &Parameter) -> PathBuf {
    let Parameter { family, group, name, .. } = parameter;
    Path::new("/proc/sys/net").join(family).join(group).join(&link.container_name).join(name)
}

/// What is right already is left alone: there are parameters that cannot be written, but are as asked for.
fn set_one(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().read(true).open(path)?;
    apply::check_procfs(&file)?;
    let mut now = String::new();
    // One that was never set may not be read: `stable_secret`.
    let read = io::Read::read_to_string(&mut file, &mut now);
    if read.is_ok() && now.trim() == value.trim() {
        return Ok(());
    }
    fs::write(path, value)
}
