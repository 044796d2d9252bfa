//! Who has the file system of a volume mounted.
//!
//! A volume of type `tmpfs` that two containers have is one file system and not two; nor can an
//! overlay be mounted twice, or a device with other options. So the first supervisor mounts it, and
//! those that come while it runs take a copy of its mount, from its mount namespace. Each notes
//! itself in the volume's directory of holders, in a file of the container's id: its process, and
//! where it has it. The file system ends with the last of them, and what a supervisor that was killed
//! has left there is removed by who comes next.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use sys::Call as _;

use crate::Error;
use crate::namespace;

/// The lock in a directory of holders. No container's id is called so.
const LOCK: &str = "lock";

/// The holders of one volume, which do not change as long as this lives.
#[derive(Debug)]
pub struct Holders {
    directory: PathBuf,
    _lock: OwnedFd,
}

/// One that has it mounted: its mount namespace, and where it is there.
#[derive(Debug)]
pub struct Held {
    /// The mount namespace.
    pub namespace: OwnedFd,
    /// The mount point.
    pub target: PathBuf,
}

impl Holders {
    /// Those in `directory`; waits for who is about to change them.
    pub fn lock(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(LOCK);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
            .map_err(Error::file("open", &path))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(Error::file("flock", &path))?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// Those that live. What dead ones have left is removed.
    pub fn living(&self) -> Result<Vec<Held>, Error> {
        let mut living = Vec::new();
        let entries =
            fs::read_dir(&self.directory).map_err(Error::file("readdir", &self.directory))?;
        for entry in entries {
            let path = entry.map_err(Error::file("readdir", &self.directory))?.path();
            if path.file_name().is_some_and(|name| name == LOCK) {
                continue;
            }
            match read(&path)? {
                Some(held) => living.push(held),
                None => fs::remove_file(&path).map_err(Error::file("unlink", &path))?,
            }
        }
        Ok(living)
    }

    /// Notes that the container `id` has it, in this process's mount namespace.
    pub(crate) fn add(&self, id: &str, target: &Path) -> Result<(), Error> {
        let path = self.directory.join(id);
        let pid = std::process::id();
        let started = started(pid).unwrap_or_default();
        let text = format!("{pid}\n{started}\n{}", target.display());
        fs::write(&path, text).map_err(Error::file("write", &path))
    }

    /// Notes that the container `id` has it no more.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Error> {
        let path = self.directory.join(id);
        match fs::remove_file(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(Error::file("unlink", &path)),
        }
    }
}

/// What a file of a holder says, if that one lives.
fn read(path: &Path) -> Result<Option<Held>, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let mut lines = text.splitn(3, '\n');
    let (Some(pid), Some(since), Some(target)) = (lines.next(), lines.next(), lines.next()) else {
        return Ok(None);
    };
    let Ok(pid) = pid.parse::<u32>() else { return Ok(None) };
    let Ok(namespace) = namespace::open(&pid.to_string()) else { return Ok(None) };
    // The number may be another's by now: then it has not had it since.
    let same = started(pid).is_some_and(|started| started == since);
    Ok(same.then(|| Held { namespace, target: target.into() }))
}

/// When a process was started, in clock ticks since the boot, and which boot that was.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = rest.split_ascii_whitespace().nth(19)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{ticks}:{}", boot.trim()))
}

impl Held {
    /// A copy of the mount, for who is in that namespace now.
    pub fn copy(&self) -> Result<Option<OwnedFd>, sys::Error> {
        // A supervisor at its end has gone back to the host's.
        if !mount::is_mountpoint(&self.target).unwrap_or(false) {
            return Ok(None);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.target, flags, Mode::empty())
            .call(|| format!("open({:?})", self.target))?;
        mount::bind_fd(std::os::fd::AsFd::as_fd(&root), true).map(Some)
    }
}
