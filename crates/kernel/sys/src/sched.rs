//! Limits and priorities of a process.

use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::CpuSet;

use crate::error::{Call, Error, check};

/// Sets a resource limit of process `pid` (`None`: the caller), see prlimit(2). `None` as a limit
/// is `RLIM_INFINITY`. Raising the hard limit needs `CAP_SYS_RESOURCE`.
pub fn prlimit_set(
    pid: Option<Pid>,
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
) -> Result<(), Error> {
    rustix::process::prlimit(pid, resource, Rlimit { current: soft, maximum: hard })
        .call(|| format!("prlimit({resource:?}, {soft:?}, {hard:?})"))
        .map(drop)
}

/// Scheduling policy and parameters: `struct sched_attr` of `sched_setattr(2)`, without its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// `SCHED_*`: 0 other, 1 fifo, 2 rr, 3 batch, 5 idle, 6 deadline.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for other and batch.
    pub nice: i32,
    /// 1 to 99, for fifo and rr.
    pub priority: u32,
    /// Nanoseconds, for deadline.
    pub runtime: u64,
    /// Nanoseconds, for deadline.
    pub deadline: u64,
    /// Nanoseconds, for deadline.
    pub period: u64,
}

#[repr(C)]
struct RawSchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const _: () = assert!(size_of::<RawSchedAttr>() == 48, "SCHED_ATTR_SIZE_VER0");

/// Sets the scheduling of the calling thread.
pub fn sched_setattr(attr: &SchedAttr) -> Result<(), Error> {
    let raw = RawSchedAttr {
        size: size_of::<RawSchedAttr>() as u32,
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        runtime: attr.runtime,
        deadline: attr.deadline,
        period: attr.period,
    };
    // SAFETY: `raw` is a live repr(C) value that says its own size; the kernel only reads it.
    let ret = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) };
    check(ret, || format!("sched_setattr({attr:?})")).map(drop)
}

/// The processors of a thread: a bit for each, the first 64 in the first word.
fn cpu_set(cpus: &[u64]) -> CpuSet {
    let mut set = CpuSet::new();
    for cpu in 0..CpuSet::MAX_CPU {
        if cpus.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1) {
            set.set(cpu);
        }
    }
    set
}

/// Lets the calling thread run on `cpus` only, a bit for each: `sched_setaffinity(2)`.
pub fn sched_setaffinity(cpus: &[u64]) -> Result<(), Error> {
    rustix::thread::sched_setaffinity(None, &cpu_set(cpus))
        .call(|| format!("sched_setaffinity({cpus:x?})"))
}

/// The processors that the calling thread may run on.
pub fn sched_getaffinity() -> Result<Vec<u64>, Error> {
    let set = rustix::thread::sched_getaffinity(None).call(|| "sched_getaffinity()")?;
    let mut cpus = vec![0; CpuSet::MAX_CPU / 64];
    for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)) {
        cpus[cpu / 64] |= 1 << (cpu % 64);
    }
    Ok(cpus)
}

/// A class of I/O priority: `ioprio_set(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoPriorityClass {
    /// First access to the disk.
    RealTime = 1,
    /// In turn, by priority.
    BestEffort = 2,
    /// When nobody else wants the disk.
    Idle = 3,
}

/// Sets the I/O priority of the calling thread; `priority` is 0 (highest) to 7.
pub fn ioprio_set(class: IoPriorityClass, priority: u8) -> Result<(), Error> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let value = (class as libc::c_int) << 13 | libc::c_int::from(priority);
    // SAFETY: no pointer is passed.
    let ret = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    check(ret, || format!("ioprio_set({class:?}, {priority})")).map(drop)
}

/// Sets the NUMA policy of the calling thread: `mode` is `MPOL_*` with its flags, `nodes` a bit for
/// each node, see `set_mempolicy(2)`.
pub fn set_mempolicy(mode: i32, nodes: &[u64]) -> Result<(), Error> {
    // The kernel takes one bit less than it is told of, and no nodes only as a null pointer.
    let (mask, max_node) = match nodes {
        [] => (std::ptr::null(), 0),
        _ => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: `mask` is null or points to `max_node` - 1 bits, alive for the whole call; the kernel
    // reads no more than that.
    let ret = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, max_node) };
    check(ret, || format!("set_mempolicy({mode:#x}, {nodes:x?})")).map(drop)
}
