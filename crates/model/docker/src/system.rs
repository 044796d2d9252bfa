//! The engine itself: version, information, disk usage.

use crate::{
    container::Summary as ContainerSummary,
    image::Summary as ImageSummary,
    volume::Volume,
    wire::{Empty, List, Map, Words, is_zero},
};

wire! {
    /// `GET /version`.
    pub struct Version {
        /// What the engine calls itself.
        pub platform: PlatformName,
        /// Its parts.
        pub components: List<Component>,
        /// The engine's version.
        pub version: String,
        /// The newest API version it answers.
        pub api_version: String,
        /// The oldest API version it answers.
        #[serde(rename = "MinAPIVersion")]
        pub min_api_version: String,
        /// Of its source.
        pub git_commit: String,
        /// The compiler's version; here: Rust's.
        pub go_version: String,
        /// `linux`.
        pub os: String,
        /// `amd64`.
        pub arch: String,
        /// `uname -r`.
        pub kernel_version: String,
        /// Whether experimental features are on.
        #[serde(skip_serializing_if = "is_zero")]
        pub experimental: bool,
        /// RFC 3339.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub build_time: String,
    }

    /// What the engine calls itself.
    pub struct PlatformName {
        /// The name.
        pub name: String,
    }

    /// A part of the engine.
    pub struct Component {
        /// Its name.
        pub name: String,
        /// Its version.
        pub version: String,
        /// More.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub details: Map<String>,
    }

    /// `GET /info`.
    pub struct Info {
        /// Of this engine.
        #[serde(rename = "ID")]
        pub id: String,
        /// How many.
        pub containers: i64,
        /// How many.
        pub containers_running: i64,
        /// How many.
        pub containers_paused: i64,
        /// How many.
        pub containers_stopped: i64,
        /// How many.
        pub images: i64,
        /// The storage driver.
        pub driver: String,
        /// Its own words, `[KEY, VALUE]`.
        pub driver_status: List<Words>,
        /// What can be plugged in.
        pub plugins: Plugins,
        /// Whether the kernel can.
        pub memory_limit: bool,
        /// Whether the kernel can.
        pub swap_limit: bool,
        /// Whether the kernel can.
        pub cpu_cfs_period: bool,
        /// Whether the kernel can.
        pub cpu_cfs_quota: bool,
        /// Whether the kernel can.
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        /// Whether the kernel can.
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        /// Whether the kernel can.
        pub pids_limit: bool,
        /// Whether the kernel forwards.
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        /// Debug mode.
        pub debug: bool,
        /// Open file descriptors.
        #[serde(rename = "NFd")]
        pub n_fd: i64,
        /// Whether the kernel can.
        pub oom_kill_disable: bool,
        /// Tasks of the engine.
        #[serde(rename = "NGoroutines")]
        pub n_goroutines: i64,
        /// RFC 3339.
        pub system_time: String,
        /// The default log driver.
        pub logging_driver: String,
        /// `cgroupfs` or `systemd`.
        pub cgroup_driver: String,
        /// `1` or `2`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub cgroup_version: String,
        /// Clients that listen to events.
        #[serde(rename = "NEventsListener")]
        pub n_events_listener: i64,
        /// `uname -r`.
        pub kernel_version: String,
        /// From `os-release`.
        pub operating_system: String,
        /// From `os-release`.
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        /// `linux`.
        #[serde(rename = "OSType")]
        pub os_type: String,
        /// `uname -m`.
        pub architecture: String,
        /// The default registry.
        pub index_server_address: String,
        /// Registries.
        pub registry_config: Option<RegistryConfig>,
        /// CPUs.
        #[serde(rename = "NCPU")]
        pub ncpu: i64,
        /// Bytes.
        pub mem_total: i64,
        /// Swarm only.
        pub generic_resources: List<serde_json::Value>,
        /// Where the state is.
        pub docker_root_dir: String,
        /// Proxy.
        pub http_proxy: String,
        /// Proxy.
        pub https_proxy: String,
        /// Hosts that need none.
        pub no_proxy: String,
        /// Host name.
        pub name: String,
        /// `KEY=VALUE` of the engine.
        pub labels: Words,
        /// Whether experimental features are on.
        pub experimental_build: bool,
        /// The engine's version.
        pub server_version: String,
        /// By name.
        pub runtimes: Map<Runtime>,
        /// Its name.
        pub default_runtime: String,
        /// Always inactive here.
        pub swarm: Swarm,
        /// Whether containers go on when the engine ends.
        pub live_restore_enabled: bool,
        /// Windows only.
        pub isolation: String,
        /// The init for `--init`.
        pub init_binary: String,
        /// Version.
        pub containerd_commit: Commit,
        /// Version.
        pub runc_commit: Commit,
        /// Version.
        pub init_commit: Commit,
        /// `name=seccomp,profile=builtin`, …
        pub security_options: Words,
        /// Licence of a product.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub product_license: String,
        /// Where new networks' subnets come from.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub default_address_pools: List<AddressPool>,
        /// How packets are filtered.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub firewall_backend: Option<FirewallInfo>,
        /// Devices that containers can have by name.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub discovered_devices: List<DeviceInfo>,
        /// Directories of CDI specifications.
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: Words,
        /// What the admin should know.
        pub warnings: Words,
    }

    /// A device that containers can have by name.
    pub struct DeviceInfo {
        /// Who knows of it: `cdi`.
        pub source: String,
        /// Its name: `VENDOR/CLASS=DEVICE`.
        #[serde(rename = "ID")]
        pub id: String,
    }

    /// What can be plugged in.
    pub struct Plugins {
        /// Volume drivers.
        pub volume: Words,
        /// Network drivers.
        pub network: Words,
        /// Authorization plugins.
        pub authorization: Words,
        /// Log drivers.
        pub log: Words,
    }

    /// Registries.
    pub struct RegistryConfig {
        /// Networks whose registries need no TLS.
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: Words,
        /// By name.
        pub index_configs: Map<IndexInfo>,
        /// Mirrors of the default one.
        pub mirrors: Words,
    }

    /// One registry.
    pub struct IndexInfo {
        /// Its name.
        pub name: String,
        /// Its mirrors.
        pub mirrors: Words,
        /// Whether it needs TLS.
        pub secure: bool,
        /// Whether it is Docker's.
        pub official: bool,
    }

    /// A runtime.
    pub struct Runtime {
        /// The program.
        #[serde(rename = "path", skip_serializing_if = "String::is_empty")]
        pub path: String,
        /// Its arguments.
        #[serde(rename = "runtimeArgs", skip_serializing_if = "List::is_empty")]
        pub args: Words,
        /// What it says of itself.
        #[serde(rename = "status", skip_serializing_if = "Map::is_empty")]
        pub status: Map<String>,
    }

    /// Swarm: not here.
    pub struct Swarm {
        /// Empty.
        #[serde(rename = "NodeID")]
        pub node_id: String,
        /// Empty.
        pub node_addr: String,
        /// `inactive`.
        pub local_node_state: String,
        /// False.
        pub control_available: bool,
        /// Empty.
        pub error: String,
        /// Nil.
        pub remote_managers: List<Empty>,
    }

    /// A version.
    pub struct Commit {
        /// The version or commit.
        #[serde(rename = "ID")]
        pub id: String,
    }

    /// Where new networks' subnets come from.
    pub struct AddressPool {
        /// `ADDRESS/BITS`.
        pub base: String,
        /// Bits of each subnet.
        pub size: i64,
    }

    /// How packets are filtered.
    pub struct FirewallInfo {
        /// `nftables`, `iptables`.
        pub driver: String,
        /// More, `[KEY, VALUE]`.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub info: List<Words>,
    }

    /// `GET /system/df` as before v1.52.
    pub struct DiskUsage {
        /// Bytes of all layers.
        pub layers_size: i64,
        /// The images.
        pub images: List<ImageSummary>,
        /// The containers, with sizes.
        pub containers: List<ContainerSummary>,
        /// The volumes, with sizes.
        pub volumes: List<Volume>,
        /// The build cache.
        pub build_cache: List<BuildCache>,
    }

    /// One entry of the build cache.
    pub struct BuildCache {
        /// Its id.
        #[serde(rename = "ID")]
        pub id: String,
        /// What it builds on.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub parents: Words,
        /// `regular`, `source.local`, …
        #[serde(rename = "Type")]
        pub kind: String,
        /// The step.
        pub description: String,
        /// Whether a build runs with it.
        pub in_use: bool,
        /// Whether an image has it too.
        pub shared: bool,
        /// Bytes.
        pub size: i64,
        /// RFC 3339.
        pub created_at: String,
        /// RFC 3339.
        pub last_used_at: Option<String>,
        /// How often.
        pub usage_count: i64,
    }

    /// `POST /auth`.
    pub struct AuthConfig {
        /// User.
        #[serde(rename = "username", skip_serializing_if = "String::is_empty")]
        pub username: String,
        /// Password.
        #[serde(rename = "password", skip_serializing_if = "String::is_empty")]
        pub password: String,
        /// Registry.
        #[serde(rename = "serveraddress", skip_serializing_if = "String::is_empty")]
        pub server_address: String,
        /// Instead of a password: what token servers give tokens for.
        #[serde(rename = "identitytoken", skip_serializing_if = "String::is_empty")]
        pub identity_token: String,
        /// Instead of all others: a token for the registry itself.
        #[serde(rename = "registrytoken", skip_serializing_if = "String::is_empty")]
        pub registry_token: String,
    }

    /// The answer of `POST /auth`.
    pub struct AuthResponse {
        /// `Login Succeeded`.
        #[serde(rename = "Status")]
        pub status: String,
        /// What to keep instead of the password, if the registry gave it.
        #[serde(rename = "IdentityToken")]
        pub identity_token: String,
    }
}
