//! Control groups, v1, hybrid and v2, behind one type.
//!
//! A [`Hierarchy`] is what is mounted: on v1 one tree for each controller, on v2 one for all, on a
//! hybrid machine both. A [`Cgroup`] is one path in all of them: it is made, joined, limited,
//! frozen, killed and removed as one thing, and what was asked for goes to whichever tree has the
//! controller. Where none has it, asking is an error that names the controller; not asking is fine.
//!
//! Paths are resolved beneath the mounted trees only (openat2(2), `RESOLVE_BENEATH`, no links), and
//! each tree is checked to be a cgroup file system when it is opened.
//!
//! What is not here: OCI's words (`plan` translates them) and systemd's.
//!
//! See cgroups(7), and the kernel's `admin-guide/cgroup-v1` and `admin-guide/cgroup-v2`.
#![forbid(unsafe_code)]

mod apply;
mod attach;
mod below;
mod carry;
mod cgroup;
mod convert;
mod counters;
mod device;
mod encode;
mod entry;
mod error;
mod hierarchy;
mod kill;
mod oom;
pub mod parse;
mod program;
mod resources;
mod stats;
mod tree;

pub use cgroup::{Cgroup, remove_if_empty};
pub use convert::allowed_devices;
pub use device::{Access, DeviceKind, DeviceRule};
pub use entry::Entry;
pub use error::Error;
pub use hierarchy::{Hierarchy, Mode};
pub use oom::{OomNews, OomWatch};
pub use resources::{
    Cpu, Cpuset, DeviceRate, DeviceWeight, Hugetlb, InterfacePriority, Io, Limit, Memory, Network,
    Rate, Rdma, Resources,
};
pub use stats::{
    BlockEntry, BlockStats, CpuStats, CpusetStats, HugetlbStats, MemoryCounter, MemoryStats,
    PidsStats, Pressure, PressureLine, RdmaStats, Stats,
};

#[cfg(test)]
mod fake_tests;
