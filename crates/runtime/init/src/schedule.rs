//! How the process runs: on which processors, when, with how much of what.

use plan::{InitPlan, Limit, Process};

use crate::error::{Doing, Error};

/// Lets the process run on every processor that its cgroup allows. A runtime that was started on a few
/// (by taskset(1), by systemd's `CPUAffinity=`) has inherited those, and its containers are not meant.
pub(crate) fn all_processors() {
    // A kernel that says no leaves it as it is, which is no reason to do without the container.
    let _as_it_was = sys::sched_setaffinity(&[u64::MAX; 16]);
}

/// What the process is to be like for the scheduler and the memory management.
pub(crate) fn schedule(plan: &InitPlan) -> Result<(), Error> {
    schedule_process(&plan.process)?;
    personality(plan.personality)?;
    if let Some(policy) = &plan.memory_policy {
        sys::set_mempolicy(policy.mode, &policy.nodes).doing(|| "linux.memoryPolicy")?;
    }
    Ok(())
}

/// The part of it that a process that is executed later has too.
pub(crate) fn schedule_process(process: &Process) -> Result<(), Error> {
    if let Some(attr) = &process.scheduler {
        sys::sched_setattr(attr).doing(|| "process.scheduler")?;
    }
    if let Some((class, priority)) = process.io_priority {
        sys::ioprio_set(class, priority).doing(|| "process.ioPriority")?;
    }
    Ok(())
}

/// Gives the process its execution domain.
pub(crate) fn personality(persona: Option<u32>) -> Result<(), Error> {
    match persona {
        Some(persona) => sys::personality(persona).doing(|| "linux.personality").map(drop),
        None => Ok(()),
    }
}

/// Sets the limits of a process; `None` is the caller.
pub fn set_limits(pid: Option<rustix::process::Pid>, limits: &[Limit]) -> Result<(), Error> {
    for limit in limits {
        sys::prlimit_set(pid, limit.resource, limit.soft, limit.hard)
            .doing(|| format!("process.rlimits: {:?}", limit.resource))?;
    }
    Ok(())
}
