//! What of the machine limits and specifications depend on.

use std::fs;

use cgroup::{Hierarchy, Mode};

use crate::spec::resources::Machine;

/// Looks at the machine. What cannot be read counts as not there. `cgroups`: whether containers can
/// have any; `trees`: what is mounted of them.
pub(crate) fn look(cgroups: bool, trees: Option<&Hierarchy>) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu_list = read("/sys/devices/system/cpu/online");
    let mem_list = match read("/sys/devices/system/node/online") {
        list if list.is_empty() => "0".to_owned(),
        list => list,
    };
    let trees = trees.filter(|_| cgroups);
    Machine {
        cpus: std::thread::available_parallelism()
            .map_or(1, |cpus| i64::try_from(cpus.get()).unwrap_or(1)),
        cpu_list,
        mem_list,
        cgroups,
        cgroup_v2: trees.is_none_or(|trees| trees.mode() == Mode::V2),
        swap_limit: trees.is_some_and(Hierarchy::has_swap_limit),
        blkio_weight: trees.is_some_and(|trees| trees.has("blkio") || trees.has("io")),
    }
}

/// How many CPUs there may be, online or not.
pub(crate) fn possible_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last.saturating_add(1))
}
