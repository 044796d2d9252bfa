//! The least that a container costs: what the kernel itself takes for the steps that no engine can
//! leave out. Benchmarks are measured against it.
//!
//! `dhow-floor DIRECTORY LINK PROGRAM [ARGS...]` clones into new namespaces (mount, pid, network,
//! ipc, uts, cgroup), mounts one overlay (of `DIRECTORY`'s `lower`, `upper` and `work`) as the root,
//! makes one veth pair with its host's end called `LINK` (`-`: none), runs the program, and ends with
//! its exit code. No cgroup, no seccomp, no record of anything.
//!
//! `dhow-floor container`, `dhow-floor enter` and `dhow-floor peak` are for the benchmark of OCI
//! runtimes, see [`container`].
#![forbid(unsafe_code)]

mod container;

use std::error::Error;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use netlink::{Requests, RouteSocket, Veth};
use rustix::process::{Pid, Signal, WaitOptions};
use sys::{CloneArgs, CloneFlags, Cloned, SingleThreaded};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let result = match args.as_slice() {
        [mode, rest @ ..] if mode == "container" => container::run(rest),
        [mode, rest @ ..] if mode == "enter" => container::enter(rest),
        [mode, rest @ ..] if mode == "peak" => container::peak(rest),
        [directory, link, program @ ..] => run(Path::new(directory), link, program),
        _ => Err("usage: dhow-floor DIRECTORY LINK PROGRAM [ARGS...]".into()),
    };
    match result {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("dhow-floor: {error}{cause}");
            std::process::exit(125);
        }
    }
}

fn run(directory: &Path, link: &OsStr, program: &[std::ffi::OsString]) -> Result<i32> {
    let argv = container::c_strings(program)?;
    let link = link.to_str().ok_or("the link's name is not UTF-8")?;
    let (ready, done) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let args = CloneArgs {
        flags: CloneFlags::NEWNS
            | CloneFlags::NEWPID
            | CloneFlags::NEWNET
            | CloneFlags::NEWIPC
            | CloneFlags::NEWUTS
            | CloneFlags::NEWCGROUP,
        cgroup: None,
        exit_signal: Some(Signal::CHILD),
    };
    match sys::clone3(&SingleThreaded::check()?, &args)? {
        Cloned::Child => {
            drop(done);
            if let Err(error) = become_program(directory, &ready, &argv) {
                eprintln!("dhow-floor: {error}");
            }
            sys::exit_now(126)
        }
        Cloned::Parent { pid, .. } => {
            drop(ready);
            let connected = if link == "-" { Ok(()) } else { connect(pid, link) };
            // The program starts when both are there, or not at all.
            if connected.is_ok() {
                rustix::io::write(&done, b"1")?;
            }
            drop(done);
            let status = rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
            connected?;
            let status =
                status.map(|(_, status)| status).ok_or("the program was not waited for")?;
            Ok(status.exit_status().unwrap_or(128))
        }
    }
}

/// In the child: the root, and the program.
fn become_program(directory: &Path, ready: &OwnedFd, argv: &[CString]) -> Result<()> {
    mount::set_propagation(Path::new("/"), sys::Propagation::Private, true)?;
    let inner = |name: &str| -> PathBuf { directory.join(name) };
    let root = mount::overlay(&[inner("lower")], Some((&inner("upper"), &inner("work"))), &[])?;
    mount::move_to_path(root.as_fd(), &inner("root"))?;
    mount::pivot_root_into(root.as_fd())?;
    let mut byte = [0];
    if rustix::io::read(ready, &mut byte)? == 0 {
        return Err("the parent gave up".into());
    }
    let path = argv.first().ok_or("no program")?;
    Err(sys::execve(path, argv, &[]).into())
}

/// In the parent: one end of a veth pair here, the other in the child's namespace.
fn connect(pid: Pid, link: &str) -> Result<()> {
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", pid.as_raw_nonzero()))?;
    let mut requests = Requests::new();
    requests.add_veth(&Veth {
        name: link,
        bridge: 0,
        peer_netns: namespace.as_fd(),
        peer_name: "eth0",
        peer_mac: [2, 0x42, 0, 0, 0, 1],
        mtu: 1500,
    });
    Ok(RouteSocket::open()?.execute(&requests)?)
}
