//! Limits: Docker's fields to the runtime specification's, and Docker's checks of them.

use std::collections::BTreeSet;
use std::path::Path;

use oci::runtime;

use super::{devices, unlimited};
use crate::{Error, device_requests};

/// The least memory that the kernel and a runtime need to start anything, bytes.
const MIN_MEMORY: i64 = 6 << 20;
/// Where the CFS quota's period is not given, microseconds.
const CPU_PERIOD: i64 = 100_000;

/// What the machine has, as far as limits depend on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// How many CPUs there are.
    pub(crate) cpus: i64,
    /// Numbers of the CPUs that are online, and how the kernel writes them.
    pub(crate) cpu_list: String,
    /// The memory nodes.
    pub(crate) mem_list: String,
    /// Whether containers can have cgroups.
    pub(crate) cgroups: bool,
    /// Whether the tree of v2 has all controllers.
    pub(crate) cgroup_v2: bool,
    /// Whether swap can be limited.
    pub(crate) swap_limit: bool,
    /// Whether block I/O can be weighted.
    pub(crate) blkio_weight: bool,
}

/// Holds that the limits make sense, in Docker's words. What the machine lacks becomes a warning,
/// and the field is cleared.
pub(crate) fn check(
    limits: &mut docker::Resources,
    machine: &Machine,
) -> Result<Vec<String>, Error> {
    let mut warnings = if machine.cgroups { Vec::new() } else { unlimited::discard(limits)? };
    memory(limits, machine, &mut warnings)?;
    cpu(limits, machine)?;
    if limits.blkio_weight > 0 && !(10..=1000).contains(&limits.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    if limits.blkio_weight > 0 && !machine.blkio_weight {
        limits.blkio_weight = 0;
        warnings.push(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
                .into(),
        );
    }
    if limits.io_maximum_iops != 0 || limits.io_maximum_bandwidth != 0 {
        return refuse("Invalid QoS settings: Linux does not support Maximum IO Bandwidth or IOps");
    }
    device_requests::check(&limits.device_requests)?;
    for rule in &limits.device_cgroup_rules {
        devices::parse_rule(rule)?;
    }
    for limit in &limits.ulimits {
        rlimit(limit)?;
    }
    Ok(warnings)
}

fn refuse<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(text.into()))
}

fn memory(
    limits: &mut docker::Resources,
    machine: &Machine,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let docker::Resources { memory, memory_swap, memory_reservation, .. } = *limits;
    if memory != 0 && memory < MIN_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && !machine.swap_limit && memory_swap != -1 {
        if memory_swap > 0 {
            warnings.push(
                "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
                    .into(),
            );
        }
        limits.memory_swap = -1;
    } else if memory > 0 && memory_swap > 0 && memory_swap < memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    } else if memory == 0 && memory_swap > 0 {
        return refuse(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    } else if memory > 0 && memory_swap == 0 {
        limits.memory_swap = memory.saturating_mul(2);
    }
    if let Some(swappiness) = limits.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return refuse(format!(
            "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        ));
    }
    if memory_reservation != 0 && memory_reservation < MIN_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && memory_reservation > memory {
        return refuse(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    if limits.kernel_memory != 0 || limits.kernel_memory_tcp != 0 {
        return refuse("the kernel has no limit of kernel memory any more: set Memory instead");
    }
    if limits.oom_kill_disable == Some(true) && memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .into(),
        );
    }
    Ok(())
}

fn cpu(limits: &docker::Resources, machine: &Machine) -> Result<(), Error> {
    if limits.nano_cpus != 0 {
        if limits.cpu_period > 0 {
            return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
        }
        if limits.cpu_quota > 0 {
            return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
        }
        if limits.nano_cpus < 0 || limits.nano_cpus > machine.cpus * 1_000_000_000 {
            let cpus = machine.cpus;
            return refuse(format!(
                "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
            ));
        }
    }
    if limits.cpu_shares < 0 {
        return refuse(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            limits.cpu_shares
        ));
    }
    if limits.cpu_period != 0 && !(1_000..=1_000_000).contains(&limits.cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1_000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    set("CPUs", "cpus", &limits.cpuset_cpus, &machine.cpu_list)?;
    set("memory nodes", "mems", &limits.cpuset_mems, &machine.mem_list)
}

/// Holds that a list such as `0-2,5` names only what is there.
fn set(what: &str, field: &str, wanted: &str, there: &str) -> Result<(), Error> {
    if wanted.is_empty() {
        return Ok(());
    }
    let Some(numbers) = parse_set(wanted) else {
        return refuse(format!(
            "Invalid value {wanted} for cpuset {field}: invalid format: {wanted}"
        ));
    };
    let available = parse_set(there).unwrap_or_default();
    if !numbers.is_subset(&available) {
        return refuse(format!(
            "Requested {what} are not available - requested {wanted}, available: {there}"
        ));
    }
    Ok(())
}

/// `None` where it is not a list of numbers and ranges.
fn parse_set(list: &str) -> Option<BTreeSet<u32>> {
    const MAX: u32 = 8192;
    let mut set = BTreeSet::new();
    // A list that names the same numbers over and over is nobody's.
    let mut left = 8 * MAX;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten().filter(|&number| number < MAX)
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        left = left.checked_sub(last - first + 1)?;
        set.extend(first..=last);
    }
    Some(set)
}

