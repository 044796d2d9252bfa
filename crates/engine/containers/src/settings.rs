//! What an administrator has set: `/etc/dhow/daemon.json`, under the names that Docker's file has.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::error::At as _;
use crate::runtimes::RuntimeSetting;

/// The engine's settings. Every command reads them, since any command may be the one that starts
/// a container. Keys that are not here are others' (registries, the collection of images).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// Where CDI specifications are; those of a later folder win.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// What is set for builds.
    pub builder: BuilderSettings,
    /// The cgroup below which those of containers are; empty: as usual.
    pub cgroup_parent: String,
    /// `private` or `host`, for containers that do not say it; empty: private.
    pub default_cgroupns_mode: String,
    /// `private` or `shareable`, for containers that do not say it; empty: private.
    pub default_ipc_mode: String,
    /// The size of `/dev/shm`, `64m`, of containers that do not say it; empty: as usual.
    pub default_shm_size: String,
    /// Limits of the processes of containers that do not say otherwise, by name.
    pub default_ulimits: BTreeMap<String, UlimitSetting>,
    /// Name servers in place of the machine's.
    pub dns: Vec<String>,
    /// Options of the resolver in place of the machine's.
    pub dns_opts: Vec<String>,
    /// Search domains in place of the machine's.
    pub dns_search: Vec<String>,
    /// What is set for networks.
    #[serde(flatten)]
    pub networks: NetworkSettings,
    /// What is turned on or off; `cdi` is on.
    pub features: BTreeMap<String, bool>,
    /// What `host-gateway` means in `--add-host`; empty: the gateway of the container's network.
    pub host_gateway_ip: String,
    /// The same, one address of each family.
    pub host_gateway_ips: Vec<String>,
    /// What `info` shows of this engine, `KEY=VALUE`.
    pub labels: Vec<String>,
    /// Processes of containers that do not say otherwise gain no privileges.
    pub no_new_privileges: bool,
    /// The profile of system calls of containers that name none: a file, `builtin`, or `unconfined`; empty:
    /// `builtin`.
    pub seccomp_profile: String,
    /// All other keys of the file.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
    /// Containers that do not say otherwise have an init (`--init`).
    pub init: bool,
    /// OCI runtimes, by the names that `--runtime` takes.
    pub runtimes: BTreeMap<String, RuntimeSetting>,
    /// The runtime where none is asked for.
    pub default_runtime: Option<String>,
    /// Containers have labels of `SELinux`, where the kernel has it.
    pub selinux_enabled: bool,
    /// The log driver of containers that name none; empty: json-file.
    pub log_driver: String,
    /// Options of containers with that driver, where they do not say otherwise.
    pub log_opts: BTreeMap<String, String>,
    /// Containers that do not say otherwise have a user namespace with the subordinate ids of this
    /// `USER[:GROUP]`; `default` is `dockremap`. Empty: none.
    pub userns_remap: String,
}

/// What is set for networks, most of it for the default one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct NetworkSettings {
    /// Containers of networks that are made from now on are reached at their own addresses, too, by the ports
    /// that they publish.
    pub allow_direct_routing: bool,
    /// The address of the bridge with its prefix; empty: chosen.
    pub bip: String,
    /// The same for IPv6.
    pub bip6: String,
    /// `none`, or a bridge that is there already; empty: our own.
    pub bridge: String,
    /// Ranges that networks get theirs from; none: Docker's.
    pub default_address_pools: Vec<AddressPool>,
    /// Who passes on what leaves the default network, if not the bridge.
    pub default_gateway: String,
    /// The same for IPv6.
    pub default_gateway_v6: String,
    /// Options of networks that do not have them, by the driver.
    pub default_network_opts: BTreeMap<String, BTreeMap<String, String>>,
    /// The part of the range that is given out.
    pub fixed_cidr: String,
    /// The same for IPv6.
    pub fixed_cidr_v6: String,
    /// Whether containers of the default network may speak to each other; they may.
    pub icc: Option<bool>,
    /// Where ports are published that name no address; empty: everywhere.
    pub ip: String,
    /// Whether the machine is made to pass packets on; it is.
    pub ip_forward: Option<bool>,
    /// Whether what goes out bears the machine's address; it does.
    pub ip_masq: Option<bool>,
    /// Whether the default network has IPv6.
    pub ipv6: bool,
    /// Bytes; 0: as usual.
    pub mtu: u32,
}

