//! `ahead RUN`: a runtime that waits for its command line.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::bundle::{Bundle, Ran, bundle, wait_until};

/// Ours, whichever is tested.
const PROGRAM: &str = env!("CARGO_BIN_EXE_dhow-runtime");

fn ahead() -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["ahead", "/nowhere"]).stdin(Stdio::null());
    command
}

/// One that waits, and our end of its connection.
fn waiting() -> (Child, OwnedFd) {
    let (unix, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs) = rustix::net::socketpair(unix, kind, SocketFlags::CLOEXEC, None).unwrap();
    let mut command = ahead();
    command.stdin(theirs).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The command goes, and with it its copy of their end.
    (command.spawn().unwrap(), ours)
}

/// Tells it the words of a command line. All it says goes to the bundle's `out`.
fn tell(b: &Bundle, control: &OwnedFd, words: &[&str]) {
    let message: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let null = std::fs::File::open("/dev/null").unwrap();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    sys::send_fds(control.as_fd(), &message, &[null.as_fd(), out.as_fd(), out.as_fd()]).unwrap();
}

fn ran(child: Child) -> Ran {
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn it_is_for_who_has_a_connection_to_it() {
    let (stream, _other) = UnixStream::pair().unwrap();
    for stdin in [Stdio::null(), Stdio::piped(), Stdio::from(OwnedFd::from(stream))] {
        let output = ahead().stdin(stdin).output().unwrap();
        Ran::of(&output).fails("ahead: standard input is not a supervisor's connection");
    }
    // Nobody comes upon it, and without the container's place there is no such command.
    for args in [&["ahead"][..], &["--debug", "ahead", "/nowhere"]] {
        let output = Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().unwrap();
        Ran::of(&output).fails("No help topic for 'ahead'");
    }
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    assert!(!Ran::of(&help).ok().contains("ahead"));
}

#[test]
fn it_ends_with_its_connection() {
    let (child, control) = waiting();
    drop(control);
    let Ran { status, out, err } = ran(child);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""));
    // Also when it has waited for a while, in a file that is not the one that was executed.
    let (mut child, control) = waiting();
    let exe = format!("/proc/{}/exe", child.id());
    wait_until("it is out of a container's reach", || {
        std::fs::read_link(&exe).is_ok_and(|path| path != std::path::Path::new(PROGRAM))
    });
    assert!(child.try_wait().unwrap().is_none());
    drop(control);
    assert_eq!(ran(child).status, 0);
}

#[test]
fn it_does_what_it_is_told() {
    let Some(mut b) = bundle("it_does_what_it_is_told") else { return };
    b.script("echo $(ls /proc/self/fd); sleep 1000").write();
    let (root, dir) = (b.dir.join("state"), b.dir.clone());
    let (root, dir) = (root.to_str().unwrap(), dir.to_str().unwrap());
    let (child, control) = waiting();
    let pid_file = format!("{dir}/pid");
    let create = ["--root", root, "create", "--bundle", dir, "--pid-file", &pid_file, "c"];
    tell(&b, &control, &create);
    let Ran { status, out, err } = ran(child);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""), "{}", b.output());
    assert_eq!(b.status(), "created");
    b.call(&["start", "c"]).ok();
    // What it had open itself is not in the container; 3 is the directory that is listed.
    wait_until("it has spoken", || b.output() == "0 1 2 3\n");
    assert_eq!(b.status(), "running");
}

#[test]
fn what_goes_wrong_is_told_where_it_was_told() {
    let Some(b) = bundle("what_goes_wrong_is_told_where_it_was_told") else { return };
    for (words, status, why) in [
        (&["create", "--bundle", "/nosuch", "c"][..], 1, "bundle \"/nosuch\""),
        (&["create", "--nosuch", "c"], 1, "flag provided but not defined: -nosuch"),
        // It is no command that one is told.
        (&["ahead", "/nowhere"], 3, "No help topic for 'ahead'"),
    ] {
        let (child, control) = waiting();
        tell(&b, &control, words);
        let ran = ran(child);
        assert_eq!((ran.status, ran.err.as_str()), (status, ""), "{words:?}");
        assert!(b.output().contains(why), "{words:?}: {}", b.output());
    }
}

#[test]
fn what_is_no_command_line_is_refused() {
    let null = std::fs::File::open("/dev/null").unwrap();
    for (message, streams) in [(&b"list\0"[..], 2), (b"list\0", 4), (b"list", 3)] {
        let (child, control) = waiting();
        sys::send_fds(control.as_fd(), message, &vec![null.as_fd(); streams]).unwrap();
        ran(child).fails("ahead: recvmsg(arguments): Protocol error");
    }
}
