//! Making a container: from a bundle to a process that waits to be started.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::{Cgroup, Hierarchy, Resources};
use init::sync::{FromInit, RuntimeEnd, ToInit};
use init::{Inherited, Start};
use oci::runtime::{ContainerProcessState, NamespaceKind, Spec, State, Status};
use plan::{Plan, flag};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use sys::{Call, CloneArgs, CloneFlags, Cloned, SingleThreaded};

use crate::error::{Doing, Error, failpoint};
use crate::exec::warn;
use crate::netdev::Moved;
use crate::record::{Record, now};
use crate::store::{Container, Store};
use crate::{cgroups, facts, maps, prepare, process, rdt, unit};

/// What is asked for besides the configuration.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// Gets the process id.
    pub pid_file: Option<PathBuf>,
    /// Gets the terminal.
    pub console_socket: Option<PathBuf>,
    /// Gets the terminal, if there is one and no other socket: the caller's own.
    pub console: Option<std::sync::Arc<OwnedFd>>,
    /// For the plan.
    pub plan: plan::Options,
}

/// A container that waits to be started.
#[derive(Debug)]
pub struct Created {
    /// Its first process.
    pub pid: i32,
    /// A handle of that.
    pub pidfd: OwnedFd,
    /// It has a terminal.
    pub terminal: bool,
    /// What was asked for and is not done.
    pub warnings: Vec<String>,
    pub(crate) record: Record,
    pub(crate) sync: RuntimeEnd,
    /// It knows already that it is started, see [`starts_at_once`].
    pub(crate) told: bool,
}

/// How the process will learn that it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Over the socket of the process that creates it: `run`.
    Here,
    /// At the fifo in its directory: `create`, and later `start`.
    AtFifo,
}

/// Reads a bundle's configuration.
pub fn read_spec(bundle: &Path) -> Result<Spec, Error> {
    crate::document::read(&bundle.join("config.json"), "bundle")
}

/// Makes container `id`. On failure nothing of it is left.
pub fn create(
    proof: &SingleThreaded,
    store: &Store,
    id: &str,
    options: &CreateOptions,
    waits: Waits,
) -> Result<Created, Error> {
    crate::store::check_id(id)?;
    let spec = read_spec(&options.bundle)?;
    let facts = facts::of_container(&spec)?;
    let mut plan = Plan::new(&spec, id, &options.bundle, &facts, options.plan)?;
    let terminal = plan.init.process.terminal.is_some();
    let console = console(terminal, options.console_socket.as_deref(), options.console.as_deref())?;
    let hierarchy = cgroups::hierarchy(plan.cgroup_optional)?;
    if let Some(unit) = &plan.unit {
        plan.cgroup_path = unit::path(unit, hierarchy)?;
    }
    let container = store.reserve(id)?;
    let told = starts_at_once(&plan, options, waits);
    let mut making = Making {
        starts_at_once: told,
        record: record(&spec, &plan, id, options),
        container,
        cgroup_is_ours: false,
        child: None,
        hooks: false,
        net_devices: None,
    };
    match making.make(proof, &plan, hierarchy, console, waits) {
        Ok((sync, mut warnings)) => {
            if let Some(path) = &options.pid_file
                && let Err(error) = write_pid_file(path, making.record.pid)
            {
                return Err(making.undo(error));
            }
            let Some((pid, pidfd)) = making.child.take() else {
                return Err(making.undo(Error::Ended("created")));
            };
            warnings.splice(0..0, plan.warnings);
            if making.record.cgroup_path.is_empty() && !plan.namespaces.has(NamespaceKind::Pid) {
                warnings.push(
                    "a container with neither a cgroup nor a PID namespace of its own: its \
                     processes cannot all be found and killed"
                        .to_owned(),
                );
            }
            Ok(Created { pid, pidfd, terminal, warnings, record: making.record, sync, told })
        }
        Err(error) => Err(making.undo(error)),
    }
}

/// Whether the process may execute its program as soon as it is ready: for `run`, where nothing is
/// to be done here in between. It spares the process to wait, asleep, for an answer.
fn starts_at_once(plan: &Plan, options: &CreateOptions, waits: Waits) -> bool {
    let process = &plan.init.process;
    let asks = !plan.hooks.create_runtime.is_empty()
        || process.limits_from_outside
        || plan.init.filter.as_ref().is_some_and(|filter| filter.listener.is_some());
    waits == Waits::Here
        && Course::of(plan) == Course::Direct
        && !asks
        && process.terminal.is_none()
        && options.pid_file.is_none()
}

