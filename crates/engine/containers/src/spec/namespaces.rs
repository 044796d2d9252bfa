//! Which namespaces a container has of its own, and which are another's.

use std::collections::BTreeMap;

use oci::runtime::{Namespace, NamespaceKind};

use crate::Error;

/// The IPC mode of a container whose namespace others may join.
pub(crate) const SHAREABLE: &str = "shareable";

/// One namespace of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A new one.
    Own,
    /// The machine's.
    Host,
    /// That of the process with this number, in the host's PID namespace.
    Of(i32),
}

impl Place {
    pub(crate) fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

/// All that a container chooses; mounts are always its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespaces {
    pub(crate) pid: Place,
    pub(crate) net: Place,
    pub(crate) ipc: Place,
    pub(crate) uts: Place,
    pub(crate) cgroup: Place,
    /// How many groups there are, where the engine itself is in a user namespace.
    pub(crate) nested: Option<u32>,
    /// A new one, or the machine's.
    pub(crate) user: Place,
}

/// A `--pid`, `--ipc`, `--network` or like it: whose namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode<'a> {
    /// A new one.
    Private,
    /// The machine's.
    Host,
    /// Another container's.
    Container(&'a str),
    /// Something else, for the caller to know.
    Other(&'a str),
}

/// Reads a mode.
pub(crate) fn mode(text: &str) -> Mode<'_> {
    match text {
        "" | "private" => Mode::Private,
        "host" => Mode::Host,
        text => match text.strip_prefix("container:") {
            Some(other) => Mode::Container(other),
            None => Mode::Other(text),
        },
    }
}

/// Holds that every mode of a request is one that we have, in Docker's words.
pub(crate) fn check(host: &docker::HostConfig) -> Result<(), Error> {
    let refuse = |what: &str, text: &str| Err(Error::Invalid(format!("invalid {what}: {text}")));
    if host.network_mode == "container" {
        return Err(Error::Invalid("invalid container format container:<name|id>".into()));
    }
    match mode(&host.pid_mode) {
        Mode::Container("") => return refuse("PID mode", &host.pid_mode),
        Mode::Private | Mode::Host | Mode::Container(_) if host.pid_mode != "private" => {}
        _ => return refuse("PID mode", &host.pid_mode),
    }
    match mode(&host.ipc_mode) {
        Mode::Container("") => return refuse("IPC mode", &host.ipc_mode),
        Mode::Private | Mode::Host | Mode::Container(_) | Mode::Other("none" | SHAREABLE) => {}
        Mode::Other(_) => return refuse("IPC mode", &host.ipc_mode),
    }
    match host.uts_mode.as_str() {
        "" | "host" => {}
        other => return refuse("UTS mode", other),
    }
    match host.cgroupns_mode.as_str() {
        "" | "host" | "private" => {}
        other => return refuse("cgroup namespace mode", other),
    }
    crate::userns::wanted(&host.userns_mode).map(drop)
}

impl Namespaces {
    /// For the runtime.
    pub(crate) fn list(&self) -> Vec<Namespace> {
        let mut list = vec![Namespace { kind: NamespaceKind::Mount, path: String::new() }];
        for (kind, place) in [
            (NamespaceKind::Network, &self.net),
            (NamespaceKind::Uts, &self.uts),
            (NamespaceKind::Pid, &self.pid),
            (NamespaceKind::Ipc, &self.ipc),
            (NamespaceKind::Cgroup, &self.cgroup),
            (NamespaceKind::User, &self.user),
        ] {
            let path = match place {
                Place::Own => String::new(),
                Place::Host => continue,
                Place::Of(pid) => format!("/proc/{pid}/ns/{}", kind.proc_name()),
            };
            list.push(Namespace { kind, path });
        }
        list
    }

