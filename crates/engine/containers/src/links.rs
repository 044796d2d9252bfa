//! Links (`--link`), as Docker has had them since before networks had names: on the default network
//! a container is told of others by its environment and its `/etc/hosts`.
//!
//! Links in other networks are names that only this container's name server knows; they are the
//! network's business.

use std::net::IpAddr;

use docker::{HostConfig, nat};
use network::DEFAULT;
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Shared};
use crate::error::{At as _, Class};
use crate::lock::Lock;
use crate::record::{Container, Record};
use crate::rewire::{Wire, edit};
use crate::spec::namespaces::{Mode, mode};
use crate::{Error, etc};

/// A container that another one is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Its id.
    pub(crate) id: String,
    /// What it is called there.
    pub(crate) alias: String,
}

/// How a record with links looks as text: most have none, and need not be read to know it.
const MARK: &str = "\"links\":[{";

/// Takes `NAME[:ALIAS]` apart, or `/NAME:/CONTAINER/ALIAS`, as it is shown.
pub(crate) fn parse(text: &str) -> Result<(&str, &str), Error> {
    if text.is_empty() {
        return Err(Error::Invalid("empty string specified for links".into()));
    }
    let bad = || Error::Invalid(format!("bad format for links: {text}"));
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    if alias.contains(':') {
        return Err(bad());
    }
    if let Some(shown) = name.strip_prefix('/') {
        return Ok((shown, alias.rsplit('/').next().unwrap_or(alias)));
    }
    // As a part of a path, which it becomes.
    Ok((name, alias.trim_start_matches('/')))
}

/// The ids of those that a container is linked to.
pub(crate) fn ids(record: &Record) -> Vec<String> {
    record.links.iter().map(|link| link.id.clone()).collect()
}

impl Engine {
    /// The links that a request asks for. On networks that people made `HostConfig` has none.
    pub(crate) fn resolve_links(&self, host: &HostConfig) -> Result<Vec<Link>, Error> {
        if host.links.is_empty() {
            return Ok(Vec::new());
        }
        let refuse = |kind: &str| {
            Err(Error::Invalid(format!(
                "conflicting options: {kind} can't be used with links. This would result in undefined \
                 behavior"
            )))
        };
        match mode(&host.network_mode) {
            Mode::Host => return refuse("host type networking"),
            Mode::Container(_) => return refuse("container type network"),
            Mode::Other("bridge" | "default" | "none") | Mode::Private => {}
            Mode::Other(_) => return Ok(Vec::new()),
        }
        let mut links: Vec<Link> = Vec::new();
        for text in &host.links {
            let (name, alias) = parse(text)?;
            let child = self.find(name).and_then(|child| self.holder_of_network(child));
            let child = child.map_err(|err| {
                Error::Invalid(format!("could not get container for {name}: {err}"))
            })?;
            if mode(&child.record.host.network_mode) == Mode::Host {
                return refuse("host type networking");
            }
            etc::check_word("link", alias)?;
            // The last word counts.
            links.retain(|link| link.alias != alias);
            links.push(Link { id: child.id, alias: alias.to_owned() });
        }
        Ok(links)
    }

