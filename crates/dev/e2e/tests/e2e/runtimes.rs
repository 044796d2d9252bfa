//! Other runtimes in the place of dhow's own: what a container can do is the same with each.

use crate::{busybox, inspect, pid};
use testkit::{Sandbox, needs, wait_until};

/// All of a container's life, by the runtime `name`.
fn all_with(sandbox: &Sandbox, name: &str) {
    let run = |args: &[&str]| sandbox.dhow(&[&["run", "--rm", "--runtime", name], args].concat());
    let output = run(&[
        "-e",
        "A=b",
        "-u",
        "7:8",
        "-w",
        "/tmp",
        "busybox",
        "sh",
        "-c",
        "echo $A $(id -u):$(id -g) $PWD; exit 5",
    ]);
    assert_eq!((output.stdout.as_str(), output.code), ("b 7:8 /tmp\n", 5), "{name}: {output:?}");
    // What cannot be run has codes of its own.
    for (program, code) in [("/nosuch", 127), ("/etc", 126)] {
        let output = run(&["busybox", program]);
        assert_eq!(output.code, code, "{name}: {program}: {output:?}");
    }
    let script = "test -t 0 && test -t 1 && stty size";
    let output = sandbox.sh(&format!(
        "script -qec '{} run --rm -t --runtime {name} busybox sh -c \"{script}\"' /dev/null",
        testkit::dhow_program().display()
    ));
    assert_eq!(output.code, 0, "{name}: {output:?}");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "all",
        "--runtime",
        name,
        "-m",
        "64m",
        "--pids-limit",
        "50",
        "--cpu-shares",
        "512",
        "--init",
        "-v",
        "vol:/vol",
        "--health-cmd",
        "test -e /healthy",
        "--health-interval",
        "50ms",
        "busybox",
        "sh",
        "-c",
        "trap 'echo asked; exit 9' USR1; echo up; touch /healthy; while :; do sleep 0.05; done",
    ]);
    assert_eq!(inspect(sandbox, "all")["HostConfig"]["Runtime"], name);
    wait_until("it is up", || sandbox.ok(&["logs", "all"]) == "up");
    let health = ["inspect", "-f", "{{.State.Health.Status}}", "all"];
    wait_until("it is healthy", || sandbox.ok(&health) == "healthy");
    // The limits are where they belong.
    let stats = sandbox.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "all"]);
    assert!(stats.ends_with("64MiB"), "{name}: {stats}");
    sandbox.ok(&["update", "-m", "96m", "--memory-swap", "96m", "all"]);
    let stats = sandbox.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "all"]);
    assert!(stats.ends_with("96MiB"), "{name}: {stats}");
    // In it: a user, a directory, a terminal, input, a code.
    assert_eq!(
        sandbox.ok(&["exec", "-u", "5", "-w", "/vol", "all", "sh", "-c", "id -u; pwd"]),
        "5\n/vol"
    );
    assert_eq!(sandbox.dhow(&["exec", "all", "sh", "-c", "exit 4"]).code, 4);
    assert_eq!(sandbox.dhow(&["exec", "all", "/nosuch"]).code, 127, "{name}");
    assert_eq!(sandbox.dhow(&["exec", "-t", "all", "tty"]).code, 0, "{name}");
    let output =
        sandbox.sh(&format!("echo piped | {} exec -i all cat", testkit::dhow_program().display()));
    assert_eq!(output.stdout, "piped\n", "{name}: {output:?}");
    assert!(sandbox.ok(&["top", "all"]).contains("docker-init"), "{name}");
    sandbox.ok(&["pause", "all"]);
    assert_eq!(inspect(sandbox, "all")["State"]["Status"], "paused");
    sandbox.ok(&["unpause", "all"]);
    sandbox.ok(&["cp", "all:/etc/passwd", "-"]);
    // Signals, another life, the end.
    sandbox.ok(&["kill", "-s", "USR1", "all"]);
    assert_eq!(sandbox.ok(&["wait", "all"]), "9");
    assert_eq!(sandbox.ok(&["logs", "all"]), "up\nasked");
    sandbox.ok(&["start", "all"]);
    let before = pid(sandbox, "all");
    sandbox.ok(&["restart", "-t", "0", "all"]);
    assert_ne!(pid(sandbox, "all"), before);
    sandbox.ok(&["rm", "-f", "all"]);
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "again",
        "--runtime",
        name,
        "--restart",
        "on-failure:1",
        "busybox",
        "false",
    ]);
    wait_until("it was tried twice", || {
        let it = inspect(sandbox, "again");
        it["RestartCount"] == 1 && it["State"]["Status"] == "exited"
    });
    sandbox.ok(&["rm", "again"]);
    // Its supervisor is killed: nothing is left of it, and the next start is like any other.
    sandbox.ok(&["run", "-d", "--name", "lost", "--runtime", name, "busybox", "sleep", "600"]);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid(sandbox, "lost"))).unwrap();
    let shim = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().to_owned();
    sandbox.sh(&format!("kill -9 {shim}")).success();
    wait_until("it is found", || inspect(sandbox, "lost")["State"]["ExitCode"] == 137);
    sandbox.ok(&["start", "lost"]);
    sandbox.ok(&["rm", "-f", "lost"]);
}

