//! Processes by number and start time, so that a number that was given to another is not taken for
//! the same.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitIdOptions};
use sys::Handle;

use crate::error::{Doing, Error};

/// What `/proc/PID/stat` says: the state's letter and the start time. `None`: there is no such
/// process.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = sys::read_file(format!("/proc/{pid}/stat"), 1 << 10).ok()?;
    // The name is in parentheses and may hold anything, also parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 22 of proc_pid_stat(5); the state is field 3.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

/// When the process started, in clock ticks after the boot.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|(_, start_time)| start_time)
}

/// Whether this very process is there and has not ended.
pub(crate) fn alive(pid: i32, started: u64) -> bool {
    pid > 0
        && matches!(stat(pid), Some((state, start_time))
            if start_time == started && !matches!(state, 'Z' | 'X' | 'x'))
}

/// Whether the process is the first of a PID namespace, with which all others in it end.
pub(crate) fn is_first(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    // The last is the one in its own namespace; a single one is ours.
    let mut numbers = numbers.unwrap_or_default().split_ascii_whitespace();
    numbers.clone().count() > 1 && numbers.next_back() == Some("1")
}

/// A handle of this very process. `None` when it has ended.
pub(crate) fn open(pid: i32, started: u64) -> Result<Option<Handle>, Error> {
    let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
    let handle = match Handle::open(number) {
        Err(err) if err.errno() == Errno::SRCH => return Ok(None),
        other => other.doing(|| "find the process")?,
    };
    // Looked at after the handle exists: the handle is of the process that is seen here, or of one
    // that ended before.
    Ok(alive(pid, started).then_some(handle))
}

/// A handle of a child whose number another process told. Whatever that process is by then: only a
/// child of this one is taken.
pub(crate) fn open_child(pid: i32) -> Result<Handle, Error> {
    let doing = || "the process that was made";
    let number =
        Pid::from_raw(pid).filter(|_| pid > 0).ok_or(Error::Ended("made, and told no number"))?;
    let handle = Handle::open(number).doing(doing)?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    handle.wait(look).doing(doing)?;
    Ok(handle)
}

/// SIGKILL.
pub(crate) const KILL: i32 = 9;

/// Sends a signal. `false` when the process has ended.
pub(crate) fn signal(handle: &Handle, signal: i32) -> Result<bool, Error> {
    match handle.signal(signal) {
        Ok(()) => Ok(true),
        Err(err) if err.errno() == Errno::SRCH => Ok(false),
        Err(err) => Err(err).doing(|| "signal"),
    }
}

/// Waits until the process has ended. `false` when the time is over.
pub(crate) fn wait_end(handle: &Handle, timeout: Duration) -> Result<bool, Error> {
    handle.wait_end(timeout).doing(|| "wait for the process to end")
}