    /// Those of a container's links whose other container is still there.
    fn linked<'c>(&self, container: &'c Container) -> Result<Vec<(&'c Link, Container)>, Error> {
        let mut linked = Vec::new();
        for link in &container.record.links {
            match self.find(&link.id) {
                Ok(child) => linked.push((link, child)),
                Err(Error::NoContainer(_)) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(linked)
    }

    /// As `inspect` shows them.
    pub(crate) fn shown_links(&self, container: &Container) -> Result<Vec<String>, Error> {
        let linked = self.linked(container)?;
        let show = |(link, child): &(&Link, Container)| {
            format!("/{}:/{}/{}", child.name, container.name, link.alias)
        };
        Ok(linked.iter().map(show).collect())
    }

    /// What `/etc/hosts` has of a container's links, and its environment. Those that it is linked to
    /// `must_run`, and be where they can be reached, or else are passed by.
    pub(crate) fn link_words(&self, container: &Container, must_run: bool) -> Result<Words, Error> {
        let mut words = Words::default();
        let is_in_default = |one: &Container| one.record.connected.contains_key(DEFAULT);
        for (link, child) in self.linked(container)? {
            let path = format!("/{}/{}", container.name, link.alias);
            if !self.status(&child.id)?.phase.is_alive() {
                if !must_run {
                    continue;
                }
                let message =
                    format!("Cannot link to a non running container: /{} AS {path}", child.name);
                return Err(Error::not_started(message, Class::Internal));
            }
            // One that is on other networks alone cannot be reached from here.
            if must_run && is_in_default(container) && !is_in_default(&child) {
                let message = format!(
                    "failed to set up container networking: Cannot link to /{}, as it does not belong to \
                         the default network",
                    child.name
                );
                return Err(Error::not_started(message, Class::Internal));
            }
            let connected = child.record.connected.get(DEFAULT);
            let address = connected.and_then(|one| one.ip_address.parse::<IpAddr>().ok());
            let Some(address) = address else { continue };
            let mut names = format!("{} {}", link.alias, child.record.config.hostname);
            if child.name != link.alias {
                names.push(' ');
                names.push_str(&child.name);
            }
            words.hosts.push((address, names));
            words.env.extend(environment(&path, &link.alias, address, &child));
        }
        Ok(words)
    }

    /// The names by which others are linked to containers: `PARENT/ALIAS`, by the container's id.
    pub(crate) fn link_names(rows: &[metadata::Container]) -> Result<Vec<(String, String)>, Error> {
        let mut names = Vec::new();
        for row in rows.iter().filter(|row| row.config.contains(MARK)) {
            let parent = Container::from_row(row.clone())?;
            for link in &parent.record.links {
                names.push((link.id.clone(), format!("/{}/{}", parent.name, link.alias)));
            }
        }
        Ok(names)
    }

    /// Takes a link away: `PARENT/ALIAS`.
    pub(crate) fn remove_link(&self, wanted: &str) -> Result<(), Error> {
        let path = wanted.strip_prefix('/').unwrap_or(wanted);
        let Some((parent, alias)) = path.split_once('/') else {
            self.find(wanted)?;
            return Err(Error::Conflict(
                "Conflict, cannot remove the default link name of the container".into(),
            ));
        };
        let gone = || Error::NoContainer(wanted.to_owned());
        let (mut parent, lock) = self.find_locked(parent).map_err(|_| gone())?;
        let before = parent.record.clone();
        let links = &mut parent.record.links;
        let at = links.iter().position(|link| link.alias == alias).ok_or_else(gone)?;
        let link = links.remove(at);
        if self.lets_through(&parent, &lock)? {
            // Its supervisor has rules for the link.
            self.rewire(&mut parent, before, Wire::Publish)?;
        } else {
            let config = parent.config_json()?;
            failpoint::hit("engine.unlink").at("record", self.root())?;
            self.shared.db.write(|tx| tx.set_container_config(&parent.id, &config))?;
            failpoint::hit("engine.unlinked").at("record", self.root())?;
        }
        self.forget_in_hosts(&parent, &lock, &link)
    }

    /// Whether a container runs where it reaches only those that it is linked to.
    fn lets_through(&self, parent: &Container, lock: &Lock) -> Result<bool, Error> {
        if !parent.record.connected.contains_key(DEFAULT)
            || !self.status_locked(&parent.id, lock)?.phase.is_alive()
        {
            return Ok(false);
        }
        match self.networks.inspect(&self.shared.db, DEFAULT) {
            Err(network::Error::NotFound { .. }) => Ok(false),
            found => Ok(found?.opens_to_links()),
        }
    }

    /// Takes a link out of the `/etc/hosts` of a container that runs. The file is mounted there, so it
    /// is written anew and not replaced.
    fn forget_in_hosts(&self, parent: &Container, _lock: &Lock, link: &Link) -> Result<(), Error> {
        edit(&self.paths().data(&parent.id).join("hosts"), |text| {
            let of_it = |line: &&str| {
                let names = line.split_once('\t').map_or("", |(_, names)| names);
                names.split(' ').next() != Some(&link.alias)
            };
            text.lines().filter(of_it).map(|line| format!("{line}\n")).collect()
        })
    }
}

impl Shared {
    /// The container behind `PARENT/ALIAS`.
    pub(crate) fn find_linked(&self, wanted: &str) -> Result<Container, Error> {
        let path = wanted.strip_prefix('/').unwrap_or(wanted);
        let gone = || Error::NoContainer(wanted.to_owned());
        let (parent, alias) = path.split_once('/').ok_or_else(gone)?;
        let parent = self.find(parent).map_err(|_| gone())?;
        let link = parent.record.links.iter().find(|link| link.alias == alias);
        self.find(&link.ok_or_else(gone)?.id)
    }
}

/// What a container is told of those that it is linked to.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Lines of `/etc/hosts`.
    pub(crate) hosts: Vec<(IpAddr, String)>,
    /// Variables.
    pub(crate) env: Vec<String>,
}

