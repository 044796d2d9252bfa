//! Requests and answers about containers.

use super::{ContainerConfig, DeviceMapping, HostConfig, Mount, PortMap, Resources, RestartPolicy};
use crate::{
    network::EndpointSettings,
    wire::{List, Map, Words},
};

wire! {
    /// `POST /containers/create`.
    pub struct CreateRequest {
        /// The machine's half.
        pub host_config: HostConfig,
        /// Networks to join.
        pub networking_config: NetworkingConfig,
        @flatten
        /// The portable half.
        pub config: ContainerConfig,
    }

    /// Networks to join, by name or id.
    pub struct NetworkingConfig {
        /// The settings of each.
        pub endpoints_config: Map<EndpointSettings>,
    }

    /// A container was made.
    pub struct CreateResponse {
        /// Its id.
        pub id: String,
        /// What was not taken as asked.
        pub warnings: Words,
    }

    /// `POST /containers/ID/update`.
    pub struct UpdateRequest {
        /// The new policy; an empty name leaves it as it is.
        pub restart_policy: RestartPolicy,
        /// What Docker has no words for; ours.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub changes: Option<Changes>,
        @flatten
        /// The new limits; what is 0 or nil stays as it is.
        pub resources: Resources,
    }

    /// A container was changed.
    pub struct UpdateResponse {
        /// What was not taken as asked.
        pub warnings: Words,
        /// What became of [`UpdateRequest::changes`]; ours.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub applied: List<Applied>,
    }

    /// Changes of what a container was made with. What goes, goes first.
    pub struct Changes {
        /// Ports to publish.
        pub publish: PortMap,
        /// Ports not to publish any more: `80`, `80/udp`, `8080:80` (one of several host's ports).
        pub publish_remove: Words,
        /// Mounts.
        pub mounts: List<Mount>,
        /// Mounts to take away, by their places in the container.
        pub mounts_remove: Words,
        /// `NAME=VALUE`.
        pub env: Words,
        /// Names of variables to take away.
        pub env_remove: Words,
        /// Labels.
        pub labels: Map<String>,
        /// Keys of labels to take away.
        pub labels_remove: Words,
        /// Devices of the host.
        pub devices: List<DeviceMapping>,
        /// Devices to take away, by their paths in the container.
        pub devices_remove: Words,
    }

    /// One change that was made.
    pub struct Applied {
        /// What, in one line.
        pub change: String,
        /// `now`, or `start`: with the container's next start.
        pub when: String,
    }

    /// `POST /containers/ID/wait`.
    pub struct WaitResponse {
        /// What went wrong with waiting or running.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<WaitError>,
        /// The exit code; 128 + N for signal N.
        pub status_code: i64,
    }

    /// Why waiting ended without the process having run to its end.
    pub struct WaitError {
        /// The reason.
        pub message: String,
    }

    /// `GET /containers/ID/top`.
    pub struct TopResponse {
        /// The rows.
        pub processes: List<Words>,
        /// The heads of the columns.
        pub titles: Words,
    }

    /// A path that differs from the image.
    pub struct FilesystemChange {
        /// 0: modified, 1: added, 2: deleted.
        pub kind: u8,
        /// The path in the container.
        pub path: String,
    }

    /// `POST /containers/prune`.
    pub struct PruneResponse {
        /// Ids of what was removed.
        pub containers_deleted: Words,
        /// Bytes.
        pub space_reclaimed: u64,
    }

    /// The `X-Docker-Container-Path-Stat` header of the archive endpoints, JSON in base64.
    pub struct PathStat {
        /// Last component of the path.
        #[serde(rename = "name")]
        pub name: String,
        /// Bytes.
        #[serde(rename = "size")]
        pub size: i64,
        /// Go's `os.FileMode`: type and special bits at the top, permissions at the bottom.
        #[serde(rename = "mode")]
        pub mode: u32,
        /// RFC 3339.
        #[serde(rename = "mtime")]
        pub mtime: String,
        /// Where a symbolic link points to.
        #[serde(rename = "linkTarget")]
        pub link_target: String,
    }
}
