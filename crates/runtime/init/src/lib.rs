//! What runs inside a new container before its program.
//!
//! After clone(2) the new process has a copy of everything that the runtime prepared: a finished
//! [`plan::InitPlan`], open descriptors, and one end of a socket. [`main`] executes the plan in the
//! order of runc's `standard_init` and never returns: it ends by becoming the container's program,
//! or by sending one line about what went wrong. It parses nothing and reads no configuration.
//!
//! [`intermediate`] is for the cases in which the kernel wants one more process between, and
//! [`join`] is what a process does that enters a running container.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci::runtime::{NamespaceKind, State, Status};
use plan::{Enter, Hooks, InitPlan, Process, SeccompWhen};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::Signal;
use sys::{Call, CloneArgs, CloneFlags, Cloned, SingleThreaded};

mod cgroupfs;
mod console;
mod copy;
mod cover;
mod dev;
mod error;
mod exposed;
mod foreign;
pub mod hook;
mod identity;
mod joining;
mod program;
mod rootfs;
mod schedule;
pub mod source;
mod stdio;
pub mod sync;

pub use cgroupfs::{CgroupTree, CgroupTrees};
pub use error::{Class, Error, one_line};
use error::{Doing, failpoint};
pub use foreign::explain as explain_refusal;
pub use joining::{Joining, join};
pub use schedule::set_limits;
use sync::{InitEnd, ToInit};

/// What the runtime opened before the clone. All of it closes on exec.
#[derive(Debug)]
pub struct Inherited {
    /// This end of the socket.
    pub sync: InitEnd,
    /// What is mounted from the host, where the runtime could open it.
    pub sources: source::Sources,
    /// The mount that the configuration has on `/dev`, when it is there.
    pub dev_mount: Option<u64>,
    /// The host's procfs.
    pub proc: OwnedFd,
    /// The way into the container's cgroup, where it was not born.
    pub entry: cgroup::Entry,
    /// The cgroup trees and the container's place in them.
    pub cgroups: CgroupTrees,
    /// Where the terminal goes.
    pub console: Option<OwnedFd>,
    /// The namespaces that are joined, in order: kind, file, descriptor.
    pub join: Vec<(NamespaceKind, PathBuf, OwnedFd)>,
    /// The runtime writes the ids of the new user namespace.
    pub maps: bool,
    /// The process hides from the namespaces that it joins, before it does.
    pub hidden: bool,
    /// The process sets its `oom_score_adj` by itself.
    pub own_score: bool,
    /// While it waits to be started, the user who made it may look at it: to execute something in
    /// it, as root may anyway.
    pub visible: bool,
    /// The runtime detaches the host's root, while this process goes on.
    pub detached_outside: bool,
    /// How the process learns that it is started.
    pub start: Start,
    /// The state that hooks get, but for the process id.
    pub state: State,
}

/// How the process learns that it is started.
#[derive(Debug)]
pub enum Start {
    /// Over the socket: the runtime that created it also starts it.
    Socket,
    /// Another runtime process writes a byte to a fifo, and reads there of an error that comes after
    /// the start. It is open for reading and writing, so that reading waits until somebody writes.
    Fifo(OwnedFd),
}

/// The longest note of an error, in bytes: what any pipe takes at once, see pipe(7).
pub const LONGEST_NOTE: usize = 4096;

/// Ends the process after telling the runtime why.
fn fail(sync: &InitEnd, error: &Error) -> ! {
    // That nobody listens any more changes nothing: the process ends.
    let _nobody = sync.failed(error.class(), &error.line());
    sys::exit_now(1)
}

