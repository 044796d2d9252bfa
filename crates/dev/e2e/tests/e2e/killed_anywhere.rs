//! Any process of dhow can be killed at any step, and the next command finds and cleans what it
//! left. Walks over every failpoint there is.

use crate::busybox;
use testkit::{Sandbox, needs};

/// Steps that no command of the day takes, or that cannot tell that they were taken, and where they
/// are held instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cgroup.attach", "systemd's cgroup driver: dhow-runtime's tests, where systemd runs"),
    ("cgroup.attached", "the same"),
    ("content.link", "an image that came in pieces: images, tests/crash.rs"),
    ("content.linked", "the same"),
    ("images.serve", "a registry of our own: images, tests/crash.rs"),
    ("images.served", "the same"),
    ("images.unserve", "the same"),
    ("images.unserved", "the same"),
    ("images.push-held", "a push needs a registry: images, tests/crash.rs"),
    ("images.push-end", "the same"),
    ("images.push-ended", "the same"),
    ("engine.extract", "files copied in: `while_files_are_copied_in`"),
    ("engine.extracted", "the same"),
    ("runtime.criu", "checkpoint and restore: dhow-runtime's tests"),
    ("runtime.restored", "the same"),
    (
        "resctrl.create",
        "machines lack resctrl: dhow-runtime's tests, rdt.rs, with a directory for it",
    ),
    ("resctrl.created", "the same"),
    ("resctrl.remove", "the same"),
    ("resctrl.removed", "the same"),
    ("runtime.net-device", "no flag of ours asks for it: dhow-runtime's tests, netdevices.rs"),
    ("runtime.net-device.moved", "the same"),
    ("snapshot.limit", "needs a file system with quotas: snapshot-overlay's own tests"),
    ("snapshot.limited", "the same"),
    ("images.driver", "once in the life of a root: images' own tests, crash.rs"),
    ("images.driver-chosen", "the same"),
    ("runtime.kill", "the runtime's own command line: dhow-runtime's tests"),
    ("systemd.start", "the same as cgroup.attach"),
    ("systemd.started", "the same"),
    ("systemd.set", "the same"),
    ("systemd.was-set", "the same"),
    ("systemd.stop", "the same"),
    ("systemd.stopped", "the same"),
    ("runtime.lock-down", "in the container, where the list of what was passed is not seen"),
];

/// A day in the life of an engine: every kind of thing is made and unmade once. What fails because
/// something was killed is of no interest here; what is left is.
fn day(sandbox: &Sandbox, archive: &str) {
    let run = |line: &str| sandbox.dhow(&line.split(' ').collect::<Vec<_>>());
    sandbox.dhow(&["import", archive, "another:image"]);
    run("network create net");
    run("volume create vol");
    run("volume create -o type=tmpfs -o device=tmpfs mem");
    // A log so small that it is rotated.
    let victim = "run -d --name victim --network net -p 8080:80 --memory 64m -v vol:/data -v mem:/mem \
                  --log-opt max-size=1k --log-opt max-file=2 --log-opt compress=true busybox sh -c";
    let words: Vec<&str> = victim.split_whitespace().chain(["seq 1 100; sleep 600"]).collect();
    sandbox.dhow(&words);
    run("exec victim true");
    run("volume snapshot vol copied");
    run("volume rename copied renamed");
    run("volume rm copied renamed");
    run("pause victim");
    run("unpause victim");
    run("update --memory 96m --memory-swap 96m --restart on-failure:1 victim");
    run("restart -t 0 victim");
    run("rename victim other");
    run("rename other victim");
    run("stop -t 0 victim");
    run("network disconnect net victim");
    run("network connect net victim");
    run("rm -f victim");
    run("volume rm vol mem");
    // Where the copy of our own file was made before, it is made again.
    let _ = std::fs::remove_dir_all(sandbox.root().join("init"));
    run("run --rm --name brief --init busybox true");
    // Two lives, then it is given up.
    let again = "run -d --name again --restart on-failure:1 --health-interval 1ms --health-cmd true \
                 busybox sh -c";
    let words: Vec<&str> = again.split_whitespace().chain(["sleep 0.1; exit 1"]).collect();
    sandbox.dhow(&words);
    run("wait again");
    run("wait again");
    run("rm -f again");
    lose_a_shim(sandbox);
    run("network rm net");
    run("rmi -f another:image");
}

