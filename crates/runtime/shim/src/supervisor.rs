//! The loop: one owner of everything, one thread, one closed set of events.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{Pid, WaitOptions};
use shim_protocol::{Backoff, Config, Reply, Request, Root, Status};

use crate::ahead::Ahead;
use crate::announce::Announcing;
use crate::bundle::Bundle;
use crate::client::Client;
use crate::dns;
use crate::error::{Error, report};
use crate::exec::Exec;
use crate::health::Checks;
use crate::log::Log;
use crate::memory::Memory;
use crate::outlet::Way;
use crate::poll::{Interest, Poller, Ready, Token, Watched};
use crate::proxy::Proxy;
use crate::runtime::{Caller, exit_code};
use crate::streams::Streams;
use crate::trust::Trusted;

/// The key of the container's own program among the processes.
pub(crate) const CONTAINER: u32 = 0;
/// How long after a start, or after the last client left, what was needed for it stays in memory.
pub(crate) const IDLE: Duration = Duration::from_secs(2);
/// How many clients there may be at once.
const MAX_CLIENTS: usize = 256;
/// What is read at once, in bytes.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// All that one container's life needs.
pub(crate) struct Supervisor {
    pub(crate) config: Config,
    /// `RUN`, which is the working directory.
    pub(crate) run: PathBuf,
    pub(crate) bundle: Bundle,
    /// The host's mount namespace, and our own.
    pub(crate) mounts: (OwnedFd, OwnedFd),
    /// A network namespace that was made before it was known whether one is needed.
    pub(crate) network_ahead: Option<OwnedFd>,
    /// A runtime that was started for the first create before that.
    pub(crate) runtime_ahead: Option<Ahead>,
    /// The root that was mounted before the rest was known.
    pub(crate) root_ahead: Option<Root>,
    pub(crate) caller: Caller,
    pub(crate) poller: Poller,
    pub(crate) signals: Watched,
    /// The engine that started us, until it goes.
    pub(crate) control: Option<Watched>,
    pub(crate) accept: Watched,
    pub(crate) status: Status,
    /// What it was before this life.
    pub(crate) before: Status,
    pub(crate) log: Option<Log>,
    /// The container's init, and a handle of it.
    pub(crate) init: Option<(Pid, sys::Handle)>,
    /// Its mount namespace. It would end with its last process, before anyone hears of that: so it ends with us,
    /// when nobody waits.
    pub(crate) inside: Option<OwnedFd>,
    pub(crate) streams: BTreeMap<u32, Streams>,
    pub(crate) execs: BTreeMap<u32, Exec>,
    pub(crate) clients: BTreeMap<u32, Client>,
    pub(crate) proxy: Proxy,
    pub(crate) dns: Option<dns::Server>,
    /// The way out, where the container has a proxy in the place of a network,
    pub(crate) way: Option<Way>,
    /// and what its programs trust for that.
    pub(crate) trusted: Option<Trusted>,
    /// What its neighbours are still to be told.
    pub(crate) announcing: Option<Announcing>,
    /// When to let go of the memory that is not needed to wait.
    pub(crate) shrink_at: Option<Instant>,
    /// What is to be dropped when nobody waits for us any more.
    pub(crate) undone: Option<endpoint::Undone>,
    /// What the next client or exec is called.
    pub(crate) next_key: u32,
    /// Children that ended before it was known what they are: execs whose runtime has not yet
    /// written down their number.
    pub(crate) early: Vec<(Pid, i32)>,
    /// How long to wait before the next start.
    pub(crate) backoff: Backoff,
    /// When the program was last started.
    pub(crate) started: Instant,
    /// When it is to be started again, while it waits for that.
    pub(crate) restart_at: Option<Instant>,
    /// Somebody does not want it to be started again.
    pub(crate) stopped: bool,
    /// The watch over its memory.
    pub(crate) memory: Option<Memory>,
    /// Its health checks.
    pub(crate) checks: Option<Checks>,
    /// It is ended for its checks' sake, to be started again.
    pub(crate) unhealthy: bool,
    /// What was to follow the end does not.
    pub(crate) keep: bool,
    /// Who removes the container, and was told that it may.
    pub(crate) remover: Option<Client>,
}

