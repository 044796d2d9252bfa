//! Any process of dhow can be killed at any step, and the next command finds and cleans what it
//! left. Walks over every failpoint there is.

use std::collections::BTreeSet;

use crate::busybox;
use testkit::{Sandbox, needs};

/// Steps that no command of the day takes, or that cannot tell that they were taken, and where they
/// are held instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("apparmor.load", "once in the life of a machine, where it has AppArmor: apparmor's own tests"),
    ("apparmor.loaded", "the same"),
    ("selinux.relabel", "where the kernel labels; what was not relabelled is, at the next start"),
    ("cgroup.attach", "systemd's cgroup driver: dhow-runtime's tests, where systemd runs"),
    ("cgroup.attached", "the same"),
    ("images.serve", "a registry of our own: images, tests/crash.rs"),
    ("images.served", "the same"),
    ("images.unserve", "the same"),
    ("images.unserved", "the same"),
    ("images.push-held", "a push needs a registry: images, tests/crash.rs"),
    ("images.push-end", "the same"),
    ("images.push-ended", "the same"),
    ("engine.extract", "files copied in: `while_files_are_copied_in`"),
    ("engine.extracted", "the same"),
    ("engine.unheard", "who waits comes to no supervisor: exit_codes.rs"),
    ("build.cache-mount", "cache mounts brought here: build/cache_mounts.rs"),
    ("build.cache-mount-unpacked", "the same"),
    ("build.cache-mount-exchanged", "the same"),
    ("build.cache-filling", "the same"),
    ("build.cache-filled", "the same"),
    ("rootless.make", "an ordinary user's engine: rootless.rs"),
    ("rootless.made", "the same"),
    ("rootless.hold", "the same"),
    ("rootless.held", "the same"),
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

/// The parts of a day in the life of an engine: every kind of thing is made and unmade once. What fails
/// because something was killed is of no interest here; what is left is.
const DAY: &[fn(&Sandbox, &str)] =
    &[images, volumes, secrets, links, a_life, lives, a_loss, a_step];

fn run(sandbox: &Sandbox, line: &str) {
    sandbox.dhow(&line.split_whitespace().collect::<Vec<_>>());
}

/// The same with a script as its last word.
fn run_script(sandbox: &Sandbox, line: &str, script: &str) {
    sandbox.dhow(&line.split_whitespace().chain([script]).collect::<Vec<_>>());
}

fn images(sandbox: &Sandbox, archive: &str) {
    sandbox.dhow(&["import", archive, "another:image"]);
    run(sandbox, "rmi -f another:image");
}

fn volumes(sandbox: &Sandbox, _: &str) {
    run(sandbox, "volume create vol");
    run(sandbox, "volume snapshot vol copied");
    run(sandbox, "volume clone vol cloned");
    let archive = sandbox.work().join("vol.tar").display().to_string();
    sandbox.dhow(&["volume", "backup", "vol", "-o", &archive]);
    sandbox.dhow(&["volume", "restore", "-i", &archive, "restored"]);
    run(sandbox, "volume rename copied renamed");
    run(sandbox, "volume rm vol copied renamed cloned restored");
}

fn secrets(sandbox: &Sandbox, _: &str) {
    run(sandbox, "secret create key /proc/sys/kernel/ostype");
    run(sandbox, "run --rm --secret key busybox cat /run/secrets/key");
    run(sandbox, "secret update key --label a=b");
    run(sandbox, "secret rm key");
}

fn links(sandbox: &Sandbox, _: &str) {
    run(sandbox, "create --name db busybox true");
    run(sandbox, "create --name web --link db:data busybox true");
    run(sandbox, "rm --link web/data");
    run(sandbox, "rm web db");
}

fn a_life(sandbox: &Sandbox, _: &str) {
    run(sandbox, "network create net");
    run(sandbox, "volume create vol");
    run(sandbox, "volume create -o type=tmpfs -o device=tmpfs mem");
    // A log so small that it is rotated.
    let victim = "run -d --name victim --network net -p 8080:80 --memory 64m -v vol:/data -v mem:/mem \
                  --log-opt max-size=1k --log-opt max-file=2 --log-opt compress=true busybox sh -c";
    run_script(sandbox, victim, "seq 1 100; sleep 600");
    for line in [
        "exec victim true",
        "commit victim committed",
        "rmi -f committed",
        "pause victim",
        "unpause victim",
        "update --memory 96m --memory-swap 96m --restart on-failure:1 victim",
        "restart -t 0 victim",
        "update --publish 8090:90 --mount type=volume,src=more,dst=/more --device /dev/null:/dev/other \
         --label a=b victim",
        "update --publish-rm 90 --mount-rm /more --device-rm /dev/other victim",
        "network disconnect net victim",
        "network connect --alias other net victim",
        "rename victim other",
        "rename other victim",
        "stop -t 0 victim",
        "network disconnect net victim",
        "network connect net victim",
        "rm -f victim",
        "volume rm vol mem more",
        "network rm net",
    ] {
        run(sandbox, line);
    }
}