/// The socket that the terminal goes to.
pub(crate) fn console(
    terminal: bool,
    path: Option<&Path>,
    own: Option<&OwnedFd>,
) -> Result<Option<OwnedFd>, Error> {
    match (path, own, terminal) {
        (Some(path), None, true) => prepare::connect(path, "--console-socket").map(Some),
        (None, Some(own), true) => {
            own.try_clone().call(|| "dup(console)").doing(|| "terminal").map(Some)
        }
        (None, None, true) => Err(Error::Refused(
            "cannot allocate tty if dhow-runtime will detach without setting console socket".into(),
        )),
        (Some(_), _, _) => Err(Error::Refused(
            "cannot use console socket if dhow-runtime will not detach or allocate tty".into(),
        )),
        (None, _, false) => Ok(None),
    }
}

pub(crate) fn record(spec: &Spec, plan: &Plan, id: &str, options: &CreateOptions) -> Record {
    let hooks = spec.hooks.clone().unwrap_or_default();
    let joined = plan.namespaces.join.iter().fold(CloneFlags::empty(), |all, j| all | flag(j.kind));
    Record {
        oci_version: spec.oci_version.clone(),
        id: id.to_owned(),
        bundle: options.bundle.clone(),
        rootfs: plan.init.rootfs.root.path.clone(),
        created: now(),
        pid: 0,
        start_time: 0,
        cgroup_path: plan.cgroup_path.clone(),
        cgroup_shared: false,
        unit: plan.unit.as_ref().map(|unit| unit.id.clone()),
        namespaces: (plan.namespaces.new | joined).bits(),
        owner: rustix::process::getuid().as_raw(),
        no_new_keyring: options.plan.no_new_keyring,
        process: spec.process.clone().unwrap_or_default(),
        annotations: spec.annotations.clone(),
        listener: plan.init.filter.as_ref().and_then(|filter| filter.listener.clone()),
        rdt: None,
        poststart: hooks.poststart,
        poststop: hooks.poststop,
    }
}

/// Makes a process that is born in the cgroup's v2 tree. Where the kernel cannot (before Linux 5.7),
/// or a filter hides clone3(2), the process goes there itself, by the `entry`.
pub(crate) fn clone_into(
    proof: &SingleThreaded,
    flags: CloneFlags,
    cgroup: Option<&Cgroup>,
    entry: &mut cgroup::Entry,
) -> Result<Cloned, Error> {
    let clone = |into: Option<&OwnedFd>| {
        let flags = if into.is_some() { flags | CloneFlags::INTO_CGROUP } else { flags };
        let cgroup = into.map(AsFd::as_fd);
        let exit_signal = Some(init::EXIT_SIGNAL);
        sys::clone3(proof, &CloneArgs { flags, cgroup, exit_signal })
    };
    let into = cgroup.map(Cgroup::v2_dir).transpose()?.flatten();
    match clone(into.as_ref()) {
        Err(error)
            if into.is_some()
                && matches!(error.errno(), Errno::NOSYS | Errno::TOOBIG | Errno::INVAL) =>
        {
            if let Some(cgroup) = cgroup {
                *entry = cgroup.entry_everywhere()?;
            }
            clone(None)
        }
        other => other,
    }
    .doing(|| "make the process")
}

/// A container that is being made, and what has to be undone when that fails.
pub(crate) struct Making {
    /// It is told at once that it is started, see [`starts_at_once`].
    pub(crate) starts_at_once: bool,
    pub(crate) container: Container,
    pub(crate) record: Record,
    pub(crate) cgroup_is_ours: bool,
    pub(crate) child: Option<(i32, OwnedFd)>,
    pub(crate) hooks: bool,
    pub(crate) net_devices: Option<Moved>,
}

