//! Who may change a container: one at a time, over all processes.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;

/// The right to change one container. The kernel takes it back however its holder ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not used")] OwnedFd);

impl Lock {
    /// Waits for the lock in a container's folder. `None` where the folder is gone.
    pub(crate) fn wait(data: &Path) -> Result<Option<Self>, Error> {
        Self::take(data, FlockOperation::LockExclusive)
    }

    /// Takes the lock if nobody has it; `None` where somebody has, or the folder is gone.
    pub(crate) fn attempt(data: &Path) -> Result<Option<Self>, Error> {
        Self::take(data, FlockOperation::NonBlockingLockExclusive)
    }

    fn take(data: &Path, operation: FlockOperation) -> Result<Option<Self>, Error> {
        let path = data.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.at("open", &path)?,
        };
        loop {
            match rustix::fs::flock(&file, operation) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                locked => {
                    locked.at("flock", &path)?;
                    return Ok(Some(Self(file)));
                }
            }
        }
    }
}

/// Whether a shim lives: it holds a lock for as long. Not to be asked of a container that is being
/// started, whose shim could find the lock taken by the question.
pub(crate) fn shim_lives(run: &Path) -> Result<bool, Error> {
    let path = run.join("shim.lock");
    let file = match rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        opened => opened.at("open", &path)?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN) => Ok(true),
        locked => {
            locked.at("flock", &path)?;
            Ok(false)
        }
    }
}
