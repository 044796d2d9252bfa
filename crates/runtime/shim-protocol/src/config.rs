use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{HealthCheck, LogConfig, RestartPolicy};

/// All that a shim needs to know of its container, in `RUN/shim.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The container's id: 64 hexadecimal digits.
    pub id: String,
    /// `ROOT/containers/ID`: `status.json` and, with the json-file driver, the log.
    pub data_dir: PathBuf,
    /// The OCI bundle. The root is mounted on the `root.path` of its `config.json`, an empty
    /// directory. Best is an absolute one outside of `RUN`, which may be the same for all shims,
    /// since each mounts in a namespace of its own: to remove a directory on which something is
    /// mounted anywhere means to wait for the kernel to unmount it, up to 40 ms.
    pub bundle: PathBuf,
    /// The OCI runtime that creates the container.
    pub runtime: Runtime,
    /// Our own program as the engine has it open, in a form that no container can write: a link in procfs. A shim
    /// whose own path leads to another program by now can have it in no such form but that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_exe: Option<PathBuf>,
    /// What is mounted there, in the shim's own mount namespace: it ends with the shim.
    pub rootfs: Rootfs,
    /// A path in `RUN` at which `config.json` has the container's network namespace: the shim makes that
    /// one itself, and the network in it while the runtime makes the rest. None: the runtime makes it.
    #[serde(default)]
    pub netns: Option<PathBuf>,
    /// The ids of the container's user namespace, with which its root is mounted; none: the machine's.
    #[serde(default)]
    pub root_ids: Option<RootIds>,
    /// The `SELinux` label of all in the root; empty: each file's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mount_label: String,
    /// What else is mounted there, below [`Config::supplies_dir`], for the bundle's bind mounts.
    #[serde(default)]
    pub supplies: Vec<volume::Supply>,
    /// An empty directory, absolute, which may be the same for all shims.
    #[serde(default)]
    pub supplies_dir: PathBuf,
    /// The terminal, if the container has one.
    pub console: Option<Console>,
    /// Keep standard input open for those who attach (`-i`); without it, it is `/dev/null`.
    pub open_stdin: bool,
    /// Close standard input when the first who attached to it leaves (`StdinOnce`).
    pub stdin_once: bool,
    /// Where the output goes besides those attached.
    pub log: LogConfig,
    /// Links, addresses, firewall rules and names; applied between create and start.
    pub network: endpoint::Plan,
    /// Published ports whose host side the shim listens on: that reserves the port, and serves
    /// connections that come over the loopback interface.
    pub listeners: Vec<Listener>,
    /// What the shim becomes when all is over.
    pub on_exit: OnExit,
    /// What makes the program of [`Config::on_exit`] worth its start also where somebody else has removed
    /// the container.
    #[serde(default)]
    pub growth: Option<Growth>,
    /// Where somebody else who removes the container leaves its files for this process to delete, under names
    /// that begin with its number and a `-`. `None`: they delete them, and the lock is free for that.
    #[serde(default)]
    pub trash: Option<PathBuf>,
    /// The cgroup of all containers, which goes with the last of those that are removed so.
    #[serde(default)]
    pub cgroup_parent: Option<String>,
    /// Whether the program is started again when it has ended.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How often that has happened already: not 0 where the engine starts what lost its shim.
    #[serde(default)]
    pub restart_count: u32,
    /// Namespaces of other containers that this one joins: their processes may be others by the time
    /// that this one is started again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joins: Vec<Join>,
    /// How to tell whether it works.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// Where to tell of what happens; `None`: nowhere.
    #[serde(default)]
    pub events: Option<Events>,
    /// The state directory of an ordinary user's engine: its network namespace is not this process's.
    #[serde(default)]
    pub rootless: Option<PathBuf>,
    /// The container is killed when who started it closes the control connection, or ends: a step of a
    /// build does not outlive its builder.
    #[serde(default)]
    pub tied: bool,
    /// Its links are not its own: it has loopback alone, and a proxy that is somebody else's
    /// ([`crate::Outlet`]). Where the container has a network, that is what the proxy reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxied: Option<Proxied>,
}

/// What a container has that reaches others through a proxy alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxied {
    /// A certificate in PEM, which its programs trust while it runs.
    pub authority: String,
}

/// A file that is to be cut short when it has grown: the log of the engine's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The file.
    pub file: PathBuf,
    /// From what size on.
    pub bytes: u64,
}

/// A namespace of another container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// As in `config.json`: `network`, `pid`, `ipc` and so on.
    pub kind: String,
    /// The other container's `DATA`.
    pub data_dir: PathBuf,
}

/// Where to tell of what happens, and what to say of the container with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// `STATE/events.jsonl`.
    pub path: PathBuf,
    /// The image, as it was asked for.
    pub image: String,
    /// The container's labels, its image and its name.
    pub attributes: BTreeMap<String, String>,
    /// What it has while it runs, and is told of with its start and its end.
    #[serde(default)]
    pub companions: Vec<Companion>,
}

/// A network or a volume that a container has while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// `network` or `volume`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// What is told when the container starts.
    pub begin: (String, BTreeMap<String, String>),
    /// What is told when it has ended.
    pub end: (String, BTreeMap<String, String>),
}

/// Ids of a user namespace: what the root's files have (`container_id`), and where that is on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootIds {
    /// Users; that of root is among them.
    pub uids: Vec<oci::runtime::IdMapping>,
    /// Groups.
    pub gids: Vec<oci::runtime::IdMapping>,
}

/// How to call the OCI runtime: anything with runc's command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The program; `None` is dhow's own file, called as `dhow-runtime`.
    pub program: Option<PathBuf>,
    /// Its `--root`: where it keeps the state of containers.
    pub root: PathBuf,
    /// More global arguments.
    pub args: Vec<String>,
}

/// What becomes the container's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Rootfs {
    /// An overlay of read-only directories, topmost first, and one writable.
    Overlay {
        /// Topmost first.
        lower: Vec<PathBuf>,
        /// The writable layer.
        upper: PathBuf,
        /// Overlayfs's own scratch directory, on the same file system as `upper`.
        work: PathBuf,
        /// Whether what is written need not reach the disk: it goes with the container.
        #[serde(default)]
        volatile: bool,
    },
    /// A directory as it is.
    Directory {
        /// It.
        path: PathBuf,
    },
    /// The machine's own root below a writable layer in memory, which ends with the container.
    Host {
        /// Paths that are covered by an empty directory, absolute.
        hidden: Vec<PathBuf>,
    },
}

/// A root that is mounted before the rest is known, see [`crate::Request::Mount`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// As [`Config::rootfs`].
    pub rootfs: Rootfs,
    /// As [`Config::mount_label`].
    pub mount_label: String,
    /// The `root.path` of the bundle's `config.json`.
    pub target: PathBuf,
}

/// A terminal's first size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    /// Columns; 0 where unknown.
    pub width: u16,
    /// Rows; 0 where unknown.
    pub height: u16,
}

/// A host address and port that is forwarded to the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Where to listen.
    pub host: std::net::SocketAddr,
    /// Where to connect to: the container's own address.
    pub container: std::net::SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: endpoint::Protocol,
}

/// What the shim does last of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExit {
    /// End.
    End,
    /// Execute this (program and arguments): it removes the container (`--rm`), and `RUN`, in which
    /// nothing but the free lock is left.
    Exec(Vec<String>),
}
