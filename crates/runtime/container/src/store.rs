//! The directory in which the runtime keeps its containers: `ROOT/ID/`, mode 0700 (01700 until the
//! container is made), with
//! - `state.json`: the [`Record`], written by renaming;
//! - `exec.fifo`: there until the container is started (`create` only); what goes wrong after that comes
//!   back through it;
//! - `seccomp.bpf`: the compiled filter, for processes that are executed later.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci::runtime::Status;
use plan::Filter;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sys::{Call, SeccompFlags, SockFilter};

use crate::error::{Doing, Error, failpoint};
use crate::process;
use crate::record::Record;

const RECORD: &str = "state.json";
const FIFO: &str = "exec.fifo";
const FILTER: &str = "seccomp.bpf";

/// The mode of a container's directory.
const MODE: u32 = 0o700;
/// What it has besides until the container is made: the sticky bit, which means nothing for a directory
/// that only its owner may write to.
const BEING_MADE: u32 = 0o1000;
/// How long a container that is being made is waited for.
const MAKING_PATIENCE: Duration = Duration::from_secs(10);

/// The directory of all containers.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// Its directory is marked as one that is in use.
    sticky: bool,
}

/// The longest id: it is the name of a directory.
const LONGEST_ID: usize = 255;

/// Checks an id: letters, digits, `_`, `+`, `-` and `.`, and not a directory's `.` and `..`.
pub fn check_id(id: &str) -> Result<(), Error> {
    let invalid = |why| Err(Error::Id(id.escape_debug().to_string(), why));
    if id.is_empty() {
        return invalid("it is empty");
    }
    if id.len() > LONGEST_ID {
        return invalid("it is longer than 255 bytes");
    }
    if id == "." || id == ".." {
        return invalid("it is the name of every directory");
    }
    if !id.chars().all(|c| c.is_ascii_alphanumeric() || "_+-.".contains(c)) {
        return invalid("it may have letters, digits, `_`, `+`, `-` and `.` only");
    }
    Ok(())
}

impl Store {
    /// The store in `root`, which is made when the first container is.
    pub fn new(root: PathBuf) -> Self {
        Self { root, sticky: false }
    }

    /// The same in a user's `XDG_RUNTIME_DIR`, whose specification has files be cleaned up that
    /// nobody uses, but for those with the sticky bit.
    pub fn of_user(root: PathBuf) -> Self {
        Self { root, sticky: true }
    }

    /// The ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.call(|| format!("readdir({:?})", self.root)).doing(|| "list")?,
        };
        let mut ids: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join(RECORD).exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Takes `id` for a new container: makes its directory, and locks it.
    pub(crate) fn reserve(&self, id: &str) -> Result<Container, Error> {
        check_id(id)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&self.root)
            .call(|| format!("mkdir({:?})", self.root))
            .doing(|| "--root")?;
        if self.sticky {
            rustix::fs::chmod(&self.root, Mode::from_raw_mode(0o1700))
                .call(|| format!("chmod({:?}, 01700)", self.root))
                .doing(|| "--root")?;
        }
        let dir = self.root.join(id);
        failpoint("runtime.state-dir")?;
        match DirBuilder::new().mode(MODE | BEING_MADE).create(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists(id.to_owned()));
            }
            other => other.call(|| format!("mkdir({dir:?})")).doing(|| "state directory")?,
        }
        match lock(&dir).and_then(|lock| failpoint("runtime.state-dir.made").map(|()| lock)) {
            Ok(lock) => Ok(Container { id: id.to_owned(), dir, lock: Some(lock) }),
            Err(error) => {
                // Empty still; that it cannot be removed is less than what was wrong before.
                let _kept = std::fs::remove_dir(&dir);
                Err(error)
            }
        }
    }

    /// The container `id`, locked against others that change it: waits for one that does.
    pub fn lock(&self, id: &str) -> Result<Container, Error> {
        let mut container = self.find(id)?;
        container.lock = Some(lock(&container.dir).map_err(|error| gone(error, id))?);
        // It may have been deleted while we waited for the lock.
        if container.dir.exists() { Ok(container) } else { Err(Error::NotFound(id.to_owned())) }
    }

    /// The container `id`, as it is now.
    pub fn find(&self, id: &str) -> Result<Container, Error> {
        check_id(id)?;
        let dir = self.root.join(id);
        if dir.is_dir() {
            Ok(Container { id: id.to_owned(), dir, lock: None })
        } else {
            Err(Error::NotFound(id.to_owned()))
        }
    }
}