/// Enters the namespaces that the clone did not make, makes the container's first process as a child
/// of the runtime, and ends. For namespaces that only a new process is in (PID, time), and for those
/// that must be entered before others are made.
pub fn intermediate(
    proof: &SingleThreaded,
    plan: &InitPlan,
    hooks: &Hooks,
    new: CloneFlags,
    time_offsets: Option<&str>,
    mut inherited: Inherited,
) -> ! {
    let entered = (|| {
        begin(plan, &mut inherited)?;
        if inherited.maps && !new.contains(CloneFlags::NEWUSER) {
            inherited.sync.wait(ToInit::Mapped)?;
            inherited.maps = false;
            become_root();
        }
        enter_all(&std::mem::take(&mut inherited.join))?;
        if new.contains(CloneFlags::NEWTIME) {
            make_time_namespace(&inherited.proc, time_offsets)?;
        }
        let flags = (new - CloneFlags::NEWTIME - CloneFlags::NEWCGROUP) | CloneFlags::PARENT;
        sys::clone3(proof, &CloneArgs { flags, cgroup: None, exit_signal: None })
            .doing(|| "make the first process")
    })();
    match entered {
        Err(error) => fail(&inherited.sync, &error),
        Ok(Cloned::Child) => main(proof, plan, hooks, inherited),
        Ok(Cloned::Parent { pid, .. }) => {
            let told = inherited.sync.pid(pid.as_raw_nonzero().get());
            sys::exit_now(i32::from(told.is_err()))
        }
    }
}

/// What comes before anything that others could see: once, in the process that was cloned first.
fn begin(plan: &InitPlan, inherited: &mut Inherited) -> Result<(), Error> {
    if std::mem::take(&mut inherited.own_score) {
        own_oom_score(&plan.process, inherited.proc.as_fd(), &inherited.sync)?;
    }
    // Among the processes of a namespace that is joined, this one must not be traced before it has
    // let go of its privileges (CVE-2016-9962).
    if std::mem::take(&mut inherited.hidden) {
        sys::set_dumpable(false).doing(|| "hide from joined namespaces")?;
    }
    Ok(())
}

/// Sets this process's own `oom_score_adj`. Lower than it may be: it stays, with a warning.
fn own_oom_score(process: &Process, proc: BorrowedFd<'_>, sync: &InitEnd) -> Result<(), Error> {
    let Some(value) = process.oom_score_adj else { return Ok(()) };
    match fsroot::proc::write_checked(proc, "self/oom_score_adj", value.to_string().as_bytes()) {
        Err(err) if matches!(err.errno(), Errno::ACCESS | Errno::PERM) => {
            sync.warn(&score_stays(value))
        }
        other => other.doing(|| format!("process.oomScoreAdj: {value}")),
    }
}

/// What is said of an `oom_score_adj` that needs `CAP_SYS_RESOURCE`.
pub fn score_stays(value: i32) -> String {
    format!("process.oomScoreAdj: {value} is lower than what this process may set: left as it is")
}

/// Makes a time namespace for the children of this process, and sets its offsets.
pub fn make_time_namespace(proc: &OwnedFd, offsets: Option<&str>) -> Result<(), Error> {
    sys::unshare(CloneFlags::NEWTIME).doing(|| "make the time namespace")?;
    let Some(lines) = offsets else { return Ok(()) };
    // After a change of user the file is not this process's own unless it may be looked at. Nothing
    // of the container exists yet that could.
    sys::set_dumpable(true).doing(|| "linux.timeOffsets")?;
    let written =
        fsroot::proc::write_checked(proc.as_fd(), "self/timens_offsets", lines.as_bytes());
    sys::set_dumpable(false).doing(|| "linux.timeOffsets")?;
    written.doing(|| "linux.timeOffsets")
}

/// Enters namespaces. What the runtime's own user namespace may enter is entered from there; what
/// only the container's may, after that one was entered.
fn enter_all(join: &[(NamespaceKind, PathBuf, OwnedFd)]) -> Result<(), Error> {
    let mut later = Vec::new();
    for (kind, path, ns) in join.iter().filter(|(kind, ..)| *kind != NamespaceKind::User) {
        match enter(*kind, path, ns) {
            Err(Error::Call { source, .. }) if source.errno() == Errno::PERM => {
                later.push((*kind, path, ns));
            }
            other => other?,
        }
    }
    if let Some((kind, path, ns)) = join.iter().find(|(kind, ..)| *kind == NamespaceKind::User) {
        enter(*kind, path, ns)?;
    }
    later.into_iter().try_for_each(|(kind, path, ns)| enter(kind, path, ns))
}