/// A range that is given out in parts.
#[derive(Clone, Debug, Deserialize)]
pub struct AddressPool {
    /// All of it.
    pub base: String,
    /// The prefix of a part, in bits.
    pub size: u8,
}

/// A limit of processes, in Docker's words.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UlimitSetting {
    /// The most that there may be; -1: no limit.
    pub hard: i64,
    /// What there is at first; -1: no limit.
    pub soft: i64,
}

/// What is set for builds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BuilderSettings {
    /// How the build cache is kept within bounds.
    pub gc: BuilderGc,
    /// Directories of the machine that steps have as cache mounts, by the ids of these.
    #[serde(rename = "cache-mounts")]
    pub cache_mounts: BTreeMap<String, PathBuf>,
    /// What builds may be allowed by who asks for them.
    #[serde(alias = "Entitlements")]
    pub entitlements: BuilderEntitlements,
    /// Programs of builds reach others through a proxy alone, also where a build does not ask for that.
    #[serde(rename = "proxy-network")]
    pub proxy_network: bool,
}

/// What builds may be allowed. Where nothing is said: the machine's network and devices, but not all rights, as
/// in Docker.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct BuilderEntitlements {
    /// `network.host`
    pub network_host: bool,
    /// `security.insecure`
    pub security_insecure: bool,
    /// `device`
    pub device: bool,
}

impl Default for BuilderEntitlements {
    fn default() -> Self {
        Self { network_host: true, security_insecure: false, device: true }
    }
}

/// How the build cache is kept within bounds. Sizes are texts, `10GB` or `20%` of the disk; empty ones
/// are as usual.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuilderGc {
    /// Whether it is; as usual: yes.
    pub enabled: Option<bool>,
    /// What always stays; the older name of the next.
    pub default_keep_storage: String,
    /// What always stays.
    pub default_reserved_space: String,
    /// What there may be at most.
    pub default_max_used_space: String,
    /// What of the disk is to be free.
    pub default_min_free_space: String,
    /// Rules, one after the other, in place of the usual ones.
    pub policy: Vec<BuilderGcRule>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuilderGcRule {
    /// Also what images have.
    pub all: bool,
    /// What stays; the older name of the next.
    pub keep_storage: String,
    /// What stays.
    pub reserved_space: String,
    /// What there may be at most.
    pub max_used_space: String,
    /// What of the disk is to be free.
    pub min_free_space: String,
    /// What was not used for so long goes: `48h`.
    pub keep_duration: String,
    /// Conditions, one of which has to hold; also the older `unused-for=24h`.
    pub filter: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            builder: BuilderSettings::default(),
            cgroup_parent: String::new(),
            default_cgroupns_mode: String::new(),
            default_ipc_mode: String::new(),
            default_shm_size: String::new(),
            default_ulimits: BTreeMap::new(),
            dns: Vec::new(),
            dns_opts: Vec::new(),
            dns_search: Vec::new(),
            networks: NetworkSettings::default(),
            features: BTreeMap::new(),
            host_gateway_ip: String::new(),
            host_gateway_ips: Vec::new(),
            labels: Vec::new(),
            no_new_privileges: false,
            seccomp_profile: String::new(),
            others: BTreeMap::new(),
            init: false,
            runtimes: BTreeMap::new(),
            default_runtime: None,
            selinux_enabled: false,
            log_driver: String::new(),
            log_opts: BTreeMap::new(),
            userns_remap: String::new(),
        }
    }
}

