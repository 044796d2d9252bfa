//! Limits of the cgroup, from the specification's words to the kernel's.

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
    // In a user namespace nobody may change them; the kernel allows no device there anyway.
    resources.devices = (!facts.in_user_namespace)
        .then(|| device::rules(&spec.devices).iter().enumerate().map(device_rule).collect())
        .transpose()?;
    Ok(resources)
}

/// The limits of `spec`, without any rule for devices: what `update` changes.
pub fn limits(spec: &spec::Resources) -> Result<Resources, Error> {
    Ok(Resources {
        memory: memory(spec.memory.as_ref())?,
        cpu: cpu(spec.cpu.as_ref())?,
        cpuset: cpuset(spec.cpu.as_ref()),
        // 0 is what Go programs write for "not set"; below it is unlimited.
        pids: spec
            .pids
            .as_ref()
            .and_then(|pids| pids.limit)
            .filter(|limit| *limit != 0)
            .map(Limit::from_signed),
        io: block_io(spec.block_io.as_ref())?,
        hugetlb: spec
            .hugepage_limits
            .iter()
            .map(|one| Hugetlb { page_size: one.page_size.clone(), max: one.limit })
            .collect(),
        rdma: spec
            .rdma
            .iter()
            .map(|(device, one)| Rdma {
                device: device.clone(),
                hca_handle: one.hca_handles,
                hca_object: one.hca_objects,
            })
            .collect(),
        network: network(spec.network.as_ref()),
        devices: None,
        unified: unified(spec)?,
    })
}

fn unified(spec: &spec::Resources) -> Result<std::collections::BTreeMap<String, String>, Error> {
    for (file, value) in &spec.unified {
        let field = || format!("linux.resources.unified.{}", file.escape_debug());
        // One file of the container's own cgroup, never one that moves or kills processes.
        if file.contains('/') || !file.contains('.') || file.starts_with("cgroup.") {
            return Err(Error::invalid(field(), value.escape_debug(), "is for no limit's file"));
        }
    }
    Ok(spec.unified.clone())
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
    let (limit, swap) = (nonzero(spec.limit), nonzero(spec.swap));
    if let (Some(limit), Some(swap)) = (limit, swap)
        && limit > 0
        && swap > 0
        && swap < limit
    {
        let why = format!("is memory and swap together, and less than the memory limit {limit}");
        return Err(Error::invalid(field("memory.swap"), swap, why));
    }
    if let (Some(swap), None) = (swap, limit)
        && swap > 0
    {
        return Err(Error::conflict(field("memory.swap"), "needs memory.limit"));
    }
    if let Some(swappiness) = spec.swappiness.filter(|value| *value > 100) {
        return Err(Error::invalid(field("memory.swappiness"), swappiness, "is more than 100"));
    }
    Ok(Memory {
        max: limit.map(Limit::from_signed),
        memsw: swap.map(Limit::from_signed),
        low: nonzero(spec.reservation).map(Limit::from_signed),
        kmem_tcp: nonzero(spec.kernel_tcp).map(Limit::from_signed),
        swappiness: spec.swappiness,
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

fn network(spec: Option<&spec::Network>) -> Network {
    let Some(spec) = spec else { return Network::default() };
    Network {
        class_id: spec.class_id.filter(|class| *class != 0),
        priorities: spec
            .priorities
            .iter()
            .map(|one| InterfacePriority { interface: one.name.clone(), priority: one.priority })
            .collect(),
    }
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
    let access = Access::parse(&rule.access).ok_or_else(|| {
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