fn enter(kind: NamespaceKind, path: &std::path::Path, ns: &OwnedFd) -> Result<(), Error> {
    sys::setns(ns.as_fd(), plan::flag(kind))
        .doing(|| format!("join the {kind} namespace {}", path.display()))?;
    if kind == NamespaceKind::User {
        become_root();
    }
    Ok(())
}

/// In a user namespace that was just entered: its root, if it has one. The capabilities are there
/// either way.
fn become_root() {
    // Not mapped, or forbidden to an unprivileged user's namespace: it stays what it is.
    let _groups = sys::setgroups(&[]);
    let _gid = sys::setresgid(Gid::from_raw(0));
    let _uid = sys::setresuid(Uid::from_raw(0));
}

/// The container's first process. Never returns.
pub fn main(proof: &SingleThreaded, plan: &InitPlan, hooks: &Hooks, inherited: Inherited) -> ! {
    let (sync, made) = {
        let mut inherited = inherited;
        match make(proof, plan, hooks, &mut inherited) {
            Ok(made) => (inherited, made),
            Err(error) => fail(&inherited.sync, &error),
        }
    };
    start(plan, hooks, &sync, &made)
}

/// What is known when all is made.
struct Made {
    program: std::ffi::CString,
    home: Option<std::ffi::CString>,
    /// What the caller passes on to the program; hooks in between do not get it.
    preserved: Vec<i32>,
}

/// Everything up to the moment in which it waits to be started.
fn make(
    proof: &SingleThreaded,
    plan: &InitPlan,
    hooks: &Hooks,
    inherited: &mut Inherited,
) -> Result<Made, Error> {
    failpoint("runtime.init")?;
    let preserved = sys::open_on_exec(3, plan.process.preserve_fds);
    begin(plan, inherited)?;
    std::mem::take(&mut inherited.entry).enter(proof)?;
    schedule::all_processors();
    if inherited.maps {
        inherited.sync.wait(ToInit::Mapped)?;
        // As the user who called the runtime, if it can be: what that one may see is what counts.
        open_sources(plan, inherited, false)?;
        become_root();
    }
    enter_all(&std::mem::take(&mut inherited.join))?;
    open_sources(plan, inherited, true)?;
    let process = &plan.process;
    rustix::process::setsid().call(|| "setsid()").doing(|| "new session")?;
    join_keyring(process, inherited.proc.as_fd())?;
    if plan.loopback {
        loopback_up()?;
    }
    let umask = rustix::process::umask(Mode::empty());
    enter_root(plan, hooks, inherited)?;
    rustix::process::umask(umask);
    names(plan)?;
    for sysctl in &plan.sysctls {
        fsroot::proc::write_checked(inherited.proc.as_fd(), &sysctl.path, sysctl.value.as_bytes())
            .doing(|| format!("linux.sysctl: {}", sysctl.path))?;
    }
    if process.terminal.is_none() {
        stdio::reopen_null()?;
    }
    schedule::schedule(plan)?;
    let home = process.find_home.then(|| program::home(process.user.uid)).flatten();
    if process.limits_from_outside {
        inherited.sync.limits()?;
    } else {
        schedule::set_limits(None, &process.limits)?;
    }
    identity::label(process, inherited.proc.as_fd())?;
    let mut keep = vec![inherited.sync.as_fd()];
    if let Start::Fifo(fifo) = &inherited.start {
        keep.push(fifo.as_fd());
    }
    lock(process, plan.filter.as_ref(), &inherited.sync, &keep, inherited.proc.as_fd())?;
    if inherited.visible {
        // A change of user has hidden it. By now it has nothing that its container has not.
        sys::set_dumpable(true).doing(|| "show the process to its user")?;
    }
    let program = program::find(process)?;
    last_steps(process, plan.filter.as_ref(), &inherited.sync)?;
    Ok(Made { program, home, preserved })
}

