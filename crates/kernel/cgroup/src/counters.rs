//! Reads what a cgroup uses.

use std::collections::BTreeMap;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::parse;
use crate::resources::Limit;
use crate::stats::{
    BlockEntry, BlockStats, CpuStats, CpusetStats, HugetlbStats, MemoryCounter, MemoryStats,
    PidsStats, Pressure, RdmaStats, Stats,
};
use crate::tree::{Dir, Version};

/// A kernel clock tick, in which v1 counts user and system time: `USER_HZ` is 100 everywhere.
const TICK_NS: u64 = 10_000_000;

impl Cgroup {
    /// What the cgroup uses at this moment.
    pub fn stats(&self) -> Result<Stats, Error> {
        let (mut stats, counter) = self.counted()?;
        self.cpu_details(&mut stats.cpu)?;
        if let Some(member) = self.member("cpuset", None) {
            stats.cpuset = cpuset(&member.dir)?;
        }
        if let Some(member) = self.member("memory", Some("memory")) {
            match member.tree.version {
                Version::V1 => memory_details_v1(&member.dir, &mut stats.memory)?,
                Version::V2 => memory_details_v2(&member.dir, &mut stats.memory)?,
            }
        }
        self.block_details(counter, &mut stats.block)?;
        if let Some(member) = self.member("hugetlb", Some("hugetlb")) {
            stats.hugetlb = hugetlb(&member.dir, member.tree.version)?;
        }
        if let Some(member) = self.member("rdma", Some("rdma")) {
            stats.rdma = rdma(&member.dir)?;
        }
        Ok(stats)
    }

    /// The part of it that most ask for, from a third of the files: processor time, but not by mode on each
    /// processor; memory and its `stat`, but not swap and the kernel's; processes; bytes and operations by device.
    pub fn used(&self) -> Result<Stats, Error> {
        Ok(self.counted()?.0)
    }

    /// The same, and which counter of v1's knows of accesses to devices: what its files' names begin with.
    fn counted(&self) -> Result<(Stats, Option<&'static str>), Error> {
        let mut stats = Stats::default();
        self.cpu_stats(&mut stats.cpu)?;
        if let Some(member) = self.member("memory", Some("memory")) {
            stats.memory = match member.tree.version {
                Version::V1 => memory_v1(&member.dir)?,
                Version::V2 => memory_v2(&member.dir)?,
            };
        }
        self.pids_stats(&mut stats.pids)?;
        let counter = self.block_stats(&mut stats)?;
        Ok((stats, counter))
    }

    /// How many processes of the cgroup, and of those below it, the kernel has killed for want of
    /// memory. 0 without the memory controller.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let Some(member) = self.member("memory", Some("memory")) else { return Ok(0) };
        if member.tree.version == Version::V2 {
            return Ok(keyed(&member.dir, "memory.events")?.get("oom_kill").copied().unwrap_or(0));
        }
        // On v1 each cgroup counts its own only.
        let mut sum = 0_u64;
        member.dir.walk(&mut |dir: &Dir| -> Result<(), Error> {
            let own = keyed(dir, "memory.oom_control")?.get("oom_kill").copied().unwrap_or(0);
            sum = sum.saturating_add(own);
            Ok(())
        })?;
        Ok(sum)
    }

    fn pids_stats(&self, pids: &mut PidsStats) -> Result<(), Error> {
        if let Some(member) = self.member("pids", Some("pids")) {
            pids.current = number(&member.dir, "pids.current")?;
            pids.limit = parse::number(&text(&member.dir, "pids.max")?);
        } else {
            pids.current = self.procs()?.len() as u64;
        }
        Ok(())
    }

    fn cpu_stats(&self, cpu: &mut CpuStats) -> Result<(), Error> {
        if let Some(member) = self.member("cpuacct", None) {
            let dir = &member.dir;
            cpu.total = number(dir, "cpuacct.usage")?;
            let each = text(dir, "cpuacct.usage_percpu")?;
            cpu.per_cpu = parse::words(&each).iter().filter_map(|n| n.parse().ok()).collect();
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
            let ns = |key| get(key).saturating_mul(1000);
            cpu.throttled_time = ns("throttled_usec");
            cpu.total = ns("usage_usec");
            (cpu.user, cpu.system) = (ns("user_usec"), ns("system_usec"));
        }
        Ok(())
    }

    fn cpu_details(&self, cpu: &mut CpuStats) -> Result<(), Error> {
        if let Some(member) = self.member("cpuacct", None) {
            (cpu.per_cpu_user, cpu.per_cpu_system) =
                parse::usage_all(&text(&member.dir, "cpuacct.usage_all")?);
        }
        if self.member("cpu", None).is_none()
            && let Some(member) = self.v2()
        {
            cpu.pressure = pressure(&member.dir, "cpu.pressure")?;
        }
        Ok(())
    }

    /// What of accesses to devices is counted, and by which of v1's counters.
    fn block_stats(&self, stats: &mut Stats) -> Result<Option<&'static str>, Error> {
        let Some(member) = self.member("blkio", Some("io")) else { return Ok(None) };
        let dir = &member.dir;
        if member.tree.version == Version::V2 {
            (stats.block_bytes, stats.block_operations) = parse::io_stat(&text(dir, "io.stat")?);
            return Ok(None);
        }
        // The scheduler's own counts, if it has any; else those of the layer that throttles.
        for counter in ["blkio.bfq.", "blkio.", "blkio.throttle."] {
            let bytes = blkio(dir, counter, "io_service_bytes")?;
            let operations = blkio(dir, counter, "io_serviced")?;
            if bytes.is_empty() && operations.is_empty() {
                continue;
            }
            (stats.block_bytes, stats.block_operations) = (bytes, operations);
            return Ok(Some(counter));
        }
        Ok(None)
    }

    fn block_details(&self, counter: Option<&str>, block: &mut BlockStats) -> Result<(), Error> {
        let Some(member) = self.member("blkio", Some("io")) else { return Ok(()) };
        if member.tree.version == Version::V2 {
            block.pressure = pressure(&member.dir, "io.pressure")?;
        }
        let Some(counter) = counter else { return Ok(()) };
        let read = |what| blkio(&member.dir, counter, what);
        *block = BlockStats {
            queued: read("io_queued")?,
            service_time: read("io_service_time")?,
            wait_time: read("io_wait_time")?,
            merged: read("io_merged")?,
            time: read("time")?,
            sectors: read("sectors")?,
            pressure: None,
        };
        Ok(())
    }
}

