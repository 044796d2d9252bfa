//! `GET /containers/ID/stats`. Names are in `snake_case` on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::List;

macro_rules! stats {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$fmeta:meta])* pub $field:ident : $ty:ty, )* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(
                $(#[$fmeta])*
                #[serde(deserialize_with = "crate::wire::null_is_zero")]
                pub $field: $ty,
            )*
        }
    )*};
}

stats! {
    /// One reading.
    pub struct Stats {
        /// The container's name, with a `/` before it.
        pub name: String,
        /// The container's id.
        pub id: String,
        /// `linux` (v1.52).
        #[serde(skip_serializing_if = "String::is_empty")]
        pub os_type: String,
        /// When, RFC 3339.
        pub read: String,
        /// When the reading before was taken; `0001-01-01T00:00:00Z` when there is none.
        pub preread: String,
        /// Tasks.
        pub pids_stats: Pids,
        /// Block I/O.
        pub blkio_stats: Blkio,
        /// Windows only.
        pub num_procs: u32,
        /// Windows only.
        pub storage_stats: Storage,
        /// CPU.
        pub cpu_stats: Cpu,
        /// CPU of the reading before.
        pub precpu_stats: Cpu,
        /// Memory.
        pub memory_stats: Memory,
        /// Network, by interface.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub networks: BTreeMap<String, Network>,
    }

    /// Tasks.
    pub struct Pids {
        /// Now.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub current: Option<u64>,
        /// At most.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub limit: Option<u64>,
    }

    /// Block I/O.
    pub struct Blkio {
        /// Bytes.
        pub io_service_bytes_recursive: List<BlkioEntry>,
        /// Operations.
        pub io_serviced_recursive: List<BlkioEntry>,
        /// cgroup v1 with CFQ only.
        pub io_queue_recursive: List<BlkioEntry>,
        /// cgroup v1 with CFQ only.
        pub io_service_time_recursive: List<BlkioEntry>,
        /// cgroup v1 with CFQ only.
        pub io_wait_time_recursive: List<BlkioEntry>,
        /// cgroup v1 with CFQ only.
        pub io_merged_recursive: List<BlkioEntry>,
        /// cgroup v1 with CFQ only.
        pub io_time_recursive: List<BlkioEntry>,
        /// cgroup v1 with CFQ only.
        pub sectors_recursive: List<BlkioEntry>,
    }

    /// Block I/O of one device.
    pub struct BlkioEntry {
        /// Device number.
        pub major: u64,
        /// Device number.
        pub minor: u64,
        /// `read`, `write`, …
        pub op: String,
        /// How much.
        pub value: u64,
    }

    /// Windows only.
    pub struct Storage {
        /// Windows only.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub read_count_normalized: Option<u64>,
        /// Windows only.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub read_size_bytes: Option<u64>,
        /// Windows only.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub write_count_normalized: Option<u64>,
        /// Windows only.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub write_size_bytes: Option<u64>,
    }

    /// CPU.
    pub struct Cpu {
        /// Time used by the container.
        pub cpu_usage: CpuUsage,
        /// Time used by the machine, nanoseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub system_cpu_usage: Option<u64>,
        /// CPUs that are on.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub online_cpus: Option<u32>,
        /// How often the quota was used up.
        pub throttling_data: Throttling,
    }

    /// CPU time, nanoseconds.
    pub struct CpuUsage {
        /// In all.
        pub total_usage: u64,
        /// By CPU, cgroup v1 only.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub percpu_usage: List<u64>,
        /// In the kernel.
        pub usage_in_kernelmode: u64,
        /// In user space.
        pub usage_in_usermode: u64,
    }

    /// How often the quota was used up.
    pub struct Throttling {
        /// Periods with something to run.
        pub periods: u64,
        /// Of these, those where the quota was used up.
        pub throttled_periods: u64,
        /// How long, nanoseconds.
        pub throttled_time: u64,
    }

    /// Memory, bytes.
    pub struct Memory {
        /// Now, with the page cache.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub usage: Option<u64>,
        /// The most ever, cgroup v1 only.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_usage: Option<u64>,
        /// `memory.stat`.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub stats: BTreeMap<String, u64>,
        /// How often the limit was hit, cgroup v1 only.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub failcnt: Option<u64>,
        /// The limit, or the machine's memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub limit: Option<u64>,
    }

    /// One interface.
    pub struct Network {
        /// Bytes received.
        pub rx_bytes: u64,
        /// Packets received.
        pub rx_packets: u64,
        /// Errors.
        pub rx_errors: u64,
        /// Dropped.
        pub rx_dropped: u64,
        /// Bytes sent.
        pub tx_bytes: u64,
        /// Packets sent.
        pub tx_packets: u64,
        /// Errors.
        pub tx_errors: u64,
        /// Dropped.
        pub tx_dropped: u64,
    }
}
