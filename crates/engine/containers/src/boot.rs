//! What the daemon starts when it starts itself: after the machine did, most of all.

use shim_protocol::{Phase, RestartPolicy, Status};

use crate::engine::Engine;
use crate::record::Container;
use crate::{Error, definition};

impl Engine {
    /// Starts the containers that are to run, by their restart policies: those of `always` that were ever
    /// started, those of `unless-stopped` that nobody has stopped, those of `on-failure` that failed, and
    /// may be tried again. What could not be started comes back with its name.
    pub fn bring_up(&self) -> Result<Vec<(String, Error)>, Error> {
        let mut failed = Vec::new();
        let mut wanted = Vec::new();
        for row in self.shared.db.read(metadata::Read::containers)? {
            let container = Container::from_row(row)?;
            let policy = definition::restart(&container.record.host.restart_policy)?;
            if policy != RestartPolicy::No && is_wanted(policy, &self.status(&container.id)?) {
                wanted.push(container);
            }
        }
        // The oldest first; last those that join others, which must run by then.
        wanted.sort_by_key(|container| (joins(container), container.created));
        for container in wanted {
            match self.start(&container.id) {
                // Somebody else was faster, or removed it.
                Ok(()) | Err(Error::NotModified(_) | Error::NoContainer(_)) => {}
                Err(err) => failed.push((container.name, err)),
            }
        }
        Ok(failed)
    }
}

fn is_wanted(policy: RestartPolicy, status: &Status) -> bool {
    // One that was started and could not run has a code, too; one that never was has nothing.
    let was_started = status.phase == Phase::Exited && !status.started_at.is_empty();
    was_started
        && (policy == RestartPolicy::Always
            || policy.wants(status.exit_code, status.stopped, status.restart_count))
}

fn joins(container: &Container) -> bool {
    let host = &container.record.host;
    [&host.network_mode, &host.pid_mode, &host.ipc_mode, &host.uts_mode]
        .iter()
        .any(|mode| mode.starts_with("container:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_is_started_as_its_policy_says() {
        let on_failure = RestartPolicy::OnFailure { max: 2 };
        for (policy, started, exit_code, stopped, count, want) in [
            (RestartPolicy::Always, true, 0, true, 0, true),
            (RestartPolicy::Always, false, 0, false, 0, false),
            (RestartPolicy::UnlessStopped, true, 137, false, 0, true),
            (RestartPolicy::UnlessStopped, true, 137, true, 0, false),
            (on_failure, true, 137, false, 1, true),
            (on_failure, true, 137, false, 2, false),
            (on_failure, true, 0, false, 0, false),
        ] {
            let status = Status {
                phase: Phase::Exited,
                started_at: if started { "x".into() } else { String::new() },
                exit_code,
                stopped,
                restart_count: count,
                ..Status::default()
            };
            assert_eq!(is_wanted(policy, &status), want, "{policy:?} {status:?}");
        }
        let running = Status { started_at: "x".into(), ..Status::default() };
        let running = Status { phase: Phase::Running, ..running };
        assert!(!is_wanted(RestartPolicy::Always, &running));
    }
}
