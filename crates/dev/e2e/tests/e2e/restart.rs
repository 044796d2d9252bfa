//! Restart policies: nothing but the container's own supervisor is needed for them.

use crate::docker_client::Daemon;
use crate::{busybox, inspect, pid};
use testkit::{Sandbox, needs, wait_until};

/// Notes each life, and ends with code 3.
const LIVES: &str = "echo x >> /lives; cat /lives | wc -l; exit 3";

#[track_caller]
fn restarts(sandbox: &Sandbox, name: &str) -> i64 {
    inspect(sandbox, name)["RestartCount"].as_i64().expect("a number")
}

#[track_caller]
fn status(sandbox: &Sandbox, name: &str) -> String {
    inspect(sandbox, name)["State"]["Status"].as_str().expect("a text").to_owned()
}

/// The supervisor of a container that runs, or waits to be started again.
#[track_caller]
pub(crate) fn shim(sandbox: &Sandbox, name: &str) -> i64 {
    let id = sandbox.ok(&["inspect", "-f", "{{.Id}}", name]);
    let path = sandbox.root().join("containers").join(id).join("status.json");
    let status: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).unwrap()).expect("JSON");
    status["shim_pid"].as_i64().filter(|pid| *pid > 0).expect("a supervisor")
}

#[track_caller]
pub(crate) fn kill(sandbox: &Sandbox, pid: i64) {
    sandbox.sh(&format!("kill -9 {pid}")).success();
    // A zombie has let go of its locks.
    let stat = format!("/proc/{pid}/stat");
    wait_until("it is gone", || {
        std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "))
    });
}

#[test]
fn on_failure_tries_so_often() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("restart-failure");
    let began = sandbox.sh("date +%s").stdout;
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        LIVES,
    ]);
    wait_until("it is given up", || status(&sandbox, "box") == "exited");
    assert_eq!(restarts(&sandbox, "box"), 2);
    // The writable layer and the log are those of all three lives.
    assert_eq!(sandbox.ok(&["logs", "box"]), "1\n2\n3");
    assert_eq!(inspect(&sandbox, "box")["State"]["ExitCode"], 3);
    let until = sandbox.sh("date +%s.%N").stdout.trim().to_owned();
    let events = sandbox.ok(&[
        "events",
        "--since",
        began.trim(),
        "--until",
        &until,
        "--filter",
        "container=box",
        "--format",
        "{{.Action}} {{json .Actor.Attributes.exitCode}}",
    ]);
    let events: Vec<&str> = events.lines().collect();
    let life = ["start null", "die \"3\""];
    assert_eq!(events, [&["create null"][..], &life, &life, &life].concat());
    // One that succeeds is not started again, and a start begins to count anew.
    sandbox.ok(&["run", "-d", "--name", "fine", "--restart", "on-failure", "busybox", "true"]);
    wait_until("it has ended", || status(&sandbox, "fine") == "exited");
    assert_eq!(restarts(&sandbox, "fine"), 0);
    sandbox.ok(&["start", "box"]);
    wait_until("it is given up again", || status(&sandbox, "box") == "exited");
    assert_eq!(restarts(&sandbox, "box"), 2);
    sandbox.ok(&["rm", "box", "fine"]);
    sandbox.finish();
}

/// What is seen of a container while it waits to be started again, all of it in one and the same wait: on a
/// busy machine one may be over before the last look. The next one is twice as long.
#[track_caller]
fn while_it_waits<T>(sandbox: &Sandbox, name: &str, look: impl Fn() -> T) -> T {
    loop {
        wait_until("it waits", || status(sandbox, name) == "restarting");
        let count = restarts(sandbox, name);
        let seen = look();
        if status(sandbox, name) == "restarting" && restarts(sandbox, name) == count {
            return seen;
        }
    }
}

#[test]
fn a_stop_ends_the_waiting() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("restart-stop");
    for (policy, how) in [("always", "stop"), ("unless-stopped", "kill"), ("on-failure", "rm -f")] {
        // Each wait is twice as long: soon there is time to look.
        sandbox.ok(&[
            "run",
            "-d",
            "--name",
            "box",
            "-p",
            "8080:80",
            "--restart",
            policy,
            "busybox",
            "false",
        ]);
        wait_until("it has failed four times", || restarts(&sandbox, "box") >= 4);
        let looks = while_it_waits(&sandbox, "box", || {
            let shown = sandbox.ok(&["ps", "--format", "{{.Status}}"]);
            let state = inspect(&sandbox, "box")["State"].clone();
            (shown, state, sandbox.dhow(&["exec", "box", "true"]), sandbox.dhow(&["rm", "box"]))
        });
        let (shown, state, exec, rm) = looks;
        assert!(shown.starts_with("Restarting (1) ") && shown.ends_with(" ago"), "{shown}");
        assert_eq!((&state["Running"], &state["Restarting"]), (&true.into(), &true.into()));
        assert_eq!((&state["Pid"], &state["ExitCode"]), (&0.into(), &1.into()));
        assert!(exec.stderr.contains("is restarting, wait until"), "{exec:?}");
        assert!(rm.stderr.contains("container is restarting: stop the container"), "{rm:?}");
        sandbox.ok(&how.split(' ').chain(["box"]).collect::<Vec<_>>());
        if how != "rm -f" {
            assert_eq!(status(&sandbox, "box"), "exited");
            sandbox.ok(&["rm", "box"]);
        }
    }
    sandbox.finish();
}

