//! Any process of dhow can be killed at any step, and the next command finds and cleans what it
//! left. Walks over every failpoint there is.

use std::collections::BTreeSet;

use crate::busybox;
use testkit::{Sandbox, needs};

/// A day in the life of an engine: every kind of thing is made and unmade once. What fails because
/// something was killed is of no interest here; what is left is.
fn day(sandbox: &Sandbox, archive: &str) {
    sandbox.dhow(&["import", archive, "another:image"]);
    sandbox.dhow(&["network", "create", "net"]);
    sandbox.dhow(&[
        "run",
        "-d",
        "--name",
        "victim",
        "--network",
        "net",
        "-p",
        "8080:80",
        "--memory",
        "64m",
        // A log so small that it is rotated.
        "--log-opt",
        "max-size=1k",
        "--log-opt",
        "max-file=2",
        "busybox",
        "sh",
        "-c",
        "seq 1 100; sleep 600",
    ]);
    sandbox.dhow(&["exec", "victim", "true"]);
    sandbox.dhow(&["pause", "victim"]);
    sandbox.dhow(&["unpause", "victim"]);
    sandbox.dhow(&["restart", "-t", "0", "victim"]);
    sandbox.dhow(&["stop", "-t", "0", "victim"]);
    sandbox.dhow(&["rm", "-f", "victim"]);
    sandbox.dhow(&["run", "--rm", "--name", "brief", "busybox", "true"]);
    sandbox.dhow(&["network", "rm", "net"]);
    sandbox.dhow(&["rmi", "-f", "another:image"]);
}

/// What a person does the day after.
fn tidy(sandbox: &Sandbox) {
    let left = sandbox.ok(&["ps", "-aq"]);
    for id in left.lines() {
        sandbox.ok(&["rm", "-f", id]);
    }
    let networks = sandbox.ok(&["network", "ls", "--format", "{{.Name}}"]);
    if networks.lines().any(|name| name == "net") {
        sandbox.ok(&["network", "rm", "net"]);
    }
    let images = sandbox.ok(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    for image in images.lines().filter(|image| !image.starts_with("busybox:")) {
        let (name, id) = image.split_once(' ').unwrap_or((image, ""));
        sandbox.ok(&["rmi", "-f", if name.contains("<none>") { id } else { name }]);
    }
}

/// Walks over the failpoints with one action, and answers those that were never passed.
fn walk(name: &str, action: &str) -> BTreeSet<&'static str> {
    let sandbox = busybox(name);
    let archive = sandbox.work().join("another.tar");
    testkit::archive(&archive, |tar| {
        tar.directory("etc/", 0o755);
        tar.file("etc/motd", 0o644, b"another\n");
    });
    let archive = archive.to_str().unwrap().to_owned();
    let passed = sandbox.work().join("passed");
    day(&sandbox, &archive);
    tidy(&sandbox);
    sandbox.baseline();
    let mut missed = BTreeSet::new();
    for point in failpoint::ALL {
        std::fs::write(&passed, "").unwrap();
        sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}={action}@{}", passed.display()));
        day(&sandbox, &archive);
        sandbox.unset_env("DHOW_FAILPOINTS");
        if std::fs::read_to_string(&passed).unwrap().is_empty() {
            missed.insert(*point);
        }
        tidy(&sandbox);
        std::fs::write(&passed, "").unwrap();
        let left = sandbox.leaks();
        assert!(left.is_empty(), "{action} at {point} leaves:\n{left}");
    }
    sandbox.finish();
    missed
}

#[test]
fn by_sigkill() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let missed = walk("killed", "kill");
    assert!(missed.is_empty(), "never passed: {missed:?}");
}

#[test]
fn or_by_an_error_of_the_step() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    walk("failed", "error");
}
