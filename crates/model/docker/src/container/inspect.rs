//! `GET /containers/ID/json`.

use super::{ContainerConfig, HostConfig, MountPoint, PortMap};
use crate::{
    image::Descriptor,
    network::EndpointSettings,
    wire::{List, Map, Words, is_zero},
};

wire! {
    /// All that is known of one container.
    pub struct Inspect {
        /// 64 hex digits.
        pub id: String,
        /// RFC 3339.
        pub created: String,
        /// The program.
        pub path: String,
        /// Its arguments.
        pub args: Words,
        /// What it is doing.
        pub state: State,
        /// Digest of the image.
        pub image: String,
        /// Path on the host.
        pub resolv_conf_path: String,
        /// Path on the host.
        pub hostname_path: String,
        /// Path on the host.
        pub hosts_path: String,
        /// Path on the host; empty when the log driver has none.
        pub log_path: String,
        /// With a `/` before it.
        pub name: String,
        /// How often the restart policy started it again.
        pub restart_count: i64,
        /// The storage driver.
        pub driver: String,
        /// `linux`.
        pub platform: String,
        /// `SELinux`.
        pub mount_label: String,
        /// `SELinux`.
        pub process_label: String,
        /// The profile that applies.
        #[serde(rename = "AppArmorProfile")]
        pub app_armor_profile: String,
        /// Running execs; nil when there is none.
        #[serde(rename = "ExecIDs")]
        pub exec_ids: Words,
        /// The machine's half.
        pub host_config: HostConfig,
        /// Where the root is, with a graph driver.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub graph_driver: Option<DriverData>,
        /// Where the root is, with a snapshotter.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub storage: Option<Storage>,
        /// Bytes in the writable layer, when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        /// Bytes in all layers, when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        /// What is mounted.
        pub mounts: List<MountPoint>,
        /// The portable half.
        pub config: ContainerConfig,
        /// Its networks.
        pub network_settings: NetworkSettings,
        /// The manifest the container was made from.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_manifest_descriptor: Option<Descriptor>,
    }

    /// What a container is doing.
    pub struct State {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
        pub status: String,
        /// Whether its process lives (also when paused or restarting).
        pub running: bool,
        /// Whether it is frozen.
        pub paused: bool,
        /// Whether it waits to be started again.
        pub restarting: bool,
        /// Whether the kernel killed something in it for memory.
        #[serde(rename = "OOMKilled")]
        pub oom_killed: bool,
        /// Whether its removal failed.
        pub dead: bool,
        /// PID on the host; 0 when it does not run.
        pub pid: i64,
        /// The last exit code.
        pub exit_code: i64,
        /// Why it could not start.
        pub error: String,
        /// RFC 3339; `0001-01-01T00:00:00Z` for never.
        pub started_at: String,
        /// RFC 3339; `0001-01-01T00:00:00Z` for never.
        pub finished_at: String,
        /// With a health check.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<Health>,
    }

    /// What the health check says.
    pub struct Health {
        /// `none`, `starting`, `healthy`, `unhealthy`.
        pub status: String,
        /// Failures since the last success.
        pub failing_streak: i64,
        /// The last five.
        pub log: List<HealthResult>,
    }

    /// One health check.
    pub struct HealthResult {
        /// RFC 3339.
        pub start: String,
        /// RFC 3339.
        pub end: String,
        /// 0: healthy.
        pub exit_code: i64,
        /// The first 4096 bytes.
        pub output: String,
    }

    /// A container's networks. Versions before 1.52 have further fields, copies of those of the
    /// default bridge: the server adds them.
    pub struct NetworkSettings {
        /// Id of the network namespace.
        #[serde(rename = "SandboxID")]
        pub sandbox_id: String,
        /// Path of the network namespace.
        pub sandbox_key: String,
        /// Published and exposed ports.
        pub ports: PortMap,
        /// By name.
        pub networks: Map<EndpointSettings>,
    }

    /// A storage driver's own words.
    pub struct DriverData {
        /// What it says of the layer.
        pub data: Map<String>,
        /// Its name.
        pub name: String,
    }

    /// Where the root is.
    pub struct Storage {
        /// The root file system.
        #[serde(rename = "RootFS", skip_serializing_if = "Option::is_none")]
        pub root_fs: Option<StorageRootFs>,
    }

    /// The root file system.
    pub struct StorageRootFs {
        /// Its snapshot.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub snapshot: Option<StorageSnapshot>,
    }

    /// A snapshot.
    pub struct StorageSnapshot {
        /// The snapshotter's name.
        pub name: String,
    }

    /// A platform, as OCI writes it.
    pub struct Platform {
        /// `amd64`.
        #[serde(rename = "architecture")]
        pub architecture: String,
        /// `linux`.
        #[serde(rename = "os")]
        pub os: String,
        /// Windows only.
        #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
        pub os_version: String,
        /// Windows only.
        #[serde(rename = "os.features", skip_serializing_if = "List::is_empty")]
        pub os_features: Words,
        /// `v7`.
        #[serde(rename = "variant", skip_serializing_if = "is_zero")]
        pub variant: String,
    }
}
