//! Executing another process in a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use init::Joining;
use init::sync::{FromInit, RuntimeEnd, ToInit};
use oci::runtime::{Process as ProcessSpec, Status};
use plan::{Filter, Process};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use sys::{Call, CloneFlags, Cloned, Handle, SingleThreaded};

use crate::announce::Announce;
use crate::create::{console, reap, unexpected};
use crate::error::{Doing, Error, failpoint};
use crate::listener::{send_listener, take_listener};
use crate::making::{clone_into, oom_score_inside};
use crate::record::Record;
use crate::store::Store;
use crate::{cgroups, facts, process, sub_cgroup, unit};

/// What is asked for besides the process.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Who is told of the process.
    pub announce: Announce,
    /// Gets the terminal.
    pub console_socket: Option<PathBuf>,
    /// Gets the terminal, where the caller made the socket itself.
    pub console: Option<std::sync::Arc<OwnedFd>>,
    /// For the plan.
    pub plan: plan::Options,
    /// Do it also when the container is paused: the process waits until it is resumed.
    pub ignore_paused: bool,
    /// Cgroups below the container's, `[CONTROLLER[,...]:]PATH`; none is the container's own.
    pub cgroup: Vec<String>,
}

/// A process that was executed.
#[derive(Debug)]
pub struct Executed {
    /// Its id.
    pub pid: i32,
    /// A handle of it. It is a child of this process.
    pub handle: Handle,
    /// The processors that it began on, a bit for each, where the container says so.
    pub affinity: Option<Vec<u64>>,
}

/// Executes `spec` in container `id`. What was asked for and is not done is added to `warnings`, also
/// on failure.
pub fn exec(
    proof: &SingleThreaded,
    store: &Store,
    id: &str,
    spec: &ProcessSpec,
    options: &ExecOptions,
    warnings: &mut Vec<String>,
) -> Result<Executed, Error> {
    let container = store.find(id)?;
    let mut record = container.expect_record()?;
    if container.await_made()? {
        record = container.expect_record()?;
    }
    let cgroup = cgroup(&record, options)?;
    match container.status_in(&record, cgroup.as_ref())? {
        Status::Created | Status::Running => {}
        Status::Paused if options.ignore_paused => {}
        Status::Paused => {
            return Err(Error::Refused(format!(
                "cannot exec in a paused container (use --ignore-paused to override): {id}"
            )));
        }
        status => return Err(Error::Status { what: "exec in", id: id.to_owned(), status }),
    }
    let facts = facts::of_process(spec)?;
    let namespaces = CloneFlags::from_bits_retain(record.namespaces);
    let own_user = namespaces.contains(CloneFlags::NEWUSER);
    let plan = Process {
        landlock: plan::landlock(&record.annotations)?,
        ..Process::new(spec, own_user, &facts, options.plan, warnings)?
    };
    let filter = container.filter()?;
    let terminal = plan.terminal.is_some();
    let console = console(terminal, options.console_socket.as_deref(), options.console.as_deref())?;
    let init = process::open(record.pid, record.start_time)?.ok_or(Error::Status {
        what: "exec in",
        id: id.to_owned(),
        status: Status::Stopped,
    })?;
    let (sync, theirs) = init::sync::pair().doing(|| "sync")?;
    let cgroup = cgroup.filter(|_| !unit::needs_help(record.unit.as_ref()));
    let entry = match &cgroup {
        Some(cgroup) => cgroup.entry()?,
        None => cgroup::Entry::default(),
    };
    let mut joining = Joining {
        sync: theirs,
        entry,
        root: root(&record)?,
        namespaces: to_join(namespaces, record.pid)?,
        first: init,
        proc: fsroot::proc::open_host().doing(|| "/proc")?,
        console,
        own_score: oom_score_inside(),
        personality: record.personality,
        filter_allows_fork: filter.as_ref().is_none_or(Filter::allows_fork),
        limits_from_outside: plan.limits_from_outside,
    };
    let affinity = plan.exec_affinity.initial.as_deref().map(Affinity::set).transpose()?;
    failpoint("runtime.exec")?;
    let none = CloneFlags::empty();
    let cloned = clone_into(proof, none, cgroup.as_ref(), &mut joining.entry)?;
    match cloned {
        Cloned::Child => {
            drop(sync);
            init::join(proof, &plan, filter.as_ref(), joining)
        }
        Cloned::Parent { pid, handle } => {
            drop(joining);
            drop(affinity);
            let mut child = Child { pid: pid.as_raw_nonzero().get(), handle };
            let joined = unit::join(record.unit.as_ref(), &options.cgroup, child.pid);
            let attended = joined.and_then(|()| child.attend(&plan, &record, &sync, warnings));
            let told = attended.and_then(|()| options.announce.tell(child.pid, &child.handle));
            match told {
                Ok(()) => Ok(Executed {
                    pid: child.pid,
                    handle: child.handle,
                    affinity: plan.exec_affinity.initial,
                }),
                Err(error) => {
                    process::signal(&child.handle, process::KILL)?;
                    reap(&child.handle)?;
                    Err(error)
                }
            }
        }
    }
}

/// The processors of this process, which the new one inherits. Dropped, they are again what they
/// were.
struct Affinity(Vec<u64>);

