//! Stopping, signalling, freezing, renaming: what a person does to a container that is there.

use std::time::Duration;

use shim_protocol::{Change, Phase, Request};

use crate::engine::Engine;
use crate::error::At as _;
use crate::record::Container;
use crate::{Error, events, name, shim};

/// Seconds from the stop signal to SIGKILL where nobody says; Docker's.
const STOP_S: i64 = 10;
/// How long SIGKILL may take.
const KILL_PATIENCE: Duration = Duration::from_secs(30);
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl Engine {
    /// Ends a container's program: by `signal` (or the container's own, or SIGTERM), and by SIGKILL
    /// after `timeout_s` seconds (or the container's own, or 10; negative: never).
    pub fn stop(
        &self,
        wanted: &str,
        signal: Option<&str>,
        timeout_s: Option<i64>,
    ) -> Result<(), Error> {
        let container = self.find(wanted)?;
        if !self.is_alive(&container)? {
            return Err(Error::NotModified(format!("container {} is not running", container.name)));
        }
        self.stop_running(&container, signal, timeout_s, false).map_err(|err| match err {
            Error::Invalid(why) => {
                Error::Invalid(format!("cannot stop container: {wanted}: {why}"))
            }
            err => err,
        })
    }

    /// `keep`: what was to be done when it ends is not, since it is started again.
    fn stop_running(
        &self,
        container: &Container,
        signal: Option<&str>,
        timeout_s: Option<i64>,
        keep: bool,
    ) -> Result<(), Error> {
        let (own_signal, own_timeout) = stop_terms(&container.record.config)?;
        let signal = match signal.filter(|text| !text.is_empty()) {
            Some(text) => parse_signal(text)?,
            None => own_signal,
        };
        let timeout = timeout_s.map_or(own_timeout, |seconds| u64::try_from(seconds).ok());
        let patience = timeout.map(Duration::from_secs);
        if self.send_signal(container, signal, keep)? && !self.ends_within(container, patience)? {
            self.send_signal(container, SIGKILL, keep)?;
            if !self.ends_within(container, Some(KILL_PATIENCE))? {
                return Err(Error::Shim(format!(
                    "container {} was sent SIGKILL and did not end",
                    container.name
                )));
            }
        }
        self.emit(&events::container("stop", container));
        Ok(())
    }

    /// Sends a signal that is to end a container, and thaws one that could not see it. Whether it still
    /// ran.
    fn send_signal(&self, container: &Container, signal: i32, keep: bool) -> Result<bool, Error> {
        let socket = self.paths().socket(&container.id);
        let frozen = self.shared.status(&container.id)?.phase == Phase::Paused;
        let sent = match shim::ask(&socket, &Request::Kill { signal, stop: true, keep }) {
            Err(Error::Conflict(_)) => false,
            sent => sent?.is_some(),
        };
        if frozen && sent {
            match shim::ask(&socket, &Request::Resume) {
                Err(Error::Conflict(_)) => {}
                thawed => drop(thawed?),
            }
        }
        Ok(sent)
    }

    /// Sends a signal, by name or number; SIGKILL where it is empty.
    pub fn kill(&self, wanted: &str, signal: &str) -> Result<(), Error> {
        let refuse = |err: Error| match err {
            Error::NoContainer(_) => {
                Error::NotFound(format!("cannot kill container: {wanted}: {err}"))
            }
            Error::Invalid(_) => Error::Invalid(format!("cannot kill container: {wanted}: {err}")),
            err => err,
        };
        let container = self.find(wanted).map_err(refuse)?;
        let number =
            if signal.is_empty() { SIGKILL } else { parse_signal(signal).map_err(refuse)? };
        let not_running = || {
            Err(Error::Conflict(format!(
                "cannot kill container: {}: container {} is not running",
                wanted, container.id
            )))
        };
        if !self.is_alive(&container)? {
            return not_running();
        }
        let socket = self.paths().socket(&container.id);
        let frozen = self.shared.status(&container.id)?.phase == Phase::Paused;
        // Any but the one that is to end it may mean something else to the program.
        let own = &container.record.config.stop_signal;
        let stop = number == SIGKILL || own.is_empty() || parse_signal(own)? == number;
        match shim::ask(&socket, &Request::Kill { signal: number, stop, keep: false }) {
            Ok(Some(_)) => {}
            Ok(None) | Err(Error::Conflict(_)) => return not_running(),
            Err(err) => return Err(err),
        }
        // As Docker: what may end it is to be seen.
        if frozen && stop {
            shim::ask(&socket, &Request::Resume).map(drop).or_else(ignore_conflict)?;
        }
        if number == SIGKILL {
            self.ends_within(&container, Some(KILL_PATIENCE))?;
        }
        Ok(())
    }

    /// Stops a container, if it runs, and starts it.
    pub fn restart(
        &self,
        wanted: &str,
        signal: Option<&str>,
        timeout_s: Option<i64>,
    ) -> Result<(), Error> {
        let container = self.find(wanted)?;
        if self.is_alive(&container)? {
            self.stop_running(&container, signal, timeout_s, true).map_err(|err| match err {
                Error::Invalid(why) => {
                    Error::Invalid(format!("Cannot restart container {wanted}: {why}"))
                }
                err => err,
            })?;
        }
        match self.start(&container.id) {
            // Somebody else started it: it was restarted.
            Err(Error::NotModified(_)) => {}
            started => started?,
        }
        self.emit(&events::container("restart", &container));
        Ok(())
    }

    /// Freezes every process.
    pub fn pause(&self, wanted: &str) -> Result<(), Error> {
        let container = self.find(wanted)?;
        match self.status(&container.id)?.phase {
            Phase::Running => {}
            Phase::Paused => {
                return Err(Error::Conflict(format!(
                    "Container {} is already paused",
                    container.id
                )));
            }
            Phase::Restarting => return restarting(&container),
            Phase::Created | Phase::Exited => return not_running(&container),
        }
        self.tell(&container, &Request::Pause)?;
        self.emit(&events::container("pause", &container));
        Ok(())
    }

    /// Thaws them.
    pub fn unpause(&self, wanted: &str) -> Result<(), Error> {
        let container = self.find(wanted)?;
        if self.status(&container.id)?.phase != Phase::Paused {
            return Err(Error::Conflict(format!("Container {} is not paused", container.id)));
        }
        self.tell(&container, &Request::Resume)?;
        self.emit(&events::container("unpause", &container));
        Ok(())
    }

    /// Sets the size of a container's terminal.
    pub fn resize(&self, wanted: &str, width: u16, height: u16) -> Result<(), Error> {
        let container = self.find(wanted)?;
        self.tell(&container, &Request::Resize { exec: None, width, height })?;
        let event =
            events::with(events::container("resize", &container), "width", &width.to_string());
        self.emit(&events::with(event, "height", &height.to_string()));
        Ok(())
    }

    /// Gives a container another name.
    pub fn rename(&self, wanted: &str, new: &str) -> Result<(), Error> {
        if new.is_empty() {
            return Err(Error::Invalid("neither old nor new names may be empty".into()));
        }
        // A container that there is not is missed first.
        self.find(wanted)?;
        let new = name::check(new).map_err(|_| {
            Error::Invalid(format!(
                "Error when allocating new name: Invalid container name (/{new}), only \
                 [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ))
        })?;
        let (container, _lock) = self.find_locked(wanted)?;
        if container.name == new {
            return Err(Error::Invalid(
                "Renaming a container with the same name as its current name".into(),
            ));
        }
        failpoint::hit("engine.rename").at("record", self.root())?;
        match self.shared.db.write(|tx| tx.rename_container(&container.id, new)) {
            Err(metadata::Error::InUse { holder, .. }) => {
                let why = Error::NameInUse { name: new.to_owned(), holder };
                return Err(Error::Conflict(format!("Error when allocating new name: {why}")));
            }
            renamed => renamed?,
        }
        failpoint::hit("engine.renamed").at("record", self.root())?;
        let old = format!("/{}", container.name);
        let container = Container { name: new.to_owned(), ..container };
        // Its supervisor tells of what happens to it.
        let change = Change { name: Some(new.to_owned()), ..Change::default() };
        shim::ask(&self.paths().socket(&container.id), &Request::Change(change))?;
        self.emit(&events::with(events::container("rename", &container), "oldName", &old));
        Ok(())
    }

    /// Whether its program runs, is frozen, or is about to be started again.
    pub(crate) fn is_alive(&self, container: &Container) -> Result<bool, Error> {
        Ok(self.status(&container.id)?.phase.is_alive())
    }

    fn tell(&self, container: &Container, request: &Request) -> Result<(), Error> {
        match shim::ask(&self.paths().socket(&container.id), request)? {
            Some(_) => Ok(()),
            None => not_running(container),
        }
    }
}

fn ignore_conflict(err: Error) -> Result<(), Error> {
    match err {
        Error::Conflict(_) => Ok(()),
        err => Err(err),
    }
}

pub(crate) fn not_running<T>(container: &Container) -> Result<T, Error> {
    Err(Error::Conflict(format!("container {} is not running", container.id)))
}

/// By which signal a container is asked to end, and after how many seconds it is killed; `None`: never.
pub(crate) fn stop_terms(config: &docker::ContainerConfig) -> Result<(i32, Option<u64>), Error> {
    let signal =
        if config.stop_signal.is_empty() { SIGTERM } else { parse_signal(&config.stop_signal)? };
    Ok((signal, u64::try_from(config.stop_timeout.unwrap_or(STOP_S)).ok()))
}

pub(crate) fn restarting<T>(container: &Container) -> Result<T, Error> {
    Err(Error::Conflict(format!(
        "Container {} is restarting, wait until the container is running",
        container.id
    )))
}

fn parse_signal(text: &str) -> Result<i32, Error> {
    oci::signal::parse(text).map_err(|err| Error::Invalid(err.to_string()))
}
