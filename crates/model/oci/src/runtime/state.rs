//! The state of a container, as `state` prints it and hooks get it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::nullable;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being created.
    #[default]
    Creating,
    /// Created; its program was not executed yet.
    Created,
    /// Its program was executed and has not ended.
    Running,
    /// Frozen; an addition of runc's.
    Paused,
    /// Its program has ended.
    Stopped,
}

impl Status {
    /// The specification's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The state of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// The init's process id; 0 when there is none.
    #[serde(default)]
    pub pid: i32,
    /// The bundle's absolute path.
    pub bundle: String,
    /// The annotations of its configuration.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What the listener of a seccomp filter gets beside the descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState {
    /// The version of the specification.
    pub oci_version: String,
    /// The names of the descriptors, in the order in which they were passed.
    #[serde(default, deserialize_with = "nullable")]
    pub fds: Vec<String>,
    /// The process id, as the runtime sees it.
    pub pid: i32,
    /// `listenerMetadata` of the configuration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// The container's state.
    pub state: State,
}
