//! The half of a container that belongs to this machine.

use super::{Mount, Resources};
use crate::wire::{List, Map, StrSlice, Words};

/// Container ports (`80/tcp`) and where on the host each is published; nil: exposed only.
pub type PortMap = Map<List<PortBinding>>;

wire! {
    /// How a container is joined to the machine it runs on.
    pub struct HostConfig {
        /// `SOURCE:TARGET[:OPTIONS]`.
        pub binds: Words,
        /// File that the client wrote the id to.
        #[serde(rename = "ContainerIDFile")]
        pub container_id_file: String,
        /// Where the output goes.
        pub log_config: LogConfig,
        /// `default`, `bridge`, `none`, `host`, `container:ID`, or a network's name.
        pub network_mode: String,
        /// Published ports.
        pub port_bindings: PortMap,
        /// What happens when the process ends.
        pub restart_policy: RestartPolicy,
        /// Whether the container is removed when it ends.
        pub auto_remove: bool,
        /// Driver of the volumes in `binds`.
        pub volume_driver: String,
        /// `CONTAINER[:ro|rw]` whose mounts this one has too.
        pub volumes_from: Words,
        /// First size of the terminal: rows, columns.
        pub console_size: [u32; 2],
        /// Annotations, for the runtime.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub annotations: Map<String>,
        /// Capabilities to add; `ALL` for all.
        pub cap_add: StrSlice,
        /// Capabilities to drop; `ALL` for all.
        pub cap_drop: StrSlice,
        /// `private`, `host`, or empty: the default.
        pub cgroupns_mode: String,
        /// Name servers.
        pub dns: Words,
        /// `resolv.conf(5)` options.
        pub dns_options: Words,
        /// Search domains.
        pub dns_search: Words,
        /// `NAME:ADDRESS` lines for the hosts file.
        pub extra_hosts: Words,
        /// Additional groups.
        pub group_add: Words,
        /// `none`, `private`, `shareable`, `host`, `container:ID`, or empty: the default.
        pub ipc_mode: String,
        /// Unused on Linux.
        pub cgroup: String,
        /// `CONTAINER:ALIAS`.
        pub links: Words,
        /// -1000..=1000.
        pub oom_score_adj: i64,
        /// Empty (private), `host`, `container:ID`.
        pub pid_mode: String,
        /// Whether nothing is held back: devices, capabilities, seccomp, masked paths.
        pub privileged: bool,
        /// Whether each exposed port is published on a port that is free.
        pub publish_all_ports: bool,
        /// Whether the root is read-only.
        pub readonly_rootfs: bool,
        /// `seccomp=…`, `apparmor=…`, `label=…`, `no-new-privileges`, `systempaths=unconfined`.
        pub security_opt: Words,
        /// The storage driver's options.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub storage_opt: Map<String>,
        /// Paths of tmpfs mounts, and their options.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub tmpfs: Map<String>,
        /// Empty (private) or `host`.
        #[serde(rename = "UTSMode")]
        pub uts_mode: String,
        /// Empty (the engine's default) or `host`.
        pub userns_mode: String,
        /// Size of `/dev/shm`, bytes.
        pub shm_size: i64,
        /// Kernel parameters.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub sysctls: Map<String>,
        /// Name of the OCI runtime.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub runtime: String,
        /// Windows only.
        pub isolation: String,
        /// Mounts, in full.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub mounts: List<Mount>,
        /// Secrets, which are in memory only; ours.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub secrets: List<crate::secret::SecretMount>,
        /// Paths to hide; nil: the default ones, empty: none.
        pub masked_paths: Words,
        /// Paths to make read-only; nil: the default ones, empty: none.
        pub readonly_paths: Words,
        /// Whether our init is PID 1; absent: the engine's default.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub init: Option<bool>,
        @flatten
        /// Limits and devices.
        pub resources: Resources,
    }

    /// Where the output goes.
    pub struct LogConfig {
        /// The driver: `json-file`, `none`, …; empty: the default.
        #[serde(rename = "Type")]
        pub driver: String,
        /// Its options.
        pub config: Map<String>,
    }

    /// What happens when the process ends.
    pub struct RestartPolicy {
        /// `no` (or empty), `always`, `unless-stopped`, `on-failure`.
        pub name: String,
        /// How often `on-failure` tries; 0: for ever.
        pub maximum_retry_count: i64,
    }

    /// A port of the host.
    pub struct PortBinding {
        /// The address to listen on; empty: all.
        #[serde(rename = "HostIp")]
        pub host_ip: String,
        /// The port or a range to choose from; empty or `0`: any.
        pub host_port: String,
    }
}

impl RestartPolicy {
    /// Whether the container is never restarted.
    pub fn is_none(&self) -> bool {
        self.name.is_empty() || self.name == "no"
    }
}
