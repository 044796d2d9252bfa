//! Any process of a build can be killed at any step, and its disk can fill: the next build succeeds, and
//! makes what one in a fresh engine makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use testkit::{Sandbox, needs, wait_until};

use super::{Docker, built, carried_out, context, dhow, tidy};
use crate::busybox;

/// Two stages, files, a program with a cache. What is written has one time, so that the image has one id.
const DOCKERFILE: &str = "\
FROM busybox AS first
COPY file /d/file
RUN --mount=type=cache,target=/cache date >> /cache/log && \
    mkdir /made && echo x > /made/x && touch -d @1 /made/x /made
FROM busybox
COPY --from=first /made /got
COPY --link file /linked
WORKDIR /w
";

fn a_context(sandbox: &Sandbox) -> PathBuf {
    let dir = context(sandbox, "killed", &[("Dockerfile", DOCKERFILE), ("file", "file\n")]);
    sandbox.sh(&format!("find {} -exec touch -d @1500000000 {{}} +", dir.display())).success();
    dir
}

/// Builds an image, and then files.
fn build(sandbox: &Sandbox, dir: &Path) -> testkit::Output {
    let out = sandbox.work().join("out").display().to_string();
    let image = dhow(sandbox, dir, &["-t", "made"]);
    if image.code != 0 {
        return image;
    }
    dhow(sandbox, dir, &["-o", &out])
}

/// The files of the image, and what its history says.
fn look(sandbox: &Sandbox) -> String {
    let script = "find / -xdev -not -path '/proc*' -exec stat -c '%n %f %u:%g %s %N' {} + | \
                  grep -v -e '^/dev' -e '^/sys' -e '^/etc/host' -e '^/etc/resolv' | sort; cat /got/x /linked";
    let files = sandbox.ok(&["run", "--rm", "made", "sh", "-c", script]);
    let format = "{{.CreatedBy}} {{.Size}}";
    files + &sandbox.ok(&["history", "--no-trunc", "--format", format, "made"])
}

fn forget(sandbox: &Sandbox) {
    sandbox.dhow(&["rmi", "-f", "made"]);
    sandbox.ok(&["builder", "prune", "-af"]);
}

/// The failpoints that a build passes.
fn points(sandbox: &Sandbox, dir: &Path) -> Vec<&'static str> {
    let file = sandbox.work().join("passed");
    fs::write(&file, "").unwrap();
    let noted = failpoint::ALL.iter().map(|point| format!("{point}=delay:0@{}", file.display()));
    sandbox.set_env("DHOW_FAILPOINTS", &noted.collect::<Vec<_>>().join(","));
    let output = build(sandbox, dir);
    sandbox.unset_env("DHOW_FAILPOINTS");
    assert_eq!(output.code, 0, "{}", output.stderr);
    let text = fs::read_to_string(&file).unwrap();
    let passed: BTreeSet<&str> = text.lines().collect();
    failpoint::ALL.iter().copied().filter(|point| passed.contains(point)).collect()
}

/// Kills, or fails, at every `of`th point that is passed.
fn walk(name: &str, action: &str, first: usize, of: usize) {
    let sandbox = busybox(name);
    let dir = a_context(&sandbox);
    let points = points(&sandbox, &dir);
    assert!(points.len() > 30, "{points:?}");
    let wanted = look(&sandbox);
    let mut complaints = Vec::new();
    for point in points.into_iter().skip(first).step_by(of) {
        // Shown where the test fails.
        eprintln!("{action} at {point}");
        forget(&sandbox);
        sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}={action}"));
        build(&sandbox, &dir);
        sandbox.unset_env("DHOW_FAILPOINTS");
        let again = build(&sandbox, &dir);
        let check = sandbox.dhow(&["system", "check"]);
        if again.code != 0 || check.code != 0 {
            complaints.push(format!("{action} at {point}: {again:?} {check:?}"));
            continue;
        }
        if look(&sandbox) != wanted {
            complaints.push(format!("{action} at {point}: another image: {}", look(&sandbox)));
        }
        let out = sandbox.work().join("out/got/x");
        if fs::read_to_string(&out).ok().as_deref() != Some("x\n") {
            complaints.push(format!("{action} at {point}: no {}", out.display()));
        }
        _ = fs::remove_dir_all(sandbox.work().join("out"));
    }
    tidy(&sandbox);
    let left = sandbox.leaks();
    if !left.is_empty() {
        complaints.push(left);
    }
    sandbox.discard();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn killed_anywhere_even() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    walk("build-killed-even", "kill", 0, 2);
}

#[test]
fn killed_anywhere_odd() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    walk("build-killed-odd", "kill", 1, 2);
}

#[test]
fn killed_anywhere_or_failed() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    walk("build-failed", "error", 0, 2);
}

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
    let sleeps = || sandbox.runs("sleep 600");
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
