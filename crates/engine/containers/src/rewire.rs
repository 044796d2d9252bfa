//! Networks of a container that runs.
//!
//! The record says what is to be, the supervisor makes what differs. A process that dies in between
//! leaves an intent: whoever finds it takes back a network that was about to be joined, and goes on
//! with leaving one.

use std::io::{Seek as _, Write as _};
use std::path::Path;

use metadata::Operation;
use shim_protocol::{Change, Config, NetworkChange, Request};

use crate::engine::Engine;
use crate::error::At as _;
use crate::etc::{self, Resolv};
use crate::intent::Intent;
use crate::networks::leave;
use crate::record::{Container, Record};
use crate::{Error, clock, events, prepare, shim};

/// What happens to a container, with a network's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Join(&'a str),
    Leave(&'a str),
    /// Its networks stay, its ports are others.
    Publish,
}

impl Wire<'_> {
    fn print(self) -> String {
        match self {
            Self::Join(id) => format!("connect {id}"),
            Self::Leave(id) => format!("disconnect {id}"),
            Self::Publish => "publish".to_owned(),
        }
    }
}

impl<'a> Wire<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        match text.split_once(' ').unwrap_or((text, "")) {
            ("connect", id) => Some(Self::Join(id)),
            ("disconnect", id) => Some(Self::Leave(id)),
            ("publish", "") => Some(Self::Publish),
            _ => None,
        }
    }
}

impl Engine {
    /// Has a container that runs be in the networks of its record, which differs from `before` in one.
    pub(crate) fn rewire(
        &self,
        container: &mut Container,
        before: Record,
        wire: Wire<'_>,
    ) -> Result<(), Error> {
        let _held = match wire {
            Wire::Join(id) => self.hold_network(id)?,
            Wire::Leave(_) | Wire::Publish => None,
        };
        let config = container.config_json()?;
        failpoint::hit("engine.connect").at("record", self.root())?;
        self.shared.db.write(|tx| {
            tx.set_container_config(&container.id, &config)?;
            Intent::Rewire.begin_with(tx, &container.id, wire.print())
        })?;
        failpoint::hit("engine.connected").at("record", self.root())?;
        let left = match wire {
            Wire::Join(_) | Wire::Publish => None,
            Wire::Leave(id) => Some(id),
        };
        let Err(first) = self.apply_networks(container, left) else { return Ok(()) };
        // Whatever was done until then: it is to be as before.
        container.record = before;
        let config = container.config_json()?;
        let joined = match wire {
            Wire::Join(id) => Some(id),
            Wire::Leave(_) | Wire::Publish => None,
        };
        let undone = self.shared.db.write(|tx| tx.set_container_config(&container.id, &config));
        match undone.map_err(Error::from).and_then(|()| self.apply_networks(container, joined)) {
            Ok(()) => Err(first),
            Err(undo) => Err(Error::Undo { first: Box::new(first), undo: Box::new(undo) }),
        }
    }

    /// A process died as it did that.
    pub(crate) fn settle_rewiring(
        &self,
        mut container: Container,
        operation: &Operation,
    ) -> Result<(), Error> {
        let id = match Wire::parse(&operation.detail) {
            Some(Wire::Join(id) | Wire::Leave(id)) => id,
            // The record has them.
            Some(Wire::Publish) => return self.settle_networks(&mut container, None),
            None => return self.shared.db.write(|tx| Intent::Rewire.end(tx, &container.id)),
        };
        match self.networks.inspect(&self.shared.db, id) {
            Ok(network) => drop(leave(&mut container.record, &network)),
            Err(network::Error::NotFound { .. }) => {}
            Err(err) => return Err(err.into()),
        }
        let config = container.config_json()?;
        self.shared.db.write(|tx| tx.set_container_config(&container.id, &config))?;
        self.settle_networks(&mut container, Some(id))
    }

    /// Notes in the record what a container has been given that was started: who did that died before.
    pub(crate) fn note_networks(&self, container: &Container) -> Result<(), Error> {
        let path = self.paths().run(&container.id).join("shim.json");
        // It may have ended meanwhile.
        let Some(now) = read_config(&path)? else { return Ok(()) };
        let mut container = container.clone();
        let resolv = self.settings().resolv();
        // It runs all the same where that cannot be known any more.
        if self.connect_with(&mut container, &resolv, Some(&now.network)).is_err() {
            return Ok(());
        }
        let config = container.config_json()?;
        self.shared.db.write(|tx| tx.set_container_config(&container.id, &config))?;
        Ok(())
    }

