//! From create to delete, and what goes wrong on the way.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;

use crate::bundle::{bundle, wait_until};

#[test]
fn the_exit_status_is_the_programs() {
    let Some(mut b) = bundle("the_exit_status_is_the_programs") else { return };
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$; sleep 9", 137)] {
        // The first process of a PID namespace cannot kill itself: a child does the work.
        let script = script.replace("$$", "$(sh -c 'echo $PPID')");
        if status == 137 {
            b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }
        let ran = b.script(&script).run();
        assert_eq!(ran.status, status, "{script}: {}", ran.err);
        b.assert_nothing_left();
    }
}

#[test]
pub(crate) fn a_container_goes_through_its_states() {
    let Some(mut b) = bundle("a_container_goes_through_its_states") else { return };
    b.script("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done").write();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    let created = b.command(&["create", "c"]).stdout(out).stderr(Stdio::null()).status().unwrap();
    assert!(created.success());
    assert_eq!(b.status(), "created");
    assert_eq!(b.output(), "");
    b.call(&["create", "c"]).fails("container with given ID already exists: c");
    b.call(&["start", "c"]).ok();
    assert_eq!(b.status(), "running");
    wait_until("it says that it is up", || b.output() == "up\n");
    b.call(&["start", "c"]).fails("cannot start a container that is running: c");
    b.call(&["delete", "c"]).fails("cannot delete container c that is not stopped: running");
    b.call(&["pause", "c"]).ok();
    assert_eq!(b.status(), "paused");
    b.call(&["exec", "c", "true"]).fails("cannot exec in a paused container");
    b.call(&["resume", "c"]).ok();
    assert_eq!(b.status(), "running");
    assert!(b.call(&["list", "-q"]).ok() == "c\n");
    assert!(b.call(&["list"]).ok().contains("running"));
    b.call(&["kill", "c", "TERM"]).ok();
    wait_until("it has stopped", || b.status() == "stopped");
    b.call(&["kill", "c", "TERM"]).fails("container not running");
    b.call(&["start", "c"]).fails("cannot start a container that has stopped: c");
    b.call(&["delete", "c"]).ok();
    b.assert_nothing_left();
    b.call(&["state", "c"]).fails("container `c` does not exist");
    b.call(&["delete", "c"]).fails("container `c` does not exist");
    b.call(&["delete", "--force", "c"]).ok();
}

#[test]
fn one_that_waits_has_nothing_open_but_its_streams_and_the_way_to_be_started() {
    let test = "one_that_waits_has_nothing_open_but_its_streams_and_the_way_to_be_started";
    let Some(mut b) = bundle(test) else { return };
    b.args(&["true"]).write();
    let null = Stdio::null;
    let create = ["create", "--pid-file", "pid", "c"];
    assert!(b.command(&create).stdout(null()).stderr(null()).status().unwrap().success());
    let pid = std::fs::read_to_string(b.dir.join("pid")).unwrap();
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let target = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).unwrap();
    let mut open: Vec<_> = entries.map(|entry| target(entry.unwrap())).collect();
    open.retain(|target| target != std::path::Path::new("/dev/null"));
    let fifo = b.dir.join("state/c/exec.fifo");
    assert!(
        open.iter().all(|at| *at == fifo || at.to_string_lossy().starts_with("socket:")),
        "{open:?}"
    );
    // Like runc's it ends when it is asked to, although it is the first of its PID namespace.
    b.call(&["kill", "c", "TERM"]).ok();
    wait_until("it has stopped", || b.status() == "stopped");
    b.call(&["start", "c"]).fails("cannot start a container that has stopped: c");
}

#[test]
pub(crate) fn force_removes_what_runs_or_waits() {
    let Some(mut b) = bundle("force_removes_what_runs_or_waits") else { return };
    b.script("trap '' TERM; (setsid sleep 1000 &) ; sleep 1000").start();
    b.call(&["delete", "--force", "c"]).ok();
    b.assert_nothing_left();
    b.write();
    b.command(&["create", "c"]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    b.call(&["delete", "c"]).ok();
    b.assert_nothing_left();
}

#[test]
pub(crate) fn kill_all_reaches_every_process() {
    let Some(mut b) = bundle("kill_all_reaches_every_process") else { return };
    // Without a PID namespace the others outlive the first.
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "pid");
    b.script("setsid sleep 1000 & setsid sleep 1000 & wait").start();
    let count = || b.call(&["ps", "-f", "json", "c"]).out.matches(',').count() + 1;
    wait_until("three processes", || count() == 3);
    b.call(&["kill", "--all", "c", "KILL"]).ok();
    wait_until("it has stopped", || b.status() == "stopped");
    for dir in b.cgroups() {
        assert_eq!(std::fs::read_to_string(dir.join("cgroup.procs")).unwrap(), "", "{dir:?}");
    }
}