/// The specification's limits, without devices. Looks up the numbers of block devices that have
/// limits of their own.
pub(crate) fn limits(wanted: &docker::Resources) -> Result<runtime::Resources, Error> {
    let positive = |value: i64| (value > 0).then_some(value);
    let set = |value: i64| (value != 0).then_some(value);
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|&value| value > 0);

    let mut cpu = runtime::Cpu {
        shares: unsigned(wanted.cpu_shares),
        quota: set(wanted.cpu_quota),
        period: unsigned(wanted.cpu_period),
        realtime_runtime: positive(wanted.cpu_realtime_runtime),
        realtime_period: unsigned(wanted.cpu_realtime_period),
        cpus: wanted.cpuset_cpus.clone(),
        mems: wanted.cpuset_mems.clone(),
        ..runtime::Cpu::default()
    };
    if wanted.nano_cpus > 0 {
        cpu.period = unsigned(CPU_PERIOD);
        cpu.quota = Some(wanted.nano_cpus / (1_000_000_000 / CPU_PERIOD));
    }
    let memory = runtime::Memory {
        limit: positive(wanted.memory),
        reservation: positive(wanted.memory_reservation),
        swap: set(wanted.memory_swap),
        swappiness: wanted.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: wanted.oom_kill_disable.filter(|&disable| disable),
        ..runtime::Memory::default()
    };
    let block_io = block_io(wanted)?;
    Ok(runtime::Resources {
        // Whatever is no limit takes one away.
        pids: wanted
            .pids_limit
            .map(|limit| runtime::Pids { limit: Some(positive(limit).unwrap_or(-1)) }),
        cpu: (cpu != runtime::Cpu::default()).then_some(cpu),
        memory: (memory != runtime::Memory::default()).then_some(memory),
        block_io: (block_io != runtime::BlockIo::default()).then_some(block_io),
        ..runtime::Resources::default()
    })
}

fn block_io(wanted: &docker::Resources) -> Result<runtime::BlockIo, Error> {
    let throttles = |list: &[docker::container::ThrottleDevice]| {
        list.iter()
            .map(|device| {
                let (major, minor) = block_device(&device.path)?;
                Ok(runtime::ThrottleDevice { major, minor, rate: device.rate })
            })
            .collect::<Result<Vec<_>, Error>>()
    };
    let weights = wanted.blkio_weight_device.iter().map(|device| {
        let (major, minor) = block_device(&device.path)?;
        let weight = Some(device.weight);
        Ok(runtime::WeightDevice { major, minor, weight, leaf_weight: None })
    });
    Ok(runtime::BlockIo {
        weight: (wanted.blkio_weight > 0).then_some(wanted.blkio_weight),
        leaf_weight: None,
        weight_device: weights.collect::<Result<_, Error>>()?,
        throttle_read_bps_device: throttles(&wanted.blkio_device_read_bps)?,
        throttle_write_bps_device: throttles(&wanted.blkio_device_write_bps)?,
        throttle_read_iops_device: throttles(&wanted.blkio_device_read_iops)?,
        throttle_write_iops_device: throttles(&wanted.blkio_device_write_iops)?,
    })
}

fn block_device(path: &str) -> Result<(i64, i64), Error> {
    match devices::numbers(Path::new(path)) {
        Ok(('b', major, minor)) => Ok((major, minor)),
        Ok(_) => refuse(format!("{path} is not a block device")),
        Err(_) => refuse(format!("{path}: no such block device")),
    }
}

/// The names of `setrlimit(2)` without their prefix.
const RLIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A limit of the process.
pub(crate) fn rlimit(limit: &docker::container::Ulimit) -> Result<runtime::Rlimit, Error> {
    let name = limit.name.to_ascii_lowercase();
    if !RLIMITS.contains(&name.as_str()) {
        return refuse(format!("invalid ulimit type: {}", limit.name));
    }
    if limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard) {
        return refuse(format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            limit.soft, limit.hard
        ));
    }
    let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    Ok(runtime::Rlimit {
        kind: format!("RLIMIT_{}", name.to_ascii_uppercase()),
        hard: value(limit.hard),
        soft: value(limit.soft),
    })
}

