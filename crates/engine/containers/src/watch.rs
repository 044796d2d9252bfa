//! Being told when a container's folder changes, whichever process changes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

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

/// How often a wait that is short for most is looked after by a clock: for a second.
const SHORT: u32 = 20;

/// A watch on one folder or file.
#[derive(Debug)]
pub(crate) struct Watch {
    fd: OwnedFd,
    /// What the kernel is asked to watch when the clock has ticked so often.
    later: Option<(PathBuf, u32)>,
}

impl Watch {
    /// Watches a folder as [`Watch::folder`], for a wait that is short for most: the kernel is asked only after
    /// a second. Until then it is looked again and again, since closing an inotify descriptor waits for a grace
    /// period, up to 17 ms: as long as all of a short run takes.
    pub(crate) fn folder_later(path: &Path) -> Result<Option<Self>, Error> {
        let later = Some((path.to_owned(), SHORT));
        Ok(Self::clock(path)?.map(|clock| Self { later, ..clock }))
    }

    /// Watches a folder: files renamed into it, and its own end. `None` where it is gone.
    pub(crate) fn folder(path: &Path) -> Result<Option<Self>, Error> {
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        Self::new(path, flags)
    }

    /// Watches a folder and what is written to the files in it.
    pub(crate) fn files(path: &Path) -> Result<Option<Self>, Error> {
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::MOVE_SELF
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
                Ok(Some(Self { fd: inotify, later: None }))
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
        Ok(Some(Self { fd: clock, later: None }))
    }

    /// Takes what has happened off the queue; what it was is for the caller to look at, afterwards.
    pub(crate) fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|n| n > 0) {}
        let Some((path, n_left)) = &mut self.later else { return };
        *n_left -= 1;
        // What cannot be watched is looked at by the clock, as before.
        if *n_left == 0
            && let Some(watch) = Self::folder(&std::mem::take(path)).ok().flatten()
        {
            *self = watch;
        } else if *n_left == 0 {
            self.later = None;
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn where_nothing_tells_of_changes_it_is_looked_again_and_again() {
        let mut watch = Watch::clock(Path::new("/")).unwrap().unwrap();
        for _ in 0..2 {
            let ready = |watch: &Watch, patience: Option<&Timespec>| {
                poll(&mut [PollFd::new(watch, PollFlags::IN)], patience).unwrap()
            };
            assert_eq!(ready(&watch, None), 1);
            watch.drain();
            assert_eq!(ready(&watch, Some(&Timespec::default())), 0);
        }
        assert!(Watch::clock(Path::new("/no/such/path")).unwrap().is_none());
    }

    #[test]
    fn a_long_wait_is_watched_by_the_kernel() {
        let folder = std::env::temp_dir().join(format!("dhow-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut watch = Watch::folder_later(&folder).unwrap().unwrap();
        let ready = |watch: &Watch, patience: &Timespec| {
            poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(patience)).unwrap()
        };
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        for _ in 0..SHORT {
            assert_eq!(ready(&watch, &second), 1, "the clock ticks");
            watch.drain();
        }
        assert_eq!(ready(&watch, &Timespec { tv_sec: 0, tv_nsec: 200_000_000 }), 0);
        std::fs::write(folder.join("new"), "").unwrap();
        assert_eq!(ready(&watch, &second), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
