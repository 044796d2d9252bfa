//! Starting a container: everything that its supervisor needs, then the supervisor.

use std::time::{Duration, Instant};

use shim_protocol::Phase;

use crate::Error;
use crate::engine::Engine;
use crate::error::{At as _, Class, chain};
use crate::intent::Intent;
use crate::launch::{in_gos_words, port_taken};
use crate::lock::{Lock, shim_lives};
use crate::record::Container;

/// How long the supervisor before may take to end.
const GOODBYE: Duration = Duration::from_secs(20);

impl Engine {
    /// Starts a container that does not run.
    pub fn start(&self, wanted: &str) -> Result<(), Error> {
        self.reap();
        let (container, lock) = self.find_locked(wanted)?;
        let outcome = self.start_locked(container, &lock, 0);
        drop(lock);
        match outcome {
            Ok(()) => Ok(()),
            Err((container, err)) => {
                // As in Docker: a container that was to go when it ends goes when it cannot start.
                if matches!(err, Error::Start { .. }) && container.record.host.auto_remove {
                    self.remove_ended(&container.id)?;
                }
                Err(err)
            }
        }
    }

    /// With the lock held. A failure brings the container along. `restarts`: how often it was started
    /// again by its policy.
    pub(crate) fn start_locked(
        &self,
        mut container: Container,
        lock: &Lock,
        restarts: u32,
    ) -> Result<(), (Box<Container>, Error)> {
        match self
            .may_start(&container, lock)
            .and_then(|()| self.try_start(&mut container, restarts))
        {
            Ok(()) => Ok(()),
            Err(err) => Err((Box::new(container), err)),
        }
    }

    fn may_start(&self, container: &Container, lock: &Lock) -> Result<(), Error> {
        match self.status_locked(&container.id, lock)?.phase {
            Phase::Running | Phase::Restarting => {
                return Err(Error::NotModified(format!(
                    "container {} is already running",
                    container.name
                )));
            }
            Phase::Paused => {
                return Err(Error::Conflict(
                    "cannot start a paused container, try unpause instead".into(),
                ));
            }
            Phase::Created | Phase::Exited => {}
        }
        self.await_end(container)
    }

    /// Waits until the supervisor of the run before has taken down the last of it.
    pub(crate) fn await_end(&self, container: &Container) -> Result<(), Error> {
        self.await_end_unless(container, || Ok(false)).map(drop)
    }

    /// The same, unless one that has not ended `goes_on`. Whether it does.
    pub(crate) fn await_end_unless(
        &self,
        container: &Container,
        goes_on: impl Fn() -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let id = &container.id;
        let run = self.paths().run(id);
        let until = Instant::now() + GOODBYE;
        while run.exists() && shim_lives(&run)? {
            if goes_on()? {
                return Ok(true);
            }
            if Instant::now() > until {
                return Err(Error::Conflict(format!(
                    "the supervisor of container {id} does not end: see {}",
                    run.join("shim.log").display()
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if run.exists() {
            self.clean_up_after_shim(id, &self.cgroup_path(container))?;
        }
        Ok(false)
    }

    fn try_start(&self, container: &mut Container, restarts: u32) -> Result<(), Error> {
        let id = container.id.clone();
        failpoint::hit("engine.start").at("record", self.root())?;
        self.shared.db.write(|tx| Intent::Start.begin(tx, &id))?;
        failpoint::hit("engine.starting").at("record", self.root())?;
        let started = self.hold_networks(&container.record).and_then(|held| {
            self.prepare(container, restarts)?;
            self.launch(container)?;
            Ok(held)
        });
        match started {
            // Until its record says what it is in.
            Ok(_held) => {
                let config = container.config_json()?;
                self.shared.db.write(|tx| {
                    tx.set_container_config(&id, &config)?;
                    Intent::Start.end(tx, &id)
                })?;
                failpoint::hit("engine.started").at("record", self.root())?;
                Ok(())
            }
            Err(err) => {
                self.give_up_ahead(&id);
                let err = self.failed(container, err);
                // Those who wait for output will get none, and those who wait for the end find its code.
                drop(self.shared.pending.take(&id));
                let err = err?;
                self.clean_up_after_shim(&id, &self.cgroup_path(container))?;
                self.shared.db.write(|tx| {
                    tx.release_ports(&id)?;
                    Intent::Start.end(tx, &id)
                })?;
                Err(err)
            }
        }
    }

    /// Notes a failed start in the status, and puts the error into the words that clients know.
    fn failed(&self, container: &Container, err: Error) -> Result<Error, Error> {
        let err = match err {
            err @ Error::Start { .. } => err,
            Error::Network(network::Error::PortAllocated { .. }) => {
                port_taken(container, &chain(&err))
            }
            Error::Network(_) => {
                let why = format!("failed to set up container networking: {}", chain(&err));
                let class = match err.class() {
                    class @ (Class::NotFound | Class::Denied) => class,
                    _ => Class::Internal,
                };
                Error::not_started(why, class)
            }
            // Of all else Docker's daemon says that it failed itself, as of what is full.
            err => Error::not_started(in_gos_words(&chain(&err)), Class::Internal),
        };
        let data = self.paths().data(&container.id);
        let mut status = self.shared.status(&container.id)?;
        if let Error::Start { message, exit_code, .. } = &err {
            message.clone_into(&mut status.error);
            status.exit_code = *exit_code;
            status.pid = 0;
            status.shim_pid = 0;
        }
        status.save(&data).at("write", &data.join("status.json"))?;
        Ok(err)
    }
}
