//! From create to rm.

use crate::{busybox, inspect};
use testkit::needs;

#[test]
fn a_container_lives_dies_and_lives_again() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("lifecycle");
    let id = sandbox.ok(&[
        "create",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "echo x >> /kept; cat /kept; sleep 600",
    ]);
    assert_eq!(id.len(), 64);
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
    assert_eq!(sandbox.ok(&["ps", "-aq", "--no-trunc"]), id);
    assert_eq!(sandbox.ok(&["start", "box"]), "box");
    assert_eq!(sandbox.ok(&["ps", "-q", "--no-trunc"]), id);
    testkit::wait_until("the first life has spoken", || sandbox.ok(&["logs", "box"]) == "x");
    sandbox.ok(&["stop", "-t", "0", "box"]);
    let state = inspect(&sandbox, "box");
    assert_eq!(state["State"]["Status"], "exited");
    assert_eq!(state["State"]["ExitCode"], 137);
    // The writable layer is kept from one life to the next.
    sandbox.ok(&["start", &id[..12]]);
    testkit::wait_until("the second life has spoken", || sandbox.ok(&["logs", "box"]) == "x\nx\nx");
    let refused = sandbox.dhow(&["rm", "box"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("running"), "{refused:?}");
    sandbox.ok(&["rm", "-f", "box"]);
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    sandbox.finish();
}

/// The command line of a container's supervisor.
fn supervisor(sandbox: &testkit::Sandbox, container: &str) -> String {
    let pid = sandbox.ok(&["inspect", "-f", "{{.State.Pid}}", container]);
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", parent(&pid))).unwrap();
    line.replace('\0', " ")
}

/// The parent of a process.
fn parent(pid: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned()
}

#[test]
fn a_supervisor_that_is_started_ahead_is_used_or_ends() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("lifecycle-ahead");
    let id = sandbox.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
    let line = supervisor(&sandbox, "one");
    assert!(line.starts_with("dhow-shim ahead ") && line.contains(&id), "{line}");
    // It has a network of its own, as any other.
    let links = sandbox.ok(&["exec", "one", "ls", "/sys/class/net"]);
    assert!(links.contains("lo") && links.contains("eth0"), "{links}");
    // What does not start at once, or where another's network is joined, has none.
    sandbox.ok(&["create", "--name", "two", "busybox", "sleep", "600"]);
    sandbox.ok(&["start", "two"]);
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "three",
        "--net",
        "container:one",
        "busybox",
        "sleep",
        "600",
    ]);
    for name in ["two", "three"] {
        let line = supervisor(&sandbox, name);
        assert!(line.starts_with("dhow-shim ") && !line.contains(" ahead "), "{line}");
    }
    sandbox.ok(&["rm", "-f", "one", "two", "three"]);
    sandbox.baseline();
    // Nothing is left where there is nothing to start.
    for (args, code) in [
        (&["run", "--pull", "never", "nosuch", "true"][..], 125),
        (&["run", "--user", "nosuch", "busybox", "true"], 125),
        (&["run", "--rm", "busybox", "/nosuch"], 127),
    ] {
        let refused = sandbox.dhow(args);
        assert_eq!(refused.code, code, "{args:?}: {refused:?}");
    }
    sandbox.ok(&["container", "prune", "-f"]);
    sandbox.assert_no_leaks();
    sandbox.finish();
}

/// The processors that a process may run on.
fn processors(process: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().to_owned()
}

/// Who is started ahead works beside who starts it, and so was kept from a processor for a moment.
#[test]
fn a_container_and_its_supervisor_run_on_any_processor_that_they_may() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("lifecycle-processors");
    // The container has all that there are: so that this thread has, too, wherever the tests were started.
    sys::sched_setaffinity(&[u64::MAX; 16]).unwrap();
    let all = sys::sched_getaffinity().unwrap();
    let own = processors("thread-self");
    let seen = ["run", "--rm", "busybox", "grep", "Cpus_allowed:", "/proc/self/status"];
    assert_eq!(sandbox.ok(&seen), own);
    let one = || {
        sandbox.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
        let pid = sandbox.ok(&["inspect", "-f", "{{.State.Pid}}", "one"]);
        let both = (processors(&pid), processors(&parent(&pid)));
        sandbox.ok(&["rm", "-f", "one"]);
        both
    };
    assert_eq!(one(), (own.clone(), own));
    // What somebody has chosen stays; of a container, its cgroup may say more.
    let word = all.iter().position(|word| *word != 0).unwrap();
    let mut first = vec![0; all.len()];
    first[word] = all[word] & all[word].wrapping_neg();
    sys::sched_setaffinity(&first).unwrap();
    assert_eq!(one().1, processors("thread-self"));
    sys::sched_setaffinity(&all).unwrap();
    sandbox.finish();
}

