//! Limits where containers have no cgroup, as for an ordinary user to whom none is delegated: dockerd
//! 28 without a cgroup driver drops them with these warnings, and so do we; nothing is dropped unsaid.

use crate::Error;

/// Drops the limits that only a cgroup could hold, and says which.
pub(super) fn discard(limits: &mut docker::Resources) -> Result<Vec<String>, Error> {
    if limits.nano_cpus != 0 {
        return Err(Error::Invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the \
             cgroup is not mounted"
                .into(),
        ));
    }
    let mut warnings = Vec::new();
    let mut warn = |asked: bool, what: &str, dropped: &str| {
        if asked {
            warnings.push(format!(
                "Your kernel does not support {what} or the cgroup is not mounted. {dropped} discarded."
            ));
        }
    };
    warn(take(&mut limits.memory) > 0, "memory limit capabilities", "Limitation");
    take(&mut limits.memory_swap);
    warn(
        limits.memory_swappiness.take().is_some_and(|value| value != -1),
        "memory swappiness capabilities",
        "Memory swappiness",
    );
    warn(take(&mut limits.memory_reservation) > 0, "memory soft limit capabilities", "Limitation");
    warn(limits.oom_kill_disable.take() == Some(true), "OomKillDisable", "OomKillDisable");
    warn(
        limits.pids_limit.take().is_some_and(|limit| limit > 0),
        "PIDs limit capabilities",
        "PIDs limit",
    );
    warn(take(&mut limits.cpu_shares) > 0, "CPU shares", "Shares");
    warn(take(&mut limits.cpu_period) > 0, "CPU CFS scheduler", "Period");
    warn(take(&mut limits.cpu_quota) > 0, "CPU CFS scheduler", "Quota");
    let real_time = take(&mut limits.cpu_realtime_runtime) | take(&mut limits.cpu_realtime_period);
    warn(real_time != 0, "CPU real-time scheduler", "Real-time limits");
    let sets = (take(&mut limits.cpuset_cpus), take(&mut limits.cpuset_mems));
    warn(!sets.0.is_empty() || !sets.1.is_empty(), "cpuset", "Cpuset");
    warn(take(&mut limits.blkio_weight) > 0, "Block I/O weight", "Weight");
    warn(
        !take(&mut limits.blkio_weight_device).is_empty(),
        "Block I/O weight_device",
        "Weight-device",
    );
    for (list, what, dropped) in [
        (&mut limits.blkio_device_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit"),
        (
            &mut limits.blkio_device_write_bps,
            "BPS Block I/O write limit",
            "Block I/O BPS write limit",
        ),
        (&mut limits.blkio_device_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit"),
        (
            &mut limits.blkio_device_write_iops,
            "IOPS Block write limit",
            "Block I/O IOPS write limit",
        ),
    ] {
        warn(!take(list).is_empty(), what, dropped);
    }
    warn(!take(&mut limits.device_cgroup_rules).is_empty(), "device cgroup rules", "Rules");
    Ok(warnings)
}

fn take<T: Default>(field: &mut T) -> T {
    std::mem::take(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_dropped_with_a_word() {
        let mut limits = docker::Resources {
            memory: 1 << 30,
            memory_swap: 2 << 30,
            pids_limit: Some(5),
            cpu_shares: 7,
            cpuset_cpus: "0".into(),
            ..docker::Resources::default()
        };
        let warnings = discard(&mut limits).unwrap();
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(warnings.iter().all(|one| one.ends_with("discarded.")));
        assert_eq!((limits.memory, limits.pids_limit, limits.cpu_shares), (0, None, 0));
        assert!(discard(&mut docker::Resources::default()).unwrap().is_empty());
        let mut cpus = docker::Resources { nano_cpus: 1, ..docker::Resources::default() };
        assert!(discard(&mut cpus).is_err());
    }
}
