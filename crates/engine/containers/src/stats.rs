//! What a container uses.

use std::collections::BTreeMap;
use std::fs;

use cgroup::{BlockEntry, Cgroup, MemoryStats};
use docker::stats::{Blkio, BlkioEntry, Cpu, CpuUsage, Memory, Network, Pids, Stats, Throttling};
use shim_protocol::Status;

use crate::engine::Engine;
use crate::record::Container;
use crate::{Error, clock, processes};

/// Nanoseconds of one clock tick of `/proc/stat`.
const NANOS_PER_TICK: u64 = 10_000_000;

impl Engine {
    /// One sample of what a container uses; all zero for one that does not run.
    pub fn stats(&self, wanted: &str) -> Result<Stats, Error> {
        let container = self.find(wanted)?;
        let status = self.status(&container.id)?;
        let mut stats = Stats {
            name: format!("/{}", container.name),
            id: container.id.clone(),
            os_type: "linux".into(),
            read: clock::print(clock::now()),
            preread: docker::timestamp::ZERO.into(),
            ..Stats::default()
        };
        if !status.phase.is_up() {
            stats.read = docker::timestamp::ZERO.into();
            return Ok(stats);
        }
        let path = self.cgroup_path(&container);
        if path.is_empty() {
            self.of_processes(&status, &mut stats);
            stats.networks = networks(&container, &status);
            return Ok(stats);
        }
        let used = match Cgroup::open(self.hierarchy()?, &path) {
            // It ended in this moment.
            Err(cgroup::Error::NotFound(_)) => return Ok(stats),
            opened => opened?.used()?,
        };
        stats.cpu_stats = Cpu {
            cpu_usage: CpuUsage {
                total_usage: used.cpu.total,
                percpu_usage: used.cpu.per_cpu.clone().into(),
                usage_in_kernelmode: used.cpu.system,
                usage_in_usermode: used.cpu.user,
            },
            system_cpu_usage: system_cpu(),
            online_cpus: u32::try_from(self.machine().cpus).ok(),
            throttling_data: Throttling {
                periods: used.cpu.periods,
                throttled_periods: used.cpu.throttled_periods,
                throttled_time: used.cpu.throttled_time,
            },
        };
        stats.memory_stats = memory(used.memory);
        stats.pids_stats = Pids { current: Some(used.pids.current), limit: used.pids.limit };
        stats.blkio_stats = Blkio {
            io_service_bytes_recursive: used
                .block_bytes
                .into_iter()
                .map(|entry| block(&entry))
                .collect(),
            io_serviced_recursive: used
                .block_operations
                .into_iter()
                .map(|entry| block(&entry))
                .collect(),
            ..Blkio::default()
        };
        stats.networks = networks(&container, &status);
        Ok(stats)
    }
}

impl Engine {
    /// What the processes of a container without a cgroup use that live now.
    fn of_processes(&self, status: &Status, stats: &mut Stats) {
        let pids = processes::of(status.pid);
        let used = processes::used(&pids);
        let (user, system) = (used.ticks.0 * NANOS_PER_TICK, used.ticks.1 * NANOS_PER_TICK);
        stats.cpu_stats = Cpu {
            cpu_usage: CpuUsage {
                total_usage: user + system,
                usage_in_kernelmode: system,
                usage_in_usermode: user,
                ..CpuUsage::default()
            },
            system_cpu_usage: system_cpu(),
            online_cpus: u32::try_from(self.machine().cpus).ok(),
            ..Cpu::default()
        };
        stats.memory_stats =
            Memory { usage: Some(used.memory), limit: Some(total_memory()), ..Memory::default() };
        stats.pids_stats = Pids { current: Some(pids.len() as u64), ..Pids::default() };
    }
}

fn memory(used: MemoryStats) -> Memory {
    Memory {
        usage: Some(used.usage),
        max_usage: (!used.is_v2 && used.max_usage > 0).then_some(used.max_usage),
        stats: used.stat,
        failcnt: (!used.is_v2).then_some(used.failcnt),
        // Without a limit of its own, the machine's memory is one.
        limit: Some(used.limit.min(total_memory())),
    }
}

fn block(entry: &BlockEntry) -> BlkioEntry {
    BlkioEntry {
        major: entry.major.into(),
        minor: entry.minor.into(),
        op: entry.operation.to_lowercase(),
        value: entry.value,
    }
}

/// The time that all CPUs have spent since the machine started, nanoseconds.
fn system_cpu() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // Guests' time is in user and nice already.
    let ticks: u64 =
        line.split_ascii_whitespace().take(8).filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(ticks * NANOS_PER_TICK)
}

/// The machine's memory, bytes.
fn total_memory() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib * 1024)
}

/// The counters of each interface, as the container's init sees them in the host's `/proc`.
fn networks(container: &Container, status: &Status) -> BTreeMap<String, Network> {
    if container.record.host.network_mode == "host" {
        return BTreeMap::new();
    }
    let text = fs::read_to_string(format!("/proc/{}/net/dev", status.pid)).unwrap_or_default();
    interfaces(&text)
}

fn interfaces(text: &str) -> BTreeMap<String, Network> {
    let mut networks = BTreeMap::new();
    for line in text.lines() {
        let Some((name, counters)) = line.split_once(':') else { continue };
        let name = name.trim();
        if name == "lo" {
            continue;
        }
        let numbers: Vec<u64> =
            counters.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
        let counted = Network {
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        };
        networks.insert(name.to_owned(), counted);
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_but_loopback_are_counted() {
        let text = "Inter-|   Receive                  |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    2000      20    1    2    0     0          0         0      300       3    4    5    0     0       0          0
";
        let networks = interfaces(text);
        assert_eq!(networks.len(), 1);
        let eth0 = &networks["eth0"];
        assert_eq!(
            (eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped),
            (2000, 2, 300, 5)
        );
        assert!(system_cpu().unwrap() > 0);
        assert!(total_memory() > 1 << 20);
    }
}