/// The process of the only container there is, from when it waits to be started.
pub(crate) fn init(sandbox: &testkit::Sandbox) -> Option<i32> {
    let run = std::fs::read_dir(sandbox.state().join("containers")).ok()?.next()?.ok()?;
    std::fs::read_to_string(run.path().join("init.pid")).ok()?.trim().parse().ok()
}

#[test]
fn a_runtime_that_is_started_ahead_makes_the_container() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("lifecycle-runtime");
    for network in ["bridge", "none"] {
        // Between the container and its start: it still has the command line of who made it.
        sandbox.set_env("DHOW_FAILPOINTS", "engine.go=delay:5000");
        let args = ["run", "-d", "--net", network, "--name", "one", "busybox", "sleep", "600"];
        let mut run = sandbox.dhow_command(&args).spawn().unwrap();
        sandbox.unset_env("DHOW_FAILPOINTS");
        testkit::wait_until("its process waits", || init(&sandbox).is_some());
        let path = format!("/proc/{}/cmdline", init(&sandbox).unwrap());
        let line = std::fs::read_to_string(path).unwrap().replace('\0', " ");
        assert!(line.starts_with("dhow-runtime ahead "), "{network}: {line}");
        assert!(run.wait().unwrap().success());
        sandbox.ok(&["rm", "-f", "one"]);
    }
    sandbox.finish();
}

#[test]
fn stop_asks_first() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("lifecycle-stop");
    let script = "trap 'exit 3' TERM; trap 'exit 4' USR1; echo up; while :; do sleep 0.05; done";
    for (args, code) in [
        (&["stop"][..], "3"),
        (&["stop", "-s", "USR1"], "4"),
        (&["kill"], "137"),
        (&["kill", "-s", "USR1"], "4"),
    ] {
        sandbox.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
        testkit::wait_until("it is up", || sandbox.ok(&["logs", "box"]) == "up");
        sandbox.ok(&[args, &["box"]].concat());
        assert_eq!(sandbox.ok(&["wait", "box"]), code, "{args:?}");
        sandbox.ok(&["rm", "box"]);
    }
    sandbox.finish();
}

#[test]
fn pause_rename_restart_top() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("lifecycle-more");
    sandbox.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
    sandbox.ok(&["pause", "one"]);
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Status}}", "one"]), "paused");
    sandbox.ok(&["unpause", "one"]);
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Status}}", "one"]), "running");
    sandbox.ok(&["rename", "one", "two"]);
    let top = sandbox.ok(&["top", "two"]);
    assert!(top.starts_with("UID") && top.contains("sleep 600"), "{top}");
    let before = inspect(&sandbox, "two")["State"]["StartedAt"].clone();
    sandbox.ok(&["restart", "-t", "0", "two"]);
    let after = inspect(&sandbox, "two");
    assert_eq!(after["State"]["Running"], true);
    assert_ne!(after["State"]["StartedAt"], before);
    sandbox.ok(&["rm", "-f", "two"]);
    sandbox.finish();
}

#[test]
fn rm_at_the_end_removes_all() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("lifecycle-rm");
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    sandbox.ok(&["run", "-d", "--rm", "busybox", "sleep", "0.2"]);
    testkit::wait_until("it is removed without anyone's help", || {
        sandbox.ok(&["ps", "-aq"]).is_empty()
    });
    sandbox.finish();
}

#[test]
fn fifty_at_once() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("lifecycle-fifty");
    let dhow = testkit::dhow_program();
    let script = format!(
        "for i in $(seq 50); do {0} run -d --name c$i busybox sleep 600 >/dev/null & done; wait; \
         {0} ps -q | wc -l; {0} ps --format '{{{{.ID}}}}' | xargs {0} rm -f | wc -l",
        dhow.display()
    );
    let out = sandbox.sh(&script);
    assert_eq!(out.stdout, "50\n50\n", "{}", out.stderr);
    let shared = sandbox.ok(&["ps", "-aq"]);
    assert_eq!(shared, "");
    sandbox.finish();
}
