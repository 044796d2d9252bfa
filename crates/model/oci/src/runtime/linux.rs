//! The object `linux`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::resources::Resources;
use super::seccomp::Seccomp;
use super::{IdMapping, is_false, nullable};

/// The part of the configuration that only Linux has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// Device files inside the container, besides the default ones.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Network devices that move into the container, by name.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// User ids of the user namespace.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of the user namespace.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Namespaces, made or joined.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    /// Limits of the container's cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The cgroup; `/a/b` below the hierarchy's root, empty for the runtime's choice.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cgroups_path: String,
    /// `shared`, `slave`, `private` or `unbindable`; empty is `private`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rootfs_propagation: String,
    /// Which system calls are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// Kernel parameters of the container's namespaces.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Paths that cannot be read inside.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written inside.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub readonly_paths: Vec<String>,
    /// The `SELinux` context of the container's mounts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mount_label: String,
    /// Cache and memory bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// On which NUMA nodes memory is allocated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// The execution domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<Personality>,
    /// Offsets of the time namespace's clocks, by `boottime` and `monotonic`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// One namespace of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// Which.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// A namespace file to join; empty makes a new one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// A device file inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// `c` or `u`, `b`, or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where, absolute.
    pub path: String,
    /// The major number; not for `p`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// The minor number; not for `p`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Permissions; 0666 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// The owner, as seen inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group, as seen inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A network device that moves into the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetDevice {
    /// Its name inside; empty keeps its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// Intel's resource director: one directory of `resctrl`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntelRdt {
    /// The class of service; empty is the container's id.
    #[serde(rename = "closID", default, skip_serializing_if = "String::is_empty")]
    pub clos_id: String,
    /// Lines of the file `schemata`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// The line of the level 3 cache.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// The line of the memory bandwidth.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// Whether a monitoring group is made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub enable_monitoring: bool,
}

/// The arguments of `set_mempolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPolicy {
    /// `MPOL_BIND` and its kin.
    pub mode: String,
    /// A list of nodes such as `0-3,7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nodes: String,
    /// `MPOL_F_STATIC_NODES` and its kin.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// The arguments of `personality`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// None is supported.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// What is added to a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeOffset {
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secs: Option<i64>,
    /// Nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nanosecs: Option<u32>,
}

/// The eight types of namespace.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Processes.
    #[default]
    Pid,
    /// The network stack.
    Network,
    /// Mounts.
    Mount,
    /// System V and POSIX message passing.
    Ipc,
    /// Host name and domain name.
    Uts,
    /// Users, groups and capabilities.
    User,
    /// The view of the cgroup hierarchy.
    Cgroup,
    /// The monotonic and the boot-time clock.
    Time,
}

impl NamespaceKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Mount,
        Self::Uts,
        Self::Ipc,
        Self::Pid,
        Self::Network,
        Self::Cgroup,
        Self::Time,
    ];

    /// The name that the specification uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Mount => "mount",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The name of its file in `/proc/PID/ns`.
    pub fn proc_name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Mount => "mnt",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
