//! From the end of one life of the container to the next.
//!
//! ```text
//! init ends → status "restarting" → what belongs to one life taken apart → waiters told
//!     → a while ─→ runtime create → network → runtime start → status "running"
//!            └───→ somebody stops it, or it cannot be started → status "exited" → the end of all
//! ```

use std::fs;
use std::time::Instant;

use serde_json::Value;
use shim_protocol::{Change, Join, Phase, RestartPolicy, Status};

use crate::error::{Error, report};
use crate::supervisor::{IDLE, Supervisor};
use crate::teardown::Unmade;

impl Supervisor {
    /// Writes down that the program has ended with `code`. Whether it is to be started again.
    pub(crate) fn note_end(&mut self, code: i32) -> bool {
        let count = self.status.restart_count;
        let policy = self.config.restart;
        let unhealthy = std::mem::take(&mut self.unhealthy);
        let again = policy.wants(code, self.stopped, count)
            || unhealthy && policy.wants_unhealthy(self.stopped, count);
        if again {
            self.status.phase = Phase::Restarting;
            self.status.restart_count = count.saturating_add(1);
            let wait = self.backoff.next(self.started.elapsed());
            self.restart_at = Some(Instant::now() + wait);
        } else {
            self.status.phase = Phase::Exited;
            self.status.shim_pid = 0;
            self.status.stopped = self.stopped;
        }
        if let Err(err) = self.save_status() {
            report("save the status", &err);
        }
        again
    }

    /// Makes and starts the container once more.
    pub(crate) fn live_again(&mut self) -> Result<(), Error> {
        failpoint::hit("shim.restart")?;
        join_anew(&self.config.joins, &self.config.bundle.join("config.json"))?;
        self.create(|_| Ok(()))?;
        self.connect()?;
        self.start(self.status.restart_count)?;
        self.restart_at = None;
        self.shrink_at = Some(Instant::now() + IDLE);
        failpoint::hit("shim.restarted")?;
        Ok(())
    }

    /// It is not started again: somebody does not want it, or it failed for `cause`. Takes apart all but
    /// `RUN`.
    pub(crate) fn give_up(&mut self, cause: Option<&Error>) -> Unmade {
        self.restart_at = None;
        self.init = None;
        self.status.phase = Phase::Exited;
        self.status.pid = 0;
        self.status.shim_pid = 0;
        self.status.stopped = self.stopped;
        if let Some(err) = cause {
            let wire = err.wire();
            self.status.exit_code = wire.exit_code.unwrap_or(128);
            self.status.error = wire.message;
        }
        if let Err(err) = self.save_status() {
            report("save the status", &err);
        }
        self.unmake(None)
    }

    /// Somebody wants it to end: whatever follows, it is not started again. `keep`: they will start it
    /// themselves.
    pub(crate) fn note_stop(&mut self, keep: bool) -> Result<(), Error> {
        self.stopped = true;
        self.keep |= keep;
        // Whoever finds it without a shim must know.
        if self.config.restart != RestartPolicy::No && !self.status.stopped {
            self.status.stopped = true;
            self.save_status()?;
        }
        Ok(())
    }

    /// Takes note of a change.
    pub(crate) fn change(&mut self, change: Change) -> Result<(), Error> {
        if let Some(policy) = change.restart {
            self.config.restart = policy;
        }
        if let (Some(name), Some(events)) = (change.name, &mut self.config.events) {
            events.attributes.insert("name".into(), name);
        }
        if let (Some(attributes), Some(events)) = (change.attributes, &mut self.config.events) {
            events.attributes = attributes;
        }
        if let Some(mounts) = change.mounts {
            self.regraft(*mounts)?;
        }
        change.network.map_or(Ok(()), |network| self.rewire(*network))
    }
}

/// Puts the present processes of the containers whose namespaces are joined into `config.json`: the
/// numbers of those before may be anybody's by now.
fn join_anew(joins: &[Join], config: &std::path::Path) -> Result<(), Error> {
    if joins.is_empty() {
        return Ok(());
    }
    let bytes = fs::read(config).map_err(Error::file("read", config))?;
    let mut spec: Value =
        serde_json::from_slice(&bytes).map_err(|err| Error::file("parse", config)(err.into()))?;
    for join in joins {
        let status = Status::load(&join.data_dir).map_err(Error::file("read", &join.data_dir))?;
        if status.phase != Phase::Running {
            let whose = join.data_dir.file_name().unwrap_or_default().to_string_lossy();
            return Err(Error::Request(format!(
                "cannot join the {} namespace of a non running container: {whose}",
                join.kind
            )));
        }
        let namespaces = spec["linux"]["namespaces"].as_array_mut();
        for namespace in namespaces.into_iter().flatten() {
            if namespace["type"] == join.kind.as_str()
                && let Some(path) = namespace["path"].as_str()
                && let Some((_, name)) = path.rsplit_once('/')
            {
                namespace["path"] = format!("/proc/{}/ns/{name}", status.pid).into();
            }
        }
    }
    let bytes =
        serde_json::to_vec(&spec).map_err(|err| Error::file("write", config)(err.into()))?;
    fs::write(config, bytes).map_err(Error::file("write", config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_namespace_is_that_of_the_process_of_now() {
        let dir = std::env::temp_dir().join(format!("dhow-join-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let config = dir.join("config.json");
        let spec = r#"{"linux":{"namespaces":[{"type":"network","path":"/proc/7/ns/net"},{"type":"pid"},{"type":"ipc","path":"/proc/1/ns/ipc"}]}}"#;
        fs::write(&config, spec).unwrap();
        let joins = [Join { kind: "network".into(), data_dir: dir.clone() }];
        let status = Status { phase: Phase::Exited, ..Status::default() };
        status.save(&dir).unwrap();
        assert!(join_anew(&joins, &config).is_err());
        Status { phase: Phase::Running, pid: 99, ..status }.save(&dir).unwrap();
        join_anew(&joins, &config).unwrap();
        let wanted = spec.replace("/proc/7/", "/proc/99/");
        let found: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        assert_eq!(found, serde_json::from_str::<Value>(&wanted).unwrap());
        fs::remove_dir_all(&dir).unwrap();
    }
}
