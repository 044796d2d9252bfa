//! Standard input, output and error of attached and detached containers.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use crate::busybox;
use testkit::{needs, wait_until};

#[test]
fn output_and_errors_stay_apart() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("streams-apart");
    let output = sandbox.dhow(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    sandbox.finish();
}

#[test]
fn input_comes_in_with_i_alone() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("streams-input");
    let script = "dd if=/dev/zero bs=1M count=8 2>/dev/null | DHOW run --rm -i busybox md5sum; \
                  echo lost | DHOW run --rm busybox cat"
        .replace("DHOW", &testkit::dhow_program().to_string_lossy());
    assert_eq!(sandbox.sh(&script).success(), "96995b58d4cbf6aaa9041b4f00c7f6ae  -\n");
    sandbox.finish();
}

#[test]
fn much_output_comes_whole_and_is_logged() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("streams-much");
    let output = sandbox.ok(&["run", "--name", "much", "busybox", "seq", "1", "200000"]);
    assert_eq!(output.lines().count(), 200_000);
    assert!(output.ends_with("199999\n200000"));
    assert_eq!(sandbox.ok(&["logs", "much"]), output);
    assert_eq!(sandbox.ok(&["logs", "--tail", "2", "much"]), "199999\n200000");
    sandbox.ok(&["rm", "much"]);
    sandbox.finish();
}

#[test]
fn logs_follow_until_the_end() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("streams-follow");
    let script = "for i in 1 2 3; do echo line $i; sleep 0.2; done";
    sandbox.ok(&["run", "-d", "--name", "talker", "busybox", "sh", "-c", script]);
    assert_eq!(sandbox.ok(&["logs", "-f", "talker"]), "line 1\nline 2\nline 3");
    let stamped = sandbox.ok(&["logs", "-t", "--tail", "1", "talker"]);
    assert!(stamped.starts_with("20") && stamped.ends_with("Z line 3"), "{stamped}");
    sandbox.ok(&["rm", "talker"]);
    sandbox.finish();
}

#[test]
fn a_container_goes_on_when_its_command_line_is_killed() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("streams-killed");
    let mut run = sandbox
        .dhow_command(&["run", "--name", "alone", "busybox", "sh", "-c", "echo up; sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    run.stdout.take().unwrap().read_exact(&mut up).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Running}}", "alone"]), "true");
    sandbox.ok(&["rm", "-f", "alone"]);
    sandbox.finish();
}

#[test]
fn a_start_that_goes_on_without_its_command_line_is_not_waited_for() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("streams-killed-early");
    let passed = sandbox.work().join("passed");
    std::fs::write(&passed, "").unwrap();
    let words = ["run", "-d", "--name", "alone", "-p", "127.0.0.1::80", "busybox", "sleep", "600"];
    let mut run = sandbox.dhow_command(&words);
    run.env("DHOW_FAILPOINTS", format!("shim.start=delay:2000@{}", passed.display()));
    let mut run = run.stdout(Stdio::null()).spawn().unwrap();
    wait_until("it is told to start", || !std::fs::read_to_string(&passed).unwrap().is_empty());
    run.kill().unwrap();
    run.wait().unwrap();
    let since = std::time::Instant::now();
    assert_eq!(sandbox.ok(&["ps", "--format", "{{.Names}}"]), "alone");
    assert!(since.elapsed().as_secs() < 15, "{:?}", since.elapsed());
    // What it was given is known, though who gave it did not come to noting that.
    let port = sandbox.ok(&["port", "alone", "80"]);
    assert!(port.starts_with("127.0.0.1:"), "{port}");
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let noted = sandbox.ok(&["inspect", "-f", address, "alone"]);
    let own = sandbox.ok(&["exec", "alone", "ip", "-o", "-4", "addr", "show", "eth0"]);
    assert!(!noted.is_empty() && own.contains(&noted), "{noted}: {own}");
    sandbox.ok(&["rm", "-f", "alone"]);
    sandbox.finish();
}

#[test]
fn signals_are_passed_on() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("streams-signals");
    let script = "trap 'echo term; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = sandbox
        .dhow_command(&["run", "--rm", "busybox", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = run.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    sandbox.sh(&format!("kill -TERM {}", run.id())).success();
    assert_eq!(run.wait().unwrap().code(), Some(7));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "term\n");
    sandbox.finish();
}

#[test]
fn attach_joins_a_running_container() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("streams-attach");
    sandbox.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "echo",
        "busybox",
        "sh",
        "-c",
        "read x; echo got $x; exit 5",
    ]);
    let mut attach = sandbox
        .dhow_command(&["attach", "echo"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    attach.stdin.take().unwrap().write_all(b"it\n").unwrap();
    let output = attach.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got it\n");
    assert_eq!(output.status.code(), Some(5));
    wait_until("the container ends", || {
        sandbox.ok(&["inspect", "-f", "{{.State.Status}}", "echo"]) == "exited"
    });
    sandbox.ok(&["rm", "echo"]);
    sandbox.finish();
}
