//! Being told when the kernel kills for want of memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::inotify;
use rustix::io::Errno;
use sys::Call;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::parse;
use crate::tree::{Dir, Version};

/// A watch over a cgroup: its descriptor becomes readable when there is something to be told, which
/// [`OomWatch::news`] does.
#[derive(Debug)]
pub struct OomWatch {
    /// v1: an eventfd; v2: an inotify.
    fd: OwnedFd,
    dir: Dir,
    version: Version,
    /// v2: how many there were when it was last looked at.
    kills: u64,
}

/// What has happened since it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomNews {
    /// The kernel found no memory for a process of the cgroup, at least once.
    pub out_of_memory: bool,
    /// The cgroup was removed (v1), or holds no process any more (v2).
    pub ended: bool,
}

impl Cgroup {
    /// Watches for processes of the cgroup that find no memory: v1 `memory.oom_control` through
    /// `cgroup.event_control`, v2 `memory.events`.
    pub fn watch_oom(&self) -> Result<OomWatch, Error> {
        let limit = "to be told when memory is out";
        let Some(member) = self.member("memory", Some("memory")) else {
            return Err(Error::MissingController { controller: "memory", limit: limit.into() });
        };
        let dir = member.dir.open(".")?;
        let version = member.tree.version;
        let fd = match version {
            Version::V1 => watch_v1(&dir)?,
            Version::V2 => watch_v2(&dir)?,
        };
        Ok(OomWatch { fd, kills: kills(&dir)?, dir, version })
    }
}

fn watch_v1(dir: &Dir) -> Result<OwnedFd, Error> {
    use std::os::fd::AsRawFd;
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let eventfd = rustix::event::eventfd(0, flags).call(|| "eventfd()")?;
    let control = dir.for_reading_of("memory.oom_control")?;
    // The kernel keeps what it needs of both.
    let line = format!("{} {}", eventfd.as_raw_fd(), control.as_raw_fd());
    dir.write("cgroup.event_control", &line)?;
    Ok(eventfd)
}

fn watch_v2(dir: &Dir) -> Result<OwnedFd, Error> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let fd = inotify::init(flags).call(|| "inotify_init()")?;
    for file in ["memory.events", "cgroup.events"] {
        let text = || format!("inotify_add_watch({:?})", dir.path().join(file));
        // By descriptor, so that it is the cgroup's file and no other.
        let path = {
            use std::os::fd::AsRawFd;
            format!("/proc/self/fd/{}/{file}", dir.as_fd().as_raw_fd())
        };
        inotify::add_watch(&fd, path, inotify::WatchFlags::MODIFY).call(text)?;
    }
    Ok(fd)
}

/// v2: how many processes were killed so far.
fn kills(dir: &Dir) -> Result<u64, Error> {
    let events = dir.read_if_there("memory.events")?.unwrap_or_default();
    Ok(parse::flat(&events).get("oom_kill").copied().unwrap_or(0))
}

impl OomWatch {
    /// To be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What has happened since the last call. Does not wait.
    pub fn news(&mut self) -> Result<OomNews, Error> {
        let mut happened = false;
        let mut buffer = [0_u8; 4096];
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                // An eventfd is read once and empty then.
                Ok(_) => happened = true,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(sys::Error::new("read(memory events)", errno).into()),
            }
        }
        match self.version {
            // The removal of the cgroup is told in the same way.
            Version::V1 => {
                let ended = !self.dir.has("cgroup.event_control");
                Ok(OomNews { out_of_memory: happened && !ended, ended })
            }
            Version::V2 => {
                let kills = kills(&self.dir)?;
                let out_of_memory = kills > self.kills;
                self.kills = self.kills.max(kills);
                let events = self.dir.read_if_there("cgroup.events")?;
                let ended = events
                    .is_none_or(|text| parse::flat(&text).get("populated").is_none_or(|n| *n == 0));
                Ok(OomNews { out_of_memory, ended })
            }
        }
    }
}
