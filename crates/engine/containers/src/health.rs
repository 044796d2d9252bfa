//! Health checks: what of the image's holds, what a check is made of, how it is shown.

use docker::HostConfig;
use docker::container::{Health as Shown, HealthConfig, HealthResult, HealthSummary};
use docker::exec::CreateRequest;
use shim_protocol::{HealthCheck, HealthLog, Status, Unhealthy};

use crate::engine::Engine;
use crate::record::Container;
use crate::{Error, control};

/// The annotation by which a container that is unhealthy is started again, with the value `unhealthy`:
/// ours (`--restart-on`). An annotation can come from whoever makes the container, never from an image.
pub(crate) const RESTART_ON: &str = "dhow.restart-on";

/// Docker's defaults, nanoseconds and a number.
const INTERVAL: u64 = 30_000_000_000;
const TIMEOUT: u64 = 30_000_000_000;
const START_INTERVAL: u64 = 5_000_000_000;
const RETRIES: u32 = 3;
/// The shortest time that can be asked for, nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// Fills what a request leaves open with what the image says.
pub(crate) fn merge(own: &mut HealthConfig, image: &oci::image::Healthcheck) {
    if own.test.is_empty() {
        own.test = image.test.clone().unwrap_or_default().into();
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

/// Refuses what makes no sense.
pub(crate) fn check(config: &docker::ContainerConfig, host: &HostConfig) -> Result<(), Error> {
    let invalid = |what: &str| Err(Error::Invalid(what.to_owned()));
    if let Some(check) = &config.healthcheck {
        for (time, name) in [
            (check.interval, "Interval"),
            (check.timeout, "Timeout"),
            (check.start_period, "StartPeriod"),
            (check.start_interval, "StartInterval"),
        ] {
            if time != 0 && time < SHORTEST {
                return invalid(&format!("{name} in Healthcheck cannot be less than 1ms"));
            }
        }
        if check.retries < 0 {
            return invalid("Retries in Healthcheck cannot be negative");
        }
    }
    match host.annotations.get(RESTART_ON).map(String::as_str) {
        Some("unhealthy") if host.auto_remove => invalid(
            "conflicting options: cannot specify both --restart-on and --rm: what is removed when it \
             ends is not started again",
        ),
        Some("unhealthy") if command(config).is_none() => {
            invalid("--restart-on unhealthy needs a health check: give --health-cmd")
        }
        None | Some("unhealthy") => Ok(()),
        Some(other) => {
            invalid(&format!("invalid value of --restart-on: {other} (there is unhealthy)"))
        }
    }
}

/// What is run; `None` where there is no check.
fn command(config: &docker::ContainerConfig) -> Option<Vec<String>> {
    let (kind, words) = config.healthcheck.as_ref()?.test.split_first()?;
    match kind.as_str() {
        "CMD" => Some(words.to_vec()),
        "CMD-SHELL" => {
            let shell = if config.shell.is_empty() {
                vec!["/bin/sh".to_owned(), "-c".to_owned()]
            } else {
                config.shell.to_vec()
            };
            Some(shell.into_iter().chain(words.iter().cloned()).collect())
        }
        // `NONE`, and what Docker ignores, too.
        _ => None,
    }
}

impl Engine {
    /// The check of a container, for its supervisor.
    pub(crate) fn health_check(&self, container: &Container) -> Result<Option<HealthCheck>, Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        let (Some(words), Some(check)) = (command(config), &config.healthcheck) else {
            return Ok(None);
        };
        let request = CreateRequest { cmd: words.into(), ..CreateRequest::default() };
        let or =
            |time: i64, default| u64::try_from(time).ok().filter(|n| *n > 0).unwrap_or(default);
        let restart = if host.annotations.contains_key(RESTART_ON) {
            let (signal, timeout_s) = control::stop_terms(config)?;
            Some(Unhealthy { signal, timeout_s })
        } else {
            None
        };
        Ok(Some(HealthCheck {
            process: self.exec_process(container, &request)?.0,
            interval: or(check.interval, INTERVAL),
            timeout: or(check.timeout, TIMEOUT),
            start_period: or(check.start_period, 0),
            start_interval: or(check.start_interval, START_INTERVAL),
            retries: u32::try_from(check.retries).ok().filter(|n| *n > 0).unwrap_or(RETRIES),
            restart,
        }))
    }

    /// The health of a container, with its last checks.
    pub(crate) fn shown_health(&self, id: &str, status: &Status) -> Option<Shown> {
        let health = status.health?;
        // One that cannot be read is shown as if there had been no check.
        let log = HealthLog::load(&self.paths().data(id)).unwrap_or_default();
        let shown = |result: shim_protocol::HealthResult| HealthResult {
            start: result.start,
            end: result.end,
            exit_code: result.exit_code.into(),
            output: result.output,
        };
        Some(Shown {
            status: health.status.as_str().into(),
            failing_streak: health.failing_streak.into(),
            log: log.0.into_iter().map(shown).collect(),
        })
    }
}

/// The health of a container, as a list has it: of one that runs.
pub(crate) fn summary(status: &Status) -> HealthSummary {
    if !status.phase.is_up() {
        return HealthSummary { status: "none".into(), failing_streak: 0 };
    }
    HealthSummary {
        status: word(status).into(),
        failing_streak: status.health.map_or(0, |health| health.failing_streak.into()),
    }
}

/// `none`, `starting`, `healthy` or `unhealthy`.
pub(crate) fn word(status: &Status) -> &'static str {
    status.health.map_or("none", |health| health.status.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_wins_over_the_image() {
        let image: oci::image::Healthcheck =
            serde_json::from_str(r#"{"Test":["CMD","a"],"Interval":5000000,"Retries":7}"#).unwrap();
        let mut own = HealthConfig { retries: 2, ..HealthConfig::default() };
        merge(&mut own, &image);
        assert_eq!(
            (own.test.to_vec(), own.interval, own.retries),
            (vec!["CMD".into(), "a".into()], 5_000_000, 2)
        );
        let mut none =
            HealthConfig { test: vec!["NONE".to_owned()].into(), ..HealthConfig::default() };
        merge(&mut none, &image);
        assert_eq!(none.test.to_vec(), ["NONE"]);
    }

    #[test]
    fn the_form_says_what_is_run() {
        let run = |json: &str| command(&serde_json::from_str(json).unwrap());
        let words = |text: &str| Some(text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(run(r#"{"Healthcheck":{"Test":["CMD","a","b"]}}"#), words("a b"));
        assert_eq!(run(r#"{"Healthcheck":{"Test":["CMD-SHELL","a"]}}"#), words("/bin/sh -c a"));
        let shell = r#"{"Shell":["/bin/bash","-c"],"Healthcheck":{"Test":["CMD-SHELL","a"]}}"#;
        assert_eq!(run(shell), words("/bin/bash -c a"));
        assert_eq!(run(r#"{"Healthcheck":{"Test":["NONE"]}}"#), None);
        assert_eq!(run(r#"{"Healthcheck":{}}"#), None);
        assert_eq!(run("{}"), None);
    }
}
