//! Running a program.

use serde::Serialize;

/// How a program runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Exec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Variables that it sees and that make no difference (`HTTP_PROXY` and kin): no part of what
    /// the vertex is.
    #[serde(skip)]
    pub proxy_env: Vec<String>,
    /// Where.
    pub cwd: String,
    /// As whom: `USER[:GROUP]`, names or numbers.
    pub user: String,
    /// What it thinks its machine is called.
    pub hostname: String,
    /// In which network.
    pub network: Network,
    /// It reaches others of its network through a proxy of the builder's alone.
    #[serde(skip_serializing_if = "is_false")]
    pub proxied: bool,
    /// What it may do.
    pub security: Security,
    /// Names it knows.
    pub hosts: Vec<HostEntry>,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// The size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Under which cgroup; empty: as usual.
    pub cgroup_parent: String,
    /// What it may use of the machine: no part of what the vertex is.
    #[serde(skip)]
    pub limits: Box<Limits>,
    /// What is mounted, beside the root.
    pub mounts: Vec<Mount>,
    /// Variables from secrets.
    pub secrets: Vec<SecretVariable>,
    /// Devices by CDI.
    pub devices: Vec<Device>,
    /// These exit codes are a success; none: 0 alone.
    pub valid_exit_codes: Vec<i32>,
    /// Its root cannot be written to.
    #[serde(skip_serializing_if = "is_false")]
    pub readonly_root: bool,
    /// What of it is kept; nothing said: its root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<Kept>,
}

/// Something that a program has written to, and that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kept {
    /// Its root.
    Root,
    /// The mount of this number: of layers, to which it may write.
    Mount(usize),
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Exec {
    /// What is kept, in order: of several each is a result of its own.
    pub fn kept(&self) -> &[Kept] {
        if self.keeps.is_empty() { &[Kept::Root] } else { &self.keeps }
    }

    /// The input that something kept lies on; `None`: there is no such mount.
    pub fn input_of(&self, kept: Kept) -> Option<usize> {
        match kept {
            Kept::Root => Some(0),
            Kept::Mount(at) => match self.mounts.get(at)?.kind {
                MountKind::Bind { input, .. } => Some(input),
                _ => None,
            },
        }
    }

    /// Whether what is written to the mount of this number is kept.
    pub fn keeps_mount(&self, at: usize) -> bool {
        self.keeps.contains(&Kept::Mount(at))
    }
}

/// A network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Network {
    /// One of the builder's.
    #[default]
    Default,
    /// The machine's.
    Host,
    /// None but a loopback.
    None,
}

/// What a program may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Security {
    /// What a container may.
    #[default]
    Sandbox,
    /// Everything; the build has to be allowed it (`security.insecure`).
    Insecure,
}

/// A line of /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address, or `host-gateway`.
    pub address: String,
}

/// A limit (`setrlimit(2)`), by its name without `RLIMIT_`, small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// `nofile`.
    pub name: String,
    /// What a process has.
    pub soft: i64,
    /// How high it may set it.
    pub hard: i64,
}

/// What a program may use of the machine (BuildKit's `LinuxResources`). What is 0 or empty is as it is for all programs of
/// the build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: i64,
    /// Memory and swap, in bytes; -1: any.
    pub memory_swap: i64,
    /// Its part of the processors beside others' (usual: 1024).
    pub cpu_shares: i64,
    /// The period of the quota, in microseconds.
    pub cpu_period: i64,
    /// Time of the processors in a period, in microseconds.
    pub cpu_quota: i64,
    /// On which processors: `0-3,7`.
    pub cpuset_cpus: String,
    /// With which memory nodes.
    pub cpuset_mems: String,
}

/// A variable whose value is a secret's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretVariable {
    /// Which secret.
    pub id: String,
    /// The variable.
    pub name: String,
    /// It may be missing.
    pub optional: bool,
}

/// Devices by the name that CDI gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `VENDOR/CLASS=NAME`, or a class.
    pub name: String,
    /// It may be missing.
    pub optional: bool,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mount {
    /// Where.
    pub target: String,
    /// Nothing is written to it.
    pub readonly: bool,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum MountKind {
    /// Something of another vertex. What is written to it is lost, unless it is kept ([`Exec::keeps`]).
    Bind {
        /// Which of the vertex's inputs.
        input: usize,
        /// What of it.
        source: String,
    },
    /// A directory that stays from build to build.
    Cache {
        /// Its name.
        id: String,
        /// Who may have it at once.
        sharing: Sharing,
        /// What is in it at first, of the vertex's inputs; none: nothing.
        from: Option<usize>,
        /// What of that.
        source: String,
        /// Its mode where it is made.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// In bytes; `None`: half of the memory.
        size: Option<u64>,
    },
    /// A secret, as a file in memory.
    Secret {
        /// Which.
        id: String,
        /// It may be missing.
        optional: bool,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its mode.
        mode: u32,
    },
    /// The socket of an agent of whoever asked for the build.
    Ssh {
        /// Which.
        id: String,
        /// It may be missing.
        optional: bool,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its mode.
        mode: u32,
    },
}

/// Who may have a cache at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One; another one gets a new one.
    Private,
    /// One; another one waits.
    Locked,
}
