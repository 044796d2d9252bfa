//! Scheduling and I/O priority.

use oci::runtime::{IoPriority, Scheduler};
use sys::{IoPriorityClass, SchedAttr};

use crate::Error;

const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

fn find<T: Copy>(table: &[(&str, T)], field: &str, name: &str) -> Result<T, Error> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
        .ok_or_else(|| Error::invalid(field, name.escape_debug(), "is not known"))
}

pub(crate) fn scheduler(spec: &Scheduler) -> Result<SchedAttr, Error> {
    if spec.policy == "SCHED_ISO" {
        let why = "is not implemented by Linux";
        return Err(Error::invalid("process.scheduler.policy", &spec.policy, why));
    }
    let policy = find(&POLICIES, "process.scheduler.policy", &spec.policy)?;
    let nice = spec.nice.unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Error::invalid("process.scheduler.nice", nice, "is not between -20 and 19"));
    }
    let priority = spec.priority.unwrap_or(0);
    let priority = u32::try_from(priority).ok().filter(|p| *p <= 99).ok_or_else(|| {
        Error::invalid("process.scheduler.priority", priority, "is not between 0 and 99")
    })?;
    if priority != 0 && !matches!(policy, 1 | 2) {
        return Err(Error::conflict(
            "process.scheduler.priority",
            "needs the policy SCHED_FIFO or SCHED_RR",
        ));
    }
    let times = [spec.runtime, spec.deadline, spec.period];
    if times.iter().flatten().any(|time| *time != 0) && policy != 6 {
        return Err(Error::conflict(
            "process.scheduler.runtime, deadline and period",
            "need the policy SCHED_DEADLINE",
        ));
    }
    let mut flags = 0;
    for flag in &spec.flags {
        flags |= find(&FLAGS, "process.scheduler.flags", flag)?;
    }
    Ok(SchedAttr {
        policy,
        flags,
        nice,
        priority,
        runtime: spec.runtime.unwrap_or(0),
        deadline: spec.deadline.unwrap_or(0),
        period: spec.period.unwrap_or(0),
    })
}

pub(crate) fn io_priority(spec: &IoPriority) -> Result<(IoPriorityClass, u8), Error> {
    let classes = [
        ("IOPRIO_CLASS_RT", IoPriorityClass::RealTime),
        ("IOPRIO_CLASS_BE", IoPriorityClass::BestEffort),
        ("IOPRIO_CLASS_IDLE", IoPriorityClass::Idle),
    ];
    let class = find(&classes, "process.ioPriority.class", &spec.class)?;
    let priority = u8::try_from(spec.priority).ok().filter(|p| *p <= 7).ok_or_else(|| {
        Error::invalid("process.ioPriority.priority", spec.priority, "is not between 0 and 7")
    })?;
    Ok((class, priority))
}