    fn settle_networks(&self, container: &mut Container, left: Option<&str>) -> Result<(), Error> {
        match self.apply_networks(container, left) {
            // A supervisor that cannot is no reason for nobody to go on: the next start is as recorded.
            Err(Error::Shim(_)) => self.shared.db.write(|tx| Intent::Rewire.end(tx, &container.id)),
            applied => applied,
        }
    }

    /// Tells the supervisor what the networks are now, then the container's own files, and notes what
    /// came of it. `left` is a network that it is no more in.
    fn apply_networks(&self, container: &mut Container, left: Option<&str>) -> Result<(), Error> {
        let run = self.paths().run(&container.id);
        if let Some(now) = read_config(&run.join("shim.json"))? {
            let resolv = self.settings().resolv();
            let mut connected = self.connect_with(container, &resolv, Some(&now.network))?;
            if connected.plan.dns.is_none() {
                // Its resolv.conf names the server, which goes on without names.
                connected.plan.dns = now.network.dns.clone().map(|dns| endpoint::Dns {
                    directories: Vec::new(),
                    links: std::collections::BTreeMap::new(),
                    ..dns
                });
            }
            let network = NetworkChange {
                plan: connected.plan.clone(),
                listeners: prepare::listeners(connected.listeners),
                companions: events::companions(container, &connected.endpoints),
            };
            let change = Change { network: Some(Box::new(network)), ..Change::default() };
            let socket = self.paths().socket(&container.id);
            shim::ask(&socket, &Request::Change(change)).map_err(|err| refused(container, err))?;
            self.rewrite_etc(container, &now.network, &connected.plan, &resolv)?;
        }
        failpoint::hit("engine.rewired").at("record", self.root())?;
        let config = container.config_json()?;
        let now = clock::now();
        self.shared.db.write(|tx| {
            tx.set_container_config(&container.id, &config)?;
            if let Some(id) = left {
                tx.release_addresses_in(id, &container.id, now)?;
            }
            Intent::Rewire.end(tx, &container.id)
        })?;
        failpoint::hit("engine.rewire-noted").at("record", self.root())?;
        Ok(())
    }

    /// `/etc/hosts` follows the addresses; `resolv.conf` names the name server from when there is one.
    /// What the container has written there itself stays.
    fn rewrite_etc(
        &self,
        container: &Container,
        was: &endpoint::Plan,
        is: &endpoint::Plan,
        resolv: &Resolv,
    ) -> Result<(), Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        let data = self.paths().data(&container.id);
        let own =
            |plan| etc::own_lines(&prepare::addresses(plan), &config.hostname, &config.domainname);
        let (gone, come) = (own(was), own(is));
        edit(&data.join("hosts"), |text| {
            let kept = text.lines().filter(|line| {
                come.iter().any(|own| own == line) || !gone.iter().any(|own| own == line)
            });
            let mut lines: Vec<&str> = kept.collect();
            for line in &come {
                if !lines.contains(&line.as_str()) {
                    lines.push(line);
                }
            }
            lines.into_iter().map(|line| format!("{line}\n")).collect()
        })?;
        if was.dns.is_some() || is.dns.is_none() {
            return Ok(());
        }
        let before = Self::reachable(resolv).overridden(host).print();
        edit(&data.join("resolv.conf"), |text| {
            if text == before {
                resolv.clone().overridden(host).through_own_dns().print()
            } else {
                text.to_owned()
            }
        })
    }
}

/// The supervisor's refusal, as Docker puts it where a port is the reason.
fn refused(container: &Container, err: Error) -> Error {
    match err {
        Error::Shim(message) if message.contains("port is already allocated") => {
            Error::Shim(format!(
                "driver failed programming external connectivity on endpoint {}: {message}",
                container.name
            ))
        }
        err => err,
    }
}

fn read_config(path: &Path) -> Result<Option<Config>, Error> {
    match std::fs::read(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => {
            let config = serde_json::from_slice(&read.at("read", path)?);
            Ok(Some(config.map_err(std::io::Error::from).at("parse", path)?))
        }
    }
}

/// Changes a file that is mounted in a container: it is written anew and not replaced.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&str) -> String) -> Result<(), Error> {
    let Ok(old) = std::fs::read_to_string(path) else { return Ok(()) };
    let new = change(&old);
    if new == old {
        return Ok(());
    }
    let mut file = std::fs::OpenOptions::new().write(true).open(path).at("open", path)?;
    file.write_all(new.as_bytes()).at("write", path)?;
    let end = file.stream_position().at("seek", path)?;
    file.set_len(end).at("truncate", path)
}