#[test]
fn what_cannot_be_executed_is_told_at_create() {
    let Some(mut b) = bundle("what_cannot_be_executed_is_told_at_create") else { return };
    std::fs::write(b.rootfs().join("etc/data"), "x").unwrap();
    for (args, why) in [
        ("foo", "dhow-runtime: error: exec: \"foo\": executable file not found in $PATH\n"),
        (
            "/bin/foo",
            "dhow-runtime: error: exec: \"/bin/foo\": stat /bin/foo: no such file or directory\n",
        ),
        ("/etc", "dhow-runtime: error: exec: \"/etc\": is a directory: permission denied\n"),
        ("/etc/data", "dhow-runtime: error: exec: \"/etc/data\": permission denied\n"),
    ] {
        b.args(&[args]).write();
        let ran = b.call(&["create", "c"]);
        assert_eq!((ran.status, ran.err.as_str()), (1, why));
        b.assert_nothing_left();
    }
}

#[test]
fn a_program_of_the_wrong_format_is_told_at_start() {
    let Some(mut b) = bundle("a_program_of_the_wrong_format_is_told_at_start") else { return };
    let file = b.rootfs().join("bin/odd");
    std::fs::write(&file, "\x01\x02\x03\x04").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    b.args(&["/bin/odd"]).write();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    b.command(&["create", "c"]).stdout(Stdio::null()).stderr(out).status().unwrap();
    b.call(&["start", "c"]).fails("exec /bin/odd: exec format error");
    assert_eq!(b.output(), "exec /bin/odd: exec format error\n");
    // It lets go of the fifo, for which `start` waits, right before it ends.
    crate::bundle::wait_until("it has stopped", || b.status() == "stopped");
}

/// Of one for another architecture it is told which that is, also behind a script. It has the header of a dump of
/// memory, which no emulator that may be registered here takes.
#[test]
fn a_program_for_another_machine_is_told_as_that() {
    let Some(mut b) = bundle("a_program_for_another_machine_is_told_as_that") else { return };
    let mut elf = b"\x7fELF\x02\x02\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([0, 4, 0, 43]);
    for (name, bytes) in [("odd", elf.as_slice()), ("script", &b"#!/bin/odd\n"[..])] {
        let file = b.rootfs().join("bin").join(name);
        std::fs::write(&file, bytes).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    b.args(&["/bin/script"]).write();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    b.command(&["create", "c"]).stdout(Stdio::null()).stderr(out).status().unwrap();
    let why = "exec /bin/script: exec format error: the program is for linux/sparc64, and no emulator \
               for that is registered on this machine";
    b.call(&["start", "c"]).fails(why);
    assert!(b.output().starts_with(why), "{}", b.output());
    crate::bundle::wait_until("it has stopped", || b.status() == "stopped");
}

#[test]
fn bad_input_is_one_line_and_leaves_nothing() {
    let Some(mut b) = bundle("bad_input_is_one_line_and_leaves_nothing") else { return };
    b.write();
    for (id, why) in [
        ("a/b", "invalid container id `a/b`"),
        ("..", "invalid container id `..`"),
        ("", "invalid container id ``"),
        ("a b", "invalid container id `a b`"),
    ] {
        b.call(&["create", id]).fails(why);
    }
    b.call(&["create"]).fails("a container id is needed");
    b.call(&["create", "--nope", "c"]).fails("flag provided but not defined: -nope");
    b.call(&["create", "--bundle", "/nonexistent", "c"]).fails("bundle \"/nonexistent\"");
    b.call(&["frobnicate"]).fails("No help topic for 'frobnicate'");
    b.call(&["kill", "c", "NOPE"]).fails("unknown signal \"NOPE\"");
    b.call(&["checkpoint", "c"]).fails("container `c` does not exist");
    std::fs::write(b.dir.join("config.json"), "{").unwrap();
    b.call(&["create", "c"]).fails("config.json\": EOF while parsing");
    let good = b.config.clone();
    for (pointer, value, why) in [
        ("/root/path", json!("nowhere"), "root.path: open("),
        (
            "/linux/namespaces/1",
            json!({"type":"network","path":"/etc/passwd"}),
            "linux.namespaces: `/etc/passwd` is not a network namespace",
        ),
        (
            "/linux/namespaces/1",
            json!({"type":"network","path":"/proc/self/ns/uts"}),
            "`/proc/self/ns/uts` is not a network namespace",
        ),
        ("/process/cwd", json!("relative"), "process.cwd: `relative` is not an absolute path"),
        (
            "/mounts/0",
            json!({"destination":"/x","type":"bind","source":"/nonexistent"}),
            "mounts[0].source: \"/nonexistent\"",
        ),
        ("/mounts/0", json!({"destination":"/x","type":"nofs","source":"x"}), "(\"nofs\""),
        (
            "/process/terminal",
            json!(true),
            "cannot allocate tty if dhow-runtime will detach without setting console socket",
        ),
    ] {
        b.config = good.clone();
        match b.config.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => b.config["process"]["terminal"] = value,
        }
        b.write();
        b.call(&["create", "c"]).fails(why);
        b.assert_nothing_left();
    }
    std::os::unix::fs::symlink("rootfs", b.dir.join("link")).unwrap();
    b.config = good;
    b.config["root"]["path"] = json!("link");
    b.write();
    b.call(&["create", "c"]).fails("is not a directory (symbolic links are not followed)");
    b.assert_nothing_left();
}

