//! From limits to what is written into which file. Pure.
//!
//! v1's words become v2's as in runc: [`weight_of_shares`], [`io_weight`], [`swap_max`].

use std::fmt::Display;

use crate::error::Error;
use crate::resources::{
    Cpu, Cpuset, DeviceRate, DeviceWeight, Hugetlb, Io, Limit, Memory, Network, Rate, Rdma,
};
use crate::tree::Version;

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) file: String,
    pub(crate) value: String,
}

/// What to do with some writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write them all. They limit each other (memory and swap, quota and period), so that the kernel
    /// takes them only in the order that never breaks the relation, which depends on the values
    /// before: one that is refused with EINVAL is tried again after the others.
    All(Vec<Write>),
    /// Write the first whose file exists: the kernel has it under one of several names.
    FirstOf(Vec<Write>),
    /// Write it if the file exists.
    IfThere(Write),
    /// Write it, and see that the kernel has taken just that, not something in its range.
    Exactly(Write),
}

fn write(file: impl Into<String>, value: impl Display) -> Write {
    Write { file: file.into(), value: value.to_string() }
}

fn one(file: impl Into<String>, value: impl Display) -> Step {
    Step::All(vec![write(file, value)])
}

/// What a limit is called in an error.
pub(crate) fn unsupported(file: &str, limit: &str) -> Error {
    Error::Unsupported { file: file.to_owned(), limit: limit.to_owned() }
}

fn word(limit: Limit, version: Version) -> String {
    match (limit, version) {
        (Limit::At(n), _) => n.to_string(),
        (Limit::Max, Version::V1) => "-1".to_owned(),
        (Limit::Max, Version::V2) => "max".to_owned(),
    }
}

pub(crate) fn memory(memory: &Memory, version: Version) -> Result<Vec<Step>, Error> {
    match version {
        Version::V1 => Ok(memory_v1(memory)),
        Version::V2 => memory_v2(memory),
    }
}

fn memory_v1(memory: &Memory) -> Vec<Step> {
    let word = |limit| word(limit, Version::V1);
    let mut steps = Vec::new();
    let mut sizes = Vec::new();
    sizes.extend(memory.max.map(|max| write("memory.limit_in_bytes", word(max))));
    // Unlimited memory with an old limit on swap would break their relation.
    let memsw = memory.memsw.or((memory.max == Some(Limit::Max)).then_some(Limit::Max));
    match (memory.memsw, memsw) {
        (Some(memsw), _) => sizes.push(write("memory.memsw.limit_in_bytes", word(memsw))),
        (None, Some(memsw)) => {
            steps.push(Step::IfThere(write("memory.memsw.limit_in_bytes", word(memsw))));
        }
        (None, None) => {}
    }
    steps.extend((!sizes.is_empty()).then_some(Step::All(sizes)));
    steps.extend(memory.low.map(|low| one("memory.soft_limit_in_bytes", word(low))));
    steps.extend(memory.kmem_tcp.map(|tcp| one("memory.kmem.tcp.limit_in_bytes", word(tcp))));
    steps.extend(memory.swappiness.map(|percent| one("memory.swappiness", percent)));
    steps.extend(memory.oom_kill_disable.then(|| one("memory.oom_control", 1)));
    steps
}

fn memory_v2(memory: &Memory) -> Result<Vec<Step>, Error> {
    if memory.kmem_tcp.is_some() {
        return Err(unsupported("memory.kmem.tcp.limit_in_bytes", "a limit on TCP buffers"));
    }
    if memory.swappiness.is_some() {
        return Err(unsupported("memory.swappiness", "swappiness"));
    }
    if memory.oom_kill_disable {
        return Err(unsupported("memory.oom_control", "disabling the OOM killer"));
    }
    let word = |limit| word(limit, Version::V2);
    let mut steps = Vec::new();
    // Swap first: lowering memory pushes pages out, and where to must be settled.
    steps.extend(swap_max(memory)?.map(|swap| match swap {
        // Where swap is not counted there is none to be limited, or none at all.
        Limit::Max | Limit::At(0) => Step::IfThere(write("memory.swap.max", word(swap))),
        Limit::At(_) => one("memory.swap.max", word(swap)),
    }));
    steps.extend(memory.max.map(|max| one("memory.max", word(max))));
    steps.extend(memory.low.map(|low| one("memory.low", word(low))));
    Ok(steps)
}

