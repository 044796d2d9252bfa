//! What happens to a container after it was made.

use std::time::Duration;

use oci::runtime::{Resources, State, Status};
use plan::Hooks;
use rustix::event::{PollFd, PollFlags};
use sys::Call;

use crate::create::{Created, json};
use crate::error::{Doing, Error, failpoint};
use crate::record::Record;
use crate::store::{Container, Store};
use crate::{cgroups, process, unit};

/// What tells the process through the fifo that it is started. Where it is still in there, nobody has
/// read it.
const GO: &[u8] = b"0";

/// How long a killed process may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Starts a container that was created: its process executes the container's program before this
/// returns, or the error says why it could not.
pub fn start(store: &Store, id: &str) -> Result<(), Error> {
    let container = store.lock(id)?;
    let record = container.expect_record()?;
    match container.status(&record)? {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::Refused(format!("cannot start a container that has stopped: {id}")));
        }
        status => return Err(Error::Status { what: "start", id: id.to_owned(), status }),
    }
    let fifo = container.open_fifo()?.ok_or(Error::Ended("started"))?;
    failpoint("runtime.start")?;
    rustix::io::retry_on_intr(|| rustix::io::write(&fifo, GO))
        .call(|| "write(exec.fifo)")
        .doing(|| "start")?;
    wait_for_exec(&fifo)?;
    let note = container.start_error();
    container.remove_fifo()?;
    failpoint("runtime.started")?;
    if note.as_deref() == Some(GO) {
        return Err(Error::Ended("started"));
    }
    if let Some(note) = note {
        // It has closed the fifo, and is about to end.
        if let Some(handle) = process::open(record.pid, record.start_time)? {
            process::wait_end(&handle, KILL_PATIENCE)?;
        }
        let (class, text) = init::note(&note);
        return Err(Error::Init { class, text });
    }
    poststart(&record)
}

/// Waits until the process has executed its program, or ended: both close its end of the fifo.
fn wait_for_exec(fifo: &std::os::fd::OwnedFd) -> Result<(), Error> {
    let mut fds = [PollFd::new(fifo, PollFlags::empty())];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
        .call(|| "poll(exec.fifo)")
        .doing(|| "wait for the program to be executed")
        .map(drop)
}

impl Created {
    /// Starts it: for the process that made it and keeps it (`run`).
    pub fn start(&self) -> Result<(), Error> {
        use init::sync::{FromInit, ToInit};
        if !self.told {
            failpoint("runtime.start")?;
            self.sync.send(ToInit::Start).doing(|| "sync")?;
        }
        match self.sync.receive().doing(|| "sync")? {
            FromInit::Closed => {}
            other => return Err(crate::create::unexpected(other)),
        }
        failpoint("runtime.started")?;
        poststart(&self.record)
    }
}

fn poststart(record: &Record) -> Result<(), Error> {
    if record.poststart.is_empty() {
        return Ok(());
    }
    let hooks = oci::runtime::Hooks { poststart: record.poststart.clone(), ..Default::default() };
    let called =
        init::hook::run(&Hooks::new(&hooks)?.poststart, &json(&record.state(Status::Running))?);
    if let (Err(_), Some(handle)) = (&called, process::open(record.pid, record.start_time)?) {
        process::signal(&handle, process::KILL)?;
    }
    Ok(called?)
}

/// Calls the hooks for after the end. They are all called, also when one fails.
pub(crate) fn poststop(record: &Record) -> Result<(), Error> {
    if record.poststop.is_empty() {
        return Ok(());
    }
    let hooks = oci::runtime::Hooks { poststop: record.poststop.clone(), ..Default::default() };
    let state = json(&record.state(Status::Stopped))?;
    let mut result = Ok(());
    for hook in Hooks::new(&hooks)?.poststop {
        if let Err(error) = init::hook::run(&[hook], &state) {
            result = result.and(Err(error.into()));
        }
    }
    result
}

