//! `GET /dhow/containers/ID/explain`: what a container is to the kernel. Sizes are bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All of it. Of a container that does not run, what needs no process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedContainer {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without a slash.
    pub name: String,
    /// As it was named.
    pub image: String,
    /// `running`, `exited` and so on.
    pub state: String,
    /// Its first process on the host; 0 where it does not run.
    pub pid: i32,
    /// Its supervisor on the host.
    pub supervisor: i32,
    /// In its cgroup, parents before their children.
    pub processes: Vec<ExplainedProcess>,
    /// Of its first process.
    pub namespaces: Vec<ExplainedNamespace>,
    /// Its limits against what it uses.
    pub cgroup: ExplainedCgroup,
    /// Its files.
    pub root: ExplainedRoot,
    /// What its first process sees mounted.
    pub mounts: Vec<ExplainedMount>,
    /// How it is reached.
    pub network: ExplainedNetwork,
    /// What its first process may do.
    pub security: ExplainedSecurity,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedProcess {
    /// On the host.
    pub pid: i32,
    /// Of the parent on the host.
    pub parent: i32,
    /// In its own PID namespace.
    pub inside: i32,
    /// How many of those that are listed lie above it.
    pub depth: u32,
    /// User on the host.
    pub uid: u32,
    /// Threads.
    pub threads: u32,
    /// Memory in use, with what it shares.
    pub resident: u64,
    /// One letter, as ps(1) has it.
    pub state: String,
    /// Its words.
    pub command: String,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedNamespace {
    /// `net`, `pid`, as in `/proc/PID/ns`.
    pub kind: String,
    /// Its inode.
    pub inode: u64,
    /// `host`, `container NAME`; empty where nobody else has it.
    pub shared_with: Vec<String>,
}

/// Limits against use; no value where there is no limit, or the kernel does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedCgroup {
    /// From the roots of the trees.
    pub path: String,
    /// Directories, by controller.
    pub directories: BTreeMap<String, String>,
    /// In use.
    pub memory: u64,
    /// At most.
    pub memory_limit: Option<u64>,
    /// How often the limit was hit.
    pub memory_failures: u64,
    /// Processor time so far, nanoseconds.
    pub cpu: u64,
    /// Billionths of a processor.
    pub cpu_limit: Option<u64>,
    /// How often it was kept waiting by that.
    pub cpu_throttled: u64,
    /// Processes and threads.
    pub pids: u64,
    /// At most.
    pub pids_limit: Option<u64>,
}

/// The files that a container is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedRoot {
    /// The storage driver.
    pub driver: String,
    /// Read-only directories, topmost first.
    pub layers: Vec<String>,
    /// Where it writes.
    pub writable: String,
    /// Whether it may.
    pub read_only: bool,
}

/// A line of mountinfo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedMount {
    /// In the container.
    pub target: String,
    /// The file system's type.
    pub kind: String,
    /// The device or name, and what of it.
    pub source: String,
    /// `ro,nosuid`, of the mount itself.
    pub options: String,
}

/// Addresses, ports and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedNetwork {
    /// `bridge`, `host`, `container:ID` and so on.
    pub mode: String,
    /// Interfaces that the engine made.
    pub links: Vec<ExplainedLink>,
    /// `HOST -> CONTAINER/PROTOCOL`.
    pub ports: Vec<String>,
    /// The nftables table of its own rules, of the family `ip`; empty where there is none.
    pub table: String,
    /// Whether there is a name server at 127.0.0.11.
    pub names: bool,
}

/// An interface of a container: a veth pair, or one that shares a link of the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedLink {
    /// The end in the container.
    pub name: String,
    /// The end on the host; empty where there is none.
    pub host_name: String,
    /// The bridge that it is on, or the link that it shares.
    pub bridge: String,
    /// Hardware address; empty where it is that of the link it shares.
    pub mac: String,
    /// With their prefixes.
    pub addresses: Vec<String>,
    /// Of the default route.
    pub gateway: String,
}

/// What a process may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedSecurity {
    /// The user inside, as it was asked for.
    pub user: String,
    /// Effective capabilities, by name.
    pub capabilities: Vec<String>,
    /// Those that a program may still get.
    pub bounding: Vec<String>,
    /// Whether no program may get more than its parent has.
    pub no_new_privileges: bool,
    /// `disabled`, `strict` or `filter`.
    pub seccomp: String,
    /// How many filters.
    pub seccomp_filters: u32,
    /// The label of a security module (LSM); empty where there is none.
    pub label: String,
    /// Users inside, outside, and how many; one line where it is the host's.
    pub uid_map: Vec<String>,
    /// Whether it may do all.
    pub privileged: bool,
    /// Added to the badness that the kernel counts when memory runs out.
    pub oom_score_adj: i32,
}
