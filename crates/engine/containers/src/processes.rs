//! The processes of a container that has no cgroup: those of its first process's PID namespace, and
//! what descends from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What they use, as far as `/proc` tells of those that live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Processor time in user mode, in kernel mode, clock ticks.
    pub(crate) ticks: (u64, u64),
    /// Resident memory, bytes. What several share counts for each.
    pub(crate) memory: u64,
}

/// The processes of the container with this first process.
pub(crate) fn of(first: i32) -> Vec<i32> {
    if first <= 0 {
        return Vec::new();
    }
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(first)
        .filter(|wanted| fs::read_link("/proc/self/ns/pid").ok().as_ref() != Some(wanted));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: BTreeMap<i32, i32> =
        pids.filter_map(|pid| Some((pid, field(pid, 1)?.try_into().ok()?))).collect();
    let is_in = |pid: i32| pid == first || wanted.is_some() && namespace(pid) == wanted;
    descendants(&parents, is_in)
}

/// Those for which `is_in` holds and all below them.
fn descendants(parents: &BTreeMap<i32, i32>, is_in: impl Fn(i32) -> bool) -> Vec<i32> {
    let mut found: BTreeSet<i32> = parents.keys().copied().filter(|pid| is_in(*pid)).collect();
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found.into_iter().collect();
        }
        found.extend(more);
    }
}

/// What these processes use.
pub(crate) fn used(pids: &[i32]) -> Used {
    let mut used = Used::default();
    for pid in pids {
        used.ticks.0 += field(*pid, 11).unwrap_or_default();
        used.ticks.1 += field(*pid, 12).unwrap_or_default();
        used.memory += resident(*pid).unwrap_or_default();
    }
    used
}

/// A field of `proc_pid_stat(5)`, counted from the third one on: 1 is the parent, 11 and 12 the time in
/// user and in kernel mode.
fn field(pid: i32, nth: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(nth)?.parse().ok()
}

/// `VmRSS` of `proc_pid_status(5)`, bytes.
fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found() {
        let parents = BTreeMap::from([(2, 1), (5, 2), (3, 5), (9, 1), (10, 9)]);
        assert_eq!(descendants(&parents, |pid| pid == 2), [2, 3, 5]);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(of(own).contains(&own));
        assert!(used(&[own]).memory > 0);
        assert!(of(0).is_empty());
    }
}