/// Kills the supervisor of a container, and has the next command find that.
fn lose_a_shim(sandbox: &Sandbox) {
    let lost = "run -d --name lost --restart always -p 8081:80 busybox sleep 600";
    sandbox.dhow(&lost.split(' ').collect::<Vec<_>>());
    let pid = sandbox.dhow(&["inspect", "-f", "{{.State.Pid}}", "lost"]).stdout;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
    // A shim that died before leaves its container to process 1.
    if let Some(parent) = parent.filter(|parent| *parent != "1" && *parent != "0") {
        sandbox.sh(&format!("kill -9 {parent}"));
        let exe = format!("/proc/{parent}/exe");
        testkit::wait_until("the shim is gone", || std::fs::read_link(&exe).is_err());
        // And rules of a network that nobody knows: whoever finds the loss sweeps them.
        let table = format!("{}-net-0123456789ab", sandbox.engine_name());
        sandbox.sh(&format!("nft add table ip {table}"));
    }
    sandbox.dhow(&["ps", "-a"]);
    sandbox.dhow(&["rm", "-f", "lost"]);
}

/// What a person does the day after. Nothing is wrong then.
fn tidy(sandbox: &Sandbox) {
    sandbox.ok(&["system", "check", "--quick"]);
    let left = sandbox.ok(&["ps", "-aq"]);
    for id in left.lines() {
        sandbox.ok(&["rm", "-f", id]);
    }
    // The copy of our own file, which stays: where its making was killed, the next one makes it.
    if !sandbox.root().join("init/docker-init").exists() {
        sandbox.ok(&["run", "--rm", "--init", "busybox", "true"]);
    }
    let volumes = sandbox.ok(&["volume", "ls", "-q"]);
    for volume in volumes.lines() {
        sandbox.ok(&["volume", "rm", volume]);
    }
    let networks = sandbox.ok(&["network", "ls", "--format", "{{.Name}}"]);
    if networks.lines().any(|name| name == "net") {
        sandbox.ok(&["network", "rm", "net"]);
    }
    let images = sandbox.ok(&["images", "-a", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
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
        let was_passed = !std::fs::read_to_string(&passed).unwrap().is_empty();
        if was_passed == ELSEWHERE.iter().any(|(elsewhere, _)| elsewhere == point) {
            let how = if was_passed { "passed after all" } else { "never passed" };
            complaints.push(format!("{action} at {point}: {how}"));
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
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    walk("killed-odd", "kill", 0, 2);
}

#[test]
fn by_sigkill_even() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    walk("killed-even", "kill", 1, 2);
}

#[test]
fn or_by_an_error_of_the_step_odd() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    walk("failed-odd", "error", 0, 2);
}

#[test]
fn or_by_an_error_of_the_step_even() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    walk("failed-even", "error", 1, 2);
}

/// A daemon is killed, or fails, while it unpacks what a client copies in; the copy is not finished,
/// and nothing else is left.
#[test]
fn while_files_are_copied_in() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    let (sandbox, archive) = engine("killed-copying");
    sandbox.ok(&["create", "--name", "target", "busybox", "true"]);
    let socket = sandbox.state().join("dhow.sock");
    let url = "http://d/v1.47/containers/target/archive?path=/";
    for point in ["engine.extract", "engine.extracted"] {
        for action in ["kill", "error"] {
            sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}={action}"));
            let mut daemon = sandbox.dhow_command(&["daemon"]).spawn().unwrap();
            sandbox.unset_env("DHOW_FAILPOINTS");
            testkit::wait_until("the daemon answers", || {
                let ping = format!("curl -sf --unix-socket {} http://d/_ping", socket.display());
                sandbox.sh(&ping).code == 0
            });
            let put = format!("curl -sf --unix-socket {} -T {archive} {url}", socket.display());
            assert_ne!(sandbox.sh(&put).code, 0, "{action} at {point} is no success");
            if action == "error" {
                sandbox.sh(&format!("kill -TERM {}", daemon.id()));
            }
            let status = daemon.wait().unwrap();
            let by_signal = std::os::unix::process::ExitStatusExt::signal(&status);
            assert_eq!(by_signal == Some(9), action == "kill", "{action} at {point}: {status}");
        }
    }
    tidy(&sandbox);
    sandbox.finish();
}

#[test]
fn what_is_held_elsewhere_is_a_failpoint() {
    for (point, _) in ELSEWHERE {
        assert!(failpoint::ALL.contains(point), "{point}");
    }
}