/// What one of v1's counters knows of a cgroup and those below it.
fn blkio(dir: &Dir, counter: &str, what: &str) -> Result<Vec<BlockEntry>, Error> {
    Ok(parse::blkio(&text(dir, &format!("{counter}{what}_recursive"))?))
}

fn cpuset(dir: &Dir) -> Result<CpusetStats, Error> {
    let list = |file| -> Result<Vec<u16>, Error> {
        Ok(parse::list(&text(dir, file)?).unwrap_or_default())
    };
    let number = |name| number(dir, name);
    Ok(CpusetStats {
        cpus: list("cpuset.cpus")?,
        mems: list("cpuset.mems")?,
        cpu_exclusive: number("cpuset.cpu_exclusive")?,
        mem_exclusive: number("cpuset.mem_exclusive")?,
        mem_hardwall: number("cpuset.mem_hardwall")?,
        memory_migrate: number("cpuset.memory_migrate")?,
        memory_pressure: number("cpuset.memory_pressure")?,
        memory_spread_page: number("cpuset.memory_spread_page")?,
        memory_spread_slab: number("cpuset.memory_spread_slab")?,
        sched_load_balance: number("cpuset.sched_load_balance")?,
        sched_relax_domain_level: text(dir, "cpuset.sched_relax_domain_level")?
            .trim()
            .parse()
            .unwrap_or(0),
    })
}

fn memory_v1(dir: &Dir) -> Result<MemoryStats, Error> {
    let memory = counter_v1(dir, "")?;
    let limit = match parse::size_v1(&memory.limit.to_string()) {
        Some(Limit::At(bytes)) => bytes,
        _ => u64::MAX,
    };
    Ok(MemoryStats {
        usage: memory.usage,
        max_usage: memory.max_usage,
        limit,
        failcnt: memory.failcnt,
        stat: keyed(dir, "memory.stat")?,
        ..MemoryStats::default()
    })
}

fn memory_details_v1(dir: &Dir, memory: &mut MemoryStats) -> Result<(), Error> {
    memory.memsw = counter_v1(dir, "memsw.")?;
    memory.swap = memory.memsw.usage;
    memory.kernel = counter_v1(dir, "kmem.")?;
    memory.kernel_tcp = counter_v1(dir, "kmem.tcp.")?;
    Ok(())
}

fn counter_v1(dir: &Dir, name: &str) -> Result<MemoryCounter, Error> {
    let read = |what| number(dir, &format!("memory.{name}{what}"));
    Ok(MemoryCounter {
        usage: read("usage_in_bytes")?,
        max_usage: read("max_usage_in_bytes")?,
        failcnt: read("failcnt")?,
        limit: read("limit_in_bytes")?,
    })
}

