//! Containers supervised by a real shim process, from creation to removal.
//!
//! This program is the shim as well: it calls itself under the name `dhow-shim`, as the engine does
//! with its own file, and the shim calls it as `dhow-runtime`. The OCI runtime is the one that
//! `DHOW_TEST_RUNTIME` names, else `dhow-runtime` of the same build, else `runc`. Needs root and
//! Debian's `busybox-static`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests, without `#[test]`")]

mod ahead;
mod checks;
mod container;
mod drivers;
mod execs;
mod fixture;
mod lives;
mod network;
mod restarts;
mod selinux;

use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

/// One test: its name and what it does.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    let mut args = std::env::args();
    match args.next().as_deref() {
        Some("dhow-shim") => {
            let run_dir = args.next().unwrap_or_default();
            if run_dir == "compress" {
                let file = args.next().unwrap_or_default();
                return ExitCode::from(shim::compress(Path::new(&file)) as u8);
            }
            if run_dir == "ahead" {
                let run_dir = args.next().unwrap_or_default();
                return ExitCode::from(shim::main_ahead(Path::new(&run_dir)) as u8);
            }
            return ExitCode::from(shim::main(Path::new(&run_dir)) as u8);
        }
        Some("dhow-runtime") => {
            let program = fixture::own_runtime().expect("the shim was told to use it");
            panic!("{}", std::process::Command::new(program).args(args).exec());
        }
        _ => {}
    }
    let filters: Vec<String> = args.filter(|arg| !arg.starts_with('-')).collect();
    let cases: Vec<Case> = [
        lives::CASES,
        execs::CASES,
        network::CASES,
        restarts::CASES,
        checks::CASES,
        drivers::CASES,
        selinux::CASES,
        ahead::CASES,
    ]
    .concat();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let asked = |flag: &str| std::env::args().any(|arg| arg == flag);
    if asked("--list") {
        // cargo-nextest asks twice, the second time for those that are to be ignored.
        for (name, _) in cases.into_iter().filter(|_| !asked("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let Err(why) = fixture::missing() {
        println!("skipped: all of life: {why}");
        return ExitCode::SUCCESS;
    }
    let mut n_failed = 0;
    for (name, case) in cases.into_iter().filter(|(name, _)| wanted(name)) {
        // The panic's own message is printed where it happens.
        let passed = catch_unwind(case).is_ok();
        n_failed += u32::from(!passed);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    }
    fixture::remove_all();
    if n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
