//! A runtime that is started before there is a container for it to create.
//!
//! To execute it, and for it to look at the machine, needs nothing of the container: a supervisor that
//! is started ahead has both done while the engine writes down what it is to supervise. It creates one
//! container, as one would that is executed then: it is in the same namespaces, session and cgroup, and
//! has the same environment, signals and mask of modes.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::process::{Pid, Signal, WaitIdOptions};
use sys::{Handle, Spawn, Spawned};

use crate::error::Error;
use crate::runtime::{self, c_string, environment, open_null, path_of};

/// One that waits to be told what to do.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// It, and our end of its connection.
    waiting: Option<(Spawned, OwnedFd)>,
}

impl Ahead {
    /// Starts one from `program`, our own in a file that no container can write, for the container
    /// whose directory is `run`.
    pub(crate) fn start(program: &OwnedFd, run: &Path) -> Result<Self, Error> {
        failpoint::hit("shim.ahead")?;
        let (control, theirs) = container::ahead::pair()?;
        let null = open_null()?;
        let program = c_string(path_of(program))?;
        let argv: [CString; 3] =
            [c"dhow-runtime".into(), c_string(container::ahead::COMMAND)?, c_string(run)?];
        let env = environment()?;
        let spawn = Spawn {
            program: &program,
            argv: &argv,
            env: &env,
            fds: &[(theirs.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2)],
            new_session: false,
        };
        let ahead = Self { waiting: Some((spawn.spawn()?, control)) };
        failpoint::hit("shim.ahead-started")?;
        Ok(ahead)
    }

    /// Has it do what `args`, without the program's name, say, with these streams, beside what this process does
    /// meanwhile. `None` if it cannot be told any more.
    pub(crate) fn go(mut self, args: &[CString], streams: [BorrowedFd<'_>; 3]) -> Option<Creating> {
        let (Spawned { pid, .. }, control) = self.waiting.as_ref()?;
        let _beside = sys::wake_elsewhere(*pid);
        container::ahead::instruct(control.as_fd(), args, streams).ok()?;
        let (Spawned { pid, handle }, control) = self.waiting.take()?;
        Some(Creating { pid, says: Some((handle, control)) })
    }
}

/// A runtime at work.
#[derive(Debug)]
pub(crate) struct Creating {
    pid: Pid,
    /// One that was started ahead, and where it says that it is done.
    says: Option<(Handle, OwnedFd)>,
}

impl Creating {
    /// One that was executed for this.
    pub(crate) fn executed(pid: Pid) -> Self {
        Self { pid, says: None }
    }

    /// Waits until it is done: its exit code. One that says so may not have ended yet; it is collected with all
    /// others.
    pub(crate) fn wait(self) -> Result<i32, Error> {
        if let Some((handle, control)) = &self.says
            && container::ahead::has_done(control.as_fd(), handle)?
        {
            return Ok(0);
        }
        runtime::wait(self.pid)
    }
}

impl Drop for Ahead {
    /// Nobody needs it. It has made nothing, and nothing of it is there afterwards.
    fn drop(&mut self) {
        let Some((spawned, _control)) = self.waiting.take() else { return };
        // It would end by itself without its connection, but somebody may have stopped it.
        let _ended = spawned.handle.signal(Signal::KILL.as_raw());
        let _reaped = spawned.handle.wait(WaitIdOptions::EXITED);
    }
}
