//! The calls against the kernel that runs the tests.

mod descriptor;
mod device_program;
mod filter;
mod process;

use std::process::{Command, ExitStatus};

/// Set in a process that a test has started to do its own work in.
const CHILD: &str = "DHOW_TEST_CHILD";

/// Runs the test `name` again in a process of its own and returns how that
/// ended. In that process: `None`.
fn in_child(name: &str) -> Option<ExitStatus> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let name = format!("tests::{name}");
    let status = Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    Some(status)
}

/// Runs `test` on a thread of its own, whose namespaces, filters and credentials end with it.
fn on_a_thread<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(test).join().unwrap()
}