#[cfg(test)]
mod tests {
    use docker::Resources;
    use expect_test::{Expect, expect};

    use super::*;

    fn machine() -> Machine {
        Machine {
            cgroup_v2: false,
            cpus: 2,
            cpu_list: "0-1".into(),
            mem_list: "0".into(),
            cgroups: true,
            swap_limit: true,
            blkio_weight: true,
        }
    }

    #[track_caller]
    fn check(json: &str, want: &Expect) {
        let mut wanted: Resources = serde_json::from_str(json).unwrap();
        let got = super::check(&mut wanted, &machine()).and_then(|warnings| {
            let limits = serde_json::to_string(&limits(&wanted)?).unwrap();
            Ok(warnings.into_iter().chain([limits]).collect::<Vec<_>>().join("\n"))
        });
        want.assert_eq(&got.unwrap_or_else(|err| err.to_string()));
    }

    #[test]
    fn lists_of_numbers() {
        let numbers = |list: &str| parse_set(list).map(|set| set.into_iter().collect::<Vec<_>>());
        assert_eq!(numbers("0-2,5,1"), Some(vec![0, 1, 2, 5]));
        assert_eq!(numbers("0-8191").map(|all| all.len()), Some(8192));
        for bad in ["", "a", "2-1", "8192", "0,", &format!("{}0", "0-8191,".repeat(8))] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_are_translated() {
        check("{}", &expect!["{}"]);
        check(
            r#"{"Memory":536870912,"NanoCpus":500000000,"PidsLimit":100}"#,
            &expect![[
                r#"{"pids":{"limit":100},"cpu":{"quota":50000,"period":100000},"memory":{"limit":536870912,"swap":1073741824}}"#
            ]],
        );
        check(
            r#"{"Memory":8388608,"MemorySwap":-1,"MemoryReservation":6291456,"MemorySwappiness":0,"OomKillDisable":true}"#,
            &expect![[
                r#"{"memory":{"limit":8388608,"reservation":6291456,"swap":-1,"swappiness":0,"disableOOMKiller":true}}"#
            ]],
        );
        check(
            r#"{"CpuShares":512,"CpuPeriod":50000,"CpuQuota":25000,"CpusetCpus":"0,1","CpusetMems":"0","BlkioWeight":300}"#,
            &expect![[
                r#"{"blockIO":{"weight":300},"cpu":{"shares":512,"quota":25000,"period":50000,"cpus":"0,1","mems":"0"}}"#
            ]],
        );
        check(r#"{"PidsLimit":-1}"#, &expect![[r#"{"pids":{"limit":-1}}"#]]);
    }

    #[test]
    fn nonsense_is_refused_in_dockers_words() {
        for (json, want) in [
            (r#"{"Memory":4194304}"#, "Minimum memory limit allowed is 6MB"),
            (
                r#"{"Memory":8388608,"MemorySwap":7000000}"#,
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ),
            (
                r#"{"MemorySwap":7000000}"#,
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ),
            (
                r#"{"MemorySwappiness":101}"#,
                "Invalid value: 101, valid memory swappiness range is 0-100",
            ),
            (
                r#"{"NanoCpus":3000000000}"#,
                "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            ),
            (
                r#"{"CpusetCpus":"0-7"}"#,
                "Requested CPUs are not available - requested 0-7, available: 0-1",
            ),
            (r#"{"CpusetCpus":"1-0"}"#, "Invalid value 1-0 for cpuset cpus: invalid format: 1-0"),
            (r#"{"CpuQuota":10}"#, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
            (r#"{"BlkioWeight":5}"#, "Range of blkio weight is from 10 to 1000"),
            (r#"{"Ulimits":[{"Name":"nope"}]}"#, "invalid ulimit type: nope"),
            (
                r#"{"Ulimits":[{"Name":"nofile","Soft":9,"Hard":8}]}"#,
                "ulimit soft limit must be less than or equal to hard limit: 9 > 8",
            ),
        ] {
            let mut wanted: Resources = serde_json::from_str(json).unwrap();
            let err = super::check(&mut wanted, &machine()).unwrap_err();
            assert_eq!(err.to_string(), want, "{json}");
        }
    }

    #[test]
    fn a_machine_without_swap_limits_is_told_of() {
        let mut wanted: Resources =
            serde_json::from_str(r#"{"Memory":8388608,"MemorySwap":9000000}"#).unwrap();
        let machine = Machine { swap_limit: false, ..machine() };
        assert_eq!(super::check(&mut wanted, &machine).unwrap().len(), 1);
        assert_eq!(wanted.memory_swap, -1);
        assert_eq!(limits(&wanted).unwrap().memory.unwrap().swap, Some(-1));
    }
}
