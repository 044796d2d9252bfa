//! Who is in the namespaces: `STATE/rootless/members`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::Pid;
use sys::{ByteLock, Call as _, Handle, byte_holder, lock_byte};

use crate::Error;

/// How often it is asked who is there, where one ends while it is looked at.
const ATTEMPTS: u32 = 100;

/// Where an engine's namespaces are found: `STATE/rootless`.
#[derive(Clone, Debug)]
pub struct Place {
    directory: PathBuf,
}

/// A process that is there.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) pid: Pid,
    pub(crate) handle: Handle,
}

/// The files of members that this process has opened: they stay open, since to close one is to let go
/// of all locks in it.
static OPEN: Mutex<Vec<(PathBuf, Arc<File>)>> = Mutex::new(Vec::new());

impl Place {
    /// Of the engine with this state directory.
    pub fn of(state: &Path) -> Self {
        Self { directory: state.join("rootless") }
    }

    /// Whether an ordinary user's engine has been here.
    pub fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the directory, and those above it.
    pub(crate) fn make(&self) -> Result<(), Error> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(&self.directory).map_err(Error::file("mkdir", &self.directory))
    }

    /// The file of locks.
    pub(crate) fn members(&self) -> Result<Arc<File>, Error> {
        let path = self.directory.join("members");
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = open.iter().find(|(of, _)| *of == path) {
            return Ok(Arc::clone(file));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = Arc::new(options.open(&path).map_err(Error::file("open", &path))?);
        open.push((path, Arc::clone(&file)));
        Ok(file)
    }

    /// Takes a byte that others may have as well.
    pub(crate) fn share(&self, byte: u32) -> Result<(), Error> {
        lock_byte(self.members()?.as_fd(), byte, ByteLock::Shared, true)?;
        Ok(())
    }

    /// A process that has a byte, and is the very one: its number cannot lead to another any more.
    pub(crate) fn holder(&self, byte: u32) -> Result<Option<Found>, Error> {
        let members = self.members()?;
        for _ in 0..ATTEMPTS {
            let pid = match byte_holder(members.as_fd(), byte)? {
                None => return Ok(None),
                Some(None) => return Err(Error::Unreachable { pid: 0 }),
                Some(Some(pid)) => pid,
            };
            let Ok(handle) = Handle::open(pid) else { continue };
            if byte_holder(members.as_fd(), byte)? == Some(Some(pid)) {
                return Ok(Some(Found { pid, handle }));
            }
        }
        Err(Error::Unreachable { pid: 0 })
    }

    /// One at a time: until what is returned is dropped.
    pub(crate) fn door(&self, name: &str) -> Result<OwnedFd, Error> {
        let path = self.directory.join(name);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
            .map_err(Error::file("open", &path))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
            .map_err(Error::file("flock", &path))?;
        Ok(file)
    }

    /// What is noted of the way to the outside: the program, and its process or why there is none.
    pub fn note(&self) -> String {
        fs::read_to_string(self.directory.join("outside")).unwrap_or_default()
    }

    pub(crate) fn set_note(&self, text: &str) -> Result<(), Error> {
        let path = self.directory.join("outside");
        fs::write(&path, text).map_err(Error::file("write", &path))
    }
}

impl Found {
    /// One of its namespaces: `user` or `net`.
    pub(crate) fn namespace(&self, kind: &str) -> Result<OwnedFd, Error> {
        let path = format!("/proc/{}/ns/{kind}", self.pid.as_raw_nonzero());
        let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        // The directory was its own if it lives now.
        let lives = self.handle.signal(0);
        match opened {
            Ok(namespace) if lives.is_ok() => Ok(namespace),
            Ok(_) => Err(Error::Unreachable { pid: self.pid.as_raw_nonzero().get() }),
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
                Err(Error::Unreachable { pid: self.pid.as_raw_nonzero().get() })
            }
            Err(errno) => Ok(Err(errno).call(|| format!("open({path:?})"))?),
        }
    }
}