impl Making {
    fn make(
        &mut self,
        proof: &SingleThreaded,
        plan: &Plan,
        hierarchy: Option<&Hierarchy>,
        console: Option<OwnedFd>,
        waits: Waits,
    ) -> Result<(RuntimeEnd, Vec<String>), Error> {
        let shared = match hierarchy {
            Some(hierarchy) => cgroups::check(hierarchy, &plan.cgroup_path)?,
            None => None,
        };
        self.record.cgroup_shared = shared.is_some();
        let rdt = plan.rdt.as_ref().map(rdt::prepare).transpose()?;
        self.record.rdt = rdt.as_ref().map(|rdt| rdt.class.clone());
        self.container.save(&self.record)?;
        if let Some(filter) = &plan.init.filter {
            self.container.save_filter(filter)?;
        }
        let (sync, theirs) = init::sync::pair().doing(|| "sync")?;
        let proc = fsroot::proc::open_host().doing(|| "/proc")?;
        let sources = prepare::sources(proof, &plan.init.rootfs, &proc)?;
        let join = prepare::namespaces(&plan.namespaces.join)?;
        prepare::check_not_the_hosts(&join, &plan.init)?;
        if let Some(wanted) = &plan.namespaces.joined_maps {
            maps::check_joined(proof, &join, &proc, wanted)?;
        }
        let start = match waits {
            Waits::Here => Start::Socket,
            Waits::AtFifo => self.container.make_start()?,
        };
        // The namespace that is joined by then belongs to the new process alone.
        let joined = prepare::clone_namespaces(&join, NamespaceKind::Network)?;
        self.cgroup_is_ours = true;
        let mut cgroup = match (hierarchy, &plan.unit) {
            // systemd makes it around the process.
            (_, Some(_)) => None,
            (Some(hierarchy), None) => cgroups::make(hierarchy, plan, &mut self.cgroup_is_ours)?,
            (None, None) => cgroups::none(plan, None)?,
        };
        if cgroup.is_none() && plan.unit.is_none() {
            self.without_cgroup()?;
        }
        let entry = cgroup.as_ref().map(Cgroup::entry).transpose()?.unwrap_or_default();
        let namespace = plan.namespaces.has(NamespaceKind::Cgroup);
        let inherited = Inherited {
            sync: theirs,
            sources,
            dev_mount: None,
            proc,
            entry,
            cgroups: match (&cgroup, hierarchy, &plan.unit) {
                (Some(cgroup), ..) => cgroups::trees(cgroup, namespace),
                (None, Some(hierarchy), Some(_)) => {
                    let places = hierarchy.places(&plan.cgroup_path);
                    cgroups::trees_at(places, &plan.cgroup_path, namespace)
                }
                _ => cgroups::trees_without(hierarchy, namespace),
            },
            hidden: !plan.namespaces.join.is_empty(),
            own_score: oom_score_inside(),
            visible: oom_score_inside() && plan.namespaces.join.is_empty(),
            console,
            join,
            maps: plan.namespaces.maps.is_some(),
            start,
            state: self.record.state(Status::Creating),
        };
        let ours = inherited.proc.try_clone().call(|| "dup(/proc)").doing(|| "/proc")?;
        let sync = self.spawn(proof, plan, inherited, &mut cgroup, sync)?;
        let host = Host { proc: ours, joined, rdt };
        let mut warnings: Vec<String> = shared.into_iter().collect();
        warnings.extend(self.attend(plan, cgroup.as_ref(), &host, &sync)?);
        Ok((sync, warnings))
    }

    /// There is no cgroup, and from here on nobody looks for one.
    fn without_cgroup(&mut self) -> Result<(), Error> {
        self.cgroup_is_ours = false;
        self.record.cgroup_path.clear();
        self.container.save(&self.record)
    }

    /// Clones, into the cgroup if there is one.
    fn born(
        &mut self,
        proof: &SingleThreaded,
        plan: &Plan,
        flags: CloneFlags,
        cgroup: &mut Option<Cgroup>,
        inherited: &mut Inherited,
    ) -> Result<Cloned, Error> {
        if let Some(own) = cgroup {
            match clone_into(proof, flags, Some(own), &mut inherited.entry) {
                // The way there leads through a cgroup that is not this user's.
                Err(Error::Call { source, .. }) if is_denied(&source) => {
                    self.cgroup_is_ours = false;
                    cgroups::give_up(&self.record.cgroup_path)?;
                    if !plan.cgroup_optional {
                        return Err(cgroups::denied(&source.into()));
                    }
                    *cgroup = cgroups::none(plan, Some(source.into()))?;
                }
                other => return other,
            }
            self.without_cgroup()?;
            inherited.entry = cgroup::Entry::default();
            for tree in &mut inherited.cgroups.trees {
                tree.own = None;
            }
        }
        let exit_signal = Some(init::EXIT_SIGNAL);
        sys::clone3(proof, &CloneArgs { flags, cgroup: None, exit_signal })
            .doing(|| "make the process")
    }

