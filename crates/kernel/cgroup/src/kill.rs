//! Stopping for a while, and for good.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::cgroup::{Cgroup, FIRST_PAUSE, Member, longer};
use crate::error::{Error, pass};
use crate::tree::{Dir, present};

/// How long freezing may take. A process that waits for a device cannot be frozen before that.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);

/// How long killed processes may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How long one sweep waits for its victims before it looks again.
const SWEEP: Duration = Duration::from_millis(200);

/// How long a sweep waits for the processes to be frozen.
const HOLD: Duration = Duration::from_millis(100);

/// SIGKILL.
const KILL: i32 = 9;

impl Cgroup {
    /// Stops all processes in the cgroup and below it until [`Cgroup::thaw`]. Returns when they have
    /// stopped; when that takes more than ten seconds, thaws them again and fails.
    pub fn freeze(&self) -> Result<(), Error> {
        pass("cgroup.freeze")?;
        let result = self.set_frozen(true).and_then(|()| pass("cgroup.frozen"));
        if result.is_err() {
            // Half frozen is worse than not; the first error is the one to tell.
            let _ = self.set_frozen(false);
        }
        result
    }

    /// Lets the processes go on. Fine when they are not frozen.
    pub fn thaw(&self) -> Result<(), Error> {
        pass("cgroup.thaw")?;
        self.set_frozen(false)?;
        pass("cgroup.thawed")
    }

    /// Whether the cgroup was frozen with [`Cgroup::freeze`]: not whether one above it was. Where
    /// nothing can freeze it (v2 before Linux 5.2), it was not.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let says = |member: &Member, file, yes| -> Result<bool, Error> {
            Ok(member.dir.read(file)?.trim() == yes)
        };
        let freezer = match self.freezer() {
            Err(Error::MissingController { .. }) => return Ok(false),
            other => other?,
        };
        match freezer {
            Freezer::V2(member) => says(member, "cgroup.freeze", "1"),
            Freezer::V1(member) if says(member, "freezer.state", "THAWED")? => Ok(false),
            Freezer::V1(member) => says(member, "freezer.self_freezing", "1"),
        }
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
    ///
    /// No fork escapes: `cgroup.kill` (Linux 5.14) reaches processes that are just being made, and
    /// without it they are frozen while they are killed, again and again until none is left.
    pub fn kill_all(&self) -> Result<(), Error> {
        self.kill_all_by(self.v2().filter(|member| member.dir.has("cgroup.kill")))
    }

    /// The same, as on a kernel without `cgroup.kill`: to be tested on any.
    #[doc(hidden)]
    pub fn kill_all_by_freezing(&self) -> Result<(), Error> {
        self.kill_all_by(None)
    }

    fn kill_all_by(&self, whole: Option<&Member>) -> Result<(), Error> {
        pass("cgroup.kill")?;
        let patience = Instant::now() + KILL_PATIENCE;
        // What is only in one of v1's trees, because something moved it there, is for the sweep.
        let mut is_first = true;
        loop {
            match whole {
                // A cgroup that another process has just removed holds nothing.
                Some(member) => {
                    present(member.dir.write("cgroup.kill", "1"))?;
                    self.thaw_for_death();
                    if !is_first {
                        self.sweep(KILL)?;
                    }
                }
                None => self.sweep(KILL)?,
            }
            is_first = false;
            if wait_until_empty(self, (Instant::now() + SWEEP).min(patience))? {
                return pass("cgroup.killed");
            }
            if Instant::now() > patience {
                let pids = self.procs_everywhere()?;
                let path = self.members.first().map(|m| m.dir.path().to_owned());
                return Err(Error::Busy { path: path.unwrap_or_default(), pids });
            }
        }
    }

    /// Sends a signal to all processes in the cgroup and below it, stopped meanwhile so that none is
    /// missed. One that was frozen before stays so, and gets it when it is thawed.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        let was_frozen = self.is_frozen().unwrap_or(false);
        self.hold();
        let sent = self.send(signal);
        if !was_frozen {
            self.let_go();
        }
        sent
    }

    /// Freezes, so that nothing forks and no PID is given to another process meanwhile; signals;
    /// thaws. A failure to freeze only means that another sweep may be needed.
    fn sweep(&self, signal: i32) -> Result<(), Error> {
        self.hold();
        let sent = self.send(signal);
        self.let_go();
        self.thaw_for_death();
        sent
    }

    fn send(&self, signal: i32) -> Result<(), Error> {
        for pid in self.procs_everywhere()? {
            let Some(pid) = Pid::from_raw(pid) else { continue };
            // It may have ended already.
            let sent = sys::Handle::open(pid).and_then(|handle| handle.signal(signal));
            match sent {
                Err(error) if !matches!(error.errno(), Errno::SRCH | Errno::INVAL) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Freezes as far as that is possible in a short time.
    fn hold(&self) {
        let Ok(freezer) = self.freezer() else { return };
        let deadline = Instant::now() + HOLD;
        let mut pause = FIRST_PAUSE;
        loop {
            let (wished, held) = match &freezer {
                Freezer::V1(Member { dir, .. }) => {
                    (dir.write("freezer.state", "FROZEN"), says(dir, "freezer.state", "FROZEN"))
                }
                Freezer::V2(Member { dir, .. }) => {
                    (dir.write("cgroup.freeze", "1"), says(dir, "cgroup.events", "frozen 1"))
                }
            };
            if wished.is_err() || held || Instant::now() > deadline {
                return;
            }
            std::thread::sleep(pause);
            pause = longer(pause);
        }
    }

    fn let_go(&self) {
        let _ = match self.freezer() {
            Ok(Freezer::V1(member)) => member.dir.write("freezer.state", "THAWED"),
            Ok(Freezer::V2(member)) => member.dir.write("cgroup.freeze", "0"),
            Err(_) => return,
        };
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

/// Whether a line of a file is this.
fn says(dir: &Dir, file: &str, line: &str) -> bool {
    dir.read(file).is_ok_and(|text| text.lines().any(|one| one == line))
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
