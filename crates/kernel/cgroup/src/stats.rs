//! What a cgroup uses.

use std::collections::BTreeMap;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::parse;
use crate::resources::Limit;
use crate::tree::{Dir, Version};

/// What a cgroup uses. A controller that is not there leaves its part at zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Processors and memory nodes (v1 only).
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Bytes read and written, by device.
    pub block_bytes: Vec<BlockEntry>,
    /// Reads and writes, by device.
    pub block_operations: Vec<BlockEntry>,
    /// What else is known of disk accesses.
    pub block: BlockStats,
    /// Huge pages, by their size as the kernel writes it.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// Remote memory, by device.
    pub rdma: BTreeMap<String, RdmaStats>,
}

/// Processor time; nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuStats {
    /// All.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// By processor (v1 only).
    pub per_cpu: Vec<u64>,
    /// By processor, in user mode (v1 only).
    pub per_cpu_user: Vec<u64>,
    /// By processor, in the kernel (v1 only).
    pub per_cpu_system: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// For how long the processes were held up.
    pub throttled_time: u64,
    /// Waiting for a processor (v2 only).
    pub pressure: Option<Pressure>,
}

/// The files of v1's cpuset, by their names without the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpusetStats {
    /// Processors.
    pub cpus: Vec<u16>,
    /// Memory nodes.
    pub mems: Vec<u16>,
    /// Whether no other cgroup may have these processors.
    pub cpu_exclusive: u64,
    /// Whether no other cgroup may have these nodes.
    pub mem_exclusive: u64,
    /// Whether also the kernel takes memory from these nodes only.
    pub mem_hardwall: u64,
    /// Whether memory moves when the nodes change.
    pub memory_migrate: u64,
    /// How often memory had to be reclaimed, at present.
    pub memory_pressure: u64,
    /// Whether the page cache is spread over the nodes.
    pub memory_spread_page: u64,
    /// Whether the kernel's caches are.
    pub memory_spread_slab: u64,
    /// Whether the scheduler balances within the cgroup.
    pub sched_load_balance: u64,
    /// How far a waking process may go.
    pub sched_relax_domain_level: i64,
}

/// Memory; bytes.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Memory and swap together, on both versions.
    pub memsw: MemoryCounter,
    /// The kernel's (v1 only).
    pub kernel: MemoryCounter,
    /// Buffers of TCP sockets (v1 only).
    pub kernel_tcp: MemoryCounter,
    /// Everything in `memory.stat`.
    pub stat: BTreeMap<String, u64>,
    /// Whether this is v2, whose `stat` has other names.
    pub is_v2: bool,
    /// Waiting for memory (v2 only).
    pub pressure: Option<Pressure>,
}

/// A kind of memory; bytes. All zero where the kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounter {
    /// In use.
    pub usage: u64,
    /// The highest use so far, where the kernel keeps it.
    pub max_usage: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// The limit; `u64::MAX` (v1: about half of it) when there is none.
    pub limit: u64,
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
    /// `Read`, `Write`, and on v1 `Discard`, `Sync`, `Async`, `Total`; empty where all are counted
    /// together.
    pub operation: String,
    /// How many.
    pub value: u64,
}

/// What the v1 schedulers CFQ and BFQ count, if they are told to; and how long processes waited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockStats {
    /// Accesses that wait.
    pub queued: Vec<BlockEntry>,
    /// Nanoseconds from the device's taking an access to its end.
    pub service_time: Vec<BlockEntry>,
    /// Nanoseconds from an access to the device's taking it.
    pub wait_time: Vec<BlockEntry>,
    /// Accesses that were joined to others.
    pub merged: Vec<BlockEntry>,
    /// Milliseconds for which the cgroup had a device.
    pub time: Vec<BlockEntry>,
    /// Sectors.
    pub sectors: Vec<BlockEntry>,
    /// Waiting for a device (v2 only).
    pub pressure: Option<Pressure>,
}

