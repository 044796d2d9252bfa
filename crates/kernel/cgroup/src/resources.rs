//! The limits of a cgroup, in the kernel's words.
//!
//! Where v1 and v2 differ, the wider of the two is taken, and `encode` converts it.

use std::collections::BTreeMap;

use crate::device::DeviceRule;

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Unlimited: `max` on v2, -1 on v1.
    Max,
    /// At most this much.
    At(u64),
}

impl Limit {
    /// OCI's and Docker's way to write it: below zero is unlimited.
    pub fn from_signed(value: i64) -> Self {
        u64::try_from(value).map_or(Self::Max, Self::At)
    }
}

/// What a cgroup may use. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory.
    pub memory: Memory,
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes.
    pub cpuset: Cpuset,
    /// Processes and threads.
    pub pids: Option<Limit>,
    /// Disk accesses.
    pub io: Io,
    /// Huge pages, by size.
    pub hugetlb: Vec<Hugetlb>,
    /// Remote memory, by device.
    pub rdma: Vec<Rdma>,
    /// Marks of packets (v1 only).
    pub network: Network,
    /// Which devices may be used. Nothing is allowed but what a rule allows, and the last rule that
    /// matches decides, for each kind of access by itself. `None` leaves the devices alone.
    pub devices: Option<Vec<DeviceRule>>,
    /// Files of the v2 tree and what is written to them, after all else.
    pub unified: BTreeMap<String, String>,
}

/// The memory controller; bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Memory: `memory.max`, v1 `memory.limit_in_bytes`.
    pub max: Option<Limit>,
    /// Memory and swap together: v1 `memory.memsw.limit_in_bytes`, v2 `memory.swap.max` is this
    /// less `max`.
    pub memsw: Option<Limit>,
    /// What is reclaimed last: `memory.low`, v1 `memory.soft_limit_in_bytes`.
    pub low: Option<Limit>,
    /// Buffers of TCP sockets (v1 only).
    pub kmem_tcp: Option<Limit>,
    /// 0 to 100 (v1 only).
    pub swappiness: Option<u64>,
    /// Whether processes wait instead of being killed (v1 only).
    pub oom_kill_disable: bool,
    /// Whether a `max` below what is in use is refused, instead of killing.
    pub check_before_update: bool,
}

/// The cpu controller; microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Relative weight in v1's scale, 2 to 262144, default 1024. 0 is ignored, as in runc.
    pub shares: Option<u64>,
    /// Processor time in a period.
    pub quota: Option<Limit>,
    /// The period, 1000 to 1000000, default 100000.
    pub period: Option<u64>,
    /// How much unused quota may be saved up.
    pub burst: Option<u64>,
    /// Real-time processor time in a period (v1 only).
    pub rt_runtime: Option<i64>,
    /// The period of that (v1 only).
    pub rt_period: Option<u64>,
    /// Whether the cgroup runs only when nothing else does.
    pub idle: Option<bool>,
}

/// The cpuset controller: lists such as `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpuset {
    /// Processors.
    pub cpus: Option<String>,
    /// Memory nodes.
    pub mems: Option<String>,
}

/// The io (v1: blkio) controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// As `weight`, against the cgroup's own children (v1 only).
    pub leaf_weight: Option<u16>,
    /// Weights by device.
    pub weight_device: Vec<DeviceWeight>,
    /// Rates by device.
    pub throttle: Vec<DeviceRate>,
}

/// A weight on one block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceWeight {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// 10 to 1000 (v1 only).
    pub leaf_weight: Option<u16>,
}

/// What a [`DeviceRate`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Bytes read in a second.
    ReadBytes,
    /// Bytes written in a second.
    WriteBytes,
    /// Reads in a second.
    Reads,
    /// Writes in a second.
    Writes,
}

/// The highest rate on one block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRate {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// What is counted.
    pub rate: Rate,
    /// How many in a second; 0 is unlimited.
    pub per_second: u64,
}

/// A limit on pages of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hugetlb {
    /// As the kernel writes it: `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes.
    pub max: u64,
}

/// Limits on one RDMA device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rdma {
    /// Its name.
    pub device: String,
    /// Handles.
    pub hca_handle: Option<u32>,
    /// Objects.
    pub hca_object: Option<u32>,
}

/// The `net_cls` and `net_prio` controllers, which only v1 has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The class of packets.
    pub class_id: Option<u32>,
    /// The priority of packets, by interface.
    pub priorities: Vec<InterfacePriority>,
}

/// The priority of packets through one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfacePriority {
    /// The interface.
    pub interface: String,
    /// The priority.
    pub priority: u32,
}