/// The variables that tell of one container: its ports, its name and its own variables.
fn environment(path: &str, alias: &str, address: IpAddr, child: &Container) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let exposed = child.record.config.exposed_ports.keys();
    let published = child.record.host.port_bindings.keys();
    let mut ports: Vec<nat::Port> =
        exposed.chain(published).filter_map(|port| port.parse().ok()).collect();
    ports.sort_by_key(|port| (port.proto.as_str() != "tcp", port.number));
    ports.dedup();
    let url = |port: &nat::Port| format!("{}://{address}:{}", port.proto.as_str(), port.number);
    let name = |port: &nat::Port| {
        format!("{prefix}_PORT_{}_{}", port.number, port.proto.as_str().to_uppercase())
    };
    let mut env = Vec::new();
    if let Some(lowest) = ports.iter().min_by_key(|port| port.number) {
        env.push(format!("{prefix}_PORT={}", url(lowest)));
    }
    // Runs of ports one after the other are told of as such, too.
    for run in
        ports.chunk_by(|a, b| a.proto == b.proto && a.number.checked_add(1) == Some(b.number))
    {
        if let [first, .., last] = run {
            let name = name(first);
            env.push(format!("{name}_START={}", url(first)));
            env.push(format!("{name}_ADDR={address}"));
            env.push(format!("{name}_PROTO={}", first.proto.as_str()));
            env.push(format!("{name}_PORT_START={}", first.number));
            let proto = last.proto.as_str().to_uppercase();
            env.push(format!("{prefix}_PORT_{}_{proto}_END={}", last.number, url(last)));
            env.push(format!("{name}_PORT_END={}", last.number));
        }
    }
    for port in &ports {
        let name = name(port);
        env.push(format!("{name}={}", url(port)));
        env.push(format!("{name}_ADDR={address}"));
        env.push(format!("{name}_PORT={}", port.number));
        env.push(format!("{name}_PROTO={}", port.proto.as_str()));
    }
    env.push(format!("{prefix}_NAME={path}"));
    for entry in &child.record.config.env {
        match entry.split_once('=') {
            Some(("PATH" | "HOME", _)) | None => {}
            Some((name, value)) => env.push(format!("{prefix}_ENV_{name}={value}")),
        }
    }
    // Of two that say the same the first counts.
    let mut seen = std::collections::BTreeSet::new();
    env.retain(|entry| seen.insert(entry.split('=').next().unwrap_or_default().to_owned()));
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_they_are_written_and_as_they_are_shown() {
        for (text, want) in [
            ("db", Some(("db", "db"))),
            ("db:store", Some(("db", "store"))),
            ("/db:/web/store", Some(("db", "store"))),
            ("", None),
            ("a:b:c", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn a_container_is_told_of_ports_names_and_variables() {
        let config = r#"{"ExposedPorts":{"80/tcp":{},"81/tcp":{},"53/udp":{}},
                         "Env":["FOO=bar","PATH=/bin","HOME=/"]}"#;
        let child = Container {
            id: "0".repeat(64),
            name: "db".into(),
            image: None,
            created: 0,
            record: crate::record::Record {
                config: serde_json::from_str(config).unwrap(),
                ..Default::default()
            },
        };
        let env = environment("/web/my-db", "my-db", [10, 0, 0, 2].into(), &child);
        expect_test::expect![[r"
            MY_DB_PORT=udp://10.0.0.2:53
            MY_DB_PORT_80_TCP_START=tcp://10.0.0.2:80
            MY_DB_PORT_80_TCP_ADDR=10.0.0.2
            MY_DB_PORT_80_TCP_PROTO=tcp
            MY_DB_PORT_80_TCP_PORT_START=80
            MY_DB_PORT_81_TCP_END=tcp://10.0.0.2:81
            MY_DB_PORT_80_TCP_PORT_END=81
            MY_DB_PORT_80_TCP=tcp://10.0.0.2:80
            MY_DB_PORT_80_TCP_PORT=80
            MY_DB_PORT_81_TCP=tcp://10.0.0.2:81
            MY_DB_PORT_81_TCP_ADDR=10.0.0.2
            MY_DB_PORT_81_TCP_PORT=81
            MY_DB_PORT_81_TCP_PROTO=tcp
            MY_DB_PORT_53_UDP=udp://10.0.0.2:53
            MY_DB_PORT_53_UDP_ADDR=10.0.0.2
            MY_DB_PORT_53_UDP_PORT=53
            MY_DB_PORT_53_UDP_PROTO=udp
            MY_DB_NAME=/web/my-db
            MY_DB_ENV_FOO=bar"]]
        .assert_eq(&env.join("\n"));
    }
}
