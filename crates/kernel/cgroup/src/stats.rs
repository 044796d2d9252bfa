//! What a cgroup uses.

use std::collections::BTreeMap;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::parse;
use crate::tree::{Dir, Version};

/// What a cgroup uses. A controller that is not there leaves its part at zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Bytes read and written, by device.
    pub block_bytes: Vec<BlockEntry>,
    /// Reads and writes, by device.
    pub block_operations: Vec<BlockEntry>,
}

/// Processor time; nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// All.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// By processor (v1 only).
    pub per_cpu: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// For how long the processes were held up.
    pub throttled_time: u64,
}

/// Memory; bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// In use, the cache included.
    pub usage: u64,
    /// The highest use so far, where the kernel keeps it.
    pub max_usage: u64,
    /// The limit; `u64::MAX` when there is none.
    pub limit: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// Swap in use (v1: memory and swap together).
    pub swap: u64,
    /// Everything in `memory.stat`.
    pub stat: BTreeMap<String, u64>,
    /// Whether this is v2, whose `stat` has other names.
    pub is_v2: bool,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// How many there are.
    pub current: u64,
    /// How many there may be; `None` is unlimited.
    pub limit: Option<u64>,
}

/// A count for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// `Read`, `Write`, and on v1 `Sync`, `Async`, `Discard`, `Total`.
    pub operation: String,
    /// How many.
    pub value: u64,
}

/// How long processes had to wait for something that was short: `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one of them.
    pub some: PressureLine,
    /// All of them at the same time.
    pub full: PressureLine,
}

/// One line of that.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureLine {
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

/// A kernel clock tick, in which v1 counts user and system time: `USER_HZ` is 100 everywhere.
const TICK_NS: u64 = 10_000_000;

impl Cgroup {
    /// What the cgroup uses at this moment.
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        self.cpu_stats(&mut stats.cpu)?;
        if let Some(member) = self.member("memory", Some("memory")) {
            stats.memory = match member.tree.version {
                Version::V1 => memory_v1(&member.dir)?,
                Version::V2 => memory_v2(&member.dir)?,
            };
        }
        if let Some(member) = self.member("pids", Some("pids")) {
            stats.pids.current = number(&member.dir, "pids.current")?;
            let limit = member.dir.read_if_there("pids.max")?.unwrap_or_default();
            stats.pids.limit = limit.trim().parse().ok();
        }
        self.block_stats(&mut stats)?;
        Ok(stats)
    }

    /// How many processes of the cgroup, and of those below it, the kernel has killed for want of
    /// memory. 0 without the memory controller.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let Some(member) = self.member("memory", Some("memory")) else { return Ok(0) };
        if member.tree.version == Version::V2 {
            return Ok(keyed(&member.dir, "memory.events")?.get("oom_kill").copied().unwrap_or(0));
        }
        // On v1 each cgroup counts its own only.
        let mut sum = 0;
        member.dir.walk(&mut |dir: &Dir| -> Result<(), Error> {
            sum += keyed(dir, "memory.oom_control")?.get("oom_kill").copied().unwrap_or(0);
            Ok(())
        })?;
        Ok(sum)
    }

    fn cpu_stats(&self, cpu: &mut CpuStats) -> Result<(), Error> {
        if let Some(member) = self.member("cpuacct", None) {
            let dir = &member.dir;
            cpu.total = number(dir, "cpuacct.usage")?;
            let each = dir.read_if_there("cpuacct.usage_percpu")?.unwrap_or_default();
            cpu.per_cpu = each.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            let ticks = keyed(dir, "cpuacct.stat")?;
            let ns = |key| ticks.get(key).copied().unwrap_or(0).saturating_mul(TICK_NS);
            (cpu.user, cpu.system) = (ns("user"), ns("system"));
        }
        // v2 counts processor time also without the cpu controller.
        let v1 = self.member("cpu", None);
        let Some(member) = v1.or(self.v2()) else { return Ok(()) };
        let stat = keyed(&member.dir, "cpu.stat")?;
        let get = |key: &str| stat.get(key).copied().unwrap_or(0);
        (cpu.periods, cpu.throttled_periods) = (get("nr_periods"), get("nr_throttled"));
        if member.tree.version == Version::V1 {
            cpu.throttled_time = get("throttled_time");
        } else {
            cpu.throttled_time = get("throttled_usec").saturating_mul(1000);
            cpu.total = get("usage_usec").saturating_mul(1000);
            (cpu.user, cpu.system) =
                (get("user_usec").saturating_mul(1000), get("system_usec").saturating_mul(1000));
        }
        Ok(())
    }

    fn block_stats(&self, stats: &mut Stats) -> Result<(), Error> {
        let Some(member) = self.member("blkio", Some("io")) else { return Ok(()) };
        if member.tree.version == Version::V2 {
            let text = member.dir.read_if_there("io.stat")?.unwrap_or_default();
            (stats.block_bytes, stats.block_operations) = parse::io_stat(&text);
            return Ok(());
        }
        let read = |file| -> Result<Vec<BlockEntry>, Error> {
            Ok(parse::blkio(&member.dir.read_if_there(file)?.unwrap_or_default()))
        };
        stats.block_bytes = read("blkio.throttle.io_service_bytes_recursive")?;
        stats.block_operations = read("blkio.throttle.io_serviced_recursive")?;
        Ok(())
    }
}

fn memory_v1(dir: &Dir) -> Result<MemoryStats, Error> {
    let limit = number(dir, "memory.limit_in_bytes")?;
    Ok(MemoryStats {
        usage: number(dir, "memory.usage_in_bytes")?,
        max_usage: number(dir, "memory.max_usage_in_bytes")?,
        // Unlimited is the largest signed number, rounded down to a page.
        limit: if limit >= i64::MAX as u64 - 0xffff { u64::MAX } else { limit },
        failcnt: number(dir, "memory.failcnt")?,
        swap: number(dir, "memory.memsw.usage_in_bytes")?,
        stat: keyed(dir, "memory.stat")?,
        is_v2: false,
    })
}

fn memory_v2(dir: &Dir) -> Result<MemoryStats, Error> {
    let max = dir.read_if_there("memory.max")?.unwrap_or_default();
    Ok(MemoryStats {
        usage: number(dir, "memory.current")?,
        max_usage: number(dir, "memory.peak")?,
        limit: max.trim().parse().unwrap_or(u64::MAX),
        failcnt: keyed(dir, "memory.events")?.get("max").copied().unwrap_or(0),
        swap: number(dir, "memory.swap.current")?,
        stat: keyed(dir, "memory.stat")?,
        is_v2: true,
    })
}

/// The number in a file; 0 where the kernel has no such file.
fn number(dir: &Dir, file: &str) -> Result<u64, Error> {
    let text = dir.read_if_there(file)?.unwrap_or_default();
    Ok(parse::number(&text).unwrap_or(0))
}

/// The lines `KEY NUMBER` of a file; none where the kernel has no such file.
fn keyed(dir: &Dir, file: &str) -> Result<BTreeMap<String, u64>, Error> {
    let text = dir.read_if_there(file)?.unwrap_or_default();
    Ok(parse::flat(&text))
}
