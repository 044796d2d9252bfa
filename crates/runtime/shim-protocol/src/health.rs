//! Health checks: what one is, and what has come of it.

use std::collections::VecDeque;
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::status::replace;

/// How to tell whether the container works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is run inside; code 0 is health.
    pub process: oci::runtime::Process,
    /// Between two checks, nanoseconds.
    pub interval: u64,
    /// How long one may take, nanoseconds.
    pub timeout: u64,
    /// How long after the start failures do not count, until the first success; nanoseconds.
    pub start_period: u64,
    /// Between two checks during that time, nanoseconds.
    pub start_interval: u64,
    /// How many failures in a row make it unhealthy.
    pub retries: u32,
    /// What is done when it is.
    pub restart: Option<Unhealthy>,
}

/// A container that is unhealthy is ended, and started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unhealthy {
    /// The signal that asks its program to end.
    pub signal: i32,
    /// How long it has for that before SIGKILL, seconds; `None`: any time.
    pub timeout_s: Option<u64>,
}

/// Whether a container works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not known yet.
    Starting,
    /// It does.
    Healthy,
    /// It does not, or does not run.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What the checks have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it works.
    pub status: HealthStatus,
    /// Failures since the last success.
    pub failing_streak: u32,
}

/// One check that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// RFC 3339, UTC.
    pub start: String,
    /// The same.
    pub end: String,
    /// The program's; -1 where it took too long or could not be run.
    pub exit_code: i32,
    /// What it wrote, at most [`HealthLog::MAX_OUTPUT_BYTES`], then `...`.
    pub output: String,
}

/// The last checks, the oldest first: `DATA/health.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HealthLog(pub VecDeque<HealthResult>);

impl HealthLog {
    /// What of a check's output is kept, bytes: Docker's.
    pub const MAX_OUTPUT_BYTES: usize = 4096;
    /// How many checks are kept: Docker's.
    const MAX_RESULTS: usize = 5;

    /// Adds one.
    pub fn push(&mut self, result: HealthResult) {
        while self.0.len() >= Self::MAX_RESULTS {
            self.0.pop_front();
        }
        self.0.push_back(result);
    }

    /// Reads `DATA/health.json`; without one there was no check.
    pub fn load(data_dir: &Path) -> io::Result<Self> {
        match fs::read(data_dir.join("health.json")) {
            // Lost in a crash of the machine.
            Ok(bytes) if bytes.is_empty() => Ok(Self::default()),
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err),
        }
    }

    /// Writes `DATA/health.json`, whole or not at all.
    pub fn save(&self, data_dir: &Path) -> io::Result<()> {
        replace(&data_dir.join("health.json"), &serde_json::to_vec(self)?)
    }
}

impl Health {
    /// Of a container that was just started.
    pub const STARTING: Self = Self { status: HealthStatus::Starting, failing_streak: 0 };

    /// Takes note of a check that began `since_start` nanoseconds after the start. Whether the status
    /// is another now.
    pub fn note(&mut self, check: &HealthCheck, exit_code: i32, since_start: u64) -> bool {
        let before = self.status;
        if exit_code == 0 {
            *self = Self { status: HealthStatus::Healthy, failing_streak: 0 };
        } else if before != HealthStatus::Starting || since_start >= check.start_period {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.status != before
    }

    /// How long to wait for the next check, `since_start` nanoseconds after the start.
    pub fn wait(&self, check: &HealthCheck, since_start: u64) -> u64 {
        let starts = self.status == HealthStatus::Starting && since_start < check.start_period;
        if starts { check.start_interval } else { check.interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_after_the_start_period_or_the_first_success() {
        let check = HealthCheck {
            process: oci::runtime::Process::default(),
            interval: 30,
            timeout: 30,
            start_period: 10,
            start_interval: 5,
            retries: 2,
            restart: None,
        };
        let mut health = Health::STARTING;
        let mut step = |exit_code, since| {
            let changed = health.note(&check, exit_code, since);
            (changed, health.status, health.failing_streak, health.wait(&check, since))
        };
        assert_eq!(step(1, 5), (false, HealthStatus::Starting, 0, 5));
        assert_eq!(step(1, 10), (false, HealthStatus::Starting, 1, 30));
        assert_eq!(step(0, 12), (true, HealthStatus::Healthy, 0, 30));
        assert_eq!(step(0, 5), (false, HealthStatus::Healthy, 0, 30));
        assert_eq!(step(1, 5), (false, HealthStatus::Healthy, 1, 30));
        assert_eq!(step(-1, 20), (true, HealthStatus::Unhealthy, 2, 30));
        assert_eq!(step(1, 20), (false, HealthStatus::Unhealthy, 3, 30));
    }

    #[test]
    fn the_last_five_are_kept() {
        let dir = std::env::temp_dir().join(format!("dhow-health-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(HealthLog::load(&dir).unwrap(), HealthLog::default());
        let mut log = HealthLog::default();
        for exit_code in 0..7 {
            let (start, end, output) = Default::default();
            log.push(HealthResult { start, end, exit_code, output });
        }
        log.save(&dir).unwrap();
        let codes: Vec<_> =
            HealthLog::load(&dir).unwrap().0.iter().map(|result| result.exit_code).collect();
        assert_eq!(codes, [2, 3, 4, 5, 6]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
