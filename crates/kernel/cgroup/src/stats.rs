//! What a cgroup uses.

use std::collections::BTreeMap;

use crate::resources::Limit;

/// What a cgroup uses. A controller that is not there leaves its part at zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Processors and memory nodes (v1 only).
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Bytes read and written, by device.
    pub block_bytes: Vec<BlockEntry>,
    /// Reads and writes, by device.
    pub block_operations: Vec<BlockEntry>,
    /// What else is known of disk accesses.
    pub block: BlockStats,
    /// Huge pages, by their size as the kernel writes it.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// Remote memory, by device.
    pub rdma: BTreeMap<String, RdmaStats>,
}

/// Processor time; nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuStats {
    /// All.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// By processor (v1 only).
    pub per_cpu: Vec<u64>,
    /// By processor, in user mode (v1 only).
    pub per_cpu_user: Vec<u64>,
    /// By processor, in the kernel (v1 only).
    pub per_cpu_system: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// For how long the processes were held up.
    pub throttled_time: u64,
    /// Waiting for a processor (v2 only).
    pub pressure: Option<Pressure>,
}

/// The files of v1's cpuset, by their names without the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpusetStats {
    /// Processors.
    pub cpus: Vec<u16>,
    /// Memory nodes.
    pub mems: Vec<u16>,
    /// Whether no other cgroup may have these processors.
    pub cpu_exclusive: u64,
    /// Whether no other cgroup may have these nodes.
    pub mem_exclusive: u64,
    /// Whether also the kernel takes memory from these nodes only.
    pub mem_hardwall: u64,
    /// Whether memory moves when the nodes change.
    pub memory_migrate: u64,
    /// How often memory had to be reclaimed, at present.
    pub memory_pressure: u64,
    /// Whether the page cache is spread over the nodes.
    pub memory_spread_page: u64,
    /// Whether the kernel's caches are.
    pub memory_spread_slab: u64,
    /// Whether the scheduler balances within the cgroup.
    pub sched_load_balance: u64,
    /// How far a waking process may go.
    pub sched_relax_domain_level: i64,
}

/// Memory; bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryStats {
    /// In use, the cache included.
    pub usage: u64,
    /// The highest use so far, where the kernel keeps it.
    pub max_usage: u64,
    /// The limit; `u64::MAX` when there is none.
    pub limit: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// Swap in use (v1: memory and swap together).
    pub swap: u64,
    /// Memory and swap together, on both versions.
    pub memsw: MemoryCounter,
    /// The kernel's (v1 only).
    pub kernel: MemoryCounter,
    /// Buffers of TCP sockets (v1 only).
    pub kernel_tcp: MemoryCounter,
    /// Everything in `memory.stat`.
    pub stat: BTreeMap<String, u64>,
    /// Whether this is v2, whose `stat` has other names.
    pub is_v2: bool,
    /// Waiting for memory (v2 only).
    pub pressure: Option<Pressure>,
}

/// A kind of memory; bytes. All zero where the kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounter {
    /// In use.
    pub usage: u64,
    /// The highest use so far, where the kernel keeps it.
    pub max_usage: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// The limit; `u64::MAX` (v1: about half of it) when there is none.
    pub limit: u64,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// How many there are.
    pub current: u64,
    /// How many there may be; `None` is unlimited.
    pub limit: Option<u64>,
}

/// A count for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// `Read`, `Write`, and on v1 `Discard`, `Sync`, `Async`, `Total`; empty where all are counted
    /// together.
    pub operation: String,
    /// How many.
    pub value: u64,
}

/// What the v1 schedulers CFQ and BFQ count, if they are told to; and how long processes waited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockStats {
    /// Accesses that wait.
    pub queued: Vec<BlockEntry>,
    /// Nanoseconds from the device's taking an access to its end.
    pub service_time: Vec<BlockEntry>,
    /// Nanoseconds from an access to the device's taking it.
    pub wait_time: Vec<BlockEntry>,
    /// Accesses that were joined to others.
    pub merged: Vec<BlockEntry>,
    /// Milliseconds for which the cgroup had a device.
    pub time: Vec<BlockEntry>,
    /// Sectors.
    pub sectors: Vec<BlockEntry>,
    /// Waiting for a device (v2 only).
    pub pressure: Option<Pressure>,
}

/// Huge pages of one size; bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugetlbStats {
    /// In use, or reserved where the kernel counts that.
    pub usage: u64,
    /// The highest use so far (v1 only).
    pub max_usage: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Remote memory of one device: what is in use, and the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdmaStats {
    /// Handles in use.
    pub hca_handle: u64,
    /// Objects in use.
    pub hca_object: u64,
    /// How many handles there may be.
    pub hca_handle_limit: Limit,
    /// How many objects there may be.
    pub hca_object_limit: Limit,
}

/// How long processes had to wait for something that was short: `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one of them.
    pub some: PressureLine,
    /// All of them at the same time.
    pub full: PressureLine,
}

/// One line of that.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureLine {
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}
