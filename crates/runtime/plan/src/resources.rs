//! Limits of the cgroup, from the specification's words to the kernel's.

use std::collections::BTreeMap;

use cgroup::{
    Access, Cpu, Cpuset, DeviceKind, DeviceRate, DeviceRule, DeviceWeight, Hugetlb,
    InterfacePriority, Io, Limit, Memory, Network, Rate, Rdma, Resources,
};
use oci::runtime as spec;

use crate::{Error, Facts, device};

/// The limits of `spec` and the rules for devices that every container has.
pub fn resources(spec: Option<&spec::Resources>, facts: &Facts) -> Result<Resources, Error> {
    let none = spec::Resources::default();
    let spec = spec.unwrap_or(&none);
    let mut resources = limits(spec)?;
    if let (Some(Limit::At(_)), None) = (resources.memory.memsw, resources.memory.max) {
        return Err(Error::conflict(field("memory.swap"), "needs memory.limit"));
    }
    // In a user namespace nobody may change them; the kernel allows no device there anyway.
    resources.devices =
        (!facts.in_user_namespace && facts.may_mount()).then(|| device_rules(spec)).transpose()?;
    Ok(resources)
}

/// All rules for devices, with those that every container has.
pub fn device_rules(spec: &spec::Resources) -> Result<Vec<DeviceRule>, Error> {
    device::rules(&spec.devices).iter().enumerate().map(device_rule).collect()
}

/// What `spec` asks for and gets only as far as every kernel does it anyway.
pub fn ignored(spec: &spec::Resources) -> Vec<String> {
    let Some(memory) = &spec.memory else { return Vec::new() };
    let mut warnings = Vec::new();
    if memory.kernel.is_some_and(|limit| limit > 0) {
        let why = "ignored: memory of the kernel counts as memory, and has no limit of its own";
        warnings.push(format!("{}: {why}", field("memory.kernel")));
    }
    if memory.use_hierarchy == Some(false) {
        let why = "ignored: what is below a cgroup always counts";
        warnings.push(format!("{}: {why}", field("memory.useHierarchy")));
    }
    warnings
}

/// The limits of `spec`, without any rule for devices: what `update` changes. (Something else may
/// have given the container more devices meanwhile, which it is to keep; runc leaves them as well.)
pub fn limits(spec: &spec::Resources) -> Result<Resources, Error> {
    Ok(Resources {
        memory: memory(spec.memory.as_ref())?,
        cpu: cpu(spec.cpu.as_ref())?,
        cpuset: cpuset(spec.cpu.as_ref()),
        // 0 is a limit like any other (config-linux.md, "PIDs"). A container that has its first
        // process already cannot be told from one with 1, and systemd takes no 0.
        pids: spec
            .pids
            .as_ref()
            .and_then(|pids| pids.limit)
            .map(|limit| Limit::from_signed(if limit == 0 { 1 } else { limit })),
        io: block_io(spec.block_io.as_ref())?,
        hugetlb: hugetlb(&spec.hugepage_limits)?,
        rdma: rdma(&spec.rdma)?,
        network: network(spec.network.as_ref())?,
        devices: None,
        unified: unified(spec)?,
    })
}

/// Files of `cgroup.` that limit, while the others move, kill and freeze.
const CGROUP_LIMITS: [&str; 3] = ["cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure"];

fn unified(spec: &spec::Resources) -> Result<BTreeMap<String, String>, Error> {
    for (file, value) in &spec.unified {
        let field = || format!("linux.resources.unified.{}", file.escape_debug());
        // One file of the container's own cgroup, never one that moves or kills processes.
        let limits = !file.starts_with("cgroup.") || CGROUP_LIMITS.contains(&file.as_str());
        if file.contains(['/', '\0']) || file.starts_with('.') || !file.contains('.') || !limits {
            return Err(Error::invalid(field(), value.escape_debug(), "is for no limit's file"));
        }
    }
    Ok(spec.unified.clone())
}