/// Keys that others look at: the registries' client, the collector, who listens. And one that asks for what is so
/// anyway.
const OF_OTHERS: [&str; 13] = [
    "container-gc",
    "hosts",
    "image-gc",
    "insecure-registries",
    "live-restore",
    "proxies",
    "registry-mirrors",
    "tls",
    "tlscacert",
    "tlscert",
    "tlskey",
    "tlsverify",
    "token-servers",
];

/// Keys that Docker's file may have beside these, and that nothing here looks at.
const OF_DOCKER: &[&str] = &[
    "allow-nondistributable-artifacts",
    "api-cors-header",
    "authorization-plugins",
    "bridge-accept-fwmark",
    "containerd",
    "containerd-namespace",
    "containerd-plugin-namespace",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cri-containerd",
    "data-root",
    "debug",
    "deprecated-key-path",
    "exec-opts",
    "exec-root",
    "experimental",
    "firewall-backend",
    "group",
    "init-path",
    "ip-forward-no-drop",
    "ip6tables",
    "iptables",
    "log-format",
    "log-level",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "metrics-addr",
    "min-api-version",
    "network-control-plane-mtu",
    "network-diagnostic-port",
    "node-generic-resources",
    "oom-score-adjust",
    "pidfile",
    "raw-logs",
    "resolv-conf",
    "rootless",
    "shutdown-timeout",
    "storage-driver",
    "storage-opts",
    "swarm-default-advertise-addr",
    "swarm-raft-election-tick",
    "swarm-raft-heartbeat-tick",
    "userland-proxy",
    "userland-proxy-path",
];

/// Whether a value asks for nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
    }
}

impl Settings {
    /// Where the file is, unless `DHOW_CONFIG` says otherwise.
    pub const FILE: &'static str = "/etc/dhow/daemon.json";

    /// Keys of the file that nothing looks at, and that ask for something.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let known = |key: &str| OF_OTHERS.contains(&key);
        let unused =
            self.others.iter().filter(move |(key, value)| !known(key) && !is_nothing(value));
        unused.map(|(key, _)| key.as_str())
    }

    /// Keys of the file that neither this engine nor Docker knows: a slip, most likely.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let known = |key: &str| OF_OTHERS.contains(&key) || OF_DOCKER.contains(&key);
        self.others.keys().map(String::as_str).filter(move |key| !known(key))
    }

    /// A key of the file that is none of ours.
    pub(crate) fn other(&self, key: &str) -> Option<&Value> {
        self.others.get(key)
    }

    /// Reads a file; without one, nothing is set.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = match std::fs::read(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.at("read", path)?,
        };
        // An empty file sets nothing, as with Docker (it may be /dev/null).
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(&bytes).map_err(io::Error::from).at("read", path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_looks_at_is_named() {
        let path = std::env::temp_dir().join(format!("dhow-settings-{}", std::process::id()));
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Settings::load(&path)
        };
        let unused =
            |settings: &Settings| -> Vec<String> { settings.unused().map(str::to_owned).collect() };
        assert!(unused(&load(" \n").unwrap()).is_empty());
        let text = r#"{"init": true, "iptables": true, "mtu": 0, "tls": false, "hosts": [],
            "image-gc": "off", "live-restore": true, "selinux-enabled": true, "dns": ["192.0.2.1"], "bip": "10.9.0.1/24"}"#;
        let settings = load(text).unwrap();
        assert_eq!((settings.init, unused(&settings)), (true, vec!["iptables".to_owned()]));
        assert_eq!(settings.networks.bip, "10.9.0.1/24");
        assert_eq!(settings.unknown().count(), 0);
        let unknown = load(r#"{"iptable": false, "labels": [], "log-level": "info"}"#).unwrap();
        assert_eq!(unknown.unknown().collect::<Vec<_>>(), ["iptable"]);
        assert!(settings.selinux_enabled && !Settings::default().selinux_enabled);
        assert!(load("{").is_err());
        assert!(load(r#"{"init": 1}"#).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(unused(&Settings::load(&path).unwrap()).is_empty());
    }
}
