//! Being told when a container's folder changes, whichever process changes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::Error;
use crate::error::At as _;

/// How often it is looked where nothing tells of changes.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A watch on one folder or file.
#[derive(Debug)]
pub(crate) struct Watch(OwnedFd);

impl Watch {
    /// Watches a folder: files renamed into it, and its own end. `None` where it is gone.
    pub(crate) fn folder(path: &Path) -> Result<Option<Self>, Error> {
        let flags = WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::DELETE_SELF;
        Self::new(path, flags)
    }

    /// Watches a folder and what is written to the files in it.
    pub(crate) fn files(path: &Path) -> Result<Option<Self>, Error> {
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::DELETE_SELF;
        Self::new(path, flags)
    }

    fn new(path: &Path, flags: WatchFlags) -> Result<Option<Self>, Error> {
        let inotify = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            // A user has 128 of them (fs.inotify.max_user_instances), and a hundred commands more.
            Err(Errno::MFILE) => return Self::clock(path),
            made => made.at("inotify_init", path)?,
        };
        match inotify::add_watch(&inotify, path, flags) {
            Err(Errno::NOENT) => Ok(None),
            added => {
                added.at("inotify_add_watch", path)?;
                Ok(Some(Self(inotify)))
            }
        }
    }

    /// What wakes whoever waits again and again: they look for what has happened each time.
    fn clock(path: &Path) -> Result<Option<Self>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let clock = timerfd_create(TimerfdClockId::Monotonic, flags).at("timerfd_create", path)?;
        let often = Itimerspec { it_interval: LOOK, it_value: LOOK };
        timerfd_settime(&clock, TimerfdTimerFlags::empty(), &often).at("timerfd_settime", path)?;
        Ok(Some(Self(clock)))
    }

    /// Takes what has happened off the queue; what it was is for the caller to look at.
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.0, &mut buffer).is_ok_and(|n| n > 0) {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn where_nothing_tells_of_changes_it_is_looked_again_and_again() {
        let watch = Watch::clock(Path::new("/")).unwrap().unwrap();
        for _ in 0..2 {
            let mut fds = [PollFd::new(&watch, PollFlags::IN)];
            assert_eq!(poll(&mut fds, None).unwrap(), 1);
            watch.drain();
            assert_eq!(poll(&mut fds, Some(&Timespec::default())).unwrap(), 0);
        }
        assert!(Watch::clock(Path::new("/no/such/path")).unwrap().is_none());
    }
}
