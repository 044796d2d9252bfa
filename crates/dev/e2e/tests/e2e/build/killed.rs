//! The daemon can be killed in the middle of a build, and its disk can fill: the next build succeeds.

use std::fs;
use std::process::Stdio;

use testkit::{Sandbox, needs, wait_until};

use super::{Docker, built, carried_out, context, dhow, tidy};
use crate::busybox;

/// The daemon is killed while Buildx builds; the next one finds nothing wrong, and has what was before in
/// its history.
#[test]
fn a_daemon_is_killed_in_the_middle() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("build-daemon-killed");
    let dir = context(
        &sandbox,
        "daemon",
        &[
            ("Dockerfile", "FROM busybox\nRUN echo x > /x\nRUN test -e /wait && sleep 600; true\n"),
            ("Sleep", "FROM busybox\nRUN echo x > /x\nRUN sleep 600\n"),
        ],
    );
    let mut docker = Docker::start(&sandbox);
    docker.ok(&dir, &["build", "-q", "."]);
    let mut command = docker.command(&dir, &["build", "-f", "Sleep", "."]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let sleeps = || sandbox.sh("ps -eo args | grep -q '[s]leep 600'").code == 0;
    wait_until("the step runs", sleeps);
    docker.daemon.kill();
    assert!(!child.wait().unwrap().success());
    wait_until("the step is gone", || !sleeps());
    drop(docker);
    let docker = Docker::start(&sandbox);
    let told = docker.run(&dir, &["build", "--progress=plain", "-t", "made", "."]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert_eq!(carried_out(&told.stderr), [""; 0], "{}", told.stderr);
    let history = docker.ok(&dir, &["buildx", "history", "ls", "--format", "{{.Status}}"]);
    let complete = history.lines().filter(|status| *status == "Completed").count();
    assert_eq!(complete, 2, "{history}");
    drop(docker);
    tidy(&sandbox);
    sandbox.finish();
}

/// KiB of the disk.
const DISK: u64 = 60 << 10;
/// KiB that are left to a build whose file has 8,000: for the first, nothing works.
const LEFT: [u64; 3] = [50, 3_000, 9_000];

/// What failed for want of room is not in the cache, and what was in it still is.
#[test]
fn the_disk_fills() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = Sandbox::new("build-full");
    let root = sandbox.root().display().to_string();
    sandbox.sh(&format!("mount -t tmpfs -o size={DISK}k tmpfs {root}")).success();
    sandbox.import("busybox");
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.baseline();
    let file = "FROM busybox\nRUN echo first > /first\nRUN head -c 8192000 /dev/urandom > /big\n";
    let dir = context(&sandbox, "full", &[("Dockerfile", file)]);
    for left in LEFT {
        built(&sandbox, &dir, &["-t", "made"]);
        sandbox.ok(&["rmi", "made"]);
        // The large one goes, the first stays.
        let again = file.replace("/big", &format!("/big{left}"));
        fs::write(dir.join("Dockerfile"), &again).unwrap();
        let fill = format!(
            "cd {root}; free=$(df -k --output=avail . | tail -1); \
             head -c $(( (free - {left}) * 1024 )) /dev/zero > fill; true"
        );
        sandbox.sh(&fill).success();
        let failed = dhow(&sandbox, &dir, &["-t", "made"]);
        // The last are busybox's words for whatever the kernel has said.
        let words = ["No space left", "is full", "I/O error"];
        let says = words.iter().any(|words| failed.stderr.contains(words));
        assert!(failed.code == 1 && says, "{left} KiB: {failed:?}");
        sandbox.sh(&format!("rm {root}/fill")).success();
        let check = sandbox.dhow(&["system", "check"]);
        assert_eq!(check.code, 0, "{left} KiB: {check:?}");
        let told = built(&sandbox, &dir, &["-t", "made"]);
        let again = carried_out(&told);
        assert!(again.iter().all(|one| one.contains("/big")), "{left} KiB: {again:?}");
        let size = sandbox.ok(&["run", "--rm", "made", "stat", "-c", "%s", &format!("/big{left}")]);
        assert_eq!(size, "8192000");
        sandbox.ok(&["rmi", "made"]);
        sandbox.ok(&["builder", "prune", "-af"]);
        fs::write(dir.join("Dockerfile"), file).unwrap();
    }
    tidy(&sandbox);
    sandbox.finish();
}
