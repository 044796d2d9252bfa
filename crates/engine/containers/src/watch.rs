//! Being told when a container's folder changes, whichever process changes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;

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
        let inotify =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).at("inotify_init", path)?;
        match inotify::add_watch(&inotify, path, flags) {
            Err(Errno::NOENT) => Ok(None),
            added => {
                added.at("inotify_add_watch", path)?;
                Ok(Some(Self(inotify)))
            }
        }
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
