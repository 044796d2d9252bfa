//! A disk that fills in the middle of a load, a pull, a commit. What was begun leaves nothing that
//! is wrong, what only looks or makes room goes on working, and once there is room the same command
//! succeeds.

use std::fs;
use std::io::Read as _;

use crate::registry::HOST;
use testkit::{Distribution, Sandbox, needs};

/// KiB of the disk.
const DISK: u64 = 40 << 10;
/// Bytes of the image's one large file, which does not compress.
const BIG: u64 = 8_000_000;
/// KiB that are left to a command. It needs the archive, and the files; `load` and `pull` keep the
/// archive on the disk while they unpack it.
const LEFT: [u64; 4] = [50, 3_000, 9_000, 14_000];

/// The engine's root is a small disk in the sandbox's own mount namespace, until it ends.
fn small_disk(sandbox: &Sandbox) {
    let root = sandbox.root();
    let mount = format!("mount -t tmpfs -o size={DISK}k tmpfs {}", root.display());
    assert_eq!(sandbox.sh(&mount).code, 0);
    sandbox.ok(&["run", "--rm", "hello"]);
    sandbox.baseline();
}

/// An archive of a root file system with a large file.
fn big_archive(sandbox: &Sandbox) -> String {
    let mut data = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(BIG).read_to_end(&mut data).unwrap();
    let path = sandbox.work().join("big.tar");
    testkit::archive(&path, |tar| {
        tar.directory("data/", 0o755);
        tar.file("data/big", 0o644, &data);
    });
    path.to_str().unwrap().to_owned()
}

/// Fills the disk but for `left` KiB.
fn fill(sandbox: &Sandbox, left: u64) {
    let root = sandbox.root();
    let script = format!(
        "cd {}; free=$(df -k --output=avail . | tail -1); [ $free -le {left} ] || \
         head -c $(( (free - {left}) * 1024 )) /dev/zero >>fill; true",
        root.display()
    );
    assert_eq!(sandbox.sh(&script).code, 0);
}

fn make_room(sandbox: &Sandbox) {
    let removed = sandbox.sh(&format!("rm -f {}/fill", sandbox.root().display()));
    assert_eq!(removed.code, 0);
}

/// Runs `act` with less and less room, and holds what is said above.
fn with_less_and_less(sandbox: &Sandbox, act: &[&str], name: &str) {
    for left in LEFT {
        fill(sandbox, left);
        let failed = sandbox.dhow(act);
        let says = failed.stderr.contains("No space left") || failed.stderr.contains("is full");
        assert!(failed.code == 1 && says, "{left} KiB: {failed:?}");
        fill(sandbox, 0);
        for look in [&["images"][..], &["ps", "-a"], &["inspect", "hello"]] {
            sandbox.ok(look);
        }
        make_room(sandbox);
        sandbox.ok(&["system", "check"]);
        sandbox.ok(act);
        sandbox.ok(&["system", "check"]);
        // Some room is kept for making room.
        fill(sandbox, 0);
        sandbox.ok(&["rmi", name]);
        make_room(sandbox);
    }
}

#[test]
fn in_the_middle_of_a_load() {
    needs!(Root, Netns);
    let sandbox = Sandbox::new("full-load");
    small_disk(&sandbox);
    let archive = big_archive(&sandbox);
    let saved = sandbox.work().join("saved.tar");
    let saved = saved.to_str().unwrap();
    sandbox.ok(&["import", &archive, "big:1"]);
    sandbox.ok(&["save", "-o", saved, "big:1"]);
    sandbox.ok(&["rmi", "big:1"]);
    with_less_and_less(&sandbox, &["load", "-i", saved], "big:1");
    with_less_and_less(&sandbox, &["import", &archive, "big:1"], "big:1");
    sandbox.finish();
}

#[test]
fn in_the_middle_of_a_pull() {
    needs!(Root, Netns, Registry);
    let sandbox = Sandbox::new("full-pull");
    small_disk(&sandbox);
    let _registry = Distribution::start_in(&sandbox, "");
    let name = format!("{HOST}/me/big:1");
    sandbox.ok(&["import", &big_archive(&sandbox), &name]);
    sandbox.ok(&["push", &name]);
    sandbox.ok(&["rmi", &name]);
    sandbox.baseline();
    with_less_and_less(&sandbox, &["pull", &name], &name);
    sandbox.finish();
}

#[test]
fn in_the_middle_of_a_commit() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = Sandbox::new("full-commit");
    small_disk(&sandbox);
    sandbox.import("busybox");
    let script = format!("head -c {BIG} /dev/urandom >/big");
    sandbox.ok(&["run", "--name", "source", "busybox", "sh", "-c", &script]);
    with_less_and_less(&sandbox, &["commit", "source", "made:1"], "made:1");
    // Whoever comes next keeps room again.
    sandbox.ok(&["ps"]);
    fill(&sandbox, 0);
    sandbox.ok(&["rm", "source"]);
    make_room(&sandbox);
    sandbox.ok(&["rmi", "busybox"]);
    sandbox.finish();
}
