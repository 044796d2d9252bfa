//! Kernel parameters: only those that belong to a namespace of the container's own.

use std::collections::BTreeMap;

use oci::runtime::NamespaceKind;

use crate::Error;
use crate::namespace::Namespaces;

/// One parameter: its file below `/proc/sys`, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Relative to `/proc`.
    pub path: String,
    /// The namespace that it belongs to.
    pub namespace: NamespaceKind,
    /// The value.
    pub value: String,
}

const IPC: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.auto_msgmni",
];

pub(crate) fn sysctls(
    specs: &BTreeMap<String, String>,
    domainname: &str,
    namespaces: &Namespaces,
) -> Result<Vec<Sysctl>, Error> {
    let sysctls: Vec<Sysctl> =
        specs.iter().map(|(key, value)| one(key, value, namespaces)).collect::<Result<_, _>>()?;
    let other = |one: &&Sysctl| one.path == "sys/kernel/domainname" && one.value != domainname;
    if let Some(other) = sysctls.iter().find(other).filter(|_| !domainname.is_empty()) {
        let why = format!("is `{}` and domainname is `{domainname}`", other.value.escape_debug());
        return Err(Error::conflict("linux.sysctl.kernel.domainname", why));
    }
    Ok(sysctls)
}

fn one(key: &str, value: &str, namespaces: &Namespaces) -> Result<Sysctl, Error> {
    let field = format!("linux.sysctl.{}", key.escape_debug());
    let invalid = |why: &str| Err(Error::invalid(&field, value.escape_debug(), why));
    let path = path(key);
    let name = path.replace('/', ".");
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/@:".contains(c);
    if key.is_empty()
        || !key.chars().all(plain)
        || path.split('/').any(|part| part.is_empty() || part == "..")
    {
        return invalid("is for a name that no parameter has");
    }
    // One write sets one parameter: a second line would be another value.
    if value.contains(['\0', '\n']) {
        return invalid("has a line break or NUL in it");
    }
    let (needs, what) = match name.as_str() {
        "kernel.domainname" => (NamespaceKind::Uts, "a uts"),
        "kernel.hostname" => {
            return invalid("must be set as the field hostname");
        }
        name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => {
            (NamespaceKind::Ipc, "an ipc")
        }
        name if name.starts_with("net.") => (NamespaceKind::Network, "a network"),
        name if name.starts_with("user.") => (NamespaceKind::User, "a user"),
        _ => return invalid("is for a parameter of the whole machine"),
    };
    if !namespaces.has(needs) {
        return Err(Error::conflict(
            field,
            format!("needs {what} namespace of the container's own"),
        ));
    }
    Ok(Sysctl { path: format!("sys/{path}"), namespace: needs, value: value.to_owned() })
}

/// The file of a parameter. As in sysctl(8), whichever of `.` and `/` comes first separates; the
/// other one stands for itself, with `.` in a name written as `/`.
fn path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    }
}