/// v2's limit on swap alone, of v1's limit on memory and swap together.
pub(crate) fn swap_max(memory: &Memory) -> Result<Option<Limit>, Error> {
    let wrong = |why: &str| {
        Err(Error::Value { limit: "a limit on memory and swap".into(), why: why.into() })
    };
    match (memory.memsw, memory.max) {
        // As v1: unlimited memory means unlimited swap.
        (None, Some(Limit::Max)) | (Some(Limit::Max), _) => Ok(Some(Limit::Max)),
        (None, _) => Ok(None),
        (Some(memsw), Some(Limit::Max)) => Ok(Some(memsw)),
        (Some(Limit::At(_)), None) => wrong("cannot be set without a limit on memory"),
        (Some(Limit::At(memsw)), Some(Limit::At(max))) => match memsw.checked_sub(max) {
            Some(swap) => Ok(Some(Limit::At(swap))),
            None => wrong("is below the limit on memory"),
        },
    }
}

pub(crate) fn cpu(cpu: &Cpu, version: Version) -> Result<Vec<Step>, Error> {
    match version {
        Version::V1 => Ok(cpu_v1(cpu)),
        Version::V2 => cpu_v2(cpu),
    }
}

fn cpu_v1(cpu: &Cpu) -> Vec<Step> {
    let mut steps = Vec::new();
    let shares = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(true));
    steps.extend(cpu.idle.map(|idle| one("cpu.idle", u8::from(idle))));
    steps.extend(shares.map(|shares| Step::Exactly(write("cpu.shares", shares))));
    let mut bandwidth = Vec::new();
    bandwidth.extend(cpu.period.map(|us| write("cpu.cfs_period_us", us)));
    bandwidth.extend(cpu.quota.map(|us| write("cpu.cfs_quota_us", word(us, Version::V1))));
    bandwidth.extend(cpu.burst.map(|us| write("cpu.cfs_burst_us", us)));
    steps.extend((!bandwidth.is_empty()).then_some(Step::All(bandwidth)));
    steps.extend(real_time(cpu));
    steps
}

/// v1's real-time scheduling, which v2 does not have.
pub(crate) fn real_time(cpu: &Cpu) -> Option<Step> {
    let mut writes = Vec::new();
    writes.extend(cpu.rt_period.map(|us| write("cpu.rt_period_us", us)));
    writes.extend(cpu.rt_runtime.map(|us| write("cpu.rt_runtime_us", us)));
    (!writes.is_empty()).then_some(Step::All(writes))
}

fn cpu_v2(cpu: &Cpu) -> Result<Vec<Step>, Error> {
    if cpu.rt_runtime.is_some() || cpu.rt_period.is_some() {
        return Err(unsupported("cpu.rt_runtime_us", "real-time processor time"));
    }
    let mut steps = Vec::new();
    steps.extend(cpu.idle.map(|idle| one("cpu.idle", u8::from(idle))));
    // An idle cgroup has no weight, and refuses one.
    let shares = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(true));
    steps.extend(shares.map(|shares| one("cpu.weight", weight_of_shares(shares))));
    let mut bandwidth = Vec::new();
    if cpu.quota.is_some() || cpu.period.is_some() {
        let quota = word(cpu.quota.unwrap_or(Limit::Max), Version::V2);
        // Without a period the kernel keeps the one that is there.
        let period = cpu.period.map(|us| format!(" {us}")).unwrap_or_default();
        bandwidth.push(write("cpu.max", format!("{quota}{period}")));
    }
    bandwidth.extend(cpu.burst.map(|us| write("cpu.max.burst", us)));
    steps.extend((!bandwidth.is_empty()).then_some(Step::All(bandwidth)));
    Ok(steps)
}

/// v2's weight (1 to 10000, default 100) of v1's shares (2 to 262144, default 1024): runc's newer
/// formula, a curve through the least, the default and the greatest of both, so that a default
/// stays a default. (The older one, a straight line, made 1024 a 39.)
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

pub(crate) fn cpuset(cpuset: &Cpuset) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend(cpuset.cpus.as_ref().map(|list| one("cpuset.cpus", list)));
    steps.extend(cpuset.mems.as_ref().map(|list| one("cpuset.mems", list)));
    steps
}

pub(crate) fn pids(limit: Limit) -> Vec<Step> {
    // Both versions write `max` here.
    vec![one("pids.max", word(limit, Version::V2))]
}

