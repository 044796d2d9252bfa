//! Running commands, with patience and no more.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a command may take before it is killed and the test fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 and the signal's number when one killed it.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Output {
    /// What it wrote, when it succeeded; else the test fails with what it complained of.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.code == 0, "exit code {}: {}{}", self.code, self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs `command` to its end, with nothing on its standard input unless that was set.
///
/// Panics when it takes more than two minutes, which is also how a process that went on in the
/// background and keeps a pipe open shows.
#[track_caller]
pub fn capture(command: &mut Command) -> Output {
    capture_for(command, PATIENCE)
}

#[track_caller]
fn capture_for(command: &mut Command, patience: Duration) -> Output {
    let text = format!("{command:?}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{text}: {error}"));
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let done = poll_until(patience, || {
        let ended = matches!(child.try_wait(), Ok(Some(_)));
        ended && stdout.is_finished() && stderr.is_finished()
    });
    if !done {
        give_up(&mut child, &text, patience);
    }
    let status = child.wait().expect("wait");
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let text = |thread: JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().expect("reader")).into_owned()
    };
    Output { code, stdout: text(stdout), stderr: text(stderr) }
}

#[track_caller]
fn give_up(child: &mut Child, text: &str, patience: Duration) {
    let ended = child.try_wait().ok().flatten();
    let _ = child.kill();
    match ended {
        Some(status) => panic!("{text}: ended ({status}), but something keeps its pipes open"),
        None => panic!("{text}: still runs after {patience:?}"),
    }
}

fn reader<R: Read + Send + 'static>(pipe: Option<R>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("a pipe");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits until `condition` holds, and panics with `what` when it does not within a minute: what takes
/// milliseconds takes seconds where many others want the same processors and the same disk.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(poll_until(Duration::from_mins(1), condition), "waited in vain: {what}");
}

/// Whether `condition` came to hold within `patience`.
pub(crate) fn poll_until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    true
}