/// Opens what is mounted from the host where the runtime could not. Once, in the mount namespace
/// of the container's own.
fn open_sources(plan: &InitPlan, inherited: &mut Inherited, is_root: bool) -> Result<(), Error> {
    if !plan.rootfs.open_inside || inherited.sources.root.is_some() {
        return Ok(());
    }
    let old = !sys::has_mount_setattr() && plan.rootfs.enter != Enter::Chroot;
    if old && !is_root {
        // Only as a user whom its namespace knows can anything be made there.
        return Ok(());
    }
    let yard = if old {
        Some(mount::Yard::open().doing(|| "mount without the mount API of Linux 5.12")?)
    } else {
        None
    };
    inherited.sources = source::open(&plan.rootfs, &mut |_| {
        let why = if old {
            "need mount_setattr(2) (Linux 5.12), which this kernel does not have"
        } else {
            "are not supported for rootless containers"
        };
        Err(Error::refused("id-mapped mounts", why))
    })?;
    inherited.sources.yard = yard;
    Ok(())
}

/// From the host's root to the container's.
fn enter_root(plan: &InitPlan, hooks: &Hooks, inherited: &mut Inherited) -> Result<(), Error> {
    let (_, other) = sync::pair().doing(|| "sync")?;
    let sync = std::mem::replace(&mut inherited.sync, other);
    let entered = (|| {
        let mut attach =
            rootfs::Attach { sync: &sync, namespace: plan.cgroup_namespace, done: false };
        let rootfs = &plan.rootfs;
        let cwd = &plan.process.cwd;
        let prepared = rootfs::prepare(rootfs, inherited, &mut attach, cwd)?;
        let console = match (&inherited.console, plan.process.terminal) {
            (Some(socket), Some(size)) => {
                let mounts = rootfs.enter != Enter::Chroot;
                Some(console::set_up(&prepared.root, socket, size, mounts)?)
            }
            _ => None,
        };
        inherited.console = None;
        attach.wait()?;
        if !hooks.create_runtime.is_empty() {
            sync.hooks()?;
        }
        if !hooks.create_container.is_empty() {
            // Where runc calls them.
            prepared.go_there()?;
            call_hooks(&hooks.create_container, &inherited.state)?;
        }
        prepared.finish(rootfs, inherited)?;
        prepared.enter(rootfs, inherited, &sync)?;
        console.map_or(Ok(()), console::Console::take)
    })();
    inherited.sync = sync;
    entered
}

