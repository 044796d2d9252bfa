//! Changing what a container was made with: ports, mounts, devices, variables, labels (moby 2045).
//!
//! The record says what is to be from the next start on; what the kernel lets change in a container
//! that runs is changed at once, see [`crate::amend_live`]. Each kind is a step of its own: one that
//! fails leaves the container as it was before it, and what came before it stays.

use docker::container::{Applied, Changes, DeviceMapping};
use docker::{HostConfig, PortMap, nat};

use crate::engine::Engine;
use crate::error::At as _;
use crate::lock::Lock;
use crate::mounting::{self, Mounting};
use crate::record::{Container, Record};
use crate::rewire::Wire;
use crate::spec::{devices, merge_env};
use crate::{Error, ports, secret_mounts};

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    Start,
}

/// Changes as they are told of.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<Applied>);

impl Told {
    pub(crate) fn add(&mut self, change: impl Into<String>, when: When) {
        let when = match when {
            When::Now => "now",
            When::Start => "start",
        };
        self.0.push(Applied { change: change.into(), when: when.to_owned() });
    }
}

impl Engine {
    /// Makes all of `changes`, and tells of each when it takes effect.
    pub(crate) fn amend(
        &self,
        container: &mut Container,
        lock: &Lock,
        changes: &Changes,
    ) -> Result<Vec<Applied>, Error> {
        // What makes no sense is refused before anything is changed.
        let mut trial = container.record.clone();
        ports(&mut trial, changes)?;
        let new_mounts = mounts(&mut trial, changes)?;
        device_mappings(&mut trial, changes)?;
        variables(&mut trial, changes)?;
        labels(&mut trial, changes)?;
        let mut told = Told::default();
        let phase = self.status_locked(&container.id, lock)?.phase;
        self.amend_ports(container, phase.is_alive(), changes, &mut told)?;
        if !(new_mounts.is_empty() && changes.mounts_remove.is_empty()) {
            self.amend_mounts(container, phase, changes, &mut told)?;
        }
        if !(changes.devices.is_empty() && changes.devices_remove.is_empty()) {
            self.amend_devices(container, phase, changes, &mut told)?;
        }
        self.amend_words(container, phase, changes, &mut told)?;
        Ok(told.0)
    }

    fn amend_ports(
        &self,
        container: &mut Container,
        alive: bool,
        changes: &Changes,
        told: &mut Told,
    ) -> Result<(), Error> {
        if changes.publish.is_empty() && changes.publish_remove.is_empty() {
            return Ok(());
        }
        let before = container.record.clone();
        ports(&mut container.record, changes)?;
        if alive {
            self.rewire(container, before, Wire::Publish)?;
        } else {
            self.save_record(container)?;
        }
        let when = if alive { When::Now } else { When::Start };
        for port in &changes.publish_remove {
            told.add(format!("no port {port}"), when);
        }
        for port in changes.publish.keys() {
            told.add(format!("port {port}"), when);
        }
        Ok(())
    }

    /// Writes the record of a container that was changed.
    pub(crate) fn save_record(&self, container: &Container) -> Result<(), Error> {
        let config = container.config_json()?;
        failpoint::hit("engine.amend").at("record", self.root())?;
        self.shared.db.write(|tx| tx.set_container_config(&container.id, &config))?;
        failpoint::hit("engine.amended").at("record", self.root())?;
        Ok(())
    }
}

/// Ports, in the record.
fn ports(record: &mut Record, changes: &Changes) -> Result<(), Error> {
    for text in &changes.publish_remove {
        if !unpublish(&mut record.host.port_bindings, text)? {
            return Err(Error::Invalid(format!("port {text} is not published")));
        }
    }
    for (port, bindings) in &changes.publish {
        record.config.exposed_ports.entry(port.clone()).or_default();
        let all = record.host.port_bindings.entry(port.clone()).or_default();
        for binding in bindings {
            if !all.contains(binding) {
                all.push(binding.clone());
            }
        }
    }
    if changes.publish.is_empty() {
        return Ok(());
    }
    if record.host.network_mode == "host" || record.host.network_mode.starts_with("container:") {
        return Err(Error::Invalid(format!(
            "conflicting options: port publishing and the network mode {}",
            record.host.network_mode
        )));
    }
    ports::ports(&record.config, &record.host).map(drop)
}

