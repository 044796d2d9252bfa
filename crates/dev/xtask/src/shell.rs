//! Running programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Runs a step of a check, with a line before and one after it.
pub(crate) fn step(name: &str, run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("== {name}");
    let start = Instant::now();
    let result = run();
    let outcome = if result.is_ok() { "ok" } else { "FAILED" };
    println!("== {name}: {outcome} ({:.0} s)", start.elapsed().as_secs_f64());
    if let Some(free) = free().filter(|free| result.is_err() && *free < TIGHT) {
        println!("== only {} MiB are free on the disk here", free >> 20);
    }
    result.map_err(|why| format!("{name}: {why}"))
}

/// With less than so many bytes free, what failed may have failed for that.
const TIGHT: u64 = 4 << 30;

/// How many bytes are free where the workspace is.
fn free() -> Option<u64> {
    let disk = rustix::fs::statvfs(".").ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// `cargo ARGS`, from the root of the workspace.
pub(crate) fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(args).current_dir(root);
    // Set for this program by the cargo that runs it; the others shall choose for themselves. Build
    // scripts look at them, and run again (and all that needs them is compiled again) when they change.
    let of_this = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_TARGET_TMPDIR"];
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|name| of_this.iter().any(|own| name.starts_with(own))) {
            command.env_remove(variable);
        }
    }
    command
}

/// Runs a command, which must succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
