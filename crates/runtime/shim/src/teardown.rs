//! The end: of a container that ran, and of one that never did.
//!
//! The status is written before anything is taken down, so that whatever interrupts the rest, the
//! exit code is not lost. What remains can be redone by recovery at any time.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use cgroup::Cgroup;
use container::mounted_cgroups;
use rustix::io::FdFlags;
use shim_protocol::{Config, OnExit, Phase, Reply, Status, WireError};
use sys::{Call, CloneFlags};

use crate::client::{Client, State};
use crate::clock::Timestamp;
use crate::error::{Error, report};
use crate::poll::Token;
use crate::setup::{CONFIG, Hold, LOCK};
use crate::supervisor::{CONTAINER, Supervisor};

/// How long the rest of the output is waited for, where processes outside of the container hold
/// its pipes open.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);
/// How long who is to remove the container has for that.
const REMOVER_GRACE: Duration = Duration::from_secs(1);
/// How long who is to remove the container has the processors for itself: somebody waits for that, and for nothing
/// that is left to be done here.
const REMOVER_FIRST: Duration = Duration::from_millis(20);
/// How long other commands are given to come before what they need is tidied or removed.
const BURST: Duration = Duration::from_millis(150);
/// How long a client that reads nothing can keep the shim from ending.
const CLIENT_GRACE: Duration = Duration::from_secs(10);

/// What follows the end of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The end of all: so much of it is taken apart.
    End(Unmade),
    /// Another start, in a while.
    Again,
}

/// How far [`Supervisor::unmake`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmade {
    /// Nothing but `RUN` is left.
    All,
    /// Something is.
    Partly,
}

impl Unmade {
    /// How far it got with both.
    fn and(self, other: Self) -> Self {
        if self == Self::All { other } else { self }
    }
}

impl Supervisor {
    /// Has the runtime start the program, and writes down that it runs.
    ///
    /// `restarts`: how often it was started again.
    pub(crate) fn start(&mut self, restarts: u32) -> Result<rustix::process::Pid, Error> {
        let Some((pid, _)) = &self.init else { return Err(Error::NotRunning) };
        let pid = *pid;
        let dir = &self.config.data_dir;
        Status::keep_room(dir).map_err(Error::file("write", dir.join("status.room")))?;
        failpoint::hit("shim.start")?;
        self.caller.start()?;
        failpoint::hit("shim.started")?;
        // When the life before this one ended stays known, as in Docker.
        let finished_at = std::mem::take(&mut self.status.finished_at);
        self.status = Status {
            phase: Phase::Running,
            pid: pid.as_raw_nonzero().get(),
            shim_pid: rustix::process::getpid().as_raw_nonzero().get(),
            started_at: Timestamp::now().to_string(),
            finished_at,
            restart_count: restarts,
            ..Status::default()
        };
        self.started = Instant::now();
        self.begin_checks();
        self.save_status()?;
        self.emit("start", &[]);
        self.begin_announcing();
        Ok(pid)
    }

    /// Writes the status.
    pub(crate) fn save_status(&self) -> Result<(), Error> {
        let dir = &self.config.data_dir;
        failpoint::hit("shim.save")?;
        self.status.save(dir).map_err(Error::file("write", dir.join("status.json")))?;
        failpoint::hit("shim.saved")?;
        Ok(())
    }

    /// The container's cgroup.
    pub(crate) fn cgroup(&self) -> Result<Cgroup, Error> {
        if self.bundle.cgroup.is_empty() {
            return Err(Error::NoCgroup);
        }
        Ok(Cgroup::open(mounted_cgroups()?, &self.bundle.cgroup)?)
    }

    /// The container's program ended with `code`: delivers the rest of its output, writes that
    /// down, and takes everything apart but `RUN`, or so much of it as is made anew where it is to be
    /// started again.
    pub(crate) fn finish(&mut self, code: i32) -> Next {
        self.init = None;
        self.end_checks();
        // With a PID namespace of its own, everything in it died before its init could be waited
        // for; in one that it shares, it would go on.
        let cgroup = match self.cgroup() {
            Err(Error::NoCgroup) => None,
            opened => opened.inspect_err(|err| report("open the cgroup", err)).ok(),
        };
        self.drain(CONTAINER, Duration::ZERO);
        if !self.streams.get(&CONTAINER).is_none_or(crate::streams::Streams::ended) {
            if let Some(cgroup) = &cgroup
                && let Err(err) = cgroup.kill_all()
            {
                report("kill what is left", &err.into());
            }
            self.drain(CONTAINER, OUTPUT_GRACE);
        }
        self.reap();
        self.end_execs();
        if let Some(log) = &mut self.log
            && let Err(err) = log.finish()
        {
            report("log", &Error::file("write", "log")(err));
        }
        self.status.pid = 0;
        self.status.exit_code = code;
        self.status.finished_at = Timestamp::now().to_string();
        let kills = cgroup.map_or(0, |cgroup| {
            let kills = cgroup.oom_kills().map_err(Error::from);
            kills.inspect_err(|err| report("count OOM kills", err)).unwrap_or(0)
        });
        self.end_memory(kills);
        let again = self.note_end(code);
        let ran = self.started.elapsed().as_secs().to_string();
        // Before anything is taken apart: who waits, and finds the container gone, looks for this.
        self.emit("die", &[("exitCode", &code.to_string()), ("execDuration", &ran)]);
        self.hand_over_output();
        if !again {
            return Next::End(self.unmake(None));
        }
        match self.unmake_life() {
            Unmade::All => {
                self.tell_waiters();
                self.inside = None;
                Next::Again
            }
            Unmade::Partly => Next::End(self.give_up(None)),
        }
    }