/// Takes `[HOSTPORT:]PORT[/PROTOCOL]` away. Whether it was there.
fn unpublish(bindings: &mut PortMap, text: &str) -> Result<bool, Error> {
    let bad = || Error::Invalid(format!("invalid port specification: \"{text}\""));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, text),
    };
    let port: nat::Port = port.parse().map_err(|_| bad())?;
    let is_it = |key: &str| key.parse::<nat::Port>().is_ok_and(|one| one == port);
    let Some(key) = bindings.keys().find(|key| is_it(key)).cloned() else { return Ok(false) };
    let Some(host) = host else {
        bindings.remove(&key);
        return Ok(true);
    };
    // An address may stand before the host's port.
    let host_port = host.rsplit_once(':').map_or(host, |(_, port)| port);
    let Some(list) = bindings.get_mut(&key) else { return Ok(false) };
    let before = list.len();
    list.as_mut_vec().retain(|binding| binding.host_port != host_port);
    let gone = list.len() < before;
    if list.is_empty() {
        bindings.remove(&key);
    }
    Ok(gone)
}

/// Mounts, in the record. Returns the places of the new ones.
pub(crate) fn mounts(record: &mut Record, changes: &Changes) -> Result<Vec<usize>, Error> {
    for text in &changes.mounts_remove {
        let place = mounting::clean(text);
        let before = record.mounts.len();
        record.mounts.retain(|one| one.point.destination != place);
        if record.mounts.len() == before {
            return Err(Error::Invalid(format!("nothing is mounted at {text}")));
        }
        forget(&mut record.host, &place);
        record.config.volumes.retain(|path, _| mounting::clean(path) != place);
    }
    let mut new = Vec::new();
    for wanted in &changes.mounts {
        let exists = |path: &str| std::path::Path::new(path).exists();
        let mounting = mounting::from_mount(wanted, exists)?;
        let place = &mounting.point.destination;
        if record.mounts.iter().any(|one| one.point.destination == *place) {
            return Err(Error::Invalid(format!("Duplicate mount point: {place}")));
        }
        new.push(record.mounts.len());
        record.mounts.push(mounting);
        record.host.mounts.push(wanted.clone());
    }
    secret_mounts::check(&record.host, &record.mounts)?;
    Ok(new)
}

/// What a request has said of a place is said no more.
fn forget(host: &mut HostConfig, place: &str) {
    let is_it = |path: &str| mounting::clean(path) == place;
    host.mounts.as_mut_vec().retain(|one| !is_it(&one.target));
    let of_bind = |bind: &str| {
        mounting::from_bind(bind).map(|one: Mounting| one.point.destination).unwrap_or_default()
    };
    host.binds.as_mut_vec().retain(|bind| of_bind(bind) != place);
    host.tmpfs.retain(|path, _| !is_it(path));
}

/// Where a device is in the container.
pub(crate) fn place_of(mapping: &DeviceMapping) -> &str {
    match mapping.path_in_container.as_str() {
        "" => &mapping.path_on_host,
        inside => inside,
    }
}

/// Devices, in the record. Returns those that have gone.
pub(crate) fn device_mappings(
    record: &mut Record,
    changes: &Changes,
) -> Result<Vec<DeviceMapping>, Error> {
    let all = record.host.resources.devices.as_mut_vec();
    let mut gone = Vec::new();
    for path in &changes.devices_remove {
        let Some(at) = all.iter().position(|one| place_of(one) == path) else {
            return Err(Error::Invalid(format!("there is no device {path}")));
        };
        gone.push(all.remove(at));
    }
    for mapping in &changes.devices {
        devices::check(mapping)?;
        devices::mapped(mapping)?;
        if all.iter().any(|one| place_of(one) == place_of(mapping)) {
            return Err(Error::Invalid(format!("there is a device {} already", place_of(mapping))));
        }
        all.push(mapping.clone());
    }
    Ok(gone)
}

