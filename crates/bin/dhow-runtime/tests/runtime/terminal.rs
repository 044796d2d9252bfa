//! Containers with a terminal.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::bundle::{Bundle, bundle};

/// Waits for the terminal at the console socket.
fn master(listener: &UnixListener) -> std::fs::File {
    let (socket, _) = listener.accept().unwrap();
    let (name, fd) = sys::recv_fd(socket.as_fd()).unwrap();
    assert!(String::from_utf8(name).unwrap().contains("pts"));
    std::fs::File::from(fd.unwrap())
}

/// Reads until `text` was seen.
#[track_caller]
fn read_until(master: &mut std::fs::File, text: &str) -> String {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut fds = [PollFd::new(&*master, PollFlags::IN)];
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut fds, Some(&patience)).unwrap();
        assert!(ready > 0, "nothing more after {seen:?}");
        let mut buffer = [0; 1024];
        let n = master.read(&mut buffer).unwrap_or(0);
        assert!(n > 0, "the terminal closed after {seen:?}");
        seen += &String::from_utf8_lossy(&buffer[..n]);
    }
    seen
}

fn create(b: &Bundle, socket: &str) {
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    let status = b
        .command(&["create", "--console-socket", socket, "c"])
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    assert!(status.success(), "{}", b.output());
}

#[test]
pub(crate) fn the_terminal_is_the_containers_own() {
    let Some(mut b) = bundle("the_terminal_is_the_containers_own") else { return };
    let socket = b.dir.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    b.config["process"]["terminal"] = json!(true);
    b.config["process"]["consoleSize"] = json!({ "height": 33, "width": 101 });
    // With a HOME the runtime detaches the root that init has left.
    b.config["process"]["env"] = json!(["PATH=/bin", "HOME=/"]);
    b.script(
        "tty; stty size; stat -c '%t' -L /dev/console; awk '$5 == \"/\"' /proc/self/mountinfo | \
         wc -l; test -t 0 && test -t 1 && test -t 2 && echo all; read line; echo got $line; \
         trap 'exit 2' INT; while :; do sleep 0.1; done",
    )
    .write();
    create(&b, socket.to_str().unwrap());
    let mut master = master(&listener);
    b.call(&["start", "c"]).ok();
    let out = read_until(&mut master, "all");
    assert!(out.contains("/dev/pts/0\r\n33 101\r\n88\r\n1\r\nall"), "{out:?}");
    master.write_all(b"hello\n").unwrap();
    read_until(&mut master, "got hello");
    // Its interrupt key reaches the foreground of the terminal.
    master.write_all(b"\x03").unwrap();
    crate::bundle::wait_until("it has stopped", || b.status() == "stopped");
}

#[test]
pub(crate) fn a_process_can_have_a_terminal_too() {
    let Some(mut b) = bundle("a_process_can_have_a_terminal_too") else { return };
    b.args(&["sleep", "1000"]).start();
    let socket = b.dir.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let status = b
        .command(&[
            "exec",
            "-d",
            "-t",
            "--console-socket",
            socket.to_str().unwrap(),
            "c",
            "sh",
            "-c",
            "tty; stty size; read x; echo $x; sleep 1000",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let mut master = master(&listener);
    pty::set_size(master.as_fd(), 90, 20).unwrap();
    let out = read_until(&mut master, "/dev/pts/0\r\n");
    assert!(!out.contains("not a tty"), "{out}");
    master.write_all(b"word\n").unwrap();
    assert!(read_until(&mut master, "\nword\r\n").contains("word"));
    b.call(&["kill", "c", "KILL"]).ok();
}

#[test]
fn in_the_foreground_the_runtime_plays_the_terminal() {
    let Some(mut b) = bundle("in_the_foreground_the_runtime_plays_the_terminal") else { return };
    b.config["process"]["terminal"] = json!(true);
    let ran = b.script("tty; exit 5").run();
    assert_eq!((ran.status, ran.out.as_str()), (5, "/dev/pts/0\n"), "{}", ran.err);
}

#[test]
pub(crate) fn a_console_that_is_a_link_is_covered_and_not_followed() {
    let Some(mut b) = bundle("a_console_that_is_a_link_is_covered_and_not_followed") else {
        return;
    };
    let socket = b.dir.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    b.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    std::fs::create_dir_all(b.rootfs().join("dev/pts")).unwrap();
    let target = b.dir.join("made-by-console");
    std::os::unix::fs::symlink(&target, b.rootfs().join("dev/console")).unwrap();
    b.config["process"]["terminal"] = json!(true);
    b.script("stat -c '%t' /dev/console").write();
    create(&b, socket.to_str().unwrap());
    let mut master = master(&listener);
    b.call(&["start", "c"]).ok();
    read_until(&mut master, "88\r\n");
    assert!(!target.exists());
}
