//! What only a process with one thread can do: fork, and take signals. Each case runs in a process
//! of its own: this program again, with the case's name.
#![expect(
    clippy::unwrap_used,
    reason = "a test, but not one that clippy knows: it has its own main"
)]

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitIdOptions};
use sys::{CloneArgs, CloneFlags, Cloned, SingleThreaded, SockFilter, clone3};

/// A case, and the signal that its process must end with.
type Case = (&'static str, fn(), Option<i32>);

const CASES: &[Case] = &[
    ("the_child_is_first_in_its_namespaces", the_child_is_first_in_its_namespaces, None),
    ("without_clone3_the_older_call_does_it", without_clone3_the_older_call_does_it, None),
    ("the_child_becomes_another_program", the_child_becomes_another_program, None),
    ("a_sibling_has_our_parent", a_sibling_has_our_parent, None),
    // Unblocked and back to its default, the last signal ends the process.
    ("a_blocked_signal_is_read", a_blocked_signal_is_read, Some(15)),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| args.iter().any(|arg| arg == flag);
    if let ["--case", name] = args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        CASES.iter().find(|case| case.0 == *name).unwrap().1();
        return ExitCode::SUCCESS;
    }
    // What cargo-nextest asks every test program, before it runs each test by its name.
    if is("--list") {
        let none = is("--ignored");
        CASES.iter().filter(|_| !none).for_each(|case| println!("{}: test", case.0));
        return ExitCode::SUCCESS;
    }
    let named = CASES.iter().any(|case| is(case.0));
    let mut failed = false;
    for (name, _, signal) in CASES.iter().filter(|case| !named || is(case.0)) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let status = command.args(["--case", name]).status().unwrap();
        let ok = status.signal() == *signal && (signal.is_some() || status.success());
        println!("test {name} ... {}", if ok { "ok".to_owned() } else { status.to_string() });
        failed |= !ok;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn args(flags: CloneFlags) -> CloneArgs<'static> {
    CloneArgs { flags, cgroup: None, exit_signal: Some(Signal::CHILD) }
}

fn wait(child: &sys::Handle) -> Option<i32> {
    let status = child.wait(WaitIdOptions::EXITED);
    status.unwrap().and_then(|status| status.exit_status())
}

fn namespace(kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    link.to_string_lossy().into_owned()
}

fn the_child_is_first_in_its_namespaces() {
    let proof = SingleThreaded::check().unwrap();
    let kinds = ["mnt", "uts", "ipc", "net", "cgroup"];
    let outside = kinds.map(namespace);
    // Inside, /proc is still the outer one: it shows the child under its outer number.
    let proc = std::fs::File::open("/proc").unwrap();
    let flags = CloneFlags::NAMESPACES - CloneFlags::NEWUSER - CloneFlags::NEWTIME;
    match clone3(&proof, &args(flags)).unwrap() {
        Cloned::Child => {
            let first = rustix::process::getpid() == Pid::INIT;
            let inside = kinds.map(|kind| {
                let path = format!("self/ns/{kind}");
                rustix::fs::readlinkat(&proc, path, Vec::new()).unwrap().into_string().unwrap()
            });
            let all_new = inside.iter().all(|ns| !outside.contains(ns));
            sys::exit_now(if first && all_new { 7 } else { 1 });
        }
        Cloned::Parent { handle, .. } => assert_eq!(wait(&handle), Some(7)),
    }
}

/// What an old seccomp filter of the host's does.
fn forbid_clone3() {
    const CLONE3: u32 = 435;
    let insn = |code, jt, jf, k| SockFilter { code, jt, jf, k };
    let filter = [
        insn(0x20, 0, 0, 0),
        insn(0x15, 0, 1, CLONE3),
        insn(0x06, 0, 0, 0x0005_0000 | Errno::NOSYS.raw_os_error().cast_unsigned()),
        insn(0x06, 0, 0, 0x7fff_0000),
    ];
    sys::set_no_new_privs().unwrap();
    sys::seccomp_set_filter(&filter, sys::SeccompFlags::empty()).unwrap();
}

fn without_clone3_the_older_call_does_it() {
    let proof = SingleThreaded::check().unwrap();
    forbid_clone3();
    match clone3(&proof, &args(CloneFlags::NEWPID)).unwrap() {
        Cloned::Child => {
            sys::exit_now(if rustix::process::getpid() == Pid::INIT { 7 } else { 1 });
        }
        Cloned::Parent { handle, .. } => assert_eq!(wait(&handle), Some(7)),
    }
    let into_cgroup = clone3(&proof, &args(CloneFlags::INTO_CGROUP)).unwrap_err();
    assert_eq!(into_cgroup.errno(), Errno::NOSYS);
}

fn the_child_becomes_another_program() {
    let proof = SingleThreaded::check().unwrap();
    let argv = ["sh", "-c", "exit $CODE"].map(|arg| CString::new(arg).unwrap());
    let env = [CString::new("CODE=5").unwrap()];
    for by_descriptor in [false, true] {
        match clone3(&proof, &args(CloneFlags::empty())).unwrap() {
            Cloned::Child => {
                if by_descriptor {
                    let sh = std::fs::File::open("/bin/sh").unwrap();
                    sys::execveat(sh.as_fd(), &argv, &env);
                } else {
                    sys::execve(c"/bin/sh", &argv, &env);
                }
                sys::exit_now(1);
            }
            Cloned::Parent { handle, .. } => assert_eq!(wait(&handle), Some(5)),
        }
    }
    let err = sys::execve(c"/nowhere/sh", &argv, &env);
    assert_eq!((err.to_string().as_str(), err.errno()), ("execve(\"/nowhere/sh\")", Errno::NOENT));
}

fn a_sibling_has_our_parent() {
    let proof = SingleThreaded::check().unwrap();
    sys::set_child_subreaper().unwrap();
    let me = rustix::process::getpid();
    let Cloned::Parent { handle, .. } = (match clone3(&proof, &args(CloneFlags::empty())).unwrap() {
        Cloned::Child => match clone3(&proof, &args(CloneFlags::PARENT)).unwrap() {
            Cloned::Child => {
                let ours = rustix::process::getppid() == Some(me);
                sys::exit_now(if ours { 7 } else { 1 });
            }
            Cloned::Parent { .. } => sys::exit_now(0),
        },
        parent @ Cloned::Parent { .. } => parent,
    }) else {
        return;
    };
    assert_eq!(wait(&handle), Some(0));
    let status = rustix::process::wait(rustix::process::WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.1.exit_status(), Some(7));
}

fn a_blocked_signal_is_read() {
    sys::signal_block_all().unwrap();
    let fd = sys::signalfd(&[Signal::TERM, Signal::USR1]).unwrap();
    assert_eq!(sys::read_signal(fd.as_fd()).unwrap(), None);
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, Signal::USR1).unwrap();
    let info = sys::read_signal(fd.as_fd()).unwrap().unwrap();
    assert_eq!(info.signal, Signal::USR1.as_raw());
    assert_eq!(info.pid, me.as_raw_nonzero().get());
    assert_eq!(sys::read_signal(fd.as_fd()).unwrap(), None);
    rustix::process::kill_process(me, Signal::TERM).unwrap();
    sys::reset_signals().unwrap();
}