fn hugetlb(limits: &[spec::HugepageLimit]) -> Result<Vec<Hugetlb>, Error> {
    let one = |(index, one): (usize, &spec::HugepageLimit)| {
        let (size, name) = (&one.page_size, field(&format!("hugepageLimits[{index}].pageSize")));
        let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
        let is_size = digits.is_some_and(|digits| {
            !digits.starts_with('0') && !digits.is_empty() && is_decimal(digits)
        });
        if !is_size {
            let why = "is not a size such as 64KB, 2MB or 1GB";
            return Err(Error::invalid(name, size.escape_debug(), why));
        }
        Ok(Hugetlb { page_size: size.clone(), max: one.limit })
    };
    limits.iter().enumerate().map(one).collect()
}

fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name that stands in a line of a cgroup's file, and must not become two of them.
fn word(field: String, name: &str) -> Result<String, Error> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(field, name.escape_debug(), "is no name"));
    }
    Ok(name.to_owned())
}

fn rdma(devices: &BTreeMap<String, spec::Rdma>) -> Result<Vec<Rdma>, Error> {
    let one = |(device, one): (&String, &spec::Rdma)| {
        Ok(Rdma {
            device: word(field("rdma"), device)?,
            hca_handle: one.hca_handles,
            hca_object: one.hca_objects,
        })
    };
    devices.iter().map(one).collect()
}

fn field(name: &str) -> String {
    format!("linux.resources.{name}")
}

/// Zero and absent are the same to Go programs, for all that cannot sensibly be zero.
fn nonzero(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

fn memory(spec: Option<&spec::Memory>) -> Result<Memory, Error> {
    let Some(spec) = spec else { return Ok(Memory::default()) };
    for (name, value) in
        [("limit", spec.limit), ("swap", spec.swap), ("reservation", spec.reservation)]
    {
        if let Some(value) = value.filter(|value| *value < -1) {
            let why = "is below -1, which is unlimited";
            return Err(Error::invalid(field(&format!("memory.{name}")), value, why));
        }
    }
    let (limit, swap) = (nonzero(spec.limit), nonzero(spec.swap));
    if let (Some(limit), Some(swap)) = (limit, swap)
        && limit > 0
        && swap > 0
        && swap < limit
    {
        let why = format!("is memory and swap together, and less than the memory limit {limit}");
        return Err(Error::invalid(field("memory.swap"), swap, why));
    }
    // What Docker writes for "not set" is -1, which becomes the largest number.
    let swappiness = spec.swappiness.filter(|value| *value != u64::MAX);
    if let Some(swappiness) = swappiness.filter(|value| *value > 100) {
        return Err(Error::invalid(field("memory.swappiness"), swappiness, "is more than 100"));
    }
    Ok(Memory {
        max: limit.map(Limit::from_signed),
        memsw: swap.map(Limit::from_signed),
        low: nonzero(spec.reservation).map(Limit::from_signed),
        kmem_tcp: nonzero(spec.kernel_tcp).map(Limit::from_signed),
        swappiness,
        oom_kill_disable: spec.disable_oom_killer.unwrap_or(false),
        check_before_update: spec.check_before_update.unwrap_or(false),
    })
}

fn cpu(spec: Option<&spec::Cpu>) -> Result<Cpu, Error> {
    let Some(spec) = spec else { return Ok(Cpu::default()) };
    let idle = match spec.idle {
        None => None,
        Some(0) => Some(false),
        Some(1) => Some(true),
        Some(other) => return Err(Error::invalid(field("cpu.idle"), other, "is not 0 or 1")),
    };
    Ok(Cpu {
        shares: spec.shares.filter(|shares| *shares != 0),
        quota: nonzero(spec.quota).map(Limit::from_signed),
        period: spec.period.filter(|period| *period != 0),
        burst: spec.burst,
        rt_runtime: nonzero(spec.realtime_runtime),
        rt_period: spec.realtime_period.filter(|period| *period != 0),
        idle,
    })
}

fn cpuset(spec: Option<&spec::Cpu>) -> Cpuset {
    let nonempty = |text: &String| (!text.is_empty()).then(|| text.clone());
    Cpuset {
        cpus: spec.and_then(|spec| nonempty(&spec.cpus)),
        mems: spec.and_then(|spec| nonempty(&spec.mems)),
    }
}

fn number(name: &str, value: i64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::invalid(field(name), value, "is no device number"))
}