/// The lock-down. Before it the standard streams are given away, and everything that leads to the
/// host is closed: from here on paths are the container's to choose.
fn lock(
    process: &Process,
    filter: Option<&plan::Filter>,
    sync: &InitEnd,
    keep: &[BorrowedFd<'_>],
    proc: BorrowedFd<'_>,
) -> Result<(), Error> {
    failpoint("runtime.lock-down")?;
    stdio::give_to(process.user.uid)?;
    sys::close_all_but(3 + process.preserve_fds, keep, proc).doing(|| "close descriptors")?;
    identity::lock_down(process, filter, sync)
}

/// What comes right before the exec.
fn last_steps(
    process: &Process,
    filter: Option<&plan::Filter>,
    sync: &InitEnd,
) -> Result<(), Error> {
    sys::reset_signals().doing(|| "reset signals")?;
    if process.seccomp_when == SeccompWhen::LastBeforeExec {
        identity::install(filter, sync)?;
    }
    Ok(())
}

/// Waits to be started, and becomes the program.
fn start(plan: &InitPlan, hooks: &Hooks, inherited: &Inherited, made: &Made) -> ! {
    let sync = &inherited.sync;
    if let Err(error) = wait_for_start(inherited) {
        fail(sync, &error);
    }
    let state = State { status: Status::Created, ..inherited.state.clone() };
    let mut hooks = hooks.start_container.clone();
    for hook in hooks.iter_mut().filter(|hook| hook.env.is_empty()) {
        // As runc: it runs in the program's place, so it has its environment.
        hook.env = plan.process.env.iter().chain(&made.home).cloned().collect();
    }
    let error = call_hooks(&hooks, &state).err().unwrap_or_else(|| {
        sys::keep_on_exec(&made.preserved);
        program::execute(&made.program, &plan.process, made.home.clone())
    });
    match &inherited.start {
        Start::Socket => fail(sync, &error),
        Start::Fifo(fifo) => {
            let mut note = vec![error.class().to_byte()];
            note.extend_from_slice(error.line().as_bytes());
            // Where `start` looks for it; and where a person looks, as runc's does.
            note.truncate(LONGEST_NOTE);
            let _full = rustix::io::write(fifo, &note);
            let line = format!("{}\n", error.line());
            let _closed = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
            sys::exit_now(255)
        }
    }
}

fn wait_for_start(inherited: &Inherited) -> Result<(), Error> {
    if let Start::Fifo(_) = &inherited.start {
        // It may wait for long, and somebody may want it to end: as soon as it is said to be there.
        sys::end_on_request();
    }
    inherited.sync.ready()?;
    match &inherited.start {
        Start::Socket => inherited.sync.wait(ToInit::Start),
        Start::Fifo(fifo) => {
            let mut byte = [0];
            match rustix::io::retry_on_intr(|| rustix::io::read(fifo, &mut byte)) {
                Ok(1) => Ok(()),
                _ => Err(Error::Abandoned),
            }
        }
    }
}

fn call_hooks(hooks: &[plan::Hook], state: &State) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let state = State { pid, ..state.clone() };
    let json = serde_json::to_vec(&state)
        .map_err(|error| Error::refused("write the state for hooks", error.to_string()))?;
    hook::run(hooks, &json).map_err(Error::from)
}

/// Joins a new session keyring, where the kernel has any. It has no name of its own: a keyring that
/// another container had made under that name would be joined instead. It is the program's, and so has its
/// label.
fn join_keyring(process: &Process, proc: BorrowedFd<'_>) -> Result<(), Error> {
    if !process.new_keyring {
        return Ok(());
    }
    identity::label_keys(process, proc)?;
    match sys::keyctl_join_session() {
        Err(err) if matches!(err.errno(), Errno::NOSYS | Errno::PERM) => Ok(()),
        other => other.map(drop).doing(|| "session keyring"),
    }
}

/// Takes the loopback interface of the calling process's network namespace up.
pub fn loopback_up() -> Result<(), Error> {
    let mut requests = netlink::Requests::new();
    requests.set_loopback_up();
    netlink::RouteSocket::open()
        .and_then(|mut socket| socket.execute(&requests))
        .map_err(|error| Error::refused("take the loopback interface up", chain(&error)))
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn names(plan: &InitPlan) -> Result<(), Error> {
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes())
            .call(|| format!("sethostname({name:?})"))
            .doing(|| "hostname")?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .call(|| format!("setdomainname({name:?})"))
            .doing(|| "domainname")?;
    }
    Ok(())
}

/// The signal that a child's end sends to the runtime.
pub const EXIT_SIGNAL: Signal = Signal::CHILD;

/// Reads what was noted after the start: the class and the line.
pub fn note(bytes: &[u8]) -> (Class, String) {
    let (class, text) = bytes.split_first().map_or((1, bytes), |(class, text)| (*class, text));
    (Class::from_byte(class), String::from_utf8_lossy(text).into_owned())
}
