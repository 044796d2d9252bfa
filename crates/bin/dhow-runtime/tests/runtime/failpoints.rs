//! Killed, or failing, at every step: `delete --force` finds and removes whatever is there.
//!
//! Needs the feature `failpoints`.

use std::process::Stdio;

use serde_json::json;

use crate::bundle::{Bundle, bundle};

const COMMANDS: [&[&str]; 4] =
    [&["create", "c"], &["start", "c"], &["exec", "c", "true"], &["delete", "--force", "c"]];

/// The steps that these commands pass.
fn names() -> impl Iterator<Item = &'static str> {
    failpoint::ALL
        .iter()
        .copied()
        .filter(|name| name.starts_with("runtime.") || name.starts_with("cgroup."))
}

/// Runs all commands, of which one may go wrong at `name`. Whether one did.
fn go_through(b: &Bundle, name: &str, action: &str) -> bool {
    COMMANDS.iter().any(|args| {
        let status = b
            .command(args)
            .env("DHOW_FAILPOINTS", format!("{name}={action}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        !status.success()
    })
}

fn prepare(test: &str) -> Option<Bundle> {
    if !cfg!(feature = "failpoints") {
        println!("skipped: {test}: needs the feature failpoints");
        return None;
    }
    let mut b = bundle(test)?;
    b.config["linux"]["resources"] = json!({ "pids": { "limit": 100 } });
    // With a HOME the runtime detaches the root that init has left.
    b.config["process"]["env"] = json!(["PATH=/bin", "HOME=/"]);
    b.args(&["sleep", "1000"]).write();
    Some(b)
}

#[test]
fn whatever_kills_the_runtime_force_removes_the_container() {
    let Some(b) = prepare("whatever_kills_the_runtime_force_removes_the_container") else { return };
    let mut killed = 0;
    for name in names() {
        killed += u32::from(go_through(&b, name, "kill"));
        let ran = b.call(&["delete", "--force", "c"]);
        assert_eq!(ran.status, 0, "{name}: {}", ran.err);
        b.assert_nothing_left();
    }
    assert!(killed > 20, "only {killed} steps were passed");
}

#[test]
fn a_step_that_fails_is_told_and_undone() {
    let Some(b) = prepare("a_step_that_fails_is_told_and_undone") else { return };
    for name in names() {
        // Into a file: a container that is made all the same would keep a pipe open.
        let said = b.dir.join("out");
        let status = b
            .command(&["create", "c"])
            .env("DHOW_FAILPOINTS", format!("{name}=error"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&said).unwrap())
            .status()
            .unwrap();
        let err = std::fs::read_to_string(&said).unwrap();
        if !status.success() {
            assert_eq!(err.trim().lines().count(), 1, "{name}: {err}");
            assert!(err.contains(name), "{name}: {err}");
            if !err.contains("could not be undone") {
                b.assert_nothing_left();
            }
        }
        let ran = b.call(&["delete", "--force", "c"]);
        assert_eq!(ran.status, 0, "{name}: {}", ran.err);
        b.assert_nothing_left();
    }
}

#[test]
fn a_container_that_is_being_made_is_creating() {
    let Some(b) = prepare("a_container_that_is_being_made_is_creating") else { return };
    assert!(go_through(&b, "runtime.fifo", "kill"));
    assert_eq!(b.status(), "stopped");
    // Its creator has the directory locked as long as it is at work.
    let directory = std::fs::File::open(b.dir.join("state/c")).unwrap();
    directory.lock().unwrap();
    assert_eq!(b.status(), "creating");
    b.call(&["exec", "c", "true"]).fails("cannot exec in a container that is creating: c");
    drop(directory);
    b.call(&["delete", "--force", "c"]).ok();
    b.assert_nothing_left();
}