impl Affinity {
    fn set(initial: &[u64]) -> Result<Self, Error> {
        let doing = || "process.execCPUAffinity.initial";
        let before = sys::sched_getaffinity().doing(doing)?;
        sys::sched_setaffinity(initial).doing(doing)?;
        Ok(Self(before))
    }
}

impl Drop for Affinity {
    fn drop(&mut self) {
        // What this process may no longer use it can do without.
        let _less = sys::sched_setaffinity(&self.0);
    }
}

/// The namespaces to enter. A user namespace that is our own cannot be entered.
fn to_join(namespaces: CloneFlags, pid: i32) -> Result<CloneFlags, Error> {
    if !namespaces.contains(CloneFlags::NEWUSER) {
        return Ok(namespaces);
    }
    let inode = |who: &str| {
        let path = format!("/proc/{who}/ns/user");
        rustix::fs::stat(&path).call(|| format!("stat({path:?})")).doing(|| "user namespace")
    };
    let (ours, theirs) = (inode("self")?, inode(&pid.to_string())?);
    if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) {
        return Ok(namespaces - CloneFlags::NEWUSER);
    }
    Ok(namespaces)
}

/// The container's root, where it has no mount namespace of its own: to enter that would lead there, and so its
/// first process has changed its root with chroot(2).
fn root(record: &Record) -> Result<Option<OwnedFd>, Error> {
    if CloneFlags::from_bits_retain(record.namespaces).contains(CloneFlags::NEWNS) {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&record.rootfs, flags, Mode::empty())
        .call(|| format!("open({:?})", record.rootfs))
        .doing(|| "root.path")
        .map(Some)
}

fn cgroup(record: &Record, options: &ExecOptions) -> Result<Option<cgroup::Cgroup>, Error> {
    let mut cgroup = cgroups::open(&record.cgroup_path)?;
    match &mut cgroup {
        Some(cgroup) => sub_cgroup::descend(cgroup, &options.cgroup)?,
        None if options.cgroup.is_empty() => {}
        None => {
            let why = "--cgroup: the container has no cgroup";
            return Err(Error::Refused(why.to_owned()));
        }
    }
    Ok(cgroup)
}

/// The process on its way into the container.
struct Child {
    pid: i32,
    handle: Handle,
}

impl Child {
    fn attend(
        &mut self,
        plan: &Process,
        record: &Record,
        sync: &RuntimeEnd,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        if let Some(value) = plan.oom_score_adj.filter(|_| !oom_score_inside()) {
            let proc = fsroot::proc::open_host().doing(|| "/proc")?;
            set_oom_score(&proc, self.pid, value, warnings)?;
        }
        if let Some(class) = &record.rdt {
            class.assign(self.pid)?;
        }
        sync.send(ToInit::Attached).doing(|| "sync")?;
        let mut ready = false;
        // From where it is inside the PID namespace, what runs there may have taken it over (with
        // CAP_SYS_PTRACE): it is believed what it may say, once.
        let mut adopted = false;
        let mut listener = record.listener.is_some();
        loop {
            match sync.receive().doing(|| "sync")? {
                FromInit::Ready => ready = true,
                // Its end closes on exec.
                FromInit::Closed if ready => return Ok(()),
                FromInit::Warning(text) => warn(warnings, text),
                FromInit::Pid(pid) if !std::mem::replace(&mut adopted, true) => self.adopt(pid)?,
                FromInit::Limits => {
                    init::set_limits(Pid::from_raw(self.pid), &plan.limits)
                        .map_err(|error| Error::Refused(error.line()))?;
                    sync.send(ToInit::Done).doing(|| "sync")?;
                }
                FromInit::ListenerAt(number) if std::mem::take(&mut listener) => {
                    let fd = take_listener(sync, &self.handle, number)?;
                    let state = record.state(Status::Running);
                    send_listener(record.listener.as_ref(), &fd, self.pid, state)?;
                    sync.send(ToInit::Done).doing(|| "sync")?;
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    fn adopt(&mut self, pid: i32) -> Result<(), Error> {
        let handle = process::open_child(pid)?;
        let intermediate = std::mem::replace(self, Self { pid, handle });
        reap(&intermediate.handle)
    }
}

/// How many warnings of a new process are kept: it makes a few, whatever was asked for.
const MOST_WARNINGS: usize = 64;

/// Keeps a warning.
pub(crate) fn warn(warnings: &mut Vec<String>, text: String) {
    if warnings.len() < MOST_WARNINGS {
        warnings.push(text);
    }
}

/// Sets a process's `oom_score_adj`. Below what it may be, it stays with a warning.
pub(crate) fn set_oom_score(
    proc: &OwnedFd,
    pid: i32,
    value: i32,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let path = format!("{pid}/oom_score_adj");
    let text = value.to_string();
    match fsroot::proc::write_checked(proc.as_fd(), &path, text.as_bytes()) {
        Err(err) if matches!(err.errno(), Errno::ACCESS | Errno::PERM) => {
            warnings.push(init::score_stays(value));
            Ok(())
        }
        other => other.doing(|| format!("process.oomScoreAdj: {value}")),
    }
}

/// Reads a process's description, for `exec --process`.
pub fn read_process(path: &std::path::Path) -> Result<ProcessSpec, Error> {
    crate::document::read(path, "--process")
}