/// Huge pages of one size; bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugetlbStats {
    /// In use, or reserved where the kernel counts that.
    pub usage: u64,
    /// The highest use so far (v1 only).
    pub max_usage: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Remote memory of one device: what is in use, and the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdmaStats {
    /// Handles in use.
    pub hca_handle: u64,
    /// Objects in use.
    pub hca_object: u64,
    /// How many handles there may be.
    pub hca_handle_limit: Limit,
    /// How many objects there may be.
    pub hca_object_limit: Limit,
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
        if let Some(member) = self.member("cpuset", None) {
            stats.cpuset = cpuset(&member.dir)?;
        }
        if let Some(member) = self.member("memory", Some("memory")) {
            stats.memory = match member.tree.version {
                Version::V1 => memory_v1(&member.dir)?,
                Version::V2 => memory_v2(&member.dir)?,
            };
        }
        self.pids_stats(&mut stats.pids)?;
        self.block_stats(&mut stats)?;
        if let Some(member) = self.member("hugetlb", Some("hugetlb")) {
            stats.hugetlb = hugetlb(&member.dir, member.tree.version)?;
        }
        if let Some(member) = self.member("rdma", Some("rdma")) {
            stats.rdma = rdma(&member.dir)?;
        }
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
            (cpu.per_cpu_user, cpu.per_cpu_system) =
                parse::usage_all(&text(dir, "cpuacct.usage_all")?);
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
            cpu.pressure = pressure(&member.dir, "cpu.pressure")?;
        }
        Ok(())
    }

    fn block_stats(&self, stats: &mut Stats) -> Result<(), Error> {
        let Some(member) = self.member("blkio", Some("io")) else { return Ok(()) };
        let dir = &member.dir;
        if member.tree.version == Version::V2 {
            (stats.block_bytes, stats.block_operations) = parse::io_stat(&text(dir, "io.stat")?);
            stats.block.pressure = pressure(dir, "io.pressure")?;
            return Ok(());
        }
        let read =
            |file: &str| -> Result<Vec<BlockEntry>, Error> { Ok(parse::blkio(&text(dir, file)?)) };
        // The scheduler's own counts, if it has any; else those of the layer that throttles.
        for prefix in ["blkio.bfq.", "blkio.", "blkio.throttle."] {
            let bytes = read(&format!("{prefix}io_service_bytes_recursive"))?;
            let operations = read(&format!("{prefix}io_serviced_recursive"))?;
            if bytes.is_empty() && operations.is_empty() {
                continue;
            }
            (stats.block_bytes, stats.block_operations) = (bytes, operations);
            let read = |what| read(&format!("{prefix}{what}_recursive"));
            stats.block = BlockStats {
                queued: read("io_queued")?,
                service_time: read("io_service_time")?,
                wait_time: read("io_wait_time")?,
                merged: read("io_merged")?,
                time: read("time")?,
                sectors: read("sectors")?,
                pressure: None,
            };
            break;
        }
        Ok(())
    }
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
    let counter = |name: &str| -> Result<MemoryCounter, Error> {
        let read = |what| number(dir, &format!("memory.{name}{what}"));
        Ok(MemoryCounter {
            usage: read("usage_in_bytes")?,
            max_usage: read("max_usage_in_bytes")?,
            failcnt: read("failcnt")?,
            limit: read("limit_in_bytes")?,
        })
    };
    let memory = counter("")?;
    let limit = match parse::size_v1(&memory.limit.to_string()) {
        Some(Limit::At(bytes)) => bytes,
        _ => u64::MAX,
    };
    let memsw = counter("memsw.")?;
    Ok(MemoryStats {
        usage: memory.usage,
        max_usage: memory.max_usage,
        limit,
        failcnt: memory.failcnt,
        swap: memsw.usage,
        memsw,
        kernel: counter("kmem.")?,
        kernel_tcp: counter("kmem.tcp.")?,
        stat: keyed(dir, "memory.stat")?,
        is_v2: false,
        pressure: None,
    })
}

fn memory_v2(dir: &Dir) -> Result<MemoryStats, Error> {
    let limit =
        |file| -> Result<u64, Error> { Ok(parse::number(&text(dir, file)?).unwrap_or(u64::MAX)) };
    let (usage, max) = (number(dir, "memory.current")?, limit("memory.max")?);
    let swap = number(dir, "memory.swap.current")?;
    let memsw = if dir.has("memory.swap.current") {
        MemoryCounter {
            usage: usage.saturating_add(swap),
            // The highest of a sum is not the sum of the highest.
            max_usage: 0,
            failcnt: 0,
            limit: limit("memory.swap.max")?.saturating_add(max),
        }
    } else {
        MemoryCounter { usage, max_usage: 0, failcnt: 0, limit: max }
    };
    Ok(MemoryStats {
        usage,
        max_usage: number(dir, "memory.peak")?,
        limit: max,
        failcnt: keyed(dir, "memory.events")?.get("max").copied().unwrap_or(0),
        swap,
        memsw,
        kernel: MemoryCounter::default(),
        kernel_tcp: MemoryCounter::default(),
        stat: keyed(dir, "memory.stat")?,
        is_v2: true,
        pressure: pressure(dir, "memory.pressure")?,
    })
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