/// Variables, in the record.
pub(crate) fn variables(record: &mut Record, changes: &Changes) -> Result<(), Error> {
    for entry in &changes.env {
        let name = entry.split_once('=').map_or("", |(name, _)| name);
        if name.is_empty() || entry.contains('\0') {
            return Err(Error::Invalid(format!("invalid environment variable: {entry}")));
        }
    }
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    record.config.env.as_mut_vec().retain(|entry| !changes.env_remove.contains(&name(entry)));
    record.config.env = merge_env(&changes.env, &record.config.env).into();
    Ok(())
}

/// Labels, in the record.
pub(crate) fn labels(record: &mut Record, changes: &Changes) -> Result<(), Error> {
    let all = &mut record.config.labels;
    all.retain(|key, _| !changes.labels_remove.contains(key));
    for (key, value) in &changes.labels {
        if key.is_empty() {
            return Err(Error::Invalid(format!("invalid label '={value}': it has no key")));
        }
        all.insert(key.clone(), value.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Record {
        serde_json::from_str(json).unwrap()
    }

    fn changes(json: &str) -> Changes {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn ports_come_and_go() {
        let mut it = record(
            r#"{"host":{"PortBindings":{"80/tcp":[{"HostPort":"8080"},{"HostPort":"8081"}],"53/udp":[{"HostPort":"53"}]}}}"#,
        );
        let wanted =
            r#"{"PublishRemove":["8081:80","53/udp"],"Publish":{"90/tcp":[{"HostPort":"9090"}]}}"#;
        ports(&mut it, &changes(wanted)).unwrap();
        let text = serde_json::to_string(&it.host.port_bindings).unwrap();
        assert_eq!(
            text,
            r#"{"80/tcp":[{"HostIp":"","HostPort":"8080"}],"90/tcp":[{"HostIp":"","HostPort":"9090"}]}"#
        );
        for bad in [
            r#"{"PublishRemove":["81"]}"#,
            r#"{"PublishRemove":["x"]}"#,
            r#"{"PublishRemove":["1:80"]}"#,
        ] {
            assert!(ports(&mut it.clone(), &changes(bad)).is_err(), "{bad}");
        }
        it.host.network_mode = "host".into();
        assert!(ports(&mut it, &changes(r#"{"Publish":{"1/tcp":[{}]}}"#)).is_err());
    }

    #[test]
    fn mounts_go_wherever_they_were_asked_for() {
        let mut it = record(
            r#"{"mounts":[{"point":{"Destination":"/a"}},{"point":{"Destination":"/b"}}],
                "host":{"Binds":["vol:/a","/srv:/c"],"Tmpfs":{"/b":""}}}"#,
        );
        let wanted = r#"{"MountsRemove":["/a/","/b"],"Mounts":[{"Type":"tmpfs","Target":"/d"}]}"#;
        assert_eq!(mounts(&mut it, &changes(wanted)).unwrap(), [0]);
        assert_eq!(&it.host.binds[..], ["/srv:/c"]);
        assert!(it.host.tmpfs.is_empty());
        assert!(mounts(&mut it, &changes(r#"{"MountsRemove":["/a"]}"#)).is_err());
        assert!(
            mounts(&mut it, &changes(r#"{"Mounts":[{"Type":"tmpfs","Target":"/d"}]}"#)).is_err()
        );
    }

    #[test]
    fn words_are_put_over_words() {
        let mut it = record(r#"{"config":{"Env":["A=1","B=2"],"Labels":{"a":"1","b":"2"}}}"#);
        let wanted =
            r#"{"Env":["A=9","C=3"],"EnvRemove":["B"],"Labels":{"c":"3"},"LabelsRemove":["a"]}"#;
        variables(&mut it, &changes(wanted)).unwrap();
        labels(&mut it, &changes(wanted)).unwrap();
        assert_eq!(&it.config.env[..], ["A=9", "C=3"]);
        assert_eq!(serde_json::to_string(&it.config.labels).unwrap(), r#"{"b":"2","c":"3"}"#);
        assert!(variables(&mut it, &changes(r#"{"Env":["=x"]}"#)).is_err());
        assert!(labels(&mut it, &changes(r#"{"Labels":{"":"x"}}"#)).is_err());
    }
}