fn lives(sandbox: &Sandbox, _: &str) {
    // Where the copy of our own file was made before, it is made again.
    let _ = std::fs::remove_dir_all(sandbox.root().join("init"));
    run(sandbox, "run --rm --name brief --init busybox true");
    // One that its supervisor removes, for nobody else is there.
    run(sandbox, "run -d --rm --name gone busybox true");
    run(sandbox, "wait gone");
    run(sandbox, "rm -f gone");
    // Two lives, then it is given up.
    let again = "run -d --name again --restart on-failure:1 --health-interval 1ms --health-cmd true \
                 busybox sh -c";
    run_script(sandbox, again, "sleep 0.1; exit 1");
    run(sandbox, "wait again");
    run(sandbox, "wait again");
    run(sandbox, "rm -f again");
}

/// A step of a build, with a mount point of its own, whose root is kept.
fn a_step(sandbox: &Sandbox, _: &str) {
    let step = serde_json::json!({
        "image": "busybox", "args": ["sh", "-c", "echo x > /x"], "keep": true,
        "mounts": [{ "kind": "layers", "image": "busybox", "target": "/m" }],
    });
    let mut builder = sandbox.command(env!("CARGO_BIN_EXE_dhow-step"));
    testkit::capture(builder.arg(step.to_string()).arg(testkit::dhow_program()));
}

/// Kills the supervisor of a container, and has the next command find that.
fn a_loss(sandbox: &Sandbox, _: &str) {
    run(sandbox, "run -d --name lost --restart always -p 8081:80 busybox sleep 600");
    let pid = sandbox.dhow(&["inspect", "-f", "{{.State.Pid}}", "lost"]).stdout;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
    // A shim that died before leaves its container to process 1.
    if let Some(parent) = parent.filter(|parent| *parent != "1" && *parent != "0") {
        // And rules of a network that nobody knows: whoever finds the loss sweeps them.
        let table = format!("{}-net-0123456789ab", sandbox.engine_name());
        sandbox.sh(&format!("nft add table ip {table}; kill -9 {parent}"));
        // Its lock goes later than its program does.
        let status = format!("/proc/{parent}/status");
        let is_gone =
            || std::fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"));
        testkit::wait_until("the shim is gone", is_gone);
    }
    run(sandbox, "ps -a");
    run(sandbox, "rm -f lost");
}

/// What a person does the day after. Nothing is wrong then.
fn tidy(sandbox: &Sandbox) {
    let check = sandbox.dhow(&["system", "check", "--quick"]);
    assert_eq!(check.code, 0, "{check:?}");
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
    let secrets = sandbox.ok(&["secret", "ls", "-q"]);
    for secret in secrets.lines() {
        sandbox.ok(&["secret", "rm", secret]);
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
    for part in DAY {
        part(&sandbox, &archive);
    }
    tidy(&sandbox);
    sandbox.baseline();
    (sandbox, archive)
}

/// What was passed since this was last asked.
fn passed(sandbox: &Sandbox) -> BTreeSet<String> {
    let path = sandbox.work().join("passed");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Which failpoints each part of the day passes.
fn points_of_parts(sandbox: &Sandbox, archive: &str) -> Vec<BTreeSet<String>> {
    let file = sandbox.work().join("passed");
    let noted = failpoint::ALL.iter().map(|point| format!("{point}=delay:0@{}", file.display()));
    sandbox.set_env("DHOW_FAILPOINTS", &noted.collect::<Vec<_>>().join(","));
    let of_part = |part: &fn(&Sandbox, &str)| {
        part(sandbox, archive);
        passed(sandbox)
    };
    let parts = DAY.iter().map(of_part).collect();
    sandbox.unset_env("DHOW_FAILPOINTS");
    parts
}

/// Walks over every `of`th failpoint, from the `first`, with one action: each in all parts of the day
/// that pass it. What is left at one of them does not keep the others from their turn.
fn walk(name: &str, action: &str, first: usize, of: usize) {
    let (mut sandbox, mut archive) = engine(name);
    let points = points_of_parts(&sandbox, &archive);
    tidy(&sandbox);
    let mut complaints = Vec::new();
    for point in failpoint::ALL.iter().skip(first).step_by(of) {
        let file = sandbox.work().join("passed");
        // Shown where the test fails.
        eprintln!("{action} at {point}");
        sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}={action}@{}", file.display()));
        for (part, _) in DAY.iter().zip(&points).filter(|(_, points)| points.contains(*point)) {
            part(&sandbox, &archive);
        }
        sandbox.unset_env("DHOW_FAILPOINTS");
        let was_passed = !passed(&sandbox).is_empty();
        if was_passed == ELSEWHERE.iter().any(|(elsewhere, _)| elsewhere == point) {
            let how = if was_passed { "passed after all" } else { "never passed" };
            complaints.push(format!("{action} at {point}: {how}"));
        }
        println!("{action} at {point}");
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
