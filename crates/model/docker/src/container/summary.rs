//! `GET /containers/json`.

use super::MountPoint;
use crate::{
    image::Descriptor,
    network::EndpointSettings,
    wire::{List, Map, Words},
};

wire! {
    /// One line of `ps`.
    pub struct Summary {
        /// 64 hex digits.
        pub id: String,
        /// With a `/` before each.
        pub names: Words,
        /// The image, as the request named it; its digest when that name now means another one.
        pub image: String,
        /// Digest of the image.
        #[serde(rename = "ImageID")]
        pub image_id: String,
        /// The manifest the container was made from.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_manifest_descriptor: Option<Descriptor>,
        /// Program and arguments in one line.
        pub command: String,
        /// Seconds since the epoch.
        pub created: i64,
        /// Published and exposed ports.
        pub ports: List<Port>,
        /// Bytes in the writable layer, when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        /// Bytes in all layers, when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        /// Labels.
        pub labels: Map<String>,
        /// As in [`super::State::status`].
        pub state: String,
        /// For people: `Up 5 minutes`, `Exited (0) 2 hours ago`.
        pub status: String,
        /// Two fields of the host configuration.
        pub host_config: SummaryHostConfig,
        /// With a health check (v1.52).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<HealthSummary>,
        /// Its networks.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub network_settings: Option<SummaryNetworkSettings>,
        /// What is mounted.
        pub mounts: List<MountPoint>,
    }

    /// A port in a list.
    pub struct Port {
        /// The host's address.
        #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
        pub ip: String,
        /// The container's port.
        pub private_port: u16,
        /// The host's port; 0: not published.
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        pub public_port: u16,
        /// `tcp`, `udp`, `sctp`.
        #[serde(rename = "Type")]
        pub proto: String,
    }

    /// Two fields of the host configuration.
    pub struct SummaryHostConfig {
        /// As in the host configuration.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub network_mode: String,
        /// As in the host configuration.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub annotations: Map<String>,
    }

    /// What the health check says, in short.
    pub struct HealthSummary {
        /// As in [`super::Health::status`].
        pub status: String,
        /// Failures since the last success.
        pub failing_streak: i64,
    }

    /// Its networks.
    pub struct SummaryNetworkSettings {
        /// By name.
        pub networks: Map<EndpointSettings>,
    }
}
