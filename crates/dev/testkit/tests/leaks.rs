//! The check itself: what is left behind, in each way that there is, is seen and named.

use testkit::{Sandbox, needs};

/// Leaves something behind with a script, in which `$ENGINE` is the engine's name. The check names
/// it; once it is undone, the check is content.
#[track_caller]
fn check(leave: &str, want: &str, undo: &str) {
    let sandbox = Sandbox::new("leak");
    sandbox.set_env("ENGINE", &sandbox.engine_name());
    sandbox.sh(leave).success();
    let leaks = testkit::World::see(&sandbox).difference(&sandbox.expected());
    assert!(leaks.contains(want), "{want:?} is not in {leaks:?}");
    sandbox.sh(undo).success();
    sandbox.finish();
}

#[test]
fn a_link_is_seen() {
    needs!(Root, Netns);
    check("ip link add left0 type bridge", "links: + left0", "ip link del left0");
}

#[test]
fn a_rule_is_seen() {
    needs!(Root, Netns, Nft);
    check("nft add table inet left", "rules: + table inet left", "nft delete table inet left");
}

#[test]
fn a_mount_is_seen() {
    needs!(Root, Netns);
    check(
        "mount -t tmpfs left $DHOW_STATE",
        "/state rw,relatime - tmpfs left",
        "umount $DHOW_STATE",
    );
}

#[test]
fn a_cgroup_is_seen() {
    needs!(Root, Netns);
    check(
        "d=$(dirname $(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs | head -n1)) && mkdir $d/$ENGINE",
        "cgroups: + /sys/fs/cgroup",
        "rmdir $(find /sys/fs/cgroup -maxdepth 2 -name $ENGINE)",
    );
}

#[test]
fn a_file_is_seen() {
    needs!(Root, Netns);
    check("mkdir $DHOW_ROOT/left", "files: + root/left", "rmdir $DHOW_ROOT/left");
}

#[test]
fn a_process_is_seen() {
    needs!(Root, Netns);
    check("sleep 1000 >/dev/null 2>&1 & echo $! >$HOME/pid", "sleep 1000", "kill $(cat $HOME/pid)");
}

/// Dropped without the check, a sandbox makes it itself.
#[test]
fn a_sandbox_that_is_dropped_is_checked_too() {
    needs!(Root, Netns);
    let sandbox = Sandbox::new("drop");
    sandbox.sh("ip link add left0 type bridge").success();
    let dropped = std::thread::spawn(move || drop(sandbox)).join();
    let message = *dropped.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("left behind:\nlinks: + left0"), "{message}");
}

#[test]
fn the_directory_goes_with_the_sandbox() {
    needs!(Root, Netns);
    let sandbox = Sandbox::new("directory");
    let directory = sandbox.directory().to_owned();
    assert!(directory.join("root").is_dir());
    sandbox.finish();
    assert!(!directory.exists());
}

/// What another test runs meanwhile is not the sandbox's.
#[test]
fn only_its_own_processes_are_looked_at() {
    needs!(Root, Netns);
    let sandbox = Sandbox::new("own");
    let mut other = std::process::Command::new("sleep").arg("1001").spawn().unwrap();
    assert!(!sandbox.runs("sleep 1001"));
    let mut own = sandbox.command("sleep").arg("1001").spawn().unwrap();
    testkit::wait_until("it is seen", || sandbox.runs("sleep 1001"));
    for child in [&mut other, &mut own] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    sandbox.finish();
}
