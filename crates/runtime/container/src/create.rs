//! Making a container: from a bundle to a process that waits to be started.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use init::sync::{FromInit, RuntimeEnd};
use oci::runtime::{NamespaceKind, Spec, State};
use plan::{Plan, flag};
use rustix::process::WaitIdOptions;
use sys::{Call, CloneFlags, Handle, SingleThreaded};

use crate::announce::Announce;
use crate::error::{Doing, Error};
use crate::making::{Course, Making};
use crate::record::{Record, now};
use crate::store::Store;
use crate::{cgroups, facts, prepare, unit};

/// What is asked for besides the configuration.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// Who is told of the process.
    pub announce: Announce,
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
    pub handle: Handle,
    /// It has a terminal.
    pub terminal: bool,
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

/// Makes container `id`. On failure nothing of it is left. What was asked for and is not done is added
/// to `warnings`, also on failure.
pub fn create(
    proof: &SingleThreaded,
    store: &Store,
    id: &str,
    options: &CreateOptions,
    waits: Waits,
    warnings: &mut Vec<String>,
) -> Result<Created, Error> {
    crate::store::check_id(id)?;
    let spec = read_spec(&options.bundle)?;
    let facts = facts::of_container(&spec)?;
    let mut plan = Plan::new(&spec, id, &options.bundle, &facts, options.plan, warnings)?;
    let terminal = plan.init.process.terminal.is_some();
    let console = console(terminal, options.console_socket.as_deref(), options.console.as_deref())?;
    let hierarchy = cgroups::hierarchy(plan.cgroup_optional)?;
    if let Some(unit) = &plan.unit {
        plan.cgroup_path = unit::path(unit, hierarchy)?;
    }
    let container = store.reserve(id)?;
    let told = starts_at_once(&plan, options, waits);
    let mut making = Making::new(container, record(&spec, &plan, id, options), told);
    match making.make(proof, &plan, hierarchy, console, waits, warnings) {
        Ok(sync) => {
            let told_of = match &making.child {
                Some((pid, handle)) => {
                    making.container.made().and_then(|()| options.announce.tell(*pid, handle))
                }
                None => Err(Error::Ended("created")),
            };
            if let Err(error) = told_of {
                return Err(making.undo(error));
            }
            let Some((pid, handle)) = making.child.take() else {
                return Err(making.undo(Error::Ended("created")));
            };
            if making.record.cgroup_path.is_empty() && !plan.namespaces.has(NamespaceKind::Pid) {
                warnings.push(
                    "a container with neither a cgroup nor a PID namespace of its own: its \
                     processes cannot all be found and killed"
                        .to_owned(),
                );
            }
            Ok(Created { pid, handle, terminal, record: making.record, sync, told })
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
        && options.announce.is_to_nobody()
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
        personality: plan.init.personality,
        annotations: spec.annotations.clone(),
        listener: plan.init.filter.as_ref().and_then(|filter| filter.listener.clone()),
        rdt: None,
        poststart: hooks.poststart,
        poststop: hooks.poststop,
    }
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

/// Waits for a child that ends.
pub(crate) fn reap(process: &Handle) -> Result<(), Error> {
    match process.wait(WaitIdOptions::EXITED) {
        Ok(_) => Ok(()),
        // Not our child: whoever is its parent waits for it.
        Err(err) if err.errno() == rustix::io::Errno::CHILD => Ok(()),
        Err(err) => Err(err).doing(|| "wait for the process to end"),
    }
}