    /// Clones, and leaves the child to `init`.
    fn spawn(
        &mut self,
        proof: &SingleThreaded,
        plan: &Plan,
        mut inherited: Inherited,
        cgroup: &mut Option<Cgroup>,
        sync: RuntimeEnd,
    ) -> Result<RuntimeEnd, Error> {
        let course = Course::of(plan);
        let mut flags = match course {
            Course::Direct => plan.namespaces.new,
            Course::Staged => CloneFlags::empty(),
            Course::UserFirst => CloneFlags::NEWUSER,
        };
        let pending = plan.namespaces.new - flags;
        // Time: only for children, of whom this is the one. Cgroup: when it is in its cgroup.
        let restore = if flags.contains(CloneFlags::NEWTIME) {
            let offsets = plan.namespaces.time_offsets.as_deref();
            let own = own_namespace("time")?;
            init::make_time_namespace(&inherited.proc, offsets)
                .map_err(|error| Error::Refused(error.line()))?;
            Some(own)
        } else {
            None
        };
        flags -= CloneFlags::NEWTIME | CloneFlags::NEWCGROUP;
        failpoint("runtime.clone")?;
        match self.born(proof, plan, flags, cgroup, &mut inherited)? {
            Cloned::Child => {
                // Else it would keep the socket open by itself, and never see the runtime end.
                drop(sync);
                self.container.unlock();
                if course == Course::Direct {
                    init::main(proof, &plan.init, &plan.hooks, inherited)
                }
                let offsets = plan.namespaces.time_offsets.as_deref();
                init::intermediate(proof, &plan.init, &plan.hooks, pending, offsets, inherited)
            }
            Cloned::Parent { pid, pidfd } => {
                inherited.join.clear();
                self.child = Some((pid.as_raw_nonzero().get(), pidfd));
                if let Some(own) = restore {
                    sys::setns(own.as_fd(), CloneFlags::NEWTIME)
                        .doing(|| "return to the own time namespace")?;
                }
                failpoint("runtime.cloned")?;
                Ok(sync)
            }
        }
    }

    /// Does what the new process waits for, until it says that it is ready.
    fn attend(
        &mut self,
        plan: &Plan,
        cgroup: Option<&Cgroup>,
        host: &Host,
        sync: &RuntimeEnd,
    ) -> Result<Vec<String>, Error> {
        let proc = &host.proc;
        let course = Course::of(plan);
        let mut warnings = Vec::new();
        if let Some(ids) = &plan.namespaces.maps
            && course != Course::Staged
        {
            maps::write(proc, self.child_pid()?, ids)?;
            sync.send(ToInit::Mapped).doing(|| "sync")?;
        }
        if course != Course::Direct {
            self.adopt(sync, &mut warnings)?;
            if let (Some(ids), Course::Staged) = (&plan.namespaces.maps, course) {
                maps::write(proc, self.child_pid()?, ids)?;
                sync.send(ToInit::Mapped).doing(|| "sync")?;
            }
        }
        let pid = self.child_pid()?;
        self.record.pid = pid;
        self.record.start_time = process::start_time(pid).ok_or(Error::Ended("created"))?;
        self.container.save(&self.record)?;
        if let Some(unit) = &plan.unit {
            unit::start(unit, plan, pid, &mut self.cgroup_is_ours)?;
        }
        if let Some(value) = plan.init.process.oom_score_adj.filter(|_| !oom_score_inside()) {
            crate::exec::set_oom_score(proc, pid, value, &mut warnings)?;
        }
        if let Some(cgroup) = cgroup.filter(|_| plan.resources.pids.is_some()) {
            let pids = Resources { pids: plan.resources.pids, ..Resources::default() };
            cgroup.apply(&pids).map_err(cgroups::limit_error)?;
        }
        if let (Some(plan), Some(prepared)) = (&plan.rdt, &host.rdt) {
            prepared.apply(plan, pid)?;
        }
        if !plan.net_devices.is_empty() {
            let moved = self.net_devices.insert(Moved::new(&host.joined, pid)?);
            plan.net_devices.iter().try_for_each(|device| moved.take(device))?;
        }
        sync.send(ToInit::Attached).doing(|| "sync")?;
        if self.starts_at_once {
            failpoint("runtime.start")?;
            sync.send(ToInit::Start).doing(|| "sync")?;
        }
        self.serve(plan, sync, &mut warnings)?;
        Ok(warnings)
    }

