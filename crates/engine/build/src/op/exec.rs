//! Running a program, in a container of dhow's own.

use std::io::PipeReader;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use buildgraph::{Exec, Network, Security, Vertex};
use containers::{Step, StepResult};
use docker::container::Ulimit;
use oci::{ChainId, Digest};

use crate::build::Shared;
use crate::cache::NewRecord;
use crate::op::mounts::Mounts;
use crate::output::Output;
use crate::tell::Listeners;
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
    check(build, exec)?;
    let below = op::base(inputs)?;
    let mounts = Mounts::make(build, exec, inputs).await?;
    let id = containers::new_id()?;
    let step = Step { id: id.clone(), ..step(build, exec, &below, &mounts) };
    listeners.container(&id);
    let job = Job {
        build: Arc::clone(build),
        step,
        below,
        key: key.clone(),
        name: vertex.shown.name.clone(),
        valid: exec.valid_exit_codes.clone(),
        listeners: listeners.clone(),
    };
    // When this future is dropped the writing end goes, and the step is killed.
    let pipe = PathBuf::from("pipe");
    let (cancelled, _alive) =
        std::io::pipe().map_err(|source| Error::Io { call: "make a", path: pipe, source })?;
    let chain = build.blocking(move |_| job.run(&cancelled)).await?;
    drop(mounts);
    Ok(Output::Layers(chain))
}

/// Whether the build may do that.
fn check(build: &Shared, exec: &Exec) -> Result<(), Error> {
    let may = build.request.entitlements;
    let lacks = |what: &str, entitlement| Err(Error::NotAllowed { what: what.into(), entitlement });
    if exec.network == Network::Host && !may.network_host {
        return lacks("the machine's network", "network.host");
    }
    if exec.security == Security::Insecure && !may.insecure {
        return lacks("running a step with all rights", "security.insecure");
    }
    if !exec.devices.is_empty() && !may.devices {
        return lacks("a device", "device");
    }
    Ok(())
}

fn step(build: &Shared, exec: &Exec, below: &[ChainId], mounts: &Mounts) -> Step {
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
        devices: exec.devices.iter().map(|device| device.name.clone()).collect(),
        mounts: mounts.list.clone(),
        ..Step::default()
    }
}

/// A step that is about to run, on a thread that may wait for it.
struct Job {
    build: Arc<Shared>,
    step: Step,
    below: Vec<ChainId>,
    key: Digest,
    name: String,
    valid: Vec<i32>,
    listeners: Listeners,
}

impl Job {
    fn run(self, cancelled: &PipeReader) -> Result<Vec<ChainId>, Error> {
        let engine = &self.build.builder.engine;
        let mut log = |stream: u8, data: &[u8]| self.listeners.log(stream, data);
        let finished = engine.run_step(&self.step, &mut log, cancelled.as_fd());
        let finished = finished.map_err(|error| match error {
            containers::Error::Cancelled => Error::Cancelled,
            error => Error::Containers(error),
        })?;
        let code = finished.exit_code;
        let kept = if code == 0 || self.valid.contains(&code) {
            let record = NewRecord {
                key: &self.key,
                description: &self.name,
                below: self.below.last(),
                lease: &self.build.lease,
            };
            let write =
                |tx: &metadata::Write, sealed: Option<&images::Sealed>| record.write(tx, sealed);
            let kept = engine.keep_step(
                &finished,
                StepResult::Root,
                &self.below,
                images::IfNothing::Layer,
                write,
            );
            kept.map_err(Error::from)
        } else {
            let why = if finished.oom_killed {
                "cannot allocate memory".to_owned()
            } else {
                format!("exit code: {code}")
            };
            Err(Error::Exit { command: self.step.args.join(" "), code, why })
        };
        engine.drop_step(finished)?;
        let mut chain = self.below;
        chain.extend(kept?.map(|sealed| sealed.chain));
        Ok(chain)
    }
}