/// Why the loop ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The program ended, with this code.
    Exited(i32),
    /// The start failed, or the engine went before it asked for it.
    NeverStarted(Error),
    /// It has waited long enough: it is to be started again.
    Due,
    /// It waited to be started again, and somebody does not want that.
    Stopped,
}

impl Supervisor {
    /// Lets go of all but what it was told.
    pub(crate) fn into_config(self) -> Config {
        self.config
    }

    /// Serves until the container's program ends.
    pub(crate) fn serve(&mut self) -> Result<End, Error> {
        self.signals.watch(&self.poller, Interest::READ)?;
        self.accept.watch(&self.poller, Interest::READ)?;
        // The engine died before it could be told that the container is there.
        let Some(control) = &mut self.control else {
            return Ok(End::NeverStarted(Error::Abandoned));
        };
        control.watch(&self.poller, Interest::READ)?;
        self.wait()
    }

    /// The same, once everything is watched.
    pub(crate) fn wait(&mut self) -> Result<End, Error> {
        self.refresh(CONTAINER);
        let mut events = Vec::new();
        loop {
            let timeout = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            self.poller.wait(timeout, |token, ready| events.push((token, ready)))?;
            let mut end = None;
            for (token, ready) in events.drain(..) {
                // The rest is dealt with too: an exec may have ended in the same moment.
                end = self.dispatch(token, ready).or(end);
            }
            if let Some(end) = end {
                return Ok(end);
            }
            if self.restart_at.is_some() {
                if self.stopped {
                    return Ok(End::Stopped);
                }
                if self.restart_at.is_some_and(|at| at <= Instant::now()) {
                    return Ok(End::Due);
                }
            }
            self.pass_time();
        }
    }

    fn dispatch(&mut self, token: Token, ready: Ready) -> Option<End> {
        match token {
            Token::Signals => return self.reap().map(End::Exited),
            Token::Control => return self.on_control(),
            Token::Accept => self.on_accept(),
            Token::Client(key) => self.on_client(key, ready),
            Token::Input(key) => self.on_input(key, ready),
            Token::Output(key, stream) => self.on_output(key, stream),
            Token::Console(key) => self.on_console(key, ready),
            Token::Dns(token) => {
                if let Some(dns) = &mut self.dns {
                    dns.on_event(&self.poller, token, ready);
                }
            }
            Token::Memory => self.on_memory(),
            Token::Log => self.on_log(),
            Token::Proxy(token) => self.proxy.on_event(&self.poller, token, ready),
        }
        None
    }