    fn child_pid(&self) -> Result<i32, Error> {
        self.child.as_ref().map(|(pid, _)| *pid).ok_or(Error::Ended("created"))
    }

    /// Takes over the first process from the intermediate one, which ends.
    fn adopt(&mut self, sync: &RuntimeEnd, warnings: &mut Vec<String>) -> Result<(), Error> {
        loop {
            match sync.receive().doing(|| "sync")? {
                FromInit::Warning(text) => warn(warnings, text),
                FromInit::Pid(pid) => {
                    let pidfd = process::open_child(pid)?;
                    if let Some((_, intermediate)) = self.child.replace((pid, pidfd)) {
                        reap(&intermediate)?;
                    }
                    return Ok(());
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    fn serve(
        &mut self,
        plan: &Plan,
        sync: &RuntimeEnd,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        loop {
            match sync.receive().doing(|| "sync")? {
                FromInit::Ready => return Ok(()),
                FromInit::Warning(text) => warn(warnings, text),
                FromInit::Hooks if !std::mem::replace(&mut self.hooks, true) => {
                    let state = json(&self.record.state(Status::Creating))?;
                    init::hook::run(&plan.hooks.create_runtime, &state)?;
                    sync.send(ToInit::Done).doing(|| "sync")?;
                }
                FromInit::Limits => {
                    let pid = Pid::from_raw(self.record.pid);
                    init::set_limits(pid, &plan.init.process.limits)
                        .map_err(|error| Error::Refused(error.line()))?;
                    sync.send(ToInit::Done).doing(|| "sync")?;
                }
                FromInit::ListenerAt(number) => {
                    let pidfd = self.child.as_ref().map(|(_, pidfd)| pidfd);
                    let fd = take_listener(sync, pidfd.ok_or(Error::Ended("created"))?, number)?;
                    let listener = plan.init.filter.as_ref().and_then(|f| f.listener.as_ref());
                    let state = self.record.state(Status::Creating);
                    send_listener(listener, &fd, self.record.pid, state)?;
                    sync.send(ToInit::Done).doing(|| "sync")?;
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Takes everything down again, and says what could not be.
    pub(crate) fn undo(mut self, error: Error) -> Error {
        let mut left = Vec::new();
        let mut step = |result: Result<(), Error>| {
            if let Err(error) = result {
                left.push(error.line());
            }
        };
        if let Some(moved) = self.net_devices.take() {
            step(moved.give_back());
        }
        let had_child = self.child.is_some();
        if let Some((_, pidfd)) = self.child.take() {
            step(process::signal(&pidfd, process::KILL).map(drop));
            step(reap(&pidfd));
        }
        if self.cgroup_is_ours {
            step(crate::lifecycle::remove_cgroup(&self.record));
        }
        if let Some(class) = &self.record.rdt {
            step(class.remove());
        }
        if had_child {
            step(crate::lifecycle::poststop(&self.record));
        }
        step(self.container.remove());
        if left.is_empty() { error } else { Error::NotUndone { first: error.line(), undone: left } }
    }
}

/// What of the host is needed while the new process is attended to.
struct Host {
    proc: OwnedFd,
    /// The network namespace that is joined, if one is.
    joined: prepare::Namespaces,
    rdt: Option<rdt::Prepared>,
}

/// How the first process is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// One clone makes it with all its namespaces.
    Direct,
    /// An intermediate process joins namespaces first, and makes it with the others.
    Staged,
    /// An intermediate process in the new user namespace makes it, so that this one owns the time
    /// namespace, which clone(2) does not make.
    UserFirst,
}

impl Course {
    fn of(plan: &Plan) -> Self {
        let namespaces = &plan.namespaces;
        let user = namespaces.has(NamespaceKind::User);
        let joins = !namespaces.join.is_empty();
        if joins && (user || namespaces.joins(NamespaceKind::Pid)) {
            return Self::Staged;
        }
        if namespaces.is_new(NamespaceKind::User) && namespaces.is_new(NamespaceKind::Time) {
            return Self::UserFirst;
        }
        Self::Direct
    }
}

/// An ordinary user cannot write to the new process's `oom_score_adj` once that has become its
/// user namespace's root: so the new process does it, at the very beginning.
pub(crate) fn oom_score_inside() -> bool {
    !rustix::process::geteuid().is_root()
}

fn own_namespace(name: &str) -> Result<OwnedFd, Error> {
    let path = format!("/proc/self/ns/{name}");
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
        .call(|| format!("open({path:?})"))
        .doing(|| "the own namespace")
}

fn is_denied(error: &sys::Error) -> bool {
    matches!(error.errno(), rustix::io::Errno::ACCESS | rustix::io::Errno::NOENT)
}

/// What a message means that should not have come: mostly that the process failed.
pub(crate) fn unexpected(message: FromInit) -> Error {
    match message {
        FromInit::Failed(class, text) => Error::Init { class, text },
        FromInit::Closed => Error::Ended("made"),
        other => Error::Refused(format!("the new process said something else: {other:?}")),
    }
}

pub(crate) fn json(state: &State) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(state).map_err(|source| Error::document("the state for hooks", source))
}

/// Takes the listener of a filter, descriptor `number` of the process: that needs nothing of what
/// the filter may forbid. Where this process may not, it is sent.
pub(crate) fn take_listener(
    sync: &RuntimeEnd,
    pidfd: &OwnedFd,
    number: i32,
) -> Result<OwnedFd, Error> {
    let flags = rustix::process::PidfdGetfdFlags::empty();
    match rustix::process::pidfd_getfd(pidfd, number, flags) {
        Ok(fd) => Ok(fd),
        // Not traceable by this user, or a kernel before 5.6.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::NOSYS) => {
            sync.send(ToInit::HandOver).doing(|| "sync")?;
            match sync.receive().doing(|| "sync")? {
                FromInit::Listener(fd) => Ok(fd),
                other => Err(unexpected(other)),
            }
        }
        Err(errno) => Err(errno).call(|| "pidfd_getfd(listener)").doing(|| "linux.seccomp"),
    }
}

/// Sends the listener of a filter to the socket that the configuration names.
pub(crate) fn send_listener(
    listener: Option<&plan::Listener>,
    fd: &OwnedFd,
    pid: i32,
    state: State,
) -> Result<(), Error> {
    let Some(listener) = listener else {
        return Err(Error::Refused("linux.seccomp.listenerPath is missing".into()));
    };
    let message = ContainerProcessState {
        oci_version: state.oci_version.clone(),
        fds: vec!["seccompFd".to_owned()],
        pid,
        metadata: listener.metadata.clone(),
        state,
    };
    let message = serde_json::to_vec(&message)
        .map_err(|source| Error::document("the seccomp listener's state", source))?;
    let socket = prepare::connect(
        Path::new(&listener.path),
        "linux.seccomp.listenerPath: failed to connect with seccomp agent",
    )?;
    sys::send_fd(socket.as_fd(), &message, fd.as_fd()).doing(|| "linux.seccomp.listenerPath")
}

/// Waits for a child that ends.
pub(crate) fn reap(pidfd: &OwnedFd) -> Result<(), Error> {
    match rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    }) {
        // Not our child: whoever is its parent waits for it.
        Ok(_) | Err(rustix::io::Errno::CHILD) => Ok(()),
        Err(errno) => Err(errno).call(|| "waitid(pidfd)").doing(|| "wait for the process to end"),
    }
}

/// Writes a pid file, whole or not at all.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<(), Error> {
    let doing = || "--pid-file";
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    // Never through what somebody else has put there under that name.
    let created = std::fs::File::options().write(true).create_new(true).open(&new);
    let mut file = created.call(|| format!("creat({new:?}, O_EXCL)")).doing(doing)?;
    file.write_all(pid.to_string().as_bytes()).call(|| format!("write({new:?})")).doing(doing)?;
    std::fs::rename(&new, path).call(|| format!("rename({new:?}, {path:?})")).doing(doing)
}
