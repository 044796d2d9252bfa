use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::Health;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It has never run.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// Its program is frozen.
    Paused,
    /// Its program has ended, and will be started again.
    Restarting,
    /// Its program has ended.
    Exited,
}

impl Phase {
    /// Whether a shim watches over it.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// Whether its program is there, be it frozen.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// The truth about a container's life: `DATA/status.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Where it is.
    pub phase: Phase,
    /// The init process, in the host's PID namespace; 0 when there is none.
    pub pid: i32,
    /// The shim.
    pub shim_pid: i32,
    /// When the program was started: RFC 3339 with nanoseconds, UTC; empty if never.
    pub started_at: String,
    /// When it ended; empty if it has not.
    pub finished_at: String,
    /// Its exit code, or 128 plus the signal that ended it.
    pub exit_code: i32,
    /// Whether the kernel killed a process in it for want of memory.
    pub oom_killed: bool,
    /// Why it could not be started, or what went wrong; empty if nothing did.
    pub error: String,
    /// How often it was started again since somebody started it.
    pub restart_count: u32,
    /// Whether it works, where there is a check of that.
    pub health: Option<Health>,
    /// Somebody has ended it: it is not started again for its policy's sake.
    pub stopped: bool,
}

/// One exec: `EXECS/ID.json`, written by whoever makes it. `EXECS` is `RUN/execs` where the engine
/// made that directory (it ends with the container), else `STATE/execs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container's.
    pub container: String,
    /// What to run.
    pub process: oci::runtime::Process,
    /// Whether standard input, output and error are wanted by who starts it.
    pub attach: crate::Attach,
    /// The user as it was asked for, for inspection.
    pub user: String,
    /// Keys that detach, as they were asked for, for inspection.
    pub detach_keys: String,
    /// More privileges than the container's own.
    pub privileged: bool,
    /// Why it cannot be started, where that was known when it was made.
    #[serde(default)]
    pub refused: Option<String>,
}

/// What became of an exec: `EXECS/ID.status`, written by the shim, by rename.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStatus {
    /// Whether it runs.
    pub running: bool,
    /// Its process, in the host's PID namespace; 0 before and after.
    pub pid: i32,
    /// Set once it has ended.
    pub exit_code: Option<i32>,
}

impl Status {
    /// Reads `DATA/status.json`. A container without one has never run; one whose is empty lost it
    /// in a crash of the machine, since it is not waited for until it is on the disk.
    pub fn load(data_dir: &Path) -> io::Result<Self> {
        /// containerd's code for an exit of which nothing is known.
        const UNKNOWN: i32 = 255;
        match fs::read(data_dir.join("status.json")) {
            Ok(bytes) if bytes.is_empty() => Ok(Self {
                phase: Phase::Exited,
                exit_code: UNKNOWN,
                error: "its status was lost when the machine crashed".into(),
                ..Self::default()
            }),
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err),
        }
    }

    /// Writes `DATA/status.json`, whole or not at all.
    pub fn save(&self, data_dir: &Path) -> io::Result<()> {
        replace(&data_dir.join("status.json"), &serde_json::to_vec(self)?)
    }
}

impl ExecStatus {
    /// Reads `EXECS/ID.status`. An exec without one has not been started.
    pub fn load(execs: &Path, id: &str) -> io::Result<Self> {
        match fs::read(execs.join(format!("{id}.status"))) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err),
        }
    }

    /// Writes `EXECS/ID.status`, whole or not at all.
    pub fn save(&self, execs: &Path, id: &str) -> io::Result<()> {
        replace(&execs.join(format!("{id}.status")), &serde_json::to_vec(self)?)
    }
}

/// Writes beside `path` and renames over it: a reader sees the old bytes or the new.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = PathBuf::from(path).into_os_string();
    beside.push(".new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_being_replaced_and_being_lost() {
        let dir = std::env::temp_dir().join(format!("dhow-status-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(Status::load(&dir).unwrap(), Status::default());
        for exit_code in [1, 2] {
            let status = Status { phase: Phase::Exited, exit_code, ..Status::default() };
            status.save(&dir).unwrap();
            assert_eq!(Status::load(&dir).unwrap(), status);
        }
        fs::write(dir.join("status.json"), "").unwrap();
        let lost = Status::load(&dir).unwrap();
        assert_eq!((lost.phase, lost.exit_code), (Phase::Exited, 255));
        fs::write(dir.join("status.json"), "{\"phase\"").unwrap();
        assert!(Status::load(&dir).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
