//! Running a program, in a container of dhow's own.

use std::io::PipeReader;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use buildgraph::{Exec, Kept, MountKind, Network, Security, Vertex};
use containers::{FinishedStep, Step, StepResult};
use docker::container::Ulimit;
use egress::Captured;
use oci::{ChainId, Digest};

use crate::build::Shared;
use crate::cache::NewRecord;
use crate::op::mounts::Mounts;
use crate::op::{devices, limits};
use crate::output::Output;
use crate::proxied::{Proxied, WithProxy};
use crate::tell::Listeners;
use crate::worked::Written;
use crate::{Error, op};

/// Runs it, and keeps what it has written.
pub(crate) async fn run(
    build: &Arc<Shared>,
    vertex: &Vertex,
    exec: &Exec,
    inputs: &[Output],
    key: &Digest,
    listeners: &Listeners,
) -> Result<Output, Error> {
    let root = op::base(inputs)?;
    let mounts = Mounts::make(build, exec, inputs, vertex.ignore_cache).await?;
    let kept = kept(exec, inputs, &mounts)?;
    let id = containers::new_id()?;
    let mut step = Step { id: id.clone(), ..step(build, exec, &root, &mounts) };
    let proxied = Proxied::of(build, exec, vertex.platform.as_ref())?;
    if let Some(proxied) = &proxied {
        proxied.dress(&mut step);
    }
    listeners.container(&id);
    let job = Job {
        build: Arc::clone(build),
        step,
        kept,
        key: key.clone(),
        vertex: vertex.clone(),
        writable: writable(exec, inputs, &mounts),
        valid: exec.valid_exit_codes.clone(),
        listeners: listeners.clone(),
        proxied,
    };
    // When this future is dropped the writing end goes, and the step is killed.
    let pipe = PathBuf::from("pipe");
    let (cancelled, _alive) =
        std::io::pipe().map_err(|source| Error::Io { call: "make a", path: pipe, source })?;
    let chains = build.blocking(move |_| job.run(&cancelled)).await?;
    drop(mounts);
    match <[_; 1]>::try_from(chains) {
        Ok([chain]) => Ok(Output::Layers(chain)),
        Err(chains) => Ok(Output::Parts(chains)),
    }
}

/// What is kept of a step, and the layers that each lies on.
fn kept(
    exec: &Exec,
    inputs: &[Output],
    mounts: &Mounts,
) -> Result<Vec<(StepResult, Vec<ChainId>)>, Error> {
    let one = |kept: &Kept| {
        let result = match kept {
            Kept::Root => StepResult::Root,
            Kept::Mount(at) => {
                let place = mounts.places.get(*at).copied().flatten();
                StepResult::Mount(place.ok_or(Error::Lost("a mount that is kept"))?)
            }
        };
        let below = exec.input_of(*kept).and_then(|input| inputs.get(input));
        Ok((result, below.map_or_else(|| Ok(Vec::new()), op::chain)?))
    };
    exec.kept().iter().map(one).collect()
}

/// What a step writes to: what it would be, where the engine has it, and what that lies on.
type Writable = (Kept, StepResult, Vec<ChainId>);

/// All that a step writes to, of layers.
fn writable(exec: &Exec, inputs: &[Output], mounts: &Mounts) -> Vec<Writable> {
    let mut all = Vec::new();
    if let Ok(below) = op::base(inputs) {
        all.push((Kept::Root, StepResult::Root, below));
    }
    for (at, mount) in exec.mounts.iter().enumerate() {
        if let (MountKind::Bind { input, .. }, false) = (&mount.kind, mount.readonly)
            && let Some(place) = mounts.places.get(at).copied().flatten()
            && let Some(Output::Layers(below)) = inputs.get(*input)
        {
            all.push((Kept::Mount(at), StepResult::Mount(place), below.clone()));
        }
    }
    all
}

/// Whether the build may do that.
pub(crate) fn check(build: &Shared, exec: &Exec) -> Result<(), Error> {
    let may = build.request.entitlements;
    let lacks = |what: &str, entitlement| Err(Error::NotAllowed { what: what.into(), entitlement });
    if exec.network == Network::Host && !may.network_host {
        return lacks("the machine's network", "network.host");
    }
    if exec.security == Security::Insecure && !may.insecure {
        return lacks("running a step with all rights", "security.insecure");
    }
    let refused = if may.devices { Vec::new() } else { devices::refused(build, exec) };
    if refused.is_empty() { Ok(()) } else { Err(Error::Devices(refused)) }
}

/// What the engine runs for a program; which container it is is nobody's to say yet.
pub(crate) fn step(build: &Shared, exec: &Exec, below: &[ChainId], mounts: &Mounts) -> Step {
    let network = match exec.network {
        Network::Default if !build.request.network.is_empty() => build.request.network.as_str(),
        Network::Default => "bridge",
        Network::Host => "host",
        Network::None => "none",
    };
    let mut resources = build.request.limits.clone();
    if !exec.cgroup_parent.is_empty() {
        resources.cgroup_parent.clone_from(&exec.cgroup_parent);
    }
    limits::narrow(&mut resources, &exec.limits);
    let ulimits = exec.ulimits.iter().map(|one| Ulimit {
        name: one.name.clone(),
        soft: one.soft,
        hard: one.hard,
    });
    let ulimits: Vec<Ulimit> = ulimits.collect();
    if !ulimits.is_empty() {
        resources.ulimits = ulimits.into();
    }
    let mut env = exec.env.clone();
    // What the step sets itself counts for more.
    let is_set = |line: &str| {
        let name = line.split('=').next().unwrap_or_default();
        exec.env.iter().any(|one| one.split('=').next() == Some(name))
    };
    env.extend(exec.proxy_env.iter().filter(|line| !is_set(line)).cloned());
    env.extend(mounts.env.iter().cloned());
    Step {
        owner: build.lease.name().to_owned(),
        chain: below.to_vec(),
        args: exec.args.clone(),
        env,
        cwd: exec.cwd.clone(),
        user: exec.user.clone(),
        hostname: exec.hostname.clone(),
        network: network.into(),
        privileged: exec.security == Security::Insecure,
        extra_hosts: exec.hosts.iter().map(|one| format!("{}:{}", one.name, one.address)).collect(),
        shm_size: exec.shm_size.and_then(|size| i64::try_from(size).ok()).unwrap_or_default(),
        resources,
        devices: devices::meant(build, exec),
        readonly: exec.readonly_root,
        mounts: mounts.list.clone(),
        ..Step::default()
    }
}

