//! A command that stays until its process has ended: it passes signals on, reaps orphans, and plays
//! the terminal where the process has one and nobody else does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use pty::RawGuard;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions};
use sys::Call;

use crate::Failure;
use crate::make::Shared;

/// Signals that are passed on to the process: all that a person or a supervisor sends.
const FORWARDED: [Signal; 14] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::ABORT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TERM,
    Signal::CONT,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
    Signal::IO,
    Signal::POWER,
];

impl From<sys::Error> for Failure {
    fn from(error: sys::Error) -> Self {
        Self::from(format!("{error}: {}", error.errno()))
    }
}

/// A process that waits.
pub(crate) struct Foreground {
    signals: OwnedFd,
}

impl Foreground {
    /// Begins to collect signals, before there is anything that they could be meant for.
    pub(crate) fn start(subreaper: bool) -> Result<Self, Failure> {
        if subreaper {
            sys::set_child_subreaper()?;
        }
        sys::signal_block_all()?;
        let wanted: Vec<Signal> =
            FORWARDED.iter().copied().chain([Signal::CHILD, Signal::WINCH]).collect();
        Ok(Self { signals: sys::signalfd(&wanted)? })
    }

    /// Waits until process `pid` has ended, and returns its status as a shell would.
    pub(crate) fn wait(
        self,
        pid: i32,
        process: &sys::Handle,
        relay: Option<Relay>,
    ) -> Result<i32, Failure> {
        let mut relay = relay;
        if let Some(relay) = &relay {
            relay.resize();
        }
        loop {
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if let Some(relay) = &relay {
                relay.watch(&mut fds, self.signals.as_fd());
            }
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(sys::Error::new("poll()", errno).into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if let Some(relay) = &mut relay {
                relay.serve(&ready[1..]);
            }
            if ready[0]
                && let Some(status) = self.take_signals(pid, process, relay.as_ref())?
            {
                if let Some(relay) = &mut relay {
                    relay.drain();
                }
                return Ok(status);
            }
        }
    }

    /// Handles all pending signals; `Some` when the process has ended.
    fn take_signals(
        &self,
        pid: i32,
        process: &sys::Handle,
        relay: Option<&Relay>,
    ) -> Result<Option<i32>, Failure> {
        let mut ended = None;
        while let Some(info) = sys::read_signal(self.signals.as_fd())? {
            match info.signal {
                signal if signal == Signal::CHILD.as_raw() => ended = ended.or(reap(pid)?),
                signal if signal == Signal::WINCH.as_raw() => {
                    if let Some(relay) = relay {
                        relay.resize();
                    }
                }
                signal => match process.signal(signal) {
                    // It has just ended: its SIGCHLD is on the way.
                    Err(err) if err.errno() == Errno::SRCH => {}
                    other => other?,
                },
            }
        }
        Ok(ended)
    }
}

/// Reaps all children that have ended; `Some` when `pid` was among them.
fn reap(pid: i32) -> Result<Option<i32>, Failure> {
    let mut ended = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((child, status))) => {
                if child.as_raw_nonzero().get() == pid {
                    ended = status
                        .exit_status()
                        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                }
            }
            Ok(None) | Err(Errno::CHILD) => return Ok(ended),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(sys::Error::new("waitpid(-1)", errno).into()),
        }
    }
}

/// A console socket of our own, whose other end is the container's.
pub(crate) struct Console {
    ours: OwnedFd,
    theirs: Shared,
}

impl Console {
    pub(crate) fn new() -> Result<Self, Failure> {
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .call(|| "socketpair(AF_UNIX)")?;
        Ok(Self { ours, theirs: Arc::new(theirs) })
    }

    /// The end that the container gets.
    pub(crate) fn container_end(&self) -> Shared {
        Arc::clone(&self.theirs)
    }

    /// Takes the terminal that the container has sent.
    pub(crate) fn receive(self) -> Result<Relay, Failure> {
        drop(self.theirs);
        match sys::recv_fd(self.ours.as_fd())? {
            (_, Some(master)) => Relay::new(master),
            (_, None) => Err(Failure::from("the container sent no terminal".to_owned())),
        }
    }
}

