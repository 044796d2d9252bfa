//! Joining without waiting for the kernel's grace period.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use sys::SingleThreaded;

use crate::cgroup::Cgroup;
use crate::error::{Error, pass};
use crate::tree::Version;

/// The way of a process into a cgroup's v1 trees, open before it is needed: it works from inside any
/// namespace, and with the rights of who opened it.
///
/// Moving another process (writing its PID to `cgroup.procs`), or one with threads, makes the kernel
/// wait until nobody anywhere forks or exits, which takes about 13 ms when nothing was moved for a
/// while. A process with one thread that moves itself spares that: the kernel (5.6 and later) knows
/// that it cannot fork meanwhile.
///
/// The v2 tree has no such way. A process is to be born in it: [`Cgroup::v2_dir`]; where that cannot
/// be, [`Cgroup::entry_everywhere`] has the slow way too.
#[derive(Debug, Default)]
pub struct Entry {
    /// The `tasks` of each tree (v2: `cgroup.procs`), with the call for the error.
    tasks: Vec<(OwnedFd, String)>,
}

impl Cgroup {
    /// Opens the way into the v1 trees.
    pub fn entry(&self) -> Result<Entry, Error> {
        self.entry_to(|version| version == Version::V1)
    }

    /// Opens the way into all trees.
    pub fn entry_everywhere(&self) -> Result<Entry, Error> {
        self.entry_to(|_| true)
    }

    fn entry_to(&self, wanted: impl Fn(Version) -> bool) -> Result<Entry, Error> {
        let open = |member: &crate::cgroup::Member| {
            let file = match member.tree.version {
                Version::V1 => "tasks",
                Version::V2 => "cgroup.procs",
            };
            let text = format!("write({:?}, \"0\")", member.dir.path().join(file));
            Ok((member.dir.for_writing(file)?, text))
        };
        let members = self.members.iter().filter(|member| wanted(member.tree.version));
        Ok(Entry { tasks: members.map(open).collect::<Result<_, sys::Error>>()? })
    }

    /// The directory in the v2 tree, for `CLONE_INTO_CGROUP`, if there is such a tree. On a machine
    /// with v1 trees as well, the new process has still to go through the [`Entry`].
    pub fn v2_dir(&self) -> Result<Option<OwnedFd>, Error> {
        let dir = self.v2().map(|member| member.dir.for_reading());
        Ok(dir.transpose()?)
    }
}

impl Entry {
    /// Moves the calling process, which has one thread.
    pub fn enter(&self, _proof: &SingleThreaded) -> Result<(), Error> {
        pass("cgroup.enter")?;
        for (file, text) in &self.tasks {
            loop {
                match rustix::io::write(file, b"0") {
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(sys::Error::new(text.clone(), errno).into()),
                    Ok(_) => break,
                }
            }
        }
        pass("cgroup.entered")
    }
}