/// A step that is about to run, on a thread that may wait for it.
struct Job {
    build: Arc<Shared>,
    step: Step,
    /// What is kept, and what it lies on.
    kept: Vec<(StepResult, Vec<ChainId>)>,
    key: Digest,
    vertex: Vertex,
    /// What of it is written to, and what that lies on.
    writable: Vec<Writable>,
    valid: Vec<i32>,
    listeners: Listeners,
    proxied: Option<Arc<Proxied>>,
}

impl Job {
    fn run(self, cancelled: &PipeReader) -> Result<Vec<Vec<ChainId>>, Error> {
        let engine = &self.build.builder.engine;
        let mut output = |stream: u8, data: &[u8]| self.listeners.log(stream, data);
        let finished = match &self.proxied {
            None => engine.run_step(&self.step, &mut output, cancelled.as_fd()),
            Some(proxied) => {
                let mut io = WithProxy { proxied, output: &mut output };
                engine.run_step_with(&self.step, &mut io, cancelled.as_fd())
            }
        };
        let finished = finished.map_err(|error| match error {
            containers::Error::Cancelled => Error::Cancelled,
            // It was not there, or could not be run: the step's own failure.
            containers::Error::Start { message, exit_code, .. } => {
                let command = self.step.args.join(" ");
                Error::Exit { command, code: exit_code, why: message, ran: false }
            }
            error => Error::Containers(error),
        })?;
        let captured = match self.end_proxy() {
            Ok(captured) => captured,
            Err(error) => {
                engine.drop_step(finished)?;
                return Err(error);
            }
        };
        let code = finished.exit_code;
        let is_fine = if self.valid.is_empty() { code == 0 } else { self.valid.contains(&code) };
        let kept = if is_fine {
            // Not of one that has failed: what is found by the key, if anything, was made of what was asked for then.
            if let Some(captured) = captured {
                self.build.builder.made.keep_captured(&self.key, &captured);
            }
            self.keep(&finished)
        } else {
            let why = if finished.oom_killed {
                "cannot allocate memory".to_owned()
            } else {
                format!("exit code: {code}")
            };
            if self.build.failures.is_wanted() {
                self.keep_failed(&finished);
            }
            Err(Error::Exit { command: self.step.args.join(" "), code, why, ran: true })
        };
        engine.drop_step(finished)?;
        kept
    }

    /// Tells what it has asked its proxy for; `None`: it has none.
    fn end_proxy(&self) -> Result<Option<Captured>, Error> {
        let Some(proxied) = &self.proxied else { return Ok(None) };
        let captured = proxied.end()?;
        let told = captured.told();
        if !told.is_empty() {
            self.listeners.log(2, told.as_bytes());
        }
        Ok(Some(captured))
    }

    /// Keeps what it has written although it failed, for who wants to look at it. What cannot be kept is told of
    /// as it was before.
    fn keep_failed(&self, finished: &FinishedStep) {
        let mut written = Written::default();
        for (at, (kept, what, below)) in self.writable.iter().enumerate() {
            let key = Digest::sha256(format!("{} failed {at}", self.key).as_bytes());
            let key = self.build.own(&key);
            if let Ok(chain) = self.layer(finished, &key, *what, below) {
                written.results.push((*kept, chain));
            }
        }
        self.build.failures.set_written(&self.vertex, written);
    }

    /// Makes layers of what is kept, each on its own below. The first is what the step is found by; the others are
    /// found by that.
    fn keep(&self, finished: &FinishedStep) -> Result<Vec<Vec<ChainId>>, Error> {
        let mut chains = Vec::new();
        for (at, (what, below)) in self.kept.iter().enumerate() {
            let key = match at {
                0 => Some(self.key.clone()),
                _ => self.build.builder.cache.part(&self.key, at)?,
            };
            // Without the first, it is of use to this build alone.
            let key = key.unwrap_or_else(|| self.build.own(&self.key));
            chains.push(self.layer(finished, &key, *what, below)?);
        }
        Ok(chains)
    }

    /// Makes a layer of what it has written in one place, found by `key`: all that is there then.
    fn layer(
        &self,
        finished: &FinishedStep,
        key: &Digest,
        what: StepResult,
        below: &[ChainId],
    ) -> Result<Vec<ChainId>, Error> {
        let record = NewRecord {
            key,
            description: &self.vertex.shown.name,
            below: below.last(),
            lease: &self.build.lease,
        };
        let write =
            |tx: &metadata::Write, sealed: Option<&images::Sealed>| record.write(tx, sealed);
        let nothing = images::IfNothing::Layer;
        let sealed = self.build.builder.engine.keep_step(finished, what, below, nothing, write)?;
        Ok(below.iter().cloned().chain(sealed.map(|sealed| sealed.chain)).collect())
    }
}
