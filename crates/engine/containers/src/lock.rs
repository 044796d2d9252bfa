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

    /// The folder itself is what is locked. A file in it would go before the folder does, and who
    /// came in between would make another: two locks, and a folder that is not empty.
    fn take(data: &Path, operation: FlockOperation) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = match rustix::fs::open(data, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.at("open", data)?,
        };
        loop {
            match rustix::fs::flock(&folder, operation) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                locked => {
                    locked.at("flock", data)?;
                    break;
                }
            }
        }
        // Whoever had it before may have removed the folder.
        let here = rustix::fs::fstat(&folder).at("fstat", data)?;
        match rustix::fs::lstat(data) {
            Err(Errno::NOENT) => Ok(None),
            there => {
                let there = there.at("lstat", data)?;
                let same = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino);
                Ok(same.then_some(Self(folder)))
            }
        }
    }
}

/// Whether a shim lives: it holds a lock for as long. Not to be asked of a container that is being
/// started, whose shim could find the lock taken by the question.
pub(crate) fn shim_lives(run: &Path) -> Result<bool, Error> {
    let path = run.join("shim.lock");
    let file = match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_went_meanwhile_is_not_locked() {
        let data = std::env::temp_dir().join(format!("dhow-lock-{}", std::process::id()));
        assert!(Lock::wait(&data).unwrap().is_none());
        std::fs::create_dir(&data).unwrap();
        let first = Lock::wait(&data).unwrap().unwrap();
        assert!(Lock::attempt(&data).unwrap().is_none());
        let waiting = {
            let data = data.clone();
            std::thread::spawn(move || Lock::wait(&data).unwrap().is_none())
        };
        std::fs::remove_dir(&data).unwrap();
        drop(first);
        assert!(waiting.join().unwrap());
        assert!(!data.exists());
    }
}
