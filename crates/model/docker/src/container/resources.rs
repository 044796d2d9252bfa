//! Limits and devices.

use crate::wire::{List, Map, Words, is_zero};

wire! {
    /// What a container may use of the machine. 0: no limit of its own.
    pub struct Resources {
        /// CPU shares, relative weight (2..=262144; v1's default is 1024).
        pub cpu_shares: i64,
        /// Memory, bytes.
        pub memory: i64,
        /// CPUs in units of 10⁻⁹.
        pub nano_cpus: i64,
        /// The parent cgroup.
        pub cgroup_parent: String,
        /// Block I/O weight (10..=1000).
        pub blkio_weight: u16,
        /// Block I/O weight per device.
        pub blkio_weight_device: List<WeightDevice>,
        /// Read rate per device, bytes per second.
        pub blkio_device_read_bps: List<ThrottleDevice>,
        /// Write rate per device, bytes per second.
        pub blkio_device_write_bps: List<ThrottleDevice>,
        /// Read rate per device, operations per second.
        #[serde(rename = "BlkioDeviceReadIOps")]
        pub blkio_device_read_iops: List<ThrottleDevice>,
        /// Write rate per device, operations per second.
        #[serde(rename = "BlkioDeviceWriteIOps")]
        pub blkio_device_write_iops: List<ThrottleDevice>,
        /// Period of the CPU quota, microseconds.
        pub cpu_period: i64,
        /// CPU time in a period, microseconds.
        pub cpu_quota: i64,
        /// Period of the real-time quota, microseconds.
        pub cpu_realtime_period: i64,
        /// Real-time CPU time in a period, microseconds.
        pub cpu_realtime_runtime: i64,
        /// CPUs to run on, `0-3,7`.
        pub cpuset_cpus: String,
        /// Memory nodes to use.
        pub cpuset_mems: String,
        /// Device files of the host to have.
        pub devices: List<DeviceMapping>,
        /// Device cgroup rules, `c 1:3 rwm`.
        pub device_cgroup_rules: Words,
        /// Devices asked for by what they can do (`--gpus`, CDI).
        pub device_requests: List<DeviceRequest>,
        /// Kernel memory, bytes: no longer settable, refused when not 0.
        #[serde(skip_serializing_if = "is_zero")]
        pub kernel_memory: i64,
        /// TCP kernel memory, bytes (before v1.52).
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_zero")]
        pub kernel_memory_tcp: i64,
        /// Soft limit of memory, bytes.
        pub memory_reservation: i64,
        /// Memory and swap together, bytes; -1: no limit of swap.
        pub memory_swap: i64,
        /// Swappiness, 0..=100; absent or -1: the kernel's.
        pub memory_swappiness: Option<i64>,
        /// Whether the OOM killer leaves the container alone.
        pub oom_kill_disable: Option<bool>,
        /// Number of tasks; absent, 0 or -1: no limit.
        pub pids_limit: Option<i64>,
        /// Resource limits of the process.
        pub ulimits: List<Ulimit>,
        /// Windows only.
        pub cpu_count: i64,
        /// Windows only.
        pub cpu_percent: i64,
        /// Windows only.
        #[serde(rename = "IOMaximumIOps")]
        pub io_maximum_iops: u64,
        /// Windows only.
        #[serde(rename = "IOMaximumBandwidth")]
        pub io_maximum_bandwidth: u64,
    }

    /// A weight for one device.
    pub struct WeightDevice {
        /// Path of the device file.
        pub path: String,
        /// 10..=1000.
        pub weight: u16,
    }

    /// A rate for one device.
    pub struct ThrottleDevice {
        /// Path of the device file.
        pub path: String,
        /// Bytes or operations per second.
        pub rate: u64,
    }

    /// A device file of the host in the container.
    pub struct DeviceMapping {
        /// Path on the host.
        pub path_on_host: String,
        /// Path in the container.
        pub path_in_container: String,
        /// Of `rwm`.
        pub cgroup_permissions: String,
    }

    /// Devices asked for by a driver and capabilities.
    pub struct DeviceRequest {
        /// The driver; empty: any. `cdi` for CDI names.
        pub driver: String,
        /// How many; -1: all.
        pub count: i64,
        /// Which.
        #[serde(rename = "DeviceIDs")]
        pub device_ids: Words,
        /// Any of these sets of all of these capabilities.
        pub capabilities: List<Words>,
        /// The driver's options.
        pub options: Map<String>,
    }

    /// A resource limit, `setrlimit(2)`.
    pub struct Ulimit {
        /// Name without `RLIMIT_`, lower case: `nofile`.
        pub name: String,
        /// The hard limit; -1: none.
        pub hard: i64,
        /// The soft limit; -1: none.
        pub soft: i64,
    }
}
