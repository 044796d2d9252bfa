//! A step of a build: a container that nobody but its builder knows of.
//!
//! It has no image and no name, is in no list and no event, and keeps no log. What it writes is kept
//! as a layer ([`Engine::keep_step`]) or goes with it ([`Engine::drop_step`]). It lives no longer than
//! its builder: its supervisor kills it as soon as the connection by which it was started ends, which
//! the kernel closes however the builder dies; and what is on the disk is found by an intent, see
//! `recovery`.

mod define;
mod exec;
mod mounts;
mod outlet;
mod run;
mod stubs;

pub use exec::{RunningStep, StepExec, StepProcess};
pub use outlet::STEP_PROXY;
pub use run::{StepFrames, StepIo};

use std::path::PathBuf;

use docker::container::Resources;
use metadata::Write;
use oci::ChainId;
use snapshot::Key;

use crate::engine::Engine;
use crate::lock::Lock;
use crate::record::Container;
use crate::{Error, mountpoints};

/// What is to be run, and on what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The id of its container, from [`crate::new_id`]; empty: a new one.
    pub id: String,
    /// Whose it is, for its record: a build's and a step's number, say.
    pub owner: String,
    /// The layers of its root, lowest first; none: an empty root. The caller holds them: no image
    /// does.
    pub chain: Vec<ChainId>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`, all of it; PATH and HOME get their usual values where they are missing.
    pub env: Vec<String>,
    /// Where it starts; made where it is missing.
    pub cwd: String,
    /// `USER[:GROUP]`, names or numbers; empty: root.
    pub user: String,
    /// More groups.
    pub groups: Vec<String>,
    /// Empty: `buildkitsandbox`, as with BuildKit.
    pub hostname: String,
    /// `bridge` (also where it is empty), `host`, `none`, another network, or `container:NAME`.
    pub network: String,
    /// All rights: BuildKit's `security.insecure`. Whether the step may have them is the caller's to
    /// know.
    pub privileged: bool,
    /// `NAME:ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// Of `/dev/shm`, bytes; 0: 64 MiB.
    pub shm_size: i64,
    /// Limits, the parent of its cgroup, and devices.
    pub resources: Resources,
    /// CDI devices, `VENDOR/CLASS=NAME`.
    pub devices: Vec<String>,
    /// The root cannot be written to.
    pub readonly: bool,
    /// What it has mounted.
    pub mounts: Vec<StepMount>,
    /// Its standard input is written to; else it is empty.
    pub stdin: bool,
    /// It has a terminal.
    pub tty: bool,
    /// Its network is not its own: it reaches others through a proxy alone, which is the caller's
    /// ([`Engine::step_listener`]). The certificate of an authority in PEM, which its programs trust while it runs.
    pub proxied: Option<String>,
}

/// One mount of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMount {
    /// Where, absolute. What is missing there is made, and removed afterwards.
    pub target: String,
    /// It cannot be written to.
    pub readonly: bool,
    /// A file or directory of it instead of all of it. Links in it lead nowhere else.
    pub subpath: String,
    /// What.
    pub source: StepSource,
}

/// What a step has mounted.
#[derive(Clone, PartialEq, Eq)]
pub enum StepSource {
    /// The result of another step, lowest first; none: an empty directory. What is written to it is
    /// the step's own ([`StepResult::Mount`]).
    Layers(Vec<ChainId>),
    /// A directory of the builder's, to which nothing is written, whatever the step does: it writes
    /// to a layer of its own.
    Directory(PathBuf),
    /// A directory that keeps what is written.
    Cache(PathBuf),
    /// Memory.
    Tmpfs {
        /// The most that fits, bytes; 0: half of the machine's memory.
        size: u64,
    },
    /// A file, in memory alone.
    Secret {
        /// What is in it.
        bytes: Vec<u8>,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Permissions.
        mode: u32,
    },
    /// A unix socket at which the builder listens.
    Socket {
        /// Where it is.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Permissions.
        mode: u32,
    },
}

/// Secrets are in no message.
impl std::fmt::Debug for StepSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layers(chain) => f.debug_tuple("Layers").field(chain).finish(),
            Self::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Self::Cache(path) => f.debug_tuple("Cache").field(path).finish(),
            Self::Tmpfs { size } => f.debug_struct("Tmpfs").field("size", size).finish(),
            Self::Secret { uid, gid, mode, .. } => {
                write!(f, "Secret {{ {uid}:{gid} {mode:o} }}")
            }
            Self::Socket { path, uid, gid, mode } => {
                write!(f, "Socket {{ {path:?} {uid}:{gid} {mode:o} }}")
            }
        }
    }
}

/// A step that has run to its end, and whose writable layers are still there.
#[derive(Debug)]
#[must_use = "it stays until it is dropped by `Engine::drop_step`"]
pub struct FinishedStep {
    /// The exit code, or 128 plus the signal that ended it.
    pub exit_code: i32,
    /// The kernel has killed something in it for want of memory.
    pub oom_killed: bool,
    container: Container,
    /// Nobody else sees to it meanwhile.
    _lock: Lock,
}

/// What of a step is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// Its root.
    Root,
    /// The mount of this number, of layers that could be written to.
    Mount(usize),
}

impl FinishedStep {
    /// The container's id: 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.container.id
    }

    fn key(&self, what: StepResult) -> Result<Key, Error> {
        key(&self.container, what)
    }
}

fn key(container: &Container, what: StepResult) -> Result<Key, Error> {
    let text = match what {
        StepResult::Root => container.id.clone(),
        StepResult::Mount(at) => mounts::key(&container.id, at),
    };
    Ok(text.parse()?)
}

impl Engine {
    /// Where is what a step writes, over `below`, the layers that it has there.
    pub fn step_mounts(
        &self,
        step: &RunningStep,
        what: StepResult,
        below: &[ChainId],
    ) -> Result<snapshot::Mounts, Error> {
        Ok(self.images.snapshots().mounts(&key(&step.container, what)?, below)?)
    }

    /// Makes a layer of what a step has written, on `below`, the layers that it had there. `if_nothing`
    /// and `record` as in [`images::Images::seal`]. The step must not be running,
    /// and is to be dropped all the same.
    pub fn keep_step(
        &self,
        step: &FinishedStep,
        what: StepResult,
        below: &[ChainId],
        if_nothing: images::IfNothing,
        record: impl FnOnce(&Write, Option<&images::Sealed>) -> Result<(), metadata::Error>,
    ) -> Result<Option<images::Sealed>, Error> {
        let mountpoints = match what {
            StepResult::Root => Some(mountpoints::ensure(self.root())?),
            StepResult::Mount(_) => None,
        };
        Ok(self.images.seal(&step.key(what)?, below, mountpoints.as_deref(), if_nothing, record)?)
    }

    /// Removes all of a step that has not been kept.
    pub fn drop_step(&self, step: FinishedStep) -> Result<(), Error> {
        let FinishedStep { container, _lock, .. } = step;
        self.reap();
        self.discard(&container)
    }
}