#[test]
fn a_policy_changes_while_it_runs() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("restart-update");
    sandbox.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    sandbox.ok(&["update", "--restart", "always", "box"]);
    assert_eq!(inspect(&sandbox, "box")["HostConfig"]["RestartPolicy"]["Name"], "always");
    kill(&sandbox, pid(&sandbox, "box"));
    wait_until("it lives again", || {
        restarts(&sandbox, "box") == 1 && status(&sandbox, "box") == "running"
    });
    sandbox.ok(&["update", "--restart", "no", "box"]);
    kill(&sandbox, pid(&sandbox, "box"));
    wait_until("it stays dead", || status(&sandbox, "box") == "exited");
    assert_eq!(restarts(&sandbox, "box"), 1);
    let refused = sandbox.dhow(&["run", "--rm", "--restart", "always", "busybox", "true"]);
    assert!(refused.stderr.contains("--restart and --rm"), "{refused:?}");
    sandbox.ok(&["rm", "box"]);
    // A restart by hand does not let go of what goes when it ends.
    sandbox.ok(&["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "600"]);
    let ended = || sandbox.ok(&["inspect", "-f", "{{.State.FinishedAt}}", "brief"]);
    assert_eq!(ended(), "0001-01-01T00:00:00Z");
    sandbox.ok(&["restart", "-t", "0", "brief"]);
    assert_eq!(status(&sandbox, "brief"), "running");
    // When its first life ended stays known in the second.
    let first = ended();
    assert!(!first.starts_with("0001"), "{first}");
    assert!(first < sandbox.ok(&["inspect", "-f", "{{.State.StartedAt}}", "brief"]), "{first}");
    sandbox.ok(&["stop", "-t", "0", "brief"]);
    wait_until("it is removed", || sandbox.ok(&["ps", "-aq"]).is_empty());
    sandbox.finish();
}

#[test]
fn a_supervisor_that_is_killed_is_replaced() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("restart-shim");
    // While the program runs, and while it waits to be started again.
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "-p",
        "8080:80",
        "--restart",
        "unless-stopped",
        "busybox",
        "sleep",
        "600",
    ]);
    kill(&sandbox, shim(&sandbox, "box"));
    assert!(sandbox.ok(&["ps", "--format", "{{.Names}} {{.Status}}"]).starts_with("box Up"));
    assert_eq!(restarts(&sandbox, "box"), 1);
    sandbox.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "fails",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "sleep 0.01; false",
    ]);
    wait_until("it waits", || {
        restarts(&sandbox, "fails") >= 4 && status(&sandbox, "fails") == "restarting"
    });
    let count = restarts(&sandbox, "fails");
    kill(&sandbox, shim(&sandbox, "fails"));
    wait_until("it goes on", || restarts(&sandbox, "fails") > count);
    sandbox.ok(&["rm", "-f", "fails"]);
    // Without a policy it stays as it is.
    sandbox.ok(&["run", "-d", "--name", "plain", "busybox", "sleep", "600"]);
    kill(&sandbox, shim(&sandbox, "plain"));
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
    assert_eq!(inspect(&sandbox, "plain")["State"]["ExitCode"], 137);
    sandbox.ok(&["rm", "box", "plain"]);
    sandbox.finish();
}

/// The machine goes down: every process dies, and what may vanish has vanished.
#[test]
fn after_a_reboot_the_daemon_starts_what_is_to_run() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("restart-boot");
    for (name, policy) in [
        ("one", "always"),
        ("two", "unless-stopped"),
        ("no", "no"),
        ("off", "unless-stopped"),
        ("on", "always"),
    ] {
        sandbox.ok(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "600"]);
    }
    sandbox.ok(&["create", "--name", "new", "--restart", "always", "busybox", "sleep", "600"]);
    sandbox.ok(&["stop", "-t", "0", "off", "on"]);
    for name in ["one", "two", "no"] {
        let (init, supervisor) = (pid(&sandbox, name), shim(&sandbox, name));
        kill(&sandbox, supervisor);
        sandbox.sh(&format!("kill -9 {init}"));
        let exe = format!("/proc/{init}/exe");
        wait_until("its program is gone", || std::fs::read_link(&exe).is_err());
    }
    // What is in the kernel went, too; here it has to be looked for.
    let state = sandbox.state();
    let kept = state.with_extension("kept");
    std::fs::create_dir(&kept).unwrap();
    for id in std::fs::read_dir(state.join("containers")).unwrap() {
        let id = id.unwrap();
        std::fs::rename(id.path(), kept.join(id.file_name())).unwrap();
    }
    let daemon = Daemon::start(&sandbox);
    let running = || {
        let mut names: Vec<String> =
            daemon.ok(&["ps", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    wait_until("they run", || running() == ["on", "one", "two"]);
    drop(daemon);
    assert_eq!(inspect(&sandbox, "no")["State"]["Status"], "exited");
    assert_eq!(inspect(&sandbox, "new")["State"]["Status"], "created");
    sandbox.ok(&["rm", "-f", "one", "two", "no", "off", "on", "new"]);
    std::fs::remove_dir_all(kept).unwrap();
    sandbox.finish();
}