    /// When something is to be done even if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let execs = self.execs.values().filter_map(Exec::deadline).min();
        let dns = self.dns.as_ref().and_then(dns::Server::deadline);
        let checks = self.checks.as_ref().and_then(Checks::deadline);
        let log = self.log.as_ref().and_then(Log::deadline);
        let announcing = self.announcing.as_ref().map(|announcing| announcing.at);
        let own = [self.proxy.deadline(), self.shrink_at, self.restart_at];
        [execs, dns, checks, log, announcing].into_iter().chain(own).flatten().min()
    }

    /// Does what is due.
    fn pass_time(&mut self) {
        let now = Instant::now();
        if let Some(dns) = &mut self.dns {
            dns.pass_time(&self.poller, now);
        }
        self.proxy.pass_time(&self.poller, now);
        if self.shrink_at.is_some_and(|at| at <= now) {
            self.shrink_at = None;
            if let Err(err) = sys::drop_program_pages() {
                report("let go of memory", &err.into());
            }
        }
        let due = |exec: &Exec| exec.deadline().is_some_and(|at| at <= now);
        let keys: Vec<u32> =
            self.execs.iter().filter(|(_, exec)| due(exec)).map(|(key, _)| *key).collect();
        for key in keys {
            self.finish_exec(key);
        }
        self.pass_announcing(now);
        self.pass_checks(now);
        self.pass_log(now);
    }

    /// The engine says to start, or is gone.
    fn on_control(&mut self) -> Option<End> {
        let control = self.control.as_ref()?;
        // A message comes whole: the engine writes it with one call.
        let request = shim_protocol::receive::<Request>(control);
        match request {
            Ok(Some(Request::Start)) if !self.status.phase.is_alive() => {
                // Whoever is to see the first byte of output asked before the start.
                self.hear_requests();
                match self.start(self.config.restart_count) {
                    Ok(pid) => {
                        self.reply_control(&Reply::Started { pid: pid.as_raw_nonzero().get() });
                        // From here on, little of the program is needed; unless it ends at once, and
                        // all of it would have to be mapped again.
                        self.shrink_at = Some(Instant::now() + IDLE);
                    }
                    // The answer comes when everything is taken apart.
                    Err(err) => return Some(End::NeverStarted(err)),
                }
            }
            Ok(Some(_)) => {
                let refusal = Error::Request("only a start is expected here".into());
                self.reply_control(&Reply::Error(refusal.wire()));
            }
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => {
                self.control = None;
                if !self.status.phase.is_alive() {
                    return Some(End::NeverStarted(Error::Abandoned));
                }
                if self.config.tied {
                    self.end_for_owner();
                }
            }
        }
        None
    }

    /// Answers the engine, if it is still there.
    pub(crate) fn reply_control(&mut self, reply: &Reply) {
        let Some(control) = &self.control else { return };
        if let Err(source) = shim_protocol::send(WriteFd(control), reply) {
            report("reply", &Error::File { doing: "write to", path: "control".into(), source });
            self.control = None;
            if self.config.tied && self.status.phase.is_alive() {
                self.end_for_owner();
            }
        }
    }

    pub(crate) fn on_accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            match rustix::net::accept_with(&self.accept, flags) {
                Ok(socket) if self.clients.len() < MAX_CLIENTS => {
                    let key = self.new_key();
                    let mut client = Client::new(socket, key);
                    if client.watch(&self.poller, true).is_ok() {
                        self.clients.insert(key, client);
                    }
                }
                // Too many are closed at once.
                Ok(_) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }

    /// A number that nothing else has had.
    pub(crate) fn new_key(&mut self) -> u32 {
        self.next_key += 1;
        self.next_key
    }

    /// Collects every child that ended; the container's exit code if its init was among them.
    pub(crate) fn reap(&mut self) -> Option<i32> {
        // The descriptor only says that there is something; the truth is in the children.
        while let Ok(Some(_)) = sys::read_signal(self.signals.as_fd()) {}
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.early.push((pid, exit_code(status)));
        }
        // Runtimes first: they tell which of the others are execs.
        for (pid, code) in std::mem::take(&mut self.early) {
            match self.starting_exec(pid) {
                Some(key) => self.exec_started(key, code),
                None => self.early.push((pid, code)),
            }
        }
        let mut exited = None;
        for (pid, code) in std::mem::take(&mut self.early) {
            if self.init.as_ref().is_some_and(|(init, _)| *init == pid) {
                exited = Some(code);
            } else if let Some(key) = self.running_exec(pid) {
                self.exec_exited(key, code);
            } else if let Some(log) = &mut self.log
                && log.forget_child(pid)
            {
                // It compressed a file of the log, or spoke TLS for it.
            } else if self.execs.values().any(Exec::is_starting) {
                self.early.push((pid, code));
            }
        }
        exited
    }

    /// How long a wait may take from `now` on before it is given up.
    pub(crate) fn remaining(until: Instant) -> Option<Duration> {
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// Writes to a descriptor.
pub(crate) struct WriteFd<F>(pub(crate) F);

impl<F: AsFd> std::io::Write for WriteFd<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