    /// Takes apart what outlives this process, all of it whatever fails. `cause` is why the
    /// container never ran, for its status.
    ///
    /// What failed is left to recovery, which finds it by `RUN`.
    pub(crate) fn unmake(&mut self, cause: Option<&Error>) -> Unmade {
        // Whoever is gone knows nothing of a failure, and nothing failed.
        if let Some(err) = cause.filter(|err| !matches!(err, Error::Abandoned)) {
            let WireError { message, exit_code, .. } = err.wire();
            let exit_code = exit_code.unwrap_or(128);
            self.status = Status { exit_code, error: message, ..self.before.clone() };
            if let Err(err) = self.save_status() {
                report("save the status", &err);
            }
        }
        if cause.is_none() && self.is_over_with_its_program() {
            let disconnected = self.disconnect();
            self.let_go();
            if disconnected == Unmade::All {
                self.remover = self.leave_removal();
            }
            if self.remover.is_some() {
                // The status goes with the container: nobody else can look there.
                self.tell_waiters();
            }
            if let Some(remover) = &self.remover {
                remover.await_end(REMOVER_FIRST);
            }
            return disconnected.and(self.delete());
        }
        let unmade = self.unmake_life();
        self.let_go();
        unmade
    }

    /// Whether nothing of the container can run any more, nothing is to be called for its end, and all that is
    /// left of it is its own: then who removes it need not wait until that is taken apart.
    fn is_over_with_its_program(&self) -> bool {
        self.bundle.has_own_end && self.config.trash.is_some() && !self.keep && !self.stopped
    }

    /// Lets go of what others may wait for: volumes, and ports before anyone hears of the end.
    fn let_go(&mut self) {
        if let Err(err) = volume::release(&self.config.supplies, &self.config.id) {
            // Who comes next finds that this process is dead.
            report("release the volumes", &err.into());
        }
        self.proxy.close();
    }

    /// Takes apart what belongs to one life of the container.
    fn unmake_life(&mut self) -> Unmade {
        self.delete().and(self.disconnect())
    }

    /// Has the runtime take apart what it made.
    fn delete(&mut self) -> Unmade {
        let deleted = failpoint::hit("shim.delete")
            .map_err(Error::from)
            .and_then(|()| self.caller.delete())
            .and_then(|()| Ok(failpoint::hit("shim.deleted")?));
        // Nothing of the container runs any more, and nobody has looked at what it leaves.
        let untrusted = match self.trusted.take() {
            Some(trusted) => trusted.remove(&self.bundle.root),
            None => Ok(()),
        };
        judge([("delete", deleted), ("distrust", untrusted)])
    }

    /// Takes the network apart.
    fn disconnect(&mut self) -> Unmade {
        // The links would go with their namespace, which lasts as long as sockets that were given away: their addresses
        // may be somebody else's by then.
        let unlinked = match self.way.take() {
            Some(_) => endpoint::remove_links(&self.config.network).map_err(Error::Network),
            None => Ok(()),
        };
        let disconnected = failpoint::hit("shim.disconnect")
            .map_err(Error::from)
            .and_then(|()| endpoint::undo(&self.config.network).map_err(Error::Network))
            .and_then(|undone| {
                self.undone = Some(undone);
                Ok(failpoint::hit("shim.disconnected")?)
            });
        self.dns = None;
        self.announcing = None;
        judge([("unlink", unlinked), ("disconnect", disconnected)])
    }

