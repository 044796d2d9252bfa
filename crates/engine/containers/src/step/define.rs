//! From a step to a container: its record, its folder, its writable layers.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;

use docker::container::{DeviceRequest, LogConfig};
use docker::{ContainerConfig, HostConfig};
use snapshot::Key;

use super::{Step, mounts};
use crate::engine::Engine;
use crate::error::At as _;
use crate::intent::Intent;
use crate::lock::Lock;
use crate::record::{Container, Record, StepRecord};
use crate::{Error, attachment, clock, definition, name};

/// BuildKit's.
const HOSTNAME: &str = "buildkitsandbox";

/// A step that is there, and does not run yet.
pub(super) struct Made {
    pub(super) container: Container,
    pub(super) lock: Lock,
    /// What it has in memory alone, until it runs.
    pub(super) held: Vec<File>,
}

fn config(step: &Step) -> ContainerConfig {
    let hostname = match step.hostname.as_str() {
        // It is called what that one is called.
        _ if step.network.starts_with("container:") => "",
        "" => HOSTNAME,
        hostname => hostname,
    };
    ContainerConfig {
        cmd: step.args.clone().into(),
        env: step.env.clone().into(),
        working_dir: step.cwd.clone(),
        user: step.user.clone(),
        hostname: hostname.to_owned(),
        open_stdin: step.stdin,
        stdin_once: step.stdin,
        tty: step.tty,
        ..ContainerConfig::default()
    }
}

fn host(step: &Step, runtime: &str) -> HostConfig {
    let mut resources = step.resources.clone();
    if !step.devices.is_empty() {
        let request = DeviceRequest {
            driver: "cdi".into(),
            device_ids: step.devices.clone().into(),
            ..DeviceRequest::default()
        };
        let all = resources.device_requests.iter().cloned().chain([request]);
        resources.device_requests = all.collect::<Vec<_>>().into();
    }
    HostConfig {
        network_mode: step.network.clone(),
        privileged: step.privileged,
        group_add: step.groups.clone().into(),
        extra_hosts: step.extra_hosts.clone().into(),
        shm_size: step.shm_size,
        readonly_rootfs: step.readonly,
        runtime: runtime.to_owned(),
        // What it writes need not reach the disk before it is kept.
        auto_remove: true,
        init: Some(false),
        log_config: LogConfig { driver: "none".into(), ..LogConfig::default() },
        resources,
        ..HostConfig::default()
    }
}

impl Engine {
    /// Makes the container of a step. What was made goes again where that fails.
    pub(super) fn make_step(&self, step: &Step) -> Result<Made, Error> {
        let (mut config, mut host) = (config(step), host(step, &self.default_runtime()));
        // What is only not as asked is nobody's to be told.
        let _warnings = definition::check(&config, &mut host, self.machine())?;
        self.runtime(&host.runtime)?;
        self.ask_for_labels(&mut host)?;
        let id = if step.id.is_empty() { name::new_id()? } else { step.id.clone() };
        definition::fill(&mut config, &mut host, &id);
        attachment::check(&config, &host, &docker::Map::default())?;
        let wanted = step.mounts.iter().map(mounts::of).collect::<Result<_, _>>()?;
        let mut container = Container {
            name: format!("{}{id}", metadata::STEP),
            image: None,
            created: clock::now(),
            record: Record {
                chain: step.chain.clone(),
                config,
                host,
                mounts: wanted,
                step: Some(StepRecord {
                    owner: step.owner.clone(),
                    snapshots: mounts::keys(&id, &step.mounts),
                    proxied: step.proxied.clone(),
                }),
                ..Record::default()
            },
            id,
        };
        failpoint::hit("engine.step").at("record", self.root())?;
        self.shared.db.write(|tx| {
            self.choose_labels(&mut container, tx)?;
            let row = container.to_row()?;
            Intent::Step.begin(tx, &container.id)?;
            Ok::<_, Error>(tx.insert_container(&row)?)
        })?;
        match self.furnish_step(&mut container, step) {
            Ok((lock, held)) => Ok(Made { container, lock, held }),
            Err(err) => Err(self.undo_step(&container, err)),
        }
    }

    fn furnish_step(
        &self,
        container: &mut Container,
        step: &Step,
    ) -> Result<(Lock, Vec<File>), Error> {
        failpoint::hit("engine.step-recorded").at("record", self.root())?;
        let data = self.paths().data(&container.id);
        DirBuilder::new().mode(0o710).create(&data).at("mkdir", &data)?;
        let lock = Lock::attempt(&data)?
            .ok_or_else(|| Error::Conflict(format!("{} is in use", data.display())))?;
        failpoint::hit("engine.step-made").at("mkdir", &data)?;
        let key: Key = container.id.parse()?;
        self.images.snapshots().prepare(&key, &container.record.chain)?;
        let held = self.supply_step(container, &step.mounts)?;
        failpoint::hit("engine.step-furnished").at("mkdir", &data)?;
        Ok((lock, held))
    }

    /// Takes back what there is of a step. The error that led here, with what comes to it.
    pub(super) fn undo_step(&self, container: &Container, err: Error) -> Error {
        match self.discard(container) {
            Ok(()) => err,
            Err(undo) => Error::Undo { first: Box::new(err), undo: Box::new(undo) },
        }
    }
}
