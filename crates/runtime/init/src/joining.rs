//! Entering a running container, to execute another process in it.
//!
//! A process that shares the container's PID namespace can be seen, and traced, by what runs there
//! (CVE-2016-9962). So all privileged work is done outside of it: this process enters the other
//! namespaces, takes the identity that the program is to have, and only then makes the process that
//! is inside, which has nothing left to lose but its terminal.

use std::os::fd::{AsFd, OwnedFd};

use plan::{Filter, Process};
use rustix::fs::Mode;
use sys::{Call, CloneArgs, CloneFlags, Cloned, SingleThreaded};

use crate::error::{Doing, Error, failpoint};
use crate::sync::{InitEnd, ToInit};
use crate::{console, identity, program, schedule, stdio};

/// What such a process is given.
#[derive(Debug)]
pub struct Joining {
    /// Its end of the socket.
    pub sync: InitEnd,
    /// The container's first process.
    pub first: sys::Handle,
    /// The way into the container's cgroup, where it was not born.
    pub entry: cgroup::Entry,
    /// The root of the container, where no mount namespace leads to it.
    pub root: Option<OwnedFd>,
    /// The namespaces of that process that are not the runtime's own.
    pub namespaces: CloneFlags,
    /// The host's procfs.
    pub proc: OwnedFd,
    /// Where the terminal goes.
    pub console: Option<OwnedFd>,
    /// The process sets its `oom_score_adj` by itself.
    pub own_score: bool,
    /// The container's execution domain.
    pub personality: Option<u32>,
    /// Whether the filter lets the locked-down process make one more.
    pub filter_allows_fork: bool,
    /// Limits are raised, which only the runtime outside the user namespace can do.
    pub limits_from_outside: bool,
}

/// Enters the container and becomes the program. Never returns.
pub fn join(
    proof: &SingleThreaded,
    process: &Process,
    filter: Option<&Filter>,
    mut joining: Joining,
) -> ! {
    match prepare(proof, process, filter, &mut joining) {
        Ok(error) | Err(error) => crate::fail(&joining.sync, &error),
    }
}

fn prepare(
    proof: &SingleThreaded,
    process: &Process,
    filter: Option<&Filter>,
    joining: &mut Joining,
) -> Result<Error, Error> {
    failpoint("runtime.join")?;
    std::mem::take(&mut joining.entry).enter(proof)?;
    if joining.own_score {
        crate::own_oom_score(process, joining.proc.as_fd(), &joining.sync)?;
    }
    joining.sync.wait(ToInit::Attached)?;
    match (&process.exec_affinity.initial, &process.exec_affinity.last) {
        (_, Some(cpus)) => {
            sys::sched_setaffinity(cpus).doing(|| "process.execCPUAffinity.final")?;
        }
        (None, None) => schedule::all_processors(),
        (Some(_), None) => {}
    }
    // From here on nothing in the container may trace this process (CVE-2016-9962).
    sys::set_dumpable(false).doing(|| "hide from the container")?;
    enter(joining)?;
    if let Some(root) = joining.root.take() {
        crate::rootfs::change_root(root.as_fd())?;
    }
    let needs_fork = joining.namespaces.contains(CloneFlags::NEWPID);
    crate::join_keyring(process, joining.proc.as_fd())?;
    let terminal = match (&joining.console, process.terminal) {
        (Some(socket), Some(size)) => Some(console::open_inside(socket, size)?),
        _ => None,
    };
    joining.console = None;
    if terminal.is_none() {
        stdio::reopen_null()?;
    }
    schedule::schedule_process(process)?;
    schedule::personality(joining.personality)?;
    let home = process.find_home.then(|| program::home(process.user.uid)).flatten();
    if joining.limits_from_outside {
        joining.sync.limits()?;
    } else {
        schedule::set_limits(None, &process.limits)?;
    }
    identity::label(process, joining.proc.as_fd())?;
    let locks_first = joining.filter_allows_fork;
    if let Some(terminal) = &terminal {
        stdio::give_one(terminal.as_fd(), process.user.uid)?;
    }
    let mut keep = vec![joining.sync.as_fd()];
    keep.extend(terminal.as_ref().map(AsFd::as_fd));
    if locks_first {
        crate::lock(process, filter, &joining.sync, &keep, joining.proc.as_fd())?;
    }
    if needs_fork {
        fork_inside(proof, joining)?;
    }
    rustix::process::setsid().call(|| "setsid()").doing(|| "new session")?;
    if !locks_first {
        crate::lock(process, filter, &joining.sync, &keep, joining.proc.as_fd())?;
    }
    if let Some(terminal) = terminal {
        terminal.take()?;
    }
    let program = program::find(process)?;
    crate::last_steps(process, filter, &joining.sync)?;
    joining.sync.ready()?;
    Ok(program::execute(&program, process, home))
}

/// Enters all namespaces at once; the PID namespace is for the child only.
fn enter(joining: &Joining) -> Result<(), Error> {
    if joining.namespaces.is_empty() {
        return Ok(());
    }
    joining
        .first
        .enter_namespaces(joining.namespaces, joining.proc.as_fd())
        .doing(|| "join the container")?;
    if joining.namespaces.contains(CloneFlags::NEWUSER) {
        crate::become_root();
    }
    let _before = rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// Goes on in a new process inside the PID namespace, a child of the runtime; this one ends.
fn fork_inside(proof: &SingleThreaded, joining: &Joining) -> Result<(), Error> {
    let args = CloneArgs { flags: CloneFlags::PARENT, cgroup: None, exit_signal: None };
    match sys::clone3(proof, &args).doing(|| "make the process in the PID namespace")? {
        Cloned::Child => Ok(()),
        Cloned::Parent { pid, .. } => {
            let told = joining.sync.pid(pid.as_raw_nonzero().get());
            sys::exit_now(i32::from(told.is_err()))
        }
    }
}