fn gone(error: Error, id: &str) -> Error {
    match error {
        Error::Call { source, .. } if source.errno() == Errno::NOENT => {
            Error::NotFound(id.to_owned())
        }
        other => other,
    }
}

/// Locks a directory. The lock ends with the descriptor, however the process ends.
fn lock(dir: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty())
        .call(|| format!("open({dir:?})"))
        .doing(|| "state directory")?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::LockExclusive))
        .call(|| format!("flock({dir:?})"))
        .doing(|| "state directory")?;
    Ok(fd)
}

/// One container's directory.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: String,
    dir: PathBuf,
    lock: Option<OwnedFd>,
}

impl Container {
    /// Gives the lock up: in a child, which would hold it as long as it lives.
    pub(crate) fn unlock(&mut self) {
        self.lock = None;
    }

    /// Notes that it is made: others may enter it.
    pub(crate) fn made(&self) -> Result<(), Error> {
        rustix::fs::chmod(&self.dir, Mode::from_raw_mode(MODE))
            .call(|| format!("chmod({:?}, {MODE:o})", self.dir))
            .doing(|| "state directory")
    }

    /// Waits until it is made, if somebody is at that: its first process has the host's root for a while.
    /// Whether there was something to wait for. For one whose record is there.
    pub(crate) fn await_made(&self) -> Result<bool, Error> {
        let until = Instant::now() + MAKING_PATIENCE;
        let mut waited = false;
        // Who is dead makes nothing more, and its first process ends with it.
        while self.is_unmade()? && self.is_being_made() {
            if Instant::now() > until {
                let (id, status) = (self.id.clone(), Status::Creating);
                return Err(Error::Status { what: "exec in", id, status });
            }
            std::thread::sleep(Duration::from_millis(1));
            waited = true;
        }
        Ok(waited)
    }

    fn is_unmade(&self) -> Result<bool, Error> {
        match rustix::fs::stat(&self.dir) {
            Ok(stat) => Ok(stat.st_mode & BEING_MADE != 0),
            Err(Errno::NOENT) => Err(Error::NotFound(self.id.clone())),
            Err(errno) => {
                Err(errno).call(|| format!("stat({:?})", self.dir)).doing(|| "state directory")
            }
        }
    }

    /// Writes the record, whole or not at all.
    pub(crate) fn save(&self, record: &Record) -> Result<(), Error> {
        let (new, path) = (self.dir.join(".state.json"), self.dir.join(RECORD));
        let json = serde_json::to_vec(record).map_err(|source| Error::document(&path, source))?;
        failpoint("runtime.record")?;
        write(&new, &json)?;
        std::fs::rename(&new, &path)
            .call(|| format!("rename({new:?}, {path:?})"))
            .doing(|| "state")?;
        failpoint("runtime.record.written")
    }