/// Carries bytes between the person's terminal and the container's.
pub(crate) struct Relay {
    master: OwnedFd,
    /// The person's terminal, raw as long as this lives; none when standard input is no terminal.
    _raw: Option<RawGuard>,
    input: bool,
    output: bool,
    /// What the container wrote and nobody has taken yet. While there is any, no more is read.
    pending: Vec<u8>,
}

/// What can be written to a pipe that poll(2) calls writable, without waiting: pipe(7), `PIPE_BUF`.
const CHUNK: usize = 4096;

impl Relay {
    fn new(master: OwnedFd) -> Result<Self, Failure> {
        // As with runc: what reads the output from a pipe gets it as the program wrote it.
        pty::plain_line_feeds(master.as_fd())?;
        let raw = match pty::raw_input(rustix::stdio::stdin()) {
            Ok(guard) => Some(guard),
            Err(err) if matches!(err.errno(), Errno::NOTTY | Errno::INVAL) => None,
            Err(err) => return Err(err.into()),
        };
        Ok(Self { master, _raw: raw, input: true, output: true, pending: Vec::new() })
    }

    /// Gives the container's terminal the size of the person's.
    fn resize(&self) {
        if let Ok((cols, rows)) = pty::size(rustix::stdio::stdin()) {
            // The container's end may be closed already.
            let _gone = pty::set_size(self.master.as_fd(), cols, rows);
        }
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>, signals: BorrowedFd<'a>) {
        // A descriptor without interest would still report that it is closed: the signals', which
        // never is, stands in for it.
        let never = PollFlags::empty();
        fds.push(if self.input {
            PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN)
        } else {
            PollFd::from_borrowed_fd(signals, never)
        });
        if self.output {
            fds.push(if self.pending.is_empty() {
                PollFd::new(&self.master, PollFlags::IN)
            } else {
                PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT)
            });
        }
    }

    fn serve(&mut self, ready: &[bool]) {
        if self.input && ready.first() == Some(&true) {
            self.input = copy(rustix::stdio::stdin(), self.master.as_fd());
        }
        if self.output && ready.get(1) == Some(&true) {
            self.output = if self.pending.is_empty() { self.take() } else { self.give() };
        }
    }

    /// Reads what the container has written. `false`: there will be no more.
    fn take(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.pending.extend_from_slice(&buffer[..n]);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }

    /// Writes as much of it as nobody has to wait for: who does not read must not keep signals from
    /// the process. `false`: nobody will ever read it.
    fn give(&mut self) -> bool {
        while !self.pending.is_empty() && writable(Some(0)) {
            let chunk = &self.pending[..self.pending.len().min(CHUNK)];
            match rustix::io::write(rustix::stdio::stdout(), chunk) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// What the process wrote before it ended.
    fn drain(&mut self) {
        while self.output {
            if !self.pending.is_empty() {
                self.output = writable(None) && self.give();
                continue;
            }
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let readable = matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(n) if n > 0);
            if !readable || !self.take() {
                return;
            }
        }
    }
}

/// Whether standard output takes something, or has an error to tell of, within so many seconds; for
/// ever with `None`.
fn writable(seconds: Option<i64>) -> bool {
    let stdout = rustix::stdio::stdout();
    let mut fds = [PollFd::from_borrowed_fd(stdout, PollFlags::OUT)];
    let time = seconds.map(|tv_sec| rustix::event::Timespec { tv_sec, tv_nsec: 0 });
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, time.as_ref()));
    matches!(ready, Ok(n) if n > 0)
}

/// Copies what can be read now. `false` when one side is closed.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 16 * 1024];
    let n = match rustix::io::read(from, &mut buffer) {
        Ok(0) => return false,
        Ok(n) => n,
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(_) => return false,
    };
    let mut rest = &buffer[..n];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
                if rustix::event::poll(&mut fds, None).is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}