    /// Gives the output that clients have not read to the kernel, which delivers it without us, and
    /// closes their streams: the status is there for who looks now.
    fn hand_over_output(&mut self) {
        self.streams.remove(&CONTAINER);
        let attached: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, c)| c.attachment().is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in attached {
            let Some(client) = self.clients.get_mut(&key) else { continue };
            if client.hand_over().is_err() {
                self.drop_client(key);
            } else {
                self.close_client(key);
            }
        }
    }

    /// Tells those who wait for the end of this life of the container.
    fn tell_waiters(&mut self) {
        let reply = Reply::Exited { code: self.status.exit_code, removes: false, heir: None };
        let waiting = |client: &Client| matches!(client.state, State::Waiting { .. });
        let keys: Vec<u32> =
            self.clients.iter().filter(|(_, c)| waiting(c)).map(|(key, _)| *key).collect();
        for key in keys {
            self.send(key, &reply);
            self.close_client(key);
        }
    }

    /// Takes in what was asked in time, before the start or the end: it gets an answer.
    pub(crate) fn hear_requests(&mut self) {
        self.on_accept();
        for key in self.clients.keys().copied().collect::<Vec<_>>() {
            self.read_client(key);
        }
    }

    /// Leaves the removal of the container to one who waits for its end and can do that, if there is one:
    /// its connection. One that deletes the files itself waits for the lock: it has to be free by then.
    pub(crate) fn leave_removal(&mut self) -> Option<Client> {
        let heir = self.config.trash.as_ref().map(|_| std::process::id());
        let reply = Reply::Exited { code: self.status.exit_code, removes: true, heir };
        let can = |client: &Client| matches!(client.state, State::Waiting { removes: true });
        let mut all = self.clients.iter();
        let key = all.find(|(_, client)| can(client)).map(|(key, _)| *key)?;
        let mut client = self.clients.remove(&key)?;
        (client.reply(&reply).is_ok() && client.is_flushed()).then_some(client)
    }

    /// Tells those who wait, and gives what could not be handed over a last chance to be read.
    pub(crate) fn say_goodbye(&mut self) {
        let reply = Reply::Exited { code: self.status.exit_code, removes: false, heir: None };
        for key in self.clients.keys().copied().collect::<Vec<_>>() {
            match self.clients.get(&key).map(|client| &client.state) {
                Some(State::Waiting { .. }) => {
                    self.send(key, &reply);
                    self.close_client(key);
                }
                Some(State::Request(_) | State::Starting) => {
                    self.answer(key, Err(Error::NotRunning));
                }
                Some(State::Attached(_) | State::Closing) => self.close_client(key),
                None => {}
            }
        }
        self.inside = None;
        let until = Instant::now() + CLIENT_GRACE;
        while !self.clients.is_empty()
            && let Some(left) = Self::remaining(until)
        {
            let mut events = Vec::new();
            if self.poller.wait(Some(left), |token, ready| events.push((token, ready))).is_err() {
                break;
            }
            for (token, ready) in events {
                match token {
                    Token::Client(key) => self.on_client(key, ready),
                    // Nothing else matters any more, nor may it wake us again.
                    Token::Signals => {
                        while let Ok(Some(_)) = sys::read_signal(self.signals.as_fd()) {}
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Tells of what failed, and whether nothing did.
fn judge<const N: usize>(results: [(&str, Result<(), Error>); N]) -> Unmade {
    let mut unmade = Unmade::All;
    for (what, result) in results {
        if let Err(err) = result {
            report(what, &err);
            unmade = Unmade::Partly;
        }
    }
    unmade
}

/// Removes `RUN` from the host's mount namespace, where nothing is mounted in it: the unmounting
/// itself, which can take a while, happens when this process ends. The lock goes last.
///
/// Where a program is to follow that removes the container, the directory stays with nothing but
/// the lock in it: if that program is killed, recovery finds by it that there is work left.
pub(crate) fn clean(run: &Path, hold: &Hold, next: &OnExit) -> Result<(), Error> {
    failpoint::hit("shim.clean")?;
    // Our own namespace stays until `hold` goes: its end is waited for by nobody.
    sys::setns(hold.host_mounts.as_fd(), CloneFlags::NEWNS)?;
    let entries = fs::read_dir(run).map_err(Error::file("read", run))?;
    for entry in entries {
        let entry = entry.map_err(Error::file("read", run))?;
        if entry.file_name() == LOCK || entry.file_name() == CONFIG {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().map_err(Error::file("stat", &path))?.is_dir();
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::file("remove", path))?;
    }
    // Without it, nothing of a supervisor is left.
    let config = run.join(CONFIG);
    fs::remove_file(&config).map_err(Error::file("remove", config))?;
    if *next == OnExit::End {
        fs::remove_dir_all(run).map_err(Error::file("remove", run))?;
    }
    failpoint::hit("shim.cleaned")?;
    Ok(())
}

/// Waits until who was to remove the container is done with that, or dead, or takes too long: it may be
/// stopped (Ctrl-Z). Whether it is removed.
pub(crate) fn was_removed(remover: &Client, config: &Config) -> bool {
    remover.await_end(REMOVER_GRACE);
    !config.data_dir.exists()
}

/// Deletes what whoever removed the container has left to this process, while nobody waits: its files, the
/// cgroup of all containers if it was the last, and then `RUN`, by which recovery finds what is to be done.
pub(crate) fn delete_rest(config: &Config, run: &Path) -> Result<(), Error> {
    let Some(trash) = &config.trash else { return Ok(()) };
    failpoint::hit("shim.delete-rest")?;
    let ours = format!("{}-", std::process::id());
    let root = fsroot::Root::open(trash)?;
    for entry in fs::read_dir(trash).map_err(Error::file("read", trash))? {
        let name = entry.map_err(Error::file("read", trash))?.file_name();
        if name.as_encoded_bytes().starts_with(ours.as_bytes()) {
            root.remove_all(&name)?;
        }
    }
    failpoint::hit("shim.deleted-rest")?;
    if let Some(parent) = config.cgroup_parent.as_ref().filter(|_| is_last_for_now(config)) {
        match mounted_cgroups().and_then(|all| cgroup::remove_if_empty(all, parent)) {
            Err(cgroup::Error::NotFound(_)) | Ok(_) => {}
            Err(err) => report("remove the cgroup of all containers", &err.into()),
        }
    }
    match fs::remove_dir_all(run) {
        // All of the engine's was removed in the meantime.
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::file("remove", run)),
    }
}

/// Whether there is no other container, also after a moment: the next one would make anew, in each tree, what
/// was removed for it, and both take time.
fn is_last_for_now(config: &Config) -> bool {
    if !is_last(&config.data_dir) {
        return false;
    }
    std::thread::sleep(BURST);
    is_last(&config.data_dir)
}

/// Whether there is no other container than that of this folder. One that is about to be started has its folder;
/// where there is no place for them, there is none: somebody has removed all of the engine's.
fn is_last(data_dir: &Path) -> bool {
    let Some(all) = data_dir.parent() else { return false };
    match fs::read_dir(all) {
        Ok(mut all) => all.next().is_none(),
        Err(err) => err.kind() == ErrorKind::NotFound,
    }
}

/// Whether the log of the engine's database has grown, also after a moment: others may come at once after this
/// one, and who tidies is in their way.
pub(crate) fn is_to_be_tidied(config: &Config) -> bool {
    let is_grown = || {
        config.growth.as_ref().is_some_and(|growth| {
            fs::metadata(&growth.file).is_ok_and(|found| found.len() >= growth.bytes)
        })
    };
    if !is_grown() {
        return false;
    }
    std::thread::sleep(BURST);
    is_grown()
}

/// Becomes what is to follow, if anything. Returns only if that failed or nothing follows.
///
/// It gets our mount namespace, and the overlay of our program, as open descriptors: they end with it, and
/// unmounting, which waits for the kernel, delays nothing of what it does.
pub(crate) fn become_next(next: &OnExit, hold: &Hold) -> Result<(), Error> {
    let OnExit::Exec(argv) = next else { return Ok(()) };
    failpoint::hit("shim.become")?;
    let strings: Result<Vec<CString>, _> =
        argv.iter().map(|arg| CString::new(arg.as_str())).collect();
    let argv = strings.map_err(|_| Error::Request("an argument contains a NUL byte".into()))?;
    let program = argv.first().ok_or_else(|| Error::Request("no program to become".into()))?;
    let failpoints = std::env::var("DHOW_FAILPOINTS").ok();
    let env: Option<CString> =
        failpoints.and_then(|value| CString::new(format!("DHOW_FAILPOINTS={value}")).ok());
    for mounts in hold.own_mounts.iter().chain(&hold.overlay) {
        rustix::io::fcntl_setfd(mounts, FdFlags::empty()).call(|| "fcntl(F_SETFD)")?;
    }
    // A client that went while we wrote to it left a SIGPIPE pending.
    sys::ignore_signals();
    sys::reset_signals()?;
    Err(sys::execve(program, &argv, env.as_slice()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_container_is_told_also_where_everything_is_gone() {
        let all = std::env::temp_dir().join(format!("dhow-last-{}", std::process::id()));
        let (own, other) = (all.join("own"), all.join("other"));
        fs::create_dir_all(&other).unwrap();
        assert!(!is_last(&own));
        fs::remove_dir(&other).unwrap();
        assert!(is_last(&own));
        fs::remove_dir(&all).unwrap();
        assert!(is_last(&own));
    }
}