    /// The kernel parameters: those asked for, and Docker's two that let an ordinary user of the
    /// container ping, and listen on low ports. Only what is of a namespace of the container's own.
    pub(crate) fn sysctls(
        &self,
        wanted: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut sysctls = BTreeMap::new();
        if self.net.is_own() {
            sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
            // These are not all ids of another user namespace, and none else will do.
            if !self.user.is_own() && self.nested.is_none() {
                sysctls.insert("net.ipv4.ping_group_range".into(), "0 2147483647".into());
            }
        }
        for (name, value) in wanted {
            let place = match scope(name, value)? {
                Scope::Ipc => &self.ipc,
                Scope::Net => &self.net,
                Scope::Uts => &self.uts,
            };
            if !place.is_own() {
                return Err(Error::Invalid(format!(
                    "sysctl \"{name}\" not allowed in host namespace"
                )));
            }
            sysctls.insert(name.clone(), value.clone());
        }
        Ok(sysctls)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Ipc,
    Net,
    Uts,
}

/// The namespace that a kernel parameter is of. Refuses what is of none, and what could mean
/// another parameter than it says.
fn scope(name: &str, value: &str) -> Result<Scope, Error> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/:@".contains(&b))
        && name.split(['.', '/']).all(|part| !part.is_empty());
    if !plain {
        return Err(Error::Invalid(format!("invalid sysctl name: {name:?}")));
    }
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(Error::Invalid(format!("invalid value of sysctl \"{name}\": {value:?}")));
    }
    if name.contains('/') && !name.starts_with("net.") && !name.starts_with("net/") {
        return Err(Error::Invalid(format!("invalid sysctl name: {name:?}")));
    }
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        Ok(Scope::Ipc)
    } else if name.starts_with("net.") || name.starts_with("net/") {
        Ok(Scope::Net)
    } else if name == "kernel.domainname" {
        Ok(Scope::Uts)
    } else {
        Err(Error::Invalid(format!("sysctl \"{name}\" is not in a separate kernel namespace")))
    }
}

/// Holds that kernel parameters can be a container's, with the namespaces that it asks for.
pub(crate) fn check_sysctls(host: &docker::HostConfig) -> Result<(), Error> {
    let place = |text: &str| if mode(text) == Mode::Host { Place::Host } else { Place::Own };
    let net = match mode(&host.network_mode) {
        Mode::Host | Mode::Container(_) => Place::Host,
        Mode::Private | Mode::Other(_) => Place::Own,
    };
    let namespaces = Namespaces {
        pid: Place::Own,
        net,
        ipc: match mode(&host.ipc_mode) {
            Mode::Container(_) => Place::Host,
            _ => place(&host.ipc_mode),
        },
        uts: place(&host.uts_mode),
        cgroup: Place::Own,
        nested: None,
        user: Place::Host,
    };
    namespaces.sysctls(&host.sysctls)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_own_namespaces() {
        let own = Namespaces {
            pid: Place::Own,
            net: Place::Own,
            ipc: Place::Own,
            uts: Place::Own,
            cgroup: Place::Own,
            nested: None,
            user: Place::Host,
        };
        let host = Namespaces { net: Place::Host, ipc: Place::Host, ..own.clone() };
        for (name, value, in_own, in_host) in [
            ("net.core.somaxconn", "128", true, false),
            ("kernel.shmmax", "1", true, false),
            ("fs.mqueue.msg_max", "1", true, false),
            ("kernel.core_pattern", "|x", false, false),
            ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=x", false, false),
            ("kernel.shm_rmid_forced+x", "1", false, false),
            ("net/../kernel/core_pattern", "x", false, false),
            ("kernel/../kernel.core_pattern", "x", false, false),
            ("net..ipv4", "x", false, false),
            ("net.ipv4.ip_forward", "1\0", false, false),
            ("", "", false, false),
        ] {
            let wanted = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(own.sysctls(&wanted).is_ok(), in_own, "{name}");
            assert_eq!(host.sysctls(&wanted).is_ok(), in_host, "{name}");
        }
    }

    #[test]
    fn modes() {
        let check = |json: &str| super::check(&serde_json::from_str(json).unwrap());
        assert!(check("{}").is_ok());
        assert!(check(r#"{"PidMode":"host","IpcMode":"none","UTSMode":"host"}"#).is_ok());
        assert!(check(r#"{"IpcMode":"shareable"}"#).is_ok());
        assert!(check(r#"{"IpcMode":"container:a"}"#).is_ok());
        assert!(check(r#"{"PidMode":"container:a","CgroupnsMode":"private"}"#).is_ok());
        for json in [
            r#"{"PidMode":"x"}"#,
            r#"{"PidMode":"container:"}"#,
            r#"{"IpcMode":"x"}"#,
            r#"{"IpcMode":"container:"}"#,
            r#"{"UTSMode":"x"}"#,
            r#"{"UsernsMode":"what"}"#,
            r#"{"CgroupnsMode":"x"}"#,
        ] {
            assert!(check(json).is_err(), "{json}");
        }
    }
}
