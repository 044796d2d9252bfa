//! The steps of making a container, and of taking them back.

use std::os::fd::{AsFd, OwnedFd};

use cgroup::{Cgroup, Hierarchy, Resources};
use init::sync::{FromInit, RuntimeEnd, ToInit};
use init::{Inherited, Start};
use oci::runtime::{NamespaceKind, Status};
use plan::Plan;
use rustix::io::Errno;
use rustix::process::Pid;
use sys::{Call, CloneArgs, CloneFlags, Cloned, Handle, SingleThreaded};

use crate::create::{Waits, json, reap, unexpected};
use crate::error::{Doing, Error, failpoint};
use crate::exec::warn;
use crate::listener::{send_listener, take_listener};
use crate::netdev::Moved;
use crate::old_root::Here;
use crate::record::Record;
use crate::store::Container;
use crate::{cgroups, maps, prepare, process, rdt, unit};

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
    /// It is told at once that it is started, see `create`.
    pub(crate) starts_at_once: bool,
    pub(crate) container: Container,
    pub(crate) record: Record,
    pub(crate) cgroup_is_ours: bool,
    pub(crate) child: Option<(i32, Handle)>,
    pub(crate) hooks: bool,
    pub(crate) net_devices: Option<Moved>,
}

impl Making {
    /// One of which nothing is there yet but its directory.
    pub(crate) fn new(container: Container, record: Record, starts_at_once: bool) -> Self {
        Self {
            starts_at_once,
            container,
            record,
            cgroup_is_ours: false,
            child: None,
            hooks: false,
            net_devices: None,
        }
    }

    /// Makes all of it, up to a process that waits to be started.
    pub(crate) fn make(
        &mut self,
        proof: &SingleThreaded,
        plan: &Plan,
        hierarchy: Option<&Hierarchy>,
        console: Option<OwnedFd>,
        waits: Waits,
        warnings: &mut Vec<String>,
    ) -> Result<RuntimeEnd, Error> {
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
        let here = Here::if_it_detaches(plan, &start, &proc);
        // The namespace that is joined by then belongs to the new process alone.
        let joined = prepare::clone_namespaces(&join, NamespaceKind::Network)?;
        self.cgroup_is_ours = true;
        let made = match (hierarchy, &plan.unit) {
            // systemd makes it around the process.
            (_, Some(_)) => None,
            (Some(hierarchy), None) => cgroups::make(hierarchy, plan, &mut self.cgroup_is_ours)?,
            (None, None) => cgroups::none(plan, None)?,
        };
        let (mut cgroup, entry) = made.unzip();
        if cgroup.is_none() && plan.unit.is_none() {
            self.without_cgroup()?;
        }
        let namespace = plan.namespaces.has(NamespaceKind::Cgroup);
        let inherited = Inherited {
            sync: theirs,
            sources,
            dev_mount: None,
            proc,
            entry: entry.unwrap_or_default(),
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
            detached_outside: here.is_some(),
            start,
            state: self.record.state(Status::Creating),
        };
        let ours = inherited.proc.try_clone().call(|| "dup(/proc)").doing(|| "/proc")?;
        let sync = self.spawn(proof, plan, inherited, &mut cgroup, sync)?;
        let host = Host { proc: ours, joined, rdt, here };
        warnings.extend(shared);
        self.attend(proof, plan, cgroup.as_ref(), &host, &sync, warnings)?;
        Ok(sync)
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
            Cloned::Parent { pid, handle } => {
                inherited.join.clear();
                self.child = Some((pid.as_raw_nonzero().get(), handle));
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
        proof: &SingleThreaded,
        plan: &Plan,
        cgroup: Option<&Cgroup>,
        host: &Host,
        sync: &RuntimeEnd,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let proc = &host.proc;
        let course = Course::of(plan);
        if let Some(ids) = &plan.namespaces.maps
            && course != Course::Staged
        {
            maps::write(proc, self.child_pid()?, ids)?;
            sync.send(ToInit::Mapped).doing(|| "sync")?;
        }
        if course != Course::Direct {
            self.adopt(sync, warnings)?;
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
            crate::exec::set_oom_score(proc, pid, value, warnings)?;
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
        self.serve(proof, plan, host, sync, warnings)
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
                    let handle = process::open_child(pid)?;
                    if let Some((_, intermediate)) = self.child.replace((pid, handle)) {
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
        proof: &SingleThreaded,
        plan: &Plan,
        host: &Host,
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
                FromInit::Pivoted(pivoted) => {
                    let Some(here) = &host.here else {
                        return Err(unexpected(FromInit::Pivoted(pivoted)));
                    };
                    here.detach(proof, &pivoted)?;
                    sync.send(ToInit::Detached).doing(|| "sync")?;
                }
                FromInit::Limits => {
                    let pid = Pid::from_raw(self.record.pid);
                    init::set_limits(pid, &plan.init.process.limits)
                        .map_err(|error| Error::Refused(error.line()))?;
                    sync.send(ToInit::Done).doing(|| "sync")?;
                }
                FromInit::ListenerAt(number) => {
                    let child = self.child.as_ref().map(|(_, handle)| handle);
                    let fd = take_listener(sync, child.ok_or(Error::Ended("created"))?, number)?;
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
        if let Some((_, handle)) = self.child.take() {
            step(process::signal(&handle, process::KILL).map(drop));
            step(reap(&handle));
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
    /// Where this process returns to when it has detached the root that init has left.
    here: Option<Here>,
}

/// How the first process is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// One clone makes it with all its namespaces.
    Direct,
    /// An intermediate process joins namespaces first, and makes it with the others.
    Staged,
    /// An intermediate process in the new user namespace makes it, so that this one owns the time
    /// namespace, which clone(2) does not make.
    UserFirst,
}

impl Course {
    pub(crate) fn of(plan: &Plan) -> Self {
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
