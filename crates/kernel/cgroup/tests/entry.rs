//! Entering a cgroup by oneself, which only a process with one thread does: so this test is a
//! program of its own, without the threads of a harness.
#![expect(
    clippy::unwrap_used,
    reason = "a test, but not one that clippy knows: it has its own main"
)]

use std::os::fd::AsFd;

use cgroup::{Cgroup, Hierarchy};
use rustix::process::{Signal, WaitOptions};
use sys::{CloneArgs, CloneFlags, Cloned, SingleThreaded};

const NAME: &str = "a_new_process_is_in_every_tree";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // What cargo-nextest asks every test program.
    if args.iter().any(|arg| arg == "--list") {
        if !args.iter().any(|arg| arg == "--ignored") {
            println!("{NAME}: test");
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: root: cgroups are made by root");
        return;
    }
    match Hierarchy::detect() {
        Ok(hierarchy) => {
            a_new_process_is_in_every_tree(&hierarchy, true);
            a_new_process_is_in_every_tree(&hierarchy, false);
        }
        Err(error) => println!("skipped: cgroup: {error}"),
    }
    println!("test {NAME} ... ok");
}

/// It is born in the v2 tree, and moves itself in the others; or, as on older kernels, moves itself in
/// all of them.
fn a_new_process_is_in_every_tree(hierarchy: &Hierarchy, is_born_there: bool) {
    let path = format!("/dhow-test-{}-entry", std::process::id());
    let cgroup = Cgroup::create(hierarchy, &path).unwrap();
    let entry = if is_born_there { cgroup.entry() } else { cgroup.entry_everywhere() }.unwrap();
    let v2 = cgroup.v2_dir().unwrap().filter(|_| is_born_there);
    let into = if v2.is_some() { CloneFlags::INTO_CGROUP } else { CloneFlags::empty() };
    let args = CloneArgs {
        flags: into,
        cgroup: v2.as_ref().map(AsFd::as_fd),
        exit_signal: Some(Signal::CHILD),
    };
    let proof = SingleThreaded::check().unwrap();
    let code = match sys::clone3(&proof, &args).unwrap() {
        Cloned::Child => {
            let entered = entry.enter(&proof).is_ok();
            sys::exit_now(i32::from(!entered || outside(&path) > 0))
        }
        Cloned::Parent { pid, .. } => {
            let status = rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap();
            status.unwrap().1.exit_status()
        }
    };
    cgroup.remove().unwrap();
    assert_eq!(code, Some(0));
}

/// In how many trees this process is not in `path`.
fn outside(path: &str) -> usize {
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    membership.lines().filter(|line| !line.ends_with(path)).count()
}
