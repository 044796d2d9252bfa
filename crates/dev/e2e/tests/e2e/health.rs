//! Health checks, run by the container's own supervisor.

use serde_json::Value;

use crate::{busybox, inspect};
use testkit::{Sandbox, needs, wait_until};

/// A container whose health is the file `/ok`, looked for as often as can be.
fn run(sandbox: &Sandbox, more: &[&str], script: &str) {
    let check = ["--health-cmd", "echo looked; test -e /ok", "--health-interval", "30ms"];
    let all = [&["run", "-d", "--name", "box"], &check[..], more, &["busybox", "sh", "-c", script]];
    sandbox.ok(&all.concat());
}

#[track_caller]
fn health(sandbox: &Sandbox) -> Value {
    inspect(sandbox, "box")["State"]["Health"].clone()
}

const SLEEP: &str = "while :; do sleep 0.05; done";

#[test]
fn what_works_is_told_from_what_does_not() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("health");
    let began = sandbox.sh("date +%s.%N").stdout;
    run(&sandbox, &["--health-retries", "2"], SLEEP);
    let shown = sandbox.ok(&["ps", "--format", "{{.Status}}"]);
    assert!(shown.ends_with(" (health: starting)") || shown.ends_with(" (unhealthy)"), "{shown}");
    wait_until("it is unhealthy", || health(&sandbox)["Status"] == "unhealthy");
    assert!(health(&sandbox)["FailingStreak"].as_i64().unwrap() >= 2);
    sandbox.ok(&["exec", "box", "touch", "/ok"]);
    wait_until("it is healthy", || health(&sandbox)["Status"] == "healthy");
    assert!(sandbox.ok(&["ps", "--format", "{{.Status}}"]).ends_with(" (healthy)"));
    for (wanted, names) in [("healthy", "box"), ("unhealthy", ""), ("none", "")] {
        let filter = format!("health={wanted}");
        assert_eq!(sandbox.ok(&["ps", "--format", "{{.Names}}", "-f", &filter]), names);
    }
    wait_until("five are kept", || health(&sandbox)["Log"].as_array().unwrap().len() == 5);
    let last = health(&sandbox)["Log"][4].clone();
    assert_eq!((&last["ExitCode"], &last["Output"]), (&0.into(), &"looked\n".into()));
    assert!(last["Start"].as_str() < last["End"].as_str());
    sandbox.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(health(&sandbox)["Status"], "unhealthy");
    let until = sandbox.sh("date +%s.%N").stdout;
    let events = sandbox.ok(&[
        "events",
        "--since",
        began.trim(),
        "--until",
        until.trim(),
        "--format",
        "{{.Action}}",
    ]);
    let told: Vec<&str> = events.lines().filter(|line| line.starts_with("health_status")).collect();
    assert_eq!(told, ["health_status: unhealthy", "health_status: healthy"]);
    let exec = "/bin/sh -c echo looked; test -e /ok";
    let execs = ["exec_create", "exec_start"].map(|kind| format!("{kind}: {exec}"));
    for wanted in execs.iter().map(String::as_str).chain(["exec_die"]) {
        assert!(events.lines().any(|line| line == wanted), "{wanted} in {events}");
    }
    sandbox.ok(&["rm", "box"]);
    sandbox.finish();
}

#[test]
fn a_check_that_takes_too_long_or_says_too_much() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("health-long");
    for (check, timeout, code, begins, bytes) in [
        (
            "echo so far; sleep 600",
            "50ms",
            -1,
            "Health check exceeded timeout (50ms): so far\n",
            None,
        ),
        ("seq 1 5000; exit 3", "20s", 3, "1\n2\n3\n", Some(4096 + 3)),
    ] {
        sandbox.ok(&[
            "run",
            "-d",
            "--name",
            "box",
            "--health-cmd",
            check,
            "--health-interval",
            "30ms",
            "--health-timeout",
            timeout,
            "--health-retries",
            "1",
            "busybox",
            "sleep",
            "600",
        ]);
        wait_until("it is unhealthy", || health(&sandbox)["Status"] == "unhealthy");
        // A check may be ended before it has come to say anything: then the next one does.
        let mut last = Value::Null;
        wait_until("one has said what it says", || {
            last = health(&sandbox)["Log"].as_array().unwrap().last().unwrap().clone();
            assert_eq!(last["ExitCode"], code, "{last}");
            last["Output"].as_str().unwrap().starts_with(begins)
        });
        let output = last["Output"].as_str().unwrap();
        assert!(bytes.is_none_or(|n| output.len() == n && output.ends_with("...")), "{output}");
        sandbox.ok(&["rm", "-f", "box"]);
    }
    sandbox.finish();
}

#[test]
fn unhealthy_can_be_a_reason_to_start_again() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("health-restart");
    // Its second life works.
    let script = "trap 'touch /ok; exit 0' TERM; while :; do sleep 0.05; done";
    run(&sandbox, &["--health-retries", "1", "--restart-on", "unhealthy"], script);
    wait_until("it lives again and works", || {
        let now = inspect(&sandbox, "box");
        now["RestartCount"] == 1 && now["State"]["Health"]["Status"] == "healthy"
    });
    // There is no other reason.
    sandbox.ok(&["stop", "box"]);
    assert_eq!(inspect(&sandbox, "box")["State"]["Status"], "exited");
    sandbox.ok(&["rm", "box"]);
    let refused = sandbox.dhow(&["run", "--restart-on", "unhealthy", "busybox", "true"]);
    assert!(refused.stderr.contains("needs a health check"), "{refused:?}");
    sandbox.finish();
}

#[test]
fn an_image_may_say_how() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("health-image");
    sandbox.ok(&["create", "--name", "made", "busybox", "true"]);
    let change = "HEALTHCHECK --interval=30ms CMD test -e /bin/sh";
    sandbox.ok(&["commit", "--change", change, "made", "checked"]);
    sandbox.ok(&["run", "-d", "--name", "box", "checked", "sleep", "600"]);
    wait_until("it is healthy", || health(&sandbox)["Status"] == "healthy");
    sandbox.ok(&["rm", "-f", "box"]);
    sandbox.ok(&["run", "-d", "--name", "box", "--no-healthcheck", "checked", "sleep", "600"]);
    assert_eq!(health(&sandbox), Value::Null);
    sandbox.ok(&["rm", "-f", "box", "made"]);
    sandbox.ok(&["rmi", "checked"]);
    sandbox.finish();
}
