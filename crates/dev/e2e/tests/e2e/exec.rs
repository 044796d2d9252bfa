//! `dhow exec`.

use std::io::Write as _;
use std::process::Stdio;

use crate::busybox;
use testkit::{needs, wait_until};

#[test]
fn a_second_process_joins_the_first() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exec");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "-e",
        "A=1",
        "-w",
        "/tmp",
        "--hostname",
        "inner",
        "busybox",
        "sleep",
        "600",
    ]);
    for (args, code, want) in [
        (&["box", "sh", "-c", "echo $A $(pwd) $(hostname)"][..], 0, "1 /tmp inner\n"),
        (&["-e", "B=2", "-w", "/etc", "box", "sh", "-c", "echo $B $(pwd)"], 0, "2 /etc\n"),
        (&["-u", "65534:65534", "box", "id", "-u"], 0, "65534\n"),
        (&["box", "sh", "-c", "exit 9"], 9, ""),
        (
            &[
                "box",
                "sh",
                "-c",
                "for n in mnt pid net ipc uts cgroup; do [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || echo $n; done",
            ],
            0,
            "",
        ),
        (&["box", "sh", "-c", "grep -c CapEff:.*00000000a80425fb /proc/self/status"], 0, "1\n"),
    ] {
        let line = [&["exec"], args].concat();
        let output = sandbox.dhow(&line);
        assert_eq!((output.code, output.stdout.as_str()), (code, want), "{line:?}: {output:?}");
    }
    for (program, code) in [("no-such-program", 127), ("/etc", 126)] {
        let output = sandbox.dhow(&["exec", "box", program]);
        assert_eq!(output.code, code, "{output:?}");
    }
    // What its terminal brought is not for one without.
    sandbox.ok(&["run", "-dt", "--name", "tty", "busybox", "sleep", "600"]);
    assert!(!sandbox.ok(&["exec", "tty", "env"]).contains("TERM="));
    sandbox.ok(&["rm", "-f", "box", "tty"]);
    sandbox.finish();
}

#[test]
fn input_output_and_detaching() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exec-streams");
    sandbox.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    let mut exec = sandbox
        .dhow_command(&["exec", "-i", "box", "sh", "-c", "cat; echo done >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    exec.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let output = exec.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "through\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "done\n");

    sandbox.ok(&["exec", "-d", "box", "touch", "/tmp/detached"]);
    wait_until("the detached process ran", || {
        sandbox.dhow(&["exec", "box", "test", "-e", "/tmp/detached"]).code == 0
    });
    sandbox.ok(&["rm", "-f", "box"]);
    sandbox.finish();
}

#[test]
fn there_is_none_in_a_stopped_container() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exec-stopped");
    sandbox.ok(&["create", "--name", "box", "busybox", "true"]);
    let output = sandbox.dhow(&["exec", "box", "true"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("is not running"), "{output:?}");
    sandbox.ok(&["rm", "box"]);
    sandbox.finish();
}