/// Sends a signal to the container's first process, or to all processes in its cgroup.
///
/// SIGKILL to the first process ends them all: by the kernel where it is the first of its PID
/// namespace, and else by us. So it reaches also what the first process has left behind.
pub fn kill(store: &Store, id: &str, signal: i32, all: bool) -> Result<(), Error> {
    let container = store.find(id)?;
    let record = container.expect_record()?;
    let first = process::open(record.pid, record.start_time)?;
    if all && record.cgroup_path.is_empty() {
        return kill_without_cgroup(&record, signal);
    }
    // In a cgroup that others were in already, most are not the container's.
    let is_own = !record.cgroup_shared;
    if all && is_own {
        return kill_all(&record, signal).map(drop);
    }
    if signal == process::KILL
        && is_own
        && !first.as_ref().is_some_and(|_| process::is_first(record.pid))
    {
        // Without a cgroup, which a user may have been denied, there is still the first process.
        let killed = kill_all(&record, signal)?;
        let sent = first.map(|handle| process::signal(&handle, signal)).transpose()?;
        if killed || sent.is_some() {
            return Ok(());
        }
    } else if let Some(handle) = first
        && process::signal(&handle, signal)?
    {
        return wake_for(&record, signal);
    }
    Err(Error::Refused("container not running".to_owned()))
}

/// A frozen process of cgroup v1 does not even die.
fn wake_for(record: &Record, signal: i32) -> Result<(), Error> {
    if signal == process::KILL
        && let Some(cgroup) = cgroups::open(&record.cgroup_path)?
        && cgroup.is_frozen().unwrap_or(false)
    {
        cgroup.thaw()?;
    }
    Ok(())
}

/// Answers whether there was any process.
fn kill_all(record: &Record, signal: i32) -> Result<bool, Error> {
    let Some(cgroup) = cgroups::open(&record.cgroup_path)? else { return Ok(false) };
    if cgroup.procs()?.is_empty() {
        return Ok(false);
    }
    if signal == process::KILL {
        cgroup.kill_all()?;
    } else {
        cgroup.signal_all(signal)?;
    }
    Ok(true)
}

/// Without a cgroup only the first process is known. Where it has a PID namespace of its own, the
/// others end with it.
fn kill_without_cgroup(record: &Record, signal: i32) -> Result<(), Error> {
    let namespaces = sys::CloneFlags::from_bits_retain(record.namespaces);
    if let Some(handle) = process::open(record.pid, record.start_time)? {
        if !namespaces.contains(sys::CloneFlags::NEWPID) {
            return Err(Error::Refused(format!(
                "cannot find all processes of {}: it has neither a cgroup nor a PID namespace of \
                 its own",
                record.id
            )));
        }
        process::signal(&handle, signal)?;
    }
    Ok(())
}

/// Removes a container and all that was made for it. With `force` also one that runs, and one that
/// is not there.
pub fn delete(store: &Store, id: &str, force: bool) -> Result<Vec<String>, Error> {
    let container = match store.lock(id) {
        Err(Error::NotFound(_)) if force => return Ok(Vec::new()),
        other => other?,
    };
    let Some(record) = container.record()? else {
        // Its creator was killed at the very beginning: there is nothing but the directory.
        container.remove()?;
        return Ok(Vec::new());
    };
    match container.status_without_cgroup(&record)? {
        Some(Status::Stopped) => {}
        None if !force => {
            let status = container.status(&record)?;
            return Err(Error::Refused(format!(
                "cannot delete container {id} that is not stopped: {status}"
            )));
        }
        _ => end(&record)?,
    }
    destroy(&container, &record)
}

/// Kills the first process and waits until it has ended.
pub(crate) fn end(record: &Record) -> Result<(), Error> {
    failpoint("runtime.kill")?;
    let Some(handle) = process::open(record.pid, record.start_time)? else { return Ok(()) };
    process::signal(&handle, process::KILL)?;
    wake_for(record, process::KILL)?;
    if process::wait_end(&handle, KILL_PATIENCE)? {
        Ok(())
    } else {
        Err(Error::Refused(format!("container {} does not end", record.id)))
    }
}

