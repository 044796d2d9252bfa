//! What the database keeps of a container: all that it takes to start it again.

use std::sync::{Mutex, PoisonError};

use docker::container::MountPoint;
use docker::{ContainerConfig, EndpointSettings, HostConfig, Map, PortMap};
use oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::idmap::Maps;
use crate::links::Link;
use crate::mounting::{self, Mounting};

/// A container, as its row and its record say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Container {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Without a slash.
    pub(crate) name: String,
    /// The digest of the image's configuration; none for the machine's own root.
    pub(crate) image: Option<Digest>,
    /// Nanoseconds since 1970.
    pub(crate) created: i64,
    /// The rest.
    pub(crate) record: Record,
}

/// The engine's record of a container, kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// The image's digest, for those that have no row.
    pub(crate) image_id: String,
    /// The manifest's, where there is one.
    pub(crate) manifest: Option<Digest>,
    /// The image's layers, lowest first: the image itself may go.
    pub(crate) chain: Vec<ChainId>,
    /// The root is the machine's own.
    pub(crate) host_root: bool,
    /// The image is the one that reports on itself.
    pub(crate) reports: bool,
    /// The request's portable half, with the image's defaults filled in.
    pub(crate) config: ContainerConfig,
    /// The machine's half, with the engine's defaults filled in.
    pub(crate) host: HostConfig,
    /// Networks to join, by name, as they were asked for.
    pub(crate) endpoints: Map<EndpointSettings>,
    /// It has left the network that it was made with (`NetworkMode`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unplugged: bool,
    /// Containers on the default network that it is told of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<Link>,
    /// What is mounted.
    pub(crate) mounts: Vec<Mounting>,
    /// The ids of its user namespace; none: the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_namespace: Option<Maps>,
    /// The `SELinux` label of its processes; empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) process_label: String,
    /// That of its files.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) mount_label: String,
    /// It is a step of a build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<StepRecord>,
    /// Networks and addresses of the last start.
    pub(crate) connected: Map<EndpointSettings>,
    /// Published ports of the last start.
    pub(crate) ports: PortMap,
}

impl Record {
    /// The record of a row. It depends on the row's text alone.
    fn read(row: &metadata::Container) -> Result<Self, Error> {
        serde_json::from_str(&row.config)
            .map_err(|source| Error::Record { id: row.id.clone(), source })
    }

    /// What is mounted, as it is told: without what `--tmpfs` asks for, which stands elsewhere.
    pub(crate) fn shown_mounts(&self) -> impl Iterator<Item = MountPoint> {
        let by_path = |mounting: &&Mounting| {
            let paths = self.host.tmpfs.keys();
            mounting.point.kind == mounting::TMPFS
                && paths.into_iter().any(|path| mounting::clean(path) == mounting.point.destination)
        };
        self.mounts.iter().filter(move |one| !by_path(one)).map(|one| one.point.clone())
    }
}

/// What a step of a build has beside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StepRecord {
    /// Whose it is, in the builder's words.
    pub(crate) owner: String,
    /// The keys of snapshots that it has beside its root's.
    pub(crate) snapshots: Vec<String>,
    /// As [`crate::Step::proxied`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxied: Option<String>,
}

impl Container {
    /// Reads a row.
    pub(crate) fn from_row(row: metadata::Container) -> Result<Self, Error> {
        let record = Record::read(&row)?;
        let metadata::Container { id, name, image, created, .. } = row;
        Ok(Self { id, name, image, created, record })
    }

    /// The row that keeps it.
    pub(crate) fn to_row(&self) -> Result<metadata::Container, Error> {
        Ok(metadata::Container {
            id: self.id.clone(),
            name: self.name.clone(),
            image: self.image.clone(),
            snapshot: (!self.record.host_root).then(|| self.id.clone()),
            auto_remove: self.record.host.auto_remove,
            created: self.created,
            config: self.config_json()?,
        })
    }

    /// The record as text.
    pub(crate) fn config_json(&self) -> Result<String, Error> {
        serde_json::to_string(&self.record)
            .map_err(|source| Error::Record { id: self.id.clone(), source })
    }

    /// The program and its arguments.
    pub(crate) fn command(&self) -> Vec<String> {
        let config = &self.record.config;
        config.entrypoint.iter().chain(config.cmd.iter()).cloned().collect()
    }
}

/// The record that was read last, with its text. A command looks at one container some times over: to
/// read its text takes far longer than to copy what was read.
#[derive(Debug, Default)]
pub(crate) struct LastRecord(Mutex<Option<(String, Record)>>);

impl LastRecord {
    /// As [`Container::from_row`].
    pub(crate) fn container(&self, row: metadata::Container) -> Result<Container, Error> {
        let record = match self.copy(&row.config) {
            Some(record) => record,
            None => Record::read(&row)?,
        };
        let metadata::Container { id, name, image, created, config, .. } = row;
        self.keep(config, &record);
        Ok(Container { id, name, image, created, record })
    }

    fn copy(&self, text: &str) -> Option<Record> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, record) = last.as_ref()?;
        (known == text).then(|| record.clone())
    }

    fn keep(&self, text: String, record: &Record) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(known, _)| *known != text) {
            *last = Some((text, record.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, record: &Record) -> metadata::Container {
        metadata::Container {
            id: "1".into(),
            name: name.into(),
            image: None,
            snapshot: None,
            auto_remove: false,
            created: 7,
            config: serde_json::to_string(record).unwrap(),
        }
    }

    #[test]
    fn a_text_that_is_known_is_not_read_again() {
        let last = LastRecord::default();
        let plain = row("a", &Record::default());
        assert_eq!(
            last.container(plain.clone()).unwrap(),
            Container::from_row(plain.clone()).unwrap()
        );
        // What is told apart from what the text says, was not read from it.
        let other = Record { host_root: true, ..Record::default() };
        *last.0.lock().unwrap() = Some((plain.config.clone(), other.clone()));
        assert_eq!(last.container(plain).unwrap().record, other);
    }

    #[test]
    fn what_has_changed_is_seen() {
        let last = LastRecord::default();
        let (one, two) = (Record::default(), Record { reports: true, ..Record::default() });
        let rows = [row("a", &one), row("b", &one), row("b", &two), row("b", &one)];
        for row in rows {
            let fresh = Container::from_row(row.clone()).unwrap();
            assert_eq!(last.container(row).unwrap(), fresh);
        }
        let broken = metadata::Container { config: "{".into(), ..row("b", &one) };
        assert!(matches!(last.container(broken), Err(Error::Record { id, .. }) if id == "1"));
        assert_eq!(last.container(row("c", &one)).unwrap().name, "c");
    }
}
