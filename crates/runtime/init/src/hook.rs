//! Calling a hook: the state on its standard input, a time limit, and what it said when it failed.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use plan::Hook;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Signal, WaitIdOptions};
use sys::{Call, Spawn};

/// How much of what a hook says is kept for an error, in bytes.
const KEPT: usize = 1024;

/// A hook that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started or waited for.
    #[error("error running {name}: error running hook {path:?}")]
    Call {
        /// Which hook.
        name: String,
        /// The hook's program.
        path: CString,
        /// The call.
        #[source]
        source: sys::Error,
    },
    /// It ended with an error.
    #[error("error running {name}: error running hook {path:?}: {how}{}", said(output))]
    Failed {
        /// Which hook.
        name: String,
        /// The hook's program.
        path: CString,
        /// With which status or signal.
        how: String,
        /// What it said.
        output: String,
    },
    /// It did not end in time and was killed.
    #[error(
        "error running {name}: error running hook {path:?}: it did not end within {} s{}",
        timeout.as_secs(), said(output)
    )]
    Timeout {
        /// Which hook.
        name: String,
        /// The hook's program.
        path: CString,
        /// The limit.
        timeout: Duration,
        /// What it said.
        output: String,
    },
}

/// A signal in words, those of Go's programs.
fn signal_words(number: i32) -> String {
    let words = match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        24 => "CPU time limit exceeded",
        31 => "bad system call",
        _ => return format!("signal {number}"),
    };
    words.to_owned()
}

fn said(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        text => format!(", and said: {}", text.replace('\n', "; ")),
    }
}

/// Calls `hooks` one after the other, each with `state` (JSON) on its standard input. The first one
/// that fails ends it.
pub fn run(hooks: &[Hook], state: &[u8]) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| run_one(hook, state))
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<(), Error> {
    let (name, path) = (|| hook.name.clone(), || hook.path.clone());
    let call = |source| Error::Call { name: name(), path: path(), source };
    let stdin = input(state).map_err(call)?;
    let (output, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .call(|| "pipe2()")
        .map_err(call)?;
    let child = Spawn {
        program: &hook.path,
        argv: &hook.argv,
        env: &hook.env,
        fds: &[(stdin.as_fd(), 0), (write.as_fd(), 1), (write.as_fd(), 2)],
        new_session: false,
    }
    .spawn()
    .map_err(call)?;
    drop(write);
    let mut output = Output::new(output);
    let ended = wait(&child.handle, &mut output, hook.timeout).map_err(call)?;
    if !ended {
        child.handle.signal(Signal::KILL.as_raw()).map_err(call)?;
    }
    let status = child.handle.wait(WaitIdOptions::EXITED).map_err(call)?;
    output.drain();
    let how = match status {
        _ if !ended => {
            let timeout = hook.timeout.unwrap_or_default();
            let output = output.text();
            return Err(Error::Timeout { name: name(), path: path(), timeout, output });
        }
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => return Ok(()),
            (Some(code), _) => format!("exit status {code}"),
            (_, signal) => format!("signal: {}", signal_words(signal.unwrap_or(0))),
        },
        None => "it is gone".to_owned(),
    };
    Err(Error::Failed { name: name(), path: path(), how, output: output.text() })
}

/// The state, as a file in memory: a hook that does not read it blocks nobody.
fn input(state: &[u8]) -> Result<OwnedFd, sys::Error> {
    let fd = rustix::fs::memfd_create("state", rustix::fs::MemfdFlags::CLOEXEC)
        .call(|| "memfd_create(\"state\")")?;
    let mut written = 0;
    while written < state.len() {
        written += rustix::io::write(&fd, &state[written..]).call(|| "write(state)")?;
    }
    rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0)).call(|| "lseek(state)")?;
    Ok(fd)
}

/// Waits for the end of the process and reads what it says meanwhile, so that it never blocks on a
/// full pipe. `false` when the time is over.
fn wait(
    process: &sys::Handle,
    output: &mut Output,
    timeout: Option<Duration>,
) -> Result<bool, sys::Error> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        let left = process.patience(left);
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let pipe = output.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let mut fds: Vec<_> = pipe.into_iter().chain(process.poll_fd()).collect();
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).call(|| "poll()"),
        }
        let readable = output.pipe.is_some() && !fds[0].revents().is_empty();
        if readable {
            output.read();
        }
        if process.has_ended()? {
            return Ok(true);
        }
    }
}

/// Whether a read of `pipe` would not wait.
fn is_readable(pipe: &std::fs::File) -> bool {
    let now = Timespec::default();
    let mut fds = [PollFd::new(pipe, PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(ready) if ready > 0)
}

/// What a hook writes, of which the beginning is kept.
struct Output {
    pipe: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe.into()), kept: Vec::new() }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match self.pipe.as_mut().map(|pipe| pipe.read(&mut buffer)) {
            Some(Ok(n)) if n > 0 => {
                let room = KEPT.saturating_sub(self.kept.len());
                self.kept.extend_from_slice(&buffer[..n.min(room)]);
            }
            _ => self.pipe = None,
        }
    }

    /// Reads what the hook left in the pipe when it ended, and waits for nobody: a process that the
    /// hook started may hold the other end for as long as it likes.
    fn drain(&mut self) {
        while self.kept.len() < KEPT && self.pipe.as_ref().is_some_and(is_readable) {
            self.read();
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u64>) -> Hook {
        let c = |text: &str| CString::new(text).unwrap();
        Hook {
            name: "prestart hook #0".to_owned(),
            path: c("/bin/sh"),
            argv: vec![c("sh"), c("-c"), c(script)],
            env: vec![c("WORD=said")],
            timeout: timeout.map(Duration::from_secs),
        }
    }

    #[test]
    fn the_state_is_on_standard_input_and_the_environment_is_its_own() {
        run(&[hook("test \"$(cat)$WORD$HOME\" = statesaid", None)], b"state").unwrap();
    }

    #[test]
    fn the_first_that_fails_ends_it_and_its_words_are_kept() {
        let err =
            run(&[hook("echo no; echo way >&2; exit 3", None), hook("kill -9 $$", None)], b"");
        assert_eq!(
            err.unwrap_err().to_string(),
            "error running prestart hook #0: error running hook \"/bin/sh\": exit status 3, and said: no; way"
        );
        let err = run(&[hook("kill -9 $$", None)], b"").unwrap_err();
        assert_eq!(
            err.to_string(),
            "error running prestart hook #0: error running hook \"/bin/sh\": signal: killed"
        );
    }

    #[test]
    fn the_last_words_are_read_and_nobody_is_waited_for() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut output = Output::new(read);
        rustix::io::write(&write, b"no; ").unwrap();
        output.read();
        rustix::io::write(&write, b"way").unwrap();
        output.drain();
        assert_eq!(output.text(), "no; way");
        drop(write);
        output.drain();
        assert_eq!(output.text(), "no; way");
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        let err = run(&[hook("exec sleep 100", Some(1))], b"").unwrap_err();
        assert!(err.to_string().ends_with("hook \"/bin/sh\": it did not end within 1 s"), "{err}");
    }

    #[test]
    fn one_that_is_not_there_says_so() {
        let mut missing = hook("", None);
        missing.path = CString::new("/nonexistent/hook").unwrap();
        let err = run(&[missing], b"").unwrap_err();
        assert!(err.to_string().ends_with("error running hook \"/nonexistent/hook\""), "{err}");
    }
}