fn engine(name: &str) -> Sandbox {
    with(busybox(name))
}

fn with(sandbox: Sandbox) -> Sandbox {
    sandbox.ok(&["run", "--rm", "--init", "busybox", "true"]);
    sandbox.ok(&["volume", "create", "vol"]);
    sandbox.baseline();
    sandbox
}

#[test]
fn runc_does_the_same() {
    needs!(Root, Overlay, Netns, Busybox, MemoryCgroup, PidsCgroup, CpuCgroup, Script, Runc);
    let sandbox = engine("runc");
    all_with(&sandbox, "runc");
    sandbox.finish();
}

#[test]
fn crun_does_the_same() {
    needs!(Root, Overlay, Netns, Busybox, MemoryCgroup, PidsCgroup, CpuCgroup, Script, Crun);
    let sandbox = Sandbox::new("crun");
    // It knows v1 and v2, and not both at once; in the sandbox's own mount namespace there is one.
    sandbox.sh("test ! -d /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified").success();
    sandbox.import("busybox");
    let sandbox = with(sandbox);
    all_with(&sandbox, "crun");
    sandbox.finish();
}

#[test]
fn our_own_by_its_path_and_by_a_name_of_the_settings() {
    needs!(Root, Overlay, Netns, Busybox, MemoryCgroup, PidsCgroup, CpuCgroup, Script);
    let sandbox = engine("runtime-path");
    // The name that it is called by picks the part that it plays.
    let path = sandbox.work().join("dhow-runtime");
    std::os::unix::fs::symlink(testkit::dhow_program(), &path).unwrap();
    let path = path.display().to_string();
    all_with(&sandbox, &path);
    let settings = sandbox.work().join("daemon.json");
    let text = format!(
        r#"{{"runtimes": {{"named": {{"path": "{path}", "runtimeArgs": ["--log-format=json"]}}}}}}"#
    );
    std::fs::write(&settings, text).unwrap();
    sandbox.set_env("DHOW_CONFIG", &settings.display().to_string());
    assert_eq!(sandbox.ok(&["run", "--rm", "--runtime", "named", "busybox", "echo", "hi"]), "hi");
    for unknown in ["nosuch", "/nosuch/runtime", "relative/path"] {
        let output = sandbox.dhow(&["run", "--rm", "--runtime", unknown, "busybox", "true"]);
        assert_eq!(output.code, 125);
        let why = format!("unknown or invalid runtime name: {unknown}");
        assert!(output.stderr.contains(&why), "{output:?}");
    }
    sandbox.finish();
}
