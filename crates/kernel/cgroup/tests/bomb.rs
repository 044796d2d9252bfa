//! A fork bomb, killed. Forking without executing wants a process with one thread, so this is a
//! program of its own.
#![expect(
    clippy::unwrap_used,
    reason = "a test, but not one that clippy knows: it has its own main"
)]

use std::os::fd::AsFd;

use cgroup::{Cgroup, Hierarchy, Limit, Resources};
use rustix::process::{Signal, WaitOptions};
use sys::{CloneArgs, CloneFlags, Cloned, SingleThreaded};

const NAME: &str = "no_fork_bomb_outruns_the_kill";

/// How many processes the bomb may become.
const MOST: u64 = 150;

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
    let hierarchy = match Hierarchy::detect() {
        Ok(hierarchy) if hierarchy.has("pids") => hierarchy,
        Ok(_) => return println!("skipped: pids: no cgroup tree has this controller"),
        Err(error) => return println!("skipped: cgroup: {error}"),
    };
    let proof = SingleThreaded::check().unwrap();
    // The bomb's orphans come here, to be waited for.
    sys::set_child_subreaper().unwrap();
    for with_freezer_only in [false, true] {
        kill_a_bomb(&proof, &hierarchy, with_freezer_only);
    }
    println!("test {NAME} ... ok");
}

fn kill_a_bomb(proof: &SingleThreaded, hierarchy: &Hierarchy, with_freezer_only: bool) {
    let path = format!("/dhow-test-{}-bomb", std::process::id());
    let cgroup = Cgroup::create(hierarchy, &path).unwrap();
    let limits = Resources { pids: Some(Limit::At(MOST)), ..Resources::default() };
    cgroup.apply(&limits).unwrap();
    let entry = cgroup.entry().unwrap();
    let v2 = cgroup.v2_dir().unwrap();
    let into = if v2.is_some() { CloneFlags::INTO_CGROUP } else { CloneFlags::empty() };
    let args = CloneArgs {
        flags: into,
        cgroup: v2.as_ref().map(AsFd::as_fd),
        exit_signal: Some(Signal::CHILD),
    };
    match sys::clone3(proof, &args).unwrap() {
        Cloned::Child => {
            if entry.enter(proof).is_err() {
                sys::exit_now(1);
            }
            bomb(proof)
        }
        Cloned::Parent { .. } => {}
    }
    let full = || cgroup.stats().unwrap().pids.current >= MOST - 5;
    while !full() {
        std::thread::yield_now();
    }
    let killed = if with_freezer_only { cgroup.kill_all_by_freezing() } else { cgroup.kill_all() };
    let left = cgroup.procs().unwrap();
    while rustix::process::wait(WaitOptions::empty()).is_ok() {}
    cgroup.remove().unwrap();
    killed.unwrap();
    assert_eq!(left, Vec::<i32>::new());
}

/// Every process makes more of its kind, for ever; also while it can not.
fn bomb(proof: &SingleThreaded) -> ! {
    let args =
        CloneArgs { flags: CloneFlags::empty(), cgroup: None, exit_signal: Some(Signal::CHILD) };
    loop {
        if sys::clone3(proof, &args).is_err() {
            // Those that ended make room for others.
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            // A few end, so that the bomb keeps forking when it has reached its size.
            if std::process::id().is_multiple_of(7) {
                sys::exit_now(0);
            }
        }
    }
}
