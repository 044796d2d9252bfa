//! Any process of dhow can be killed at any step, and the next command finds and cleans what it
//! left. Walks over every failpoint there is.

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

/// One engine, and a day and a tidying in it that nothing disturbs.
fn engine(name: &str) -> (Sandbox, String) {
    let sandbox = busybox(name);
    let archive = sandbox.work().join("another.tar");
    testkit::archive(&archive, |tar| {
        tar.directory("etc/", 0o755);
        tar.file("etc/motd", 0o644, b"another\n");
    });
    let archive = archive.to_str().unwrap().to_owned();
    std::fs::write(sandbox.work().join("passed"), "").unwrap();
    day(&sandbox, &archive);
    tidy(&sandbox);
    sandbox.baseline();
    (sandbox, archive)
}

/// Walks over every `of`th failpoint, from the `first`, with one action. What is left at one of
/// them does not keep the others from their turn.
fn walk(name: &str, action: &str, first: usize, of: usize) {
    let (mut sandbox, mut archive) = engine(name);
    let mut complaints = Vec::new();
    for point in failpoint::ALL.iter().skip(first).step_by(of) {
        let passed = sandbox.work().join("passed");
        sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}={action}@{}", passed.display()));
        day(&sandbox, &archive);
        sandbox.unset_env("DHOW_FAILPOINTS");
        if std::fs::read_to_string(&passed).unwrap().is_empty() {
            complaints.push(format!("{action} at {point}: never passed"));
        }
        std::fs::write(&passed, "").unwrap();
        tidy(&sandbox);
        let left = sandbox.leaks();
        if !left.is_empty() {
            complaints.push(format!("{action} at {point} leaves:\n{left}"));
            sandbox.discard();
            (sandbox, archive) = engine(name);
        }
    }
    sandbox.finish();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn by_sigkill_odd() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    walk("killed-odd", "kill", 0, 2);
}

#[test]
fn by_sigkill_even() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    walk("killed-even", "kill", 1, 2);
}

#[test]
fn or_by_an_error_of_the_step_odd() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    walk("failed-odd", "error", 0, 2);
}

#[test]
fn or_by_an_error_of_the_step_even() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    walk("failed-even", "error", 1, 2);
}
