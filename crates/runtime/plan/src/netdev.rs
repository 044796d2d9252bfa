//! Network interfaces of the host that move into the container.

use std::collections::BTreeMap;

use oci::runtime::{NamespaceKind, NetDevice as Spec};

use crate::Error;
use crate::namespace::Namespaces;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host: String,
    /// Its name inside; with `%d` in it the kernel finds a number.
    pub inside: String,
}

/// The longest name of an interface, in bytes: `IFNAMSIZ` less the NUL.
const LONGEST: usize = 15;

pub(crate) fn devices(
    specs: &BTreeMap<String, Spec>,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevice>, Error> {
    if !specs.is_empty() && !namespaces.has(NamespaceKind::Network) {
        let why = "need a network namespace of the container's own";
        return Err(Error::conflict("linux.netDevices", why));
    }
    let mut devices: Vec<NetDevice> = Vec::with_capacity(specs.len());
    for (host, spec) in specs {
        let inside = if spec.name.is_empty() { host } else { &spec.name };
        check("linux.netDevices", host)?;
        let field = format!("linux.netDevices.{host}.name");
        check(&field, inside)?;
        if host.contains('%') {
            return Err(Error::invalid("linux.netDevices", host, "is not an interface's name"));
        }
        // The kernel numbers what ends in `%d`; any other percent sign is a mistake.
        if inside.contains('%') && inside.find('%') != inside.strip_suffix("%d").map(str::len) {
            return Err(Error::invalid(field, inside, "may have a `%` only as `%d` at its end"));
        }
        if !inside.contains('%') && devices.iter().any(|other| other.inside == *inside) {
            return Err(Error::invalid(field, inside, "is there twice"));
        }
        devices.push(NetDevice { host: host.clone(), inside: inside.clone() });
    }
    Ok(devices)
}

/// What the kernel takes as an interface's name: `dev_valid_name`.
fn check(field: &str, name: &str) -> Result<(), Error> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > LONGEST || name == "." || name == ".." || name.contains(bad)
    {
        return Err(Error::invalid(field, name.escape_debug(), "is not an interface's name"));
    }
    Ok(())
}
