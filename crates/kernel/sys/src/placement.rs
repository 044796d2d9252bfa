//! On which processor a process goes on that is woken.
//!
//! Who writes to a socket or a pipe is taken by the kernel for somebody who is about to sleep (`WF_SYNC` in Linux's
//! `kernel/sched/fair.c`, `wake_affine_idle`): whoever is woken waits on the same processor for that. Where the
//! writer has work left, that is for as long as this takes, while another processor is idle; and a new
//! process is often queued behind its parent. So who knows better says so: by the mask of processors of
//! `sched_setaffinity(2)`, for the moment of being woken. It is asked for by [`wake_elsewhere`], and given up
//! by [`run_anywhere`].

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Has a process, of one thread, go on anywhere but on the processor of the calling thread, until it calls
/// [`run_anywhere`]. Whether that was possible.
///
/// Not where somebody has chosen the processors of the calling thread: that process has inherited
/// them, and they would be forgotten.
pub fn wake_elsewhere(process: Pid) -> bool {
    let Some(mut cpus) = all_allowed() else { return false };
    cpus.unset(sched_getcpu());
    sched_setaffinity(Some(process), &cpus).is_ok()
}

/// Lets the calling thread run on all processors again, if its parent has kept it elsewhere. Any other choice is
/// inherited by both, and stays.
pub fn run_anywhere() {
    let Ok(own) = sched_getaffinity(None) else { return };
    // One that has ended in this moment (ESRCH) has no choice that could be kept.
    let parents = sched_getaffinity(rustix::process::getppid());
    if parents.ok() != Some(own) {
        // What it was. Fails at most where nothing was changed.
        let _kept = sched_setaffinity(None, &every());
    }
}

/// All processors that the kernel lets the calling thread have (those of its cpuset), if it may run on all of
/// these, and there are several.
fn all_allowed() -> Option<CpuSet> {
    let before = sched_getaffinity(None).ok().filter(|cpus| cpus.count() > 1)?;
    // Only the kernel knows whether that was chosen by somebody or is all that there is: it is asked for more.
    sched_setaffinity(None, &every()).ok()?;
    let all = sched_getaffinity(None).ok()?;
    if before == all {
        return Some(all);
    }
    // It was, a moment ago.
    let _restored = sched_setaffinity(None, &before);
    None
}

/// Every processor that there can be: no choice.
fn every() -> CpuSet {
    let mut every = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| every.set(cpu));
    every
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn child() -> (Child, Pid) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        (child, pid)
    }

    /// All processors that this thread can have, whatever was chosen for the tests.
    fn all() -> CpuSet {
        sched_setaffinity(None, &every()).unwrap();
        sched_getaffinity(None).unwrap()
    }

    #[test]
    fn what_is_kept_elsewhere_may_run_on_all_but_one() {
        let all = all();
        let (mut child, pid) = child();
        let kept = wake_elsewhere(pid);
        let theirs = sched_getaffinity(Some(pid)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(kept, all.count() > 1);
        assert_eq!(all.count() - theirs.count(), u32::from(kept));
        assert_eq!(sched_getaffinity(None).unwrap(), all);
    }

    #[test]
    fn what_somebody_has_chosen_stays() {
        let all = all();
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        let chosen = std::thread::spawn(move || {
            sched_setaffinity(None, &one).unwrap();
            let (mut child, pid) = child();
            let kept = wake_elsewhere(pid);
            let theirs = sched_getaffinity(Some(pid)).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            (kept, theirs, sched_getaffinity(None).unwrap())
        });
        assert_eq!(chosen.join().unwrap(), (false, one, one));
        assert_eq!(sched_getaffinity(None).unwrap(), all);
    }
}
