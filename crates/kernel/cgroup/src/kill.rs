//! Stopping for a while, and for good.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::cgroup::{Cgroup, FIRST_PAUSE, Member, longer};
use crate::error::{Error, pass};
use crate::tree::{Dir, present};

/// How long freezing may take. A process that waits for a device cannot be frozen before that.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);

/// How long killed processes may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How long one sweep waits for its victims before it looks again.
const SWEEP: Duration = Duration::from_millis(500);

impl Cgroup {
    /// Stops all processes in the cgroup and below it until [`Cgroup::thaw`]. Returns when they have
    /// stopped; when that takes more than ten seconds, thaws them again and fails.
    pub fn freeze(&self) -> Result<(), Error> {
        pass("cgroup.freeze")?;
        let result = self.set_frozen(true);
        if result.is_err() {
            // Half frozen is worse than not; the first error is the one to tell.
            let _ = self.set_frozen(false);
        }
        result?;
        pass("cgroup.frozen")
    }

    /// Lets the processes go on. Fine when they are not frozen.
    pub fn thaw(&self) -> Result<(), Error> {
        pass("cgroup.thaw")?;
        self.set_frozen(false)?;
        pass("cgroup.thawed")
    }

    /// Whether the cgroup was frozen with [`Cgroup::freeze`].
    pub fn is_frozen(&self) -> Result<bool, Error> {
        Ok(match self.freezer()? {
            Freezer::V2(member) => member.dir.read("cgroup.freeze")?.trim() == "1",
            Freezer::V1(member) => member.dir.read("freezer.state")?.trim() != "THAWED",
        })
    }

    /// The freezer of v1 where there is one, since that is where other programs look on such a
    /// machine; else that of v2.
    fn freezer(&self) -> Result<Freezer<'_>, Error> {
        if let Some(member) = self.member("freezer", None) {
            return Ok(Freezer::V1(member));
        }
        match self.v2() {
            Some(member) if member.dir.has("cgroup.freeze") => Ok(Freezer::V2(member)),
            _ => Err(Error::MissingController { controller: "freezer", limit: "pause".into() }),
        }
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        match self.freezer()? {
            Freezer::V1(member) => {
                let state = if frozen { "FROZEN" } else { "THAWED" };
                settle(&member.dir, ("freezer.state", state), |dir| {
                    let now = dir.read("freezer.state")?.trim().to_owned();
                    Ok(if now == state { Ok(()) } else { Err(now) })
                })
            }
            Freezer::V2(member) => {
                let flag = if frozen { "1" } else { "0" };
                let event = format!("frozen {flag}");
                settle(&member.dir, ("cgroup.freeze", flag), |dir| {
                    let events = dir.read("cgroup.events")?;
                    let there = events.lines().any(|line| line == event);
                    Ok(if there { Ok(()) } else { Err(events.replace('\n', ", ")) })
                })
            }
        }
    }

    /// Kills all processes in the cgroup and below it, frozen ones too, and waits up to ten seconds
    /// until none is left (children that nobody has waited for do not count).
    pub fn kill_all(&self) -> Result<(), Error> {
        pass("cgroup.kill")?;
        let patience = Instant::now() + KILL_PATIENCE;
        let mut whole = self.kill_whole()?;
        loop {
            if wait_until_empty(self, (Instant::now() + SWEEP).min(patience))? {
                return pass("cgroup.killed");
            }
            if Instant::now() > patience {
                let pids = self.procs_everywhere()?;
                let path = self.members.first().map(|m| m.dir.path().to_owned());
                return Err(Error::Busy { path: path.unwrap_or_default(), pids });
            }
            // Some are only in v1's trees, or `cgroup.kill` is not there (Linux 5.14).
            if !std::mem::take(&mut whole) {
                self.kill_whole()?;
            }
            self.sweep()?;
        }
    }

    /// Kills all that the v2 tree holds in one call; no fork can escape it. Without it, one sweep.
    fn kill_whole(&self) -> Result<bool, Error> {
        let Some(member) = self.v2().filter(|member| member.dir.has("cgroup.kill")) else {
            self.sweep()?;
            return Ok(false);
        };
        // A cgroup that another process has just removed holds nothing.
        present(member.dir.write("cgroup.kill", "1"))?;
        self.thaw_for_death();
        Ok(true)
    }

    /// Freezes, so that nothing forks and no PID is given to another process meanwhile; kills;
    /// thaws. A failure to freeze only means that another sweep may be needed.
    fn sweep(&self) -> Result<(), Error> {
        if let Some(member) = self.member("freezer", None) {
            let _ = member.dir.write("freezer.state", "FROZEN");
        }
        let pids = self.procs_everywhere();
        for pid in pids.as_deref().unwrap_or_default() {
            if let Some(pid) = Pid::from_raw(*pid) {
                // It may have ended already.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        self.thaw_for_death();
        pids.map(drop)
    }

    /// A process that v1 has frozen, in the cgroup or in one below it, does not see its SIGKILL
    /// before it is thawed. A cgroup that vanishes meanwhile needs no thawing.
    fn thaw_for_death(&self) {
        if let Some(member) = self.member("freezer", None) {
            let _ = member.dir.walk(&mut |dir: &Dir| -> Result<(), sys::Error> {
                let _ = dir.write("freezer.state", "THAWED");
                Ok(())
            });
        }
    }
}

enum Freezer<'a> {
    V1(&'a Member),
    V2(&'a Member),
}

/// Writes the wish again and again until `is_there` says that it came true, or what is instead. v1
/// needs the repetition: a process that is just being forked can hold the freezing up.
fn settle(
    dir: &Dir,
    (file, wish): (&str, &str),
    is_there: impl Fn(&Dir) -> Result<Result<(), String>, sys::Error>,
) -> Result<(), Error> {
    let patience = Instant::now() + FREEZE_PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        dir.write(file, wish)?;
        let Err(state) = is_there(dir)? else { return Ok(()) };
        if Instant::now() > patience {
            return Err(Error::NotFrozen { path: dir.path().to_owned(), state });
        }
        std::thread::sleep(pause);
        pause = longer(pause);
    }
}

/// Whether the cgroup became empty before `deadline`.
fn wait_until_empty(cgroup: &Cgroup, deadline: Instant) -> Result<bool, Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        if cgroup.procs_everywhere()?.is_empty() {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = longer(pause);
    }
}
