//! The first process of a container that was asked for with `--init`.
//!
//! It starts the container's program, hands on every signal that somebody sends to it, waits for every
//! process that loses its parent, and ends with the program's code, or 128 plus the signal that ended
//! it. It is dhow's own file, called by another name, so it does nothing before it knows its part.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use sys::{Spawn, Spawned};

/// The name by which it is called, and its path in a container: Docker's.
pub const NAME: &str = "docker-init";
/// Where it lies in a container.
pub const PATH: &str = "/sbin/docker-init";

/// Where there is no such program, and where it cannot be run: a shell's codes.
const NOT_FOUND: i32 = 127;
const CANNOT_RUN: i32 = 126;
/// Its own mistakes.
const FAILED: i32 = 125;

/// What the kernel sends on account of the process itself, and what is of no use to the program.
const OWN: [Signal; 8] = [
    Signal::FPE,
    Signal::ILL,
    Signal::SEGV,
    Signal::BUS,
    Signal::ABORT,
    Signal::TRAP,
    Signal::SYS,
    Signal::CHILD,
];
/// Stops at a terminal: they reach the program by themselves.
const TERMINAL: [Signal; 3] = [Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// Why a program cannot be started.
struct Refusal {
    errno: Errno,
    /// What else there is to know.
    more: Option<String>,
}

impl From<sys::Error> for Refusal {
    fn from(error: sys::Error) -> Self {
        Self { errno: error.errno(), more: None }
    }
}

/// Runs `[--] PROGRAM ARGUMENTS`; the code to exit with.
pub fn main(args: impl Iterator<Item = OsString>) -> i32 {
    let mut args = args.peekable();
    args.next_if(|first| first == "--");
    let Some(program) = args.next() else {
        eprintln!("{NAME}: no program was named");
        return FAILED;
    };
    match run(&program, args) {
        Ok(code) => code,
        Err(err) => {
            eprintln!("{NAME}: {err}");
            FAILED
        }
    }
}

fn run(program: &OsStr, args: impl Iterator<Item = OsString>) -> Result<i32, sys::Error> {
    // Before there is a child: nothing of its end is missed.
    sys::signal_block_all()?;
    let signals = sys::signalfd_all()?;
    if rustix::process::getpid() != Pid::INIT {
        // In a PID namespace of others the orphans would go to another's init.
        sys::set_child_subreaper()?;
    }
    // It stays in our process group, so that the terminal is its own from the beginning.
    let (child, handle) = match spawn(program, args) {
        Ok(Spawned { pid, handle }) => (pid, handle),
        Err(Refusal { errno, more }) => {
            let more = more.map(|more| format!(": {more}")).unwrap_or_default();
            eprintln!("{NAME}: exec {}: {errno}{more}", program.display());
            return Ok(if errno == Errno::NOENT { NOT_FOUND } else { CANNOT_RUN });
        }
    };
    loop {
        let mut fds = [PollFd::new(&signals, PollFlags::IN)];
        // An interrupted wait is as good as one that is over.
        let _ = poll(&mut fds, None);
        while let Some(info) = sys::read_signal(signals.as_fd())? {
            // Those of the terminal go to all of its process group, and the program is in it.
            let own = OWN.iter().chain(&TERMINAL).any(|signal| signal.as_raw() == info.signal);
            if own || info.by_kernel {
                continue;
            }
            // It may have ended in this moment.
            let _ended = handle.signal(info.signal);
        }
        if let Some(code) = reap(child) {
            return Ok(code);
        }
    }
}

/// Starts the program, looked for as a shell does.
fn spawn(program: &OsStr, args: impl Iterator<Item = OsString>) -> Result<Spawned, Refusal> {
    let refused = |_| sys::Error::new("an argument holds a NUL byte", Errno::INVAL);
    let c_string = |text: &OsStr| CString::new(text.as_bytes()).map_err(refused);
    let mut argv = vec![c_string(program)?];
    for arg in args {
        argv.push(c_string(&arg)?);
    }
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        env.push(c_string(&[name, value].join(OsStr::new("=")))?);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = if program.as_bytes().contains(&b'/') {
        vec![program.into()]
    } else {
        std::env::split_paths(&path).map(|dir| dir.join(program)).collect()
    };
    let mut last = Refusal { errno: Errno::NOENT, more: None };
    for place in places {
        let program = c_string(place.as_os_str())?;
        let spawn =
            Spawn { program: &program, argv: &argv, env: &env, fds: &[], new_session: false };
        let errno = match spawn.spawn() {
            Ok(spawned) => return Ok(spawned),
            Err(err) => err.errno(),
        };
        let more = init::explain_refusal(&program, errno);
        match errno {
            Errno::NOENT | Errno::NOTDIR if more.is_none() => {}
            // What cannot be run is told of rather than what is not there; one further on may be.
            Errno::NOENT | Errno::ACCESS => last = Refusal { errno, more },
            _ => return Err(Refusal { errno, more }),
        }
    }
    Err(last)
}

/// Waits for all that have ended; the code of `child` if it is among them.
fn reap(child: Pid) -> Option<i32> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == child {
            ended = Some(code(status));
        }
    }
    ended
}

/// The exit code, or 128 plus the signal.
fn code(status: WaitStatus) -> i32 {
    let by_signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(by_signal).unwrap_or(FAILED)
}