fn block_io(spec: Option<&spec::BlockIo>) -> Result<Io, Error> {
    let Some(spec) = spec else { return Ok(Io::default()) };
    let weight = |name: &str, value: Option<u16>| match value {
        None | Some(0) => Ok(None),
        Some(value @ 10..=1000) => Ok(Some(value)),
        Some(value) => Err(Error::invalid(field(name), value, "is not between 10 and 1000")),
    };
    let mut throttle = Vec::new();
    for (name, list, rate) in [
        ("blockIO.throttleReadBpsDevice", &spec.throttle_read_bps_device, Rate::ReadBytes),
        ("blockIO.throttleWriteBpsDevice", &spec.throttle_write_bps_device, Rate::WriteBytes),
        ("blockIO.throttleReadIOPSDevice", &spec.throttle_read_iops_device, Rate::Reads),
        ("blockIO.throttleWriteIOPSDevice", &spec.throttle_write_iops_device, Rate::Writes),
    ] {
        for device in list {
            throttle.push(DeviceRate {
                major: number(name, device.major)?,
                minor: number(name, device.minor)?,
                rate,
                per_second: device.rate,
            });
        }
    }
    let name = "blockIO.weightDevice";
    Ok(Io {
        weight: weight("blockIO.weight", spec.weight)?,
        leaf_weight: weight("blockIO.leafWeight", spec.leaf_weight)?,
        weight_device: spec
            .weight_device
            .iter()
            .map(|device| {
                Ok(DeviceWeight {
                    major: number(name, device.major)?,
                    minor: number(name, device.minor)?,
                    weight: weight(name, device.weight)?,
                    leaf_weight: weight(name, device.leaf_weight)?,
                })
            })
            .collect::<Result<_, Error>>()?,
        throttle,
    })
}

fn network(spec: Option<&spec::Network>) -> Result<Network, Error> {
    let Some(spec) = spec else { return Ok(Network::default()) };
    let one = |(index, one): (usize, &spec::InterfacePriority)| {
        let name = field(&format!("network.priorities[{index}].name"));
        Ok(InterfacePriority { interface: word(name, &one.name)?, priority: one.priority })
    };
    Ok(Network {
        class_id: spec.class_id.filter(|class| *class != 0),
        priorities: spec.priorities.iter().enumerate().map(one).collect::<Result<_, _>>()?,
    })
}

fn device_rule((index, rule): (usize, &spec::DeviceRule)) -> Result<DeviceRule, Error> {
    // The list begins with our own "deny all".
    let name = |part: &str| field(&format!("devices[{}].{part}", index.saturating_sub(1)));
    let kind = match rule.kind.as_str() {
        "" | "a" => DeviceKind::All,
        "c" => DeviceKind::Char,
        "b" => DeviceKind::Block,
        other => return Err(Error::invalid(name("type"), other, "is not a, b or c")),
    };
    let number = |part: &str, value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_| Error::invalid(name(part), value, "is no device number")),
    };
    // `a` is no access; runc passes over it, and its own tests count on that.
    let letters = rule.access.replace('a', "");
    let is_one = rule.access.is_empty() == letters.is_empty();
    let access = Access::parse(&letters).filter(|_| is_one).ok_or_else(|| {
        Error::invalid(name("access"), &rule.access, "has letters besides r, w, m")
    })?;
    Ok(DeviceRule {
        allow: rule.allow,
        kind,
        major: number("major", rule.major)?,
        minor: number("minor", rule.minor)?,
        access,
    })
}