#[test]
fn errors_also_go_to_the_log_as_json() {
    let Some(mut b) = bundle("errors_also_go_to_the_log_as_json") else { return };
    b.args(&["foo"]).write();
    let log = b.dir.join("log");
    let mut command =
        b.command(&["--log", log.to_str().unwrap(), "--log-format", "json", "create", "c"]);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let line: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(log).unwrap().trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"], "exec: \"foo\": executable file not found in $PATH");
}

#[test]
fn a_cgroup_that_others_are_in_stays_theirs() {
    let Some(mut b) = bundle("a_cgroup_that_others_are_in_stays_theirs") else { return };
    b.args(&["sleep", "1000"]).start();
    let err = std::fs::File::create(b.dir.join("err")).unwrap();
    let created = b.command(&["create", "d"]).stdout(Stdio::null()).stderr(err).status().unwrap();
    let text = std::fs::read_to_string(b.dir.join("err")).unwrap();
    assert!(created.success(), "{text}");
    assert!(text.contains("container's cgroup is not empty: 1 process(es) found"), "{text}");
    b.call(&["delete", "--force", "d"]).ok();
    assert_eq!(b.status(), "running");
}

#[test]
fn a_frozen_cgroup_is_refused() {
    let Some(mut b) = bundle("a_frozen_cgroup_is_refused") else { return };
    let hierarchy = cgroup::Hierarchy::detect().unwrap();
    let path = b.config["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
    let cgroup = cgroup::Cgroup::create(&hierarchy, &path).unwrap();
    cgroup.freeze().unwrap();
    b.args(&["true"]).write();
    b.call(&["create", "c"]).fails("container's cgroup unexpectedly frozen");
    cgroup.thaw().unwrap();
    cgroup.remove().unwrap();
    b.assert_nothing_left();
}

#[test]
fn limits_are_in_force_and_can_be_changed() {
    let Some(mut b) = bundle("limits_are_in_force_and_can_be_changed") else { return };
    let hierarchy = cgroup::Hierarchy::detect().unwrap();
    if !hierarchy.has("memory") || !hierarchy.has("pids") {
        println!("skipped: limits_are_in_force_and_can_be_changed: no memory or pids controller");
        return;
    }
    b.config["linux"]["resources"] =
        json!({ "memory": { "limit": 67_108_864 }, "pids": { "limit": 20 } });
    b.args(&["sleep", "1000"]).start();
    let read = |files: [&str; 2]| {
        b.cgroups()
            .iter()
            .find_map(|dir| files.iter().find_map(|f| std::fs::read_to_string(dir.join(f)).ok()))
            .unwrap()
    };
    let memory = ["memory.limit_in_bytes", "memory.max"];
    assert_eq!(read(memory).trim(), "67108864");
    assert_eq!(read(["pids.max", "pids.max"]).trim(), "20");
    b.call(&["update", "--memory", "32M", "--pids-limit", "10", "c"]).ok();
    assert_eq!(read(memory).trim(), "33554432");
    assert_eq!(read(["pids.max", "pids.max"]).trim(), "10");
    assert!(b.call(&["events", "--stats", "c"]).ok().contains("\"limit\":33554432"));
}

#[test]
fn a_creator_that_is_killed_leaves_what_force_removes() {
    let Some(mut b) = bundle("a_creator_that_is_killed_leaves_what_force_removes") else { return };
    b.config["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "1000"] }] });
    b.args(&["sleep", "1000"]).write();
    let mut child =
        b.command(&["create", "c"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A child of the runtime, besides the container's, that has become what it is to be.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let hook = || {
        let children = std::fs::read_to_string(&children).unwrap_or_default();
        let is_hook = |pid: &&str| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n")
        };
        let hook = children.split_whitespace().find(is_hook)?;
        rustix::process::Pid::from_raw(hook.parse().unwrap())
    };
    wait_until("the hook runs", || hook().is_some());
    let hook = hook().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    rustix::process::kill_process(hook, rustix::process::Signal::KILL).unwrap();
    b.call(&["delete", "--force", "c"]).ok();
    b.assert_nothing_left();
}