pub(crate) fn io(io: &Io, version: Version) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    match version {
        Version::V1 => {
            // BFQ, which replaced CFQ, has no weights of leaves.
            steps.extend(io.weight.map(|w| blkio_weight("weight", &w)));
            steps.extend(io.leaf_weight.map(|w| one("blkio.leaf_weight", w)));
            for device in &io.weight_device {
                let value = |w| format!("{} {w}", number(device.major, device.minor));
                steps.extend(device.weight.map(|w| blkio_weight("weight_device", &value(w))));
                let leaf = device.leaf_weight;
                steps.extend(leaf.map(|w| one("blkio.leaf_weight_device", value(w))));
            }
            steps.extend(io.throttle.iter().map(throttle_v1));
        }
        Version::V2 => {
            let leaf = io.weight_device.iter().any(|device| device.leaf_weight.is_some());
            if io.leaf_weight.is_some() || leaf {
                return Err(unsupported("blkio.leaf_weight", "a leaf weight"));
            }
            steps.extend(io.weight.map(|w| weight_v2("", w)));
            steps.extend(io.weight_device.iter().filter_map(device_weight_v2));
            steps.extend(io.throttle.iter().map(throttle_v2));
        }
    }
    Ok(steps)
}

fn number(major: u32, minor: u32) -> String {
    format!("{major}:{minor}")
}

/// CFQ's file, else that of BFQ, which replaced it.
fn blkio_weight(what: &str, value: &dyn Display) -> Step {
    Step::FirstOf(vec![
        write(format!("blkio.{what}"), value),
        write(format!("blkio.bfq.{what}"), value),
    ])
}

fn weight_v2(device: &str, weight: u16) -> Step {
    Step::FirstOf(vec![
        write("io.bfq.weight", format!("{device}{weight}")),
        write("io.weight", format!("{device}{}", io_weight(weight))),
    ])
}

fn device_weight_v2(device: &DeviceWeight) -> Option<Step> {
    let prefix = format!("{} ", number(device.major, device.minor));
    device.weight.map(|weight| weight_v2(&prefix, weight))
}

/// `io.weight` (1 to 10000) of blkio's weight (10 to 1000).
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

fn throttle_v1(rate: &DeviceRate) -> Step {
    let file = match rate.rate {
        Rate::ReadBytes => "blkio.throttle.read_bps_device",
        Rate::WriteBytes => "blkio.throttle.write_bps_device",
        Rate::Reads => "blkio.throttle.read_iops_device",
        Rate::Writes => "blkio.throttle.write_iops_device",
    };
    one(file, format!("{} {}", number(rate.major, rate.minor), rate.per_second))
}

fn throttle_v2(rate: &DeviceRate) -> Step {
    let key = match rate.rate {
        Rate::ReadBytes => "rbps",
        Rate::WriteBytes => "wbps",
        Rate::Reads => "riops",
        Rate::Writes => "wiops",
    };
    let limit = if rate.per_second == 0 { Limit::Max } else { Limit::At(rate.per_second) };
    let device = number(rate.major, rate.minor);
    one("io.max", format!("{device} {key}={}", word(limit, Version::V2)))
}

pub(crate) fn hugetlb(pages: &[Hugetlb], version: Version) -> Vec<Step> {
    let suffix = match version {
        Version::V1 => "limit_in_bytes",
        Version::V2 => "max",
    };
    let mut steps = Vec::new();
    for Hugetlb { page_size, max } in pages {
        steps.push(one(format!("hugetlb.{page_size}.{suffix}"), max));
        // Pages that are reserved and not yet used count against a limit of their own (Linux 5.7).
        steps.push(Step::IfThere(write(format!("hugetlb.{page_size}.rsvd.{suffix}"), max)));
    }
    steps
}

/// What is not named stays.
pub(crate) fn rdma(devices: &[Rdma]) -> Vec<Step> {
    let line = |one: &Rdma| {
        let handle = one.hca_handle.map(|n| format!(" hca_handle={n}"));
        let object = one.hca_object.map(|n| format!(" hca_object={n}"));
        let limits = handle.unwrap_or_default() + &object.unwrap_or_default();
        (!limits.is_empty()).then(|| format!("{}{limits}", one.device))
    };
    devices.iter().filter_map(line).map(|line| one("rdma.max", line)).collect()
}

pub(crate) fn net_cls(network: &Network) -> Vec<Step> {
    network.class_id.map(|id| one("net_cls.classid", id)).into_iter().collect()
}

pub(crate) fn net_prio(network: &Network) -> Vec<Step> {
    let line = |p: &crate::InterfacePriority| format!("{} {}", p.interface, p.priority);
    network.priorities.iter().map(|p| one("net_prio.ifpriomap", line(p))).collect()
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
