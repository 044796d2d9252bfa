use std::os::unix::fs::FileExt as _;
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
    /// When it ended last, which may be before it was started; empty if it never has.
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
    /// Its process, in the host's PID namespace, also when it has ended, as Docker tells it; 0: there was none.
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

    /// Writes `DATA/status.json`, whole or not at all; also on a disk that is full, if
    /// [`Status::keep_room`] was called while it was not.
    pub fn save(&self, data_dir: &Path) -> io::Result<()> {
        let (path, bytes) = (data_dir.join("status.json"), serde_json::to_vec(self)?);
        let full = match replace(&path, &bytes) {
            Err(err) if is_full(&err) => err,
            done => return done,
        };
        // A half that could be written is not left to take room from others.
        let _ = fs::remove_file(beside(&path));
        if !use_room(&data_dir.join(ROOM), bytes, &path)? {
            return Err(full);
        }
        // For the next time, if others have made room meanwhile.
        let _ = Self::keep_room(data_dir);
        Ok(())
    }

    /// Keeps so much of the disk that a status can be written whatever else fills it: how a
    /// container has ended must not be lost to that.
    pub fn keep_room(data_dir: &Path) -> io::Result<()> {
        let path = data_dir.join(ROOM);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() == ROOM_BYTES as u64) {
            return Ok(());
        }
        fs::write(&path, [b' '; ROOM_BYTES]).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }
}

/// The file that keeps room for a status.
const ROOM: &str = "status.room";
/// One block of most file systems; a status is far smaller.
const ROOM_BYTES: usize = 4096;

fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes into the room that was kept, which takes none, and puts it in the place of `path`. False
/// where none was kept, or not enough.
fn use_room(room: &Path, mut bytes: Vec<u8>, path: &Path) -> io::Result<bool> {
    if bytes.len() > ROOM_BYTES {
        return Ok(false);
    }
    // To its end with spaces, which JSON passes over.
    bytes.resize(ROOM_BYTES, b' ');
    let file = match fs::OpenOptions::new().write(true).open(room) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    file.write_all_at(&bytes, 0)?;
    fs::rename(room, path)?;
    Ok(true)
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
    let beside = beside(path);
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = PathBuf::from(path).into_os_string();
    beside.push(".new");
    beside.into()
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
        // The room that is kept is as good as a new file, and does not count as a status.
        Status::keep_room(&dir).unwrap();
        let status = Status { exit_code: 3, ..Status::default() };
        let bytes = serde_json::to_vec(&status).unwrap();
        assert!(use_room(&dir.join(ROOM), bytes.clone(), &dir.join("status.json")).unwrap());
        assert_eq!(Status::load(&dir).unwrap(), status);
        assert!(!use_room(&dir.join(ROOM), bytes, &dir.join("status.json")).unwrap());
        fs::write(dir.join("status.json"), "{\"phase\"").unwrap();
        assert!(Status::load(&dir).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
