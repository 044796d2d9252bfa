//! What the database keeps of a container: all that it takes to start it again.

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
        let record = serde_json::from_str(&row.config)
            .map_err(|source| Error::Record { id: row.id.clone(), source })?;
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
