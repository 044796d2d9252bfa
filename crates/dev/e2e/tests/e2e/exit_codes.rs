//! The exit codes of `dhow run`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::busybox;
use crate::docker_client::Daemon;
use crate::restart::{kill, shim};
use testkit::{needs, wait_until};

#[test]
fn they_are_the_programs_own_or_dockers() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exit-codes");
    for (args, code, want) in [
        (&["busybox", "true"][..], 0, ""),
        (&["busybox", "sh", "-c", "exit 42"], 42, ""),
        (&["busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, ""),
        (&["busybox", "sh", "-c", "kill -TERM $$; sleep 1"], 0, ""),
        (&["busybox", "no-such-program"], 127, "executable file not found in $PATH"),
        (&["busybox", "/no/such/program"], 127, "no such file or directory"),
        (&["busybox", "/etc"], 126, "is a directory"),
        (&["busybox", "/etc/passwd"], 126, "permission denied"),
        (&["--no-such-flag", "busybox", "true"], 125, "--no-such-flag"),
        (&["--network", "nowhere", "busybox", "true"], 125, "nowhere"),
        (&["no-such-image"], 125, "no-such-image"),
    ] {
        let line = [&["run", "--rm"], args].concat();
        let output = sandbox.dhow(&line);
        assert_eq!(output.code, code, "{line:?}: {output:?}");
        assert!(output.stderr.contains(want), "{line:?}: {output:?}");
    }
    sandbox.finish();
}

#[test]
fn what_fails_before_the_word_to_start_is_told_as_it_was() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("exit-codes-early");
    // By the time that it is told to start, the supervisor has failed, and ended.
    sandbox.set_env("DHOW_FAILPOINTS", "engine.go=delay:1500");
    let output = sandbox.dhow(&["run", "--rm", "busybox", "no-such-program"]);
    sandbox.unset_env("DHOW_FAILPOINTS");
    assert_eq!(output.code, 127, "{output:?}");
    assert!(output.stderr.contains("executable file not found in $PATH"), "{output:?}");
    sandbox.finish();
}

#[test]
fn wait_and_inspect_tell_them_later() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exit-codes-later");
    sandbox.ok(&["run", "-d", "--name", "three", "busybox", "sh", "-c", "sleep 0.2; exit 3"]);
    assert_eq!(sandbox.ok(&["wait", "three"]), "3");
    assert_eq!(
        sandbox.ok(&["inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", "three"]),
        "3 exited"
    );
    let shown = sandbox.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    assert!(shown.starts_with("three Exited (3) "), "{shown}");
    sandbox.ok(&["rm", "three"]);
    sandbox.finish();
}

/// A wait that has begun.
struct Wait(BufReader<UnixStream>);

impl Wait {
    /// Comes back when the daemon has begun, too: it sends the head of its answer at once.
    #[track_caller]
    fn begin(daemon: &Daemon<'_>, name: &str, condition: &str) -> Self {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        let path = format!("/v1.51/containers/{name}/wait?condition={condition}");
        write!(stream, "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
        let (mut answer, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert!(answer.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Self(answer)
    }

    /// The exit code that it is told.
    #[track_caller]
    fn code(mut self) -> i64 {
        let mut body = String::new();
        self.0.read_to_string(&mut body).unwrap();
        // In chunks, with the length of each before it.
        let body = body.lines().find(|line| line.starts_with('{')).expect("an answer");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        body["StatusCode"].as_i64().expect("a number")
    }
}

/// A daemon that stands still, until this is dropped.
struct Still<'d, 's>(&'d Daemon<'s>);

impl<'d, 's> Still<'d, 's> {
    fn make(daemon: &'d Daemon<'s>) -> Self {
        daemon.signal("STOP");
        Self(daemon)
    }
}

impl Drop for Still<'_, '_> {
    fn drop(&mut self) {
        self.0.signal("CONT");
    }
}

/// Another process starts it, and all of it is over before the daemon looks again.
#[test]
fn who_waits_is_told_that_of_what_is_gone() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exit-codes-gone");
    let daemon = Daemon::start(&sandbox);
    for condition in ["next-exit", "removed"] {
        sandbox.ok(&["create", "--rm", "--name", "brief", "busybox", "sh", "-c", "exit 7"]);
        let wait = Wait::begin(&daemon, "brief", condition);
        let still = Still::make(&daemon);
        sandbox.ok(&["start", "brief"]);
        wait_until("it is gone", || sandbox.ok(&["ps", "-aq"]).is_empty());
        drop(still);
        assert_eq!(wait.code(), 7, "{condition}");
    }
    // One that never ran ends with nothing else.
    sandbox.ok(&["create", "--name", "never", "busybox", "sh", "-c", "exit 7"]);
    let wait = Wait::begin(&daemon, "never", "removed");
    sandbox.ok(&["rm", "never"]);
    assert_eq!(wait.code(), 0);
    drop(daemon);
    sandbox.finish();
}

/// Its supervisor is killed, and another process has it run again before the daemon looks.
#[test]
fn who_waits_is_told_that_of_what_runs_again() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exit-codes-again");
    let daemon = Daemon::start(&sandbox);
    let run = ["run", "-d", "--restart", "always", "--name", "again", "busybox", "sleep", "600"];
    sandbox.ok(&run);
    for condition in ["not-running", "next-exit"] {
        let wait = Wait::begin(&daemon, "again", condition);
        let still = Still::make(&daemon);
        kill(&sandbox, shim(&sandbox, "again"));
        wait_until("it runs again", || !sandbox.ok(&["ps", "-q"]).is_empty());
        drop(still);
        let since = Instant::now();
        assert_eq!(wait.code(), 137, "{condition}");
        // And not only when there is no hope for a status any more.
        assert!(since.elapsed() < Duration::from_secs(5), "{condition}");
    }
    sandbox.ok(&["rm", "-f", "again"]);
    drop(daemon);
    sandbox.finish();
}

/// It begins after the daemon has asked for those who waited before the start. Before the daemon comes to ask for
/// this one, the supervisor has ended; before it looks at the status instead, that is gone as well.
#[test]
fn who_comes_to_wait_while_it_is_started_is_told_it_too() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("exit-codes-late");
    let passed = sandbox.work().join("passed");
    std::fs::write(&passed, "").unwrap();
    let points = format!("shim.started=delay:2000@{},engine.unheard=delay:2000", passed.display());
    sandbox.set_env("DHOW_FAILPOINTS", &points);
    let daemon = Daemon::start(&sandbox);
    sandbox.unset_env("DHOW_FAILPOINTS");
    for condition in ["next-exit", "removed"] {
        std::fs::write(&passed, "").unwrap();
        sandbox.ok(&["create", "--rm", "--name", "brief", "busybox", "sh", "-c", "exit 7"]);
        let host = format!("unix://{}", daemon.socket());
        let mut start = sandbox.dhow_command(&["-H", &host, "start", "brief"]);
        let mut start = start.stdout(Stdio::null()).spawn().unwrap();
        wait_until("its program runs", || !std::fs::read_to_string(&passed).unwrap().is_empty());
        let wait = Wait::begin(&daemon, "brief", condition);
        let still = Still::make(&daemon);
        wait_until("its supervisor is about to remove it", || sandbox.runs("internal-remove"));
        drop(still);
        assert_eq!(wait.code(), 7, "{condition}");
        assert!(start.wait().unwrap().success());
        wait_until("it is gone", || sandbox.ok(&["ps", "-aq"]).is_empty());
    }
    drop(daemon);
    sandbox.finish();
}