/// Removes what is left of a container that has stopped; its poststop hooks' failures are warnings.
pub(crate) fn destroy(container: &Container, record: &Record) -> Result<Vec<String>, Error> {
    failpoint("runtime.destroy")?;
    remove_cgroup(record)?;
    if let Some(class) = &record.rdt {
        class.remove()?;
    }
    container.remove()?;
    Ok(match poststop(record) {
        Ok(()) => Vec::new(),
        Err(error) => vec![error.line()],
    })
}

/// The state of a container.
pub fn state(store: &Store, id: &str) -> Result<(State, Record), Error> {
    let container = store.find(id)?;
    let record = container.expect_record()?;
    let status = container.status(&record)?;
    Ok((record.state(status), record))
}

/// The record of a container.
pub fn record(store: &Store, id: &str) -> Result<Record, Error> {
    store.find(id)?.expect_record()
}

/// The states of all containers. One that vanishes meanwhile is left out.
pub fn list(store: &Store) -> Result<Vec<(State, Record)>, Error> {
    let mut all = Vec::new();
    for id in store.ids()? {
        match state(store, &id) {
            Err(Error::NotFound(_)) => {}
            other => all.push(other?),
        }
    }
    Ok(all)
}

/// The cgroup of a container that is not stopped.
pub(crate) fn live(
    store: &Store,
    id: &str,
    what: &'static str,
) -> Result<(cgroup::Cgroup, Status), Error> {
    let container = store.find(id)?;
    let record = container.expect_record()?;
    let status = container.status(&record)?;
    let missing = || Error::Status { what, id: id.to_owned(), status: Status::Stopped };
    if status == Status::Stopped {
        return Err(missing());
    }
    if record.cgroup_path.is_empty() {
        return Err(without_cgroup(what, id));
    }
    Ok((cgroups::open(&record.cgroup_path)?.ok_or_else(missing)?, status))
}

/// Freezes all processes of a container.
pub fn pause(store: &Store, id: &str) -> Result<(), Error> {
    match live(store, id, "pause")? {
        (cgroup, Status::Running | Status::Created) => Ok(cgroup.freeze()?),
        (_, status) => Err(Error::Status { what: "pause", id: id.to_owned(), status }),
    }
}

/// Lets them go on.
pub fn resume(store: &Store, id: &str) -> Result<(), Error> {
    match live(store, id, "resume")? {
        (cgroup, Status::Paused) => Ok(cgroup.thaw()?),
        (_, status) => Err(Error::Status { what: "resume", id: id.to_owned(), status }),
    }
}

/// Changes the limits of a container; what `resources` does not name stays, and when one cannot be
/// had, all stay. Answers what was asked for and is not done.
pub fn update(store: &Store, id: &str, resources: &Resources) -> Result<Vec<String>, Error> {
    // One at a time: each looks at what is there.
    let _locked = store.lock(id)?;
    let (cgroup, _) = live(store, id, "update")?;
    let limits = plan::limits(resources)?;
    match record(store, id)?.unit {
        Some(unit) => unit::update(&unit, &cgroup, &limits)?,
        None => cgroup.update(&limits).map_err(cgroups::limit_error)?,
    }
    Ok(plan::ignored(resources))
}

fn without_cgroup(what: &str, id: &str) -> Error {
    Error::Refused(format!(
        "cannot {what} the container {id}: it has no cgroup, which this user may not make"
    ))
}

/// The processes in a container, by their ids on the host. One that has stopped has none.
pub fn processes(store: &Store, id: &str) -> Result<Vec<i32>, Error> {
    let container = store.find(id)?;
    let record = container.expect_record()?;
    if container.status_without_cgroup(&record)? == Some(Status::Stopped) {
        return Ok(Vec::new());
    }
    if record.cgroup_path.is_empty() {
        return Err(without_cgroup("list the processes of", id));
    }
    let cgroup = cgroups::open(&record.cgroup_path)?;
    Ok(cgroup.map(|cgroup| cgroup.procs()).transpose()?.unwrap_or_default())
}

/// Removes a container's cgroup, with what is left in it if that is all its own.
pub(crate) fn remove_cgroup(record: &Record) -> Result<(), Error> {
    if record.cgroup_shared {
        return cgroups::leave(&record.cgroup_path);
    }
    cgroups::destroy(&record.cgroup_path)?;
    unit::stop(record.unit.as_ref())
}