    /// Reads the record. `None`: whoever created it was killed before there was one.
    pub fn record(&self) -> Result<Option<Record>, Error> {
        let path = self.dir.join(RECORD);
        match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .map_err(|source| Error::document(&path, source)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).call(|| format!("read({path:?})")).doing(|| "state"),
        }
    }

    /// The record of a container that has one.
    pub fn expect_record(&self) -> Result<Record, Error> {
        self.record()?.ok_or_else(|| Error::NotFound(self.id.clone()))
    }

    /// Where it is in its life.
    pub fn status(&self, record: &Record) -> Result<Status, Error> {
        if let Some(status) = self.status_without_cgroup(record)? {
            return Ok(status);
        }
        self.status_in(record, crate::cgroups::open(&record.cgroup_path)?.as_ref())
    }

    /// The same for who has the cgroup open.
    pub(crate) fn status_in(
        &self,
        record: &Record,
        cgroup: Option<&cgroup::Cgroup>,
    ) -> Result<Status, Error> {
        if let Some(status) = self.status_without_cgroup(record)? {
            return Ok(status);
        }
        let frozen = match cgroup {
            Some(cgroup) => cgroup.is_frozen()?,
            None => false,
        };
        Ok(if frozen { Status::Paused } else { Status::Running })
    }

    /// What the process and the fifo tell: only between running and paused the cgroup decides.
    pub(crate) fn status_without_cgroup(&self, record: &Record) -> Result<Option<Status>, Error> {
        if record.pid == 0 && self.is_being_made() {
            return Ok(Some(Status::Creating));
        }
        if !process::alive(record.pid, record.start_time) {
            return Ok(Some(Status::Stopped));
        }
        Ok(self.waits_for_start()?.then_some(Status::Created))
    }

    /// Whether somebody else has it locked: for one without a process, its creator.
    fn is_being_made(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.lock.is_none()
            && rustix::fs::open(&self.dir, flags, Mode::empty()).is_ok_and(|dir| {
                let locked = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared);
                locked == Err(Errno::WOULDBLOCK)
            })
    }

    /// Whether its process still waits at the fifo: that has a reader then.
    fn waits_for_start(&self) -> Result<bool, Error> {
        self.open_fifo().map(|fifo| fifo.is_some())
    }

    /// Opens the fifo for writing. `None` when nobody waits at it.
    pub(crate) fn open_fifo(&self) -> Result<Option<OwnedFd>, Error> {
        let path = self.dir.join(FIFO);
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fifo) => Ok(Some(fifo)),
            Err(Errno::NXIO | Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).call(|| format!("open({path:?})")).doing(|| "start"),
        }
    }

    /// Makes the fifo at which the process waits.
    pub(crate) fn make_start(&self) -> Result<init::Start, Error> {
        let fifo = self.dir.join(FIFO);
        failpoint("runtime.fifo")?;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .call(|| format!("mkfifo({fifo:?})"))
            .doing(|| "start")?;
        rustix::fs::open(&fifo, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({fifo:?})"))
            .doing(|| "start")
            .map(init::Start::Fifo)
    }

    /// What went wrong after the start, if anything. The process has left it in the fifo, where it
    /// stays for as long as the caller has that open.
    pub(crate) fn start_error(&self) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fifo = rustix::fs::open(self.dir.join(FIFO), flags, Mode::empty()).ok()?;
        let mut note = vec![0; init::LONGEST_NOTE];
        let n_read = rustix::io::retry_on_intr(|| rustix::io::read(&fifo, &mut note)).ok()?;
        note.truncate(n_read);
        (!note.is_empty()).then_some(note)
    }

    /// Removes the fifo: it is started.
    pub(crate) fn remove_fifo(&self) -> Result<(), Error> {
        let path = self.dir.join(FIFO);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.call(|| format!("unlink({path:?})")).doing(|| "start"),
        }
    }

    /// Keeps the compiled filter.
    pub(crate) fn save_filter(&self, filter: &Filter) -> Result<(), Error> {
        let mut bytes = filter.flags.bits().to_ne_bytes().to_vec();
        for insn in &filter.program {
            bytes.extend_from_slice(&insn.code.to_ne_bytes());
            bytes.extend_from_slice(&[insn.jt, insn.jf]);
            bytes.extend_from_slice(&insn.k.to_ne_bytes());
        }
        write(&self.dir.join(FILTER), &bytes)
    }

    /// The compiled filter, if it has one.
    pub(crate) fn filter(&self) -> Result<Option<Filter>, Error> {
        let path = self.dir.join(FILTER);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.call(|| format!("read({path:?})")).doing(|| "seccomp")?,
        };
        let damaged = || Error::Refused(format!("{path:?} is damaged"));
        let (flags, program) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (chunks, rest) = program.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        Ok(Some(Filter {
            program: chunks
                .iter()
                .map(|[a, b, jt, jf, k @ ..]| SockFilter {
                    code: u16::from_ne_bytes([*a, *b]),
                    jt: *jt,
                    jf: *jf,
                    k: u32::from_ne_bytes(*k),
                })
                .collect(),
            flags: SeccompFlags::from_bits_retain(u32::from_ne_bytes(*flags)),
            listener: None,
        }))
    }

    /// Removes the directory: the container is gone.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        failpoint("runtime.forget")?;
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => {
                other.call(|| format!("remove({:?})", self.dir)).doing(|| "state directory")?;
            }
        }
        failpoint("runtime.forgotten")
    }
}

/// Writes a new file that only its owner reads.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let text = || format!("write({path:?})");
    let mut file: File = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .call(text)
        .doing(|| "state")?;
    file.write_all(bytes).call(text).doing(|| "state")
}
