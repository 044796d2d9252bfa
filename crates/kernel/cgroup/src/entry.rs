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
/// The v2 tree has no such way. A process is to be born in it: [`Cgroup::v2_dir`].
#[derive(Debug, Default)]
pub struct Entry {
    /// The `tasks` of each tree, with the call for the error.
    tasks: Vec<(OwnedFd, String)>,
}

impl Cgroup {
    /// Opens the way into the v1 trees.
    pub fn entry(&self) -> Result<Entry, Error> {
        let v1 = self.members.iter().filter(|member| member.tree.version == Version::V1);
        let open = |member: &crate::cgroup::Member| {
            let text = format!("write({:?}, \"0\")", member.dir.path().join("tasks"));
            Ok((member.dir.for_writing("tasks")?, text))
        };
        Ok(Entry { tasks: v1.map(open).collect::<Result<_, sys::Error>>()? })
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