fn memory_v2(dir: &Dir) -> Result<MemoryStats, Error> {
    Ok(MemoryStats {
        usage: number(dir, "memory.current")?,
        max_usage: number(dir, "memory.peak")?,
        limit: limit_v2(dir, "memory.max")?,
        failcnt: keyed(dir, "memory.events")?.get("max").copied().unwrap_or(0),
        stat: keyed(dir, "memory.stat")?,
        is_v2: true,
        ..MemoryStats::default()
    })
}

fn memory_details_v2(dir: &Dir, memory: &mut MemoryStats) -> Result<(), Error> {
    memory.swap = number(dir, "memory.swap.current")?;
    memory.memsw = MemoryCounter {
        usage: memory.usage.saturating_add(memory.swap),
        // The highest of a sum is not the sum of the highest.
        max_usage: 0,
        failcnt: 0,
        limit: if dir.has("memory.swap.current") {
            limit_v2(dir, "memory.swap.max")?.saturating_add(memory.limit)
        } else {
            memory.limit
        },
    };
    memory.pressure = pressure(dir, "memory.pressure")?;
    Ok(())
}

fn limit_v2(dir: &Dir, file: &str) -> Result<u64, Error> {
    Ok(parse::number(&text(dir, file)?).unwrap_or(u64::MAX))
}

fn hugetlb(dir: &Dir, version: Version) -> Result<BTreeMap<String, HugetlbStats>, Error> {
    let mut all = BTreeMap::new();
    for size in page_sizes() {
        // Reservations, where the kernel counts them (Linux 5.7).
        let current = if version == Version::V1 { "usage_in_bytes" } else { "current" };
        let reserved = dir.has(&format!("hugetlb.{size}.rsvd.{current}"));
        let prefix = format!("hugetlb.{size}.{}", if reserved { "rsvd." } else { "" });
        let read = |what: &str| number(dir, &format!("{prefix}{what}"));
        let stats = match version {
            Version::V1 => HugetlbStats {
                usage: read(current)?,
                max_usage: read("max_usage_in_bytes")?,
                failcnt: read("failcnt")?,
            },
            Version::V2 => {
                let events = keyed(dir, &format!("hugetlb.{size}.events"))?;
                HugetlbStats {
                    usage: read(current)?,
                    max_usage: 0,
                    failcnt: events.get("max").copied().unwrap_or(0),
                }
            }
        };
        all.insert(size, stats);
    }
    Ok(all)
}

/// The sizes of huge pages that the machine has; none where it has no huge pages.
fn page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| parse::hugepage_size(entry.file_name().to_str()?);
    entries.flatten().filter_map(name).collect()
}

fn rdma(dir: &Dir) -> Result<BTreeMap<String, RdmaStats>, Error> {
    let limits: BTreeMap<_, _> = parse::nested(&text(dir, "rdma.max")?).into_iter().collect();
    let mut all = BTreeMap::new();
    for (device, used) in parse::nested(&text(dir, "rdma.current")?) {
        // A device that is just going has no limits any more.
        let Some(limits) = limits.get(&device) else { continue };
        let in_use = |key| match used.get(key) {
            Some(Limit::At(n)) => *n,
            _ => 0,
        };
        let limit = |key| limits.get(key).copied().unwrap_or(Limit::Max);
        let stats = RdmaStats {
            hca_handle: in_use("hca_handle"),
            hca_object: in_use("hca_object"),
            hca_handle_limit: limit("hca_handle"),
            hca_object_limit: limit("hca_object"),
        };
        all.insert(device, stats);
    }
    Ok(all)
}

/// `None` also where pressure is not counted, which some kernels say by refusing to be read.
fn pressure(dir: &Dir, file: &str) -> Result<Option<Pressure>, Error> {
    match dir.read_if_there(file) {
        Err(error) if error.errno() == rustix::io::Errno::OPNOTSUPP => Ok(None),
        other => Ok(other?.and_then(|text| parse::pressure(&text))),
    }
}

/// What is in a file; nothing where the kernel has no such file.
fn text(dir: &Dir, file: &str) -> Result<String, Error> {
    Ok(dir.read_if_there(file)?.unwrap_or_default())
}

/// The number in a file; 0 where the kernel has no such file.
fn number(dir: &Dir, file: &str) -> Result<u64, Error> {
    Ok(parse::number(&text(dir, file)?).unwrap_or(0))
}

/// The lines `KEY NUMBER` of a file; none where the kernel has no such file.
fn keyed(dir: &Dir, file: &str) -> Result<BTreeMap<String, u64>, Error> {
    Ok(parse::flat(&text(dir, file)?))
}
