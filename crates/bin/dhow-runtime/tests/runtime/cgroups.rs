//! Limits, their changes, what is used, and that nothing of it is the container's to decide. On
//! every version of cgroups.

use std::io::Write as _;
use std::process::Stdio;

use cgroup::{Hierarchy, Mode};
use serde_json::{Value, json};

use crate::bundle::{Bundle, bundle, wait_until};

/// What is in the first of these files that a directory of the container's cgroup has.
#[track_caller]
fn read(b: &Bundle, files: [&str; 2]) -> String {
    let dirs = b.cgroups();
    let text = files
        .iter()
        .find_map(|file| dirs.iter().find_map(|dir| std::fs::read_to_string(dir.join(file)).ok()));
    text.unwrap_or_else(|| panic!("{files:?} in {dirs:?}")).trim().to_owned()
}

fn is_v2() -> bool {
    Hierarchy::detect().unwrap().mode() == Mode::V2
}

/// Mounts the cgroups as an engine does.
fn mount_cgroups(b: &mut Bundle, access: &str) {
    b.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", access],
    }));
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];

#[test]
pub(crate) fn a_container_sees_no_cgroup_but_its_own() {
    let Some(mut b) = bundle("a_container_sees_no_cgroup_but_its_own") else { return };
    mount_cgroups(&mut b, "ro");
    // The file of the root that names a program for the host to run (CVE-2022-0492) is not there.
    b.script(
        "cat /proc/self/cgroup; grep cgroup /proc/self/mountinfo; cat /proc/self/cpuset; \
         ls /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent 2>/dev/null; true",
    );
    let ran = b.run();
    let out = ran.ok();
    for line in out.lines() {
        if line.contains(" - cgroup") {
            assert_eq!(line.split(' ').nth(3), Some("/"), "the root of a mount: {line}");
        } else if line.contains(':') && !line.contains(" - ") {
            assert!(line.ends_with(":/"), "{line}");
        }
    }
    assert!(!out.contains(&b.cgroup) && !out.contains("dhow-test"), "{out}");
    assert!(out.contains(" - cgroup") && !out.contains("release_agent\n"), "{out}");
    // And one that is executed in it later sees the same.
    b.args(&["sleep", "1000"]).start();
    let seen = b.call(&["exec", "c", "cat", "/proc/self/cgroup"]).ok();
    assert!(seen.lines().all(|line| line.ends_with(":/")), "{seen}");
}

#[test]
pub(crate) fn without_a_namespace_the_mount_is_still_only_its_own() {
    let Some(mut b) = bundle("without_a_namespace_the_mount_is_still_only_its_own") else { return };
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "cgroup");
    mount_cgroups(&mut b, "ro");
    b.script(
        "for d in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do \
         [ -e $d ] && echo $(cat $d | wc -l) $(ls -d ${d%cgroup.procs}*/ 2>/dev/null | wc -l); done; \
         mkdir /sys/fs/cgroup/x 2>&1; mkdir /sys/fs/cgroup/pids/x 2>&1; true",
    );
    let out = b.run().ok();
    let (counts, refused): (Vec<&str>, Vec<&str>) =
        out.lines().partition(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    assert!(!counts.is_empty(), "{out}");
    // The shell and what it calls, and no cgroup below: on the host there are many of each.
    for line in counts {
        let (processes, below) = line.split_once(' ').unwrap();
        let processes: usize = processes.parse().unwrap();
        assert!((1..=4).contains(&processes), "{out}");
        // v2's own directory is among the directories of a hybrid machine's mount.
        assert_eq!(below, "0", "{out}");
    }
    assert!(refused.iter().all(|line| line.contains("mkdir")) && !refused.is_empty(), "{out}");
}

#[test]
fn a_container_cannot_change_its_limits() {
    let Some(mut b) = bundle("a_container_cannot_change_its_limits") else { return };
    mount_cgroups(&mut b, "ro");
    b.config["linux"]["resources"] = json!({ "memory": { "limit": 67_108_864 } });
    b.script(
        "f=$(ls /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null); \
         cat $f; \
         (echo 1073741824 > $f) 2>&1; \
         mount -o remount,rw,bind ${f%/*} 2>&1; \
         mount -t cgroup2 x /tmp 2>&1; mount -t cgroup -o memory x /tmp 2>&1; \
         (echo 1 > ${f%/*}/cgroup.procs) 2>&1; \
         mkdir ${f%/*}/own 2>&1; \
         (echo 1073741824 > $f) 2>&1; cat $f; sleep 1000",
    );
    b.start();
    wait_until("all is tried", || b.output().matches("67108864").count() == 2);
    let out = b.output();
    let refused = out.lines().filter(|line| {
        line.contains("Read-only file system")
            || line.contains("ermission denied")
            || line.contains("not permitted")
    });
    assert_eq!(refused.count(), 7, "{out}");
    assert_eq!(read(&b, MEMORY), "67108864");
}

#[test]
fn every_flag_of_update_changes_its_file() {
    let Some(mut b) = bundle("every_flag_of_update_changes_its_file") else { return };
    b.config["linux"]["resources"] = json!({
        "memory": { "limit": 67_108_864, "swap": 134_217_728 },
        "cpu": { "quota": 50_000, "period": 100_000 },
        "pids": { "limit": 20 },
    });
    b.args(&["sleep", "1000"]).start();
    let v2 = is_v2();
    let first_v2 = |v1: &'static str, v2_value: &'static str| if v2 { v2_value } else { v1 };
    for (flags, files, want) in [
        (&["--memory", "96M"][..], MEMORY, "100663296"),
        (
            &["--memory", "32M", "--memory-swap", "48M"],
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            first_v2("50331648", "16777216"),
        ),
        (
            &["--memory", "256M", "--memory-swap", "512M"],
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            first_v2("536870912", "268435456"),
        ),
        (
            &["--memory-reservation", "16m"],
            ["memory.soft_limit_in_bytes", "memory.low"],
            "16777216",
        ),
        (&["--cpu-share", "2048"], ["cpu.shares", "cpu.weight"], first_v2("2048", "174")),
        (
            &["--cpu-quota", "20000"],
            ["cpu.cfs_quota_us", "cpu.max"],
            first_v2("20000", "20000 100000"),
        ),
        (
            &["--cpu-period", "50000"],
            ["cpu.cfs_period_us", "cpu.max"],
            first_v2("50000", "20000 50000"),
        ),
        (&["--cpu-burst", "1000"], ["cpu.cfs_burst_us", "cpu.max.burst"], "1000"),
        (
            &["--cpu-quota", "-1", "--cpu-burst", "0"],
            ["cpu.cfs_quota_us", "cpu.max"],
            first_v2("-1", "max 50000"),
        ),
        (&["--cpu-idle", "1"], ["cpu.idle", "cpu.idle"], "1"),
        (&["--cpu-idle", "0"], ["cpu.idle", "cpu.idle"], "0"),
        (&["--cpuset-cpus", "0"], ["cpuset.cpus", "cpuset.cpus"], "0"),
        (&["--cpuset-mems", "0"], ["cpuset.mems", "cpuset.mems"], "0"),
        (&["--pids-limit", "10"], ["pids.max", "pids.max"], "10"),
        (&["--pids-limit", "-1"], ["pids.max", "pids.max"], "max"),
        (&["--pids-limit", "0"], ["pids.max", "pids.max"], "1"),
        (&["--memory", "-1"], MEMORY, first_v2("9223372036854771712", "max")),
    ] {
        let swap = flags.contains(&"--memory-swap");
        if swap && !Hierarchy::detect().unwrap().has_swap_limit() && !v2 {
            println!("skipped: swap accounting: memory.memsw.limit_in_bytes");
            continue;
        }
        let args: Vec<&str> = [&["update"], flags, &["c"]].concat();
        b.call(&args).ok();
        assert_eq!(read(&b, files), want, "{flags:?}");
    }
    for (flags, why) in [
        (&["--cpu-quota", "x"][..], "cpu-quota"),
        (&["--memory", "12q"], "invalid value for memory: invalid size: \"12q\""),
        (&["--cpu-share", "-1"], "cpu-share"),
        (&["--l3-cache-schema", "L3:0=f"], "Intel RDT/CAT: l3 cache schema is not enabled"),
        (&["--memory-swappiness", "5"], "flag provided but not defined: -memory-swappiness"),
    ] {
        b.call(&[&["update"], flags, &["c"]].concat()).fails(why);
    }
}

#[test]
fn update_reads_resources_and_changes_all_or_nothing() {
    let Some(mut b) = bundle("update_reads_resources_and_changes_all_or_nothing") else { return };
    b.config["linux"]["resources"] =
        json!({ "memory": { "limit": 67_108_864 }, "pids": { "limit": 20 } });
    b.args(&["sleep", "1000"]).start();
    let update = |json: &Value| {
        let mut child = b
            .command(&["update", "-r", "-", "c"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(json.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let pids = || read(&b, ["pids.max", "pids.max"]);
    let (ok, err) = update(&json!({ "memory": { "limit": 33_554_432 } }));
    assert!(ok, "{err}");
    assert_eq!((read(&b, MEMORY), pids()), ("33554432".to_owned(), "20".to_owned()));
    // More processes than a kernel can have: the memory limit, which comes first, is put back.
    let limits = json!({ "memory": { "limit": 50_331_648 }, "pids": { "limit": 1_u64 << 40 } });
    let (ok, err) = update(&limits);
    assert!(
        !ok && err.contains("no limit was changed: write(") && err.contains("pids.max"),
        "{err}"
    );
    assert_eq!((read(&b, MEMORY), pids()), ("33554432".to_owned(), "20".to_owned()));
    std::fs::write(b.dir.join("limits"), r#"{"pids":{"limit":5}}"#).unwrap();
    b.call(&["update", "--resources", "limits", "--pids-limit", "7", "c"]).ok();
    assert_eq!(pids(), "5");
    b.call(&["update", "-r", "nowhere", "c"]).fails("--resources \"nowhere\"");
    // A field that needs a controller which no machine of today has in both versions.
    if !Hierarchy::detect().unwrap().has("net_cls") {
        let (ok, err) = update(&json!({ "network": { "classID": 1 } }));
        assert!(!ok, "{err}");
        assert!(err.contains("linux.resources.network.classID"), "{err}");
        assert!(err.contains("`net_cls` is not available"), "{err}");
    }
}

#[test]
fn a_missing_controller_is_told_with_its_field() {
    let Some(mut b) = bundle("a_missing_controller_is_told_with_its_field") else { return };
    if Hierarchy::detect().unwrap().has("net_prio") {
        println!("skipped: no net_prio: this machine has the controller");
        return;
    }
    b.config["linux"]["resources"] =
        json!({ "network": { "priorities": [{ "name": "lo", "priority": 1 }] } });
    b.write();
    let ran = b.call(&["create", "c"]);
    ran.fails("linux.resources.network.priorities: the cgroup controller `net_prio`");
    b.assert_nothing_left();
}

#[test]
fn unified_is_for_v2_alone() {
    let Some(mut b) = bundle("unified_is_for_v2_alone") else { return };
    b.config["linux"]["resources"] = json!({ "unified": { "memory.high": "33554432" } });
    b.args(&["sleep", "1000"]).write();
    if is_v2() {
        b.start();
        assert_eq!(read(&b, ["memory.high", "memory.high"]), "33554432");
        b.config["linux"]["resources"] = json!({ "unified": { "nothing.max": "1" } });
        b.call(&["delete", "--force", "c"]).ok();
        b.write();
        b.call(&["create", "c"]).fails("controller `nothing` is not available");
    } else {
        b.call(&["create", "c"])
            .fails("unified resource `memory.high`: invalid configuration: cannot use unified on cgroup v1");
    }
    b.assert_nothing_left();
}

#[test]
fn the_smallest_limit_on_processes_lets_it_start() {
    let Some(mut b) = bundle("the_smallest_limit_on_processes_lets_it_start") else { return };
    b.config["linux"]["resources"] = json!({ "pids": { "limit": 0 } });
    b.script("echo up; (true) 2>/dev/null || true; echo on");
    let ran = b.run();
    assert_eq!(ran.out, "up\n", "a shell cannot fork: {}", ran.err);
    b.assert_nothing_left();
}

/// A bomb that does not go out by itself: who finds no room ends, and makes some for the others.
const BOMB: &str = "b() { while :; do b & done; }; (b 2>/dev/null) & exec sleep 1000";

#[test]
pub(crate) fn a_fork_bomb_is_killed_with_its_container() {
    let Some(mut b) = bundle("a_fork_bomb_is_killed_with_its_container") else { return };
    b.config["linux"]["resources"] = json!({ "pids": { "limit": 60 } });
    for own_pid_namespace in [true, false] {
        if !own_pid_namespace {
            let list = b.config["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|ns| ns["type"] != "pid");
        }
        b.script(BOMB).start();
        let count = || read(&b, ["pids.current", "pids.current"]).parse::<u32>().unwrap_or(0);
        wait_until("the bomb is large", || count() > 30);
        b.call(&["kill", "c", "KILL"]).ok();
        wait_until("all have ended", || {
            b.cgroups().iter().all(|dir| {
                std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().is_empty()
            })
        });
        assert_eq!(b.status(), "stopped");
        b.call(&["kill", "c", "KILL"]).fails("container not running");
        b.call(&["delete", "c"]).ok();
        b.assert_nothing_left();
        b.start();
        wait_until("the bomb is large again", || count() > 30);
        b.call(&["delete", "--force", "c"]).ok();
        b.assert_nothing_left();
    }
}

#[test]
fn what_outlives_the_first_process_can_be_killed() {
    let Some(mut b) = bundle("what_outlives_the_first_process_can_be_killed") else { return };
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "pid");
    b.script("setsid sleep 1000 & setsid sleep 1000 & echo up; read x < /dev/zero; exit").start();
    wait_until("it is up", || b.output() == "up\n");
    b.call(&["kill", "c", "TERM"]).ok();
    let list = b.cgroups().iter().find_map(|dir| {
        let text = std::fs::read_to_string(dir.join("cgroup.procs")).ok()?;
        (!text.is_empty()).then_some(dir.join("cgroup.procs"))
    });
    let left = || std::fs::read_to_string(list.as_ref().unwrap()).unwrap_or_default();
    // The shell may have been stopped by the signal or not: it is the first, and it ends.
    b.call(&["kill", "c", "KILL"]).ok();
    wait_until("none is left", || left().is_empty());
    assert_eq!(b.status(), "stopped");
    b.call(&["kill", "c", "KILL"]).fails("container not running");
    b.call(&["kill", "--all", "c", "KILL"]).ok();
    b.call(&["delete", "c"]).ok();
    b.assert_nothing_left();
}

#[test]
fn a_kill_in_a_shared_cgroup_spares_the_others() {
    let Some(mut b) = bundle("a_kill_in_a_shared_cgroup_spares_the_others") else { return };
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "pid");
    b.args(&["sleep", "1000"]).start();
    let second = |args: &[&str]| {
        let null = || Stdio::null();
        b.command(args).stdout(null()).stderr(null()).status().unwrap().success()
    };
    assert!(second(&["create", "d"]) && second(&["start", "d"]));
    assert!(second(&["kill", "--all", "d", "USR1"]));
    let state = || b.call(&["state", "d"]).ok();
    wait_until("the second has stopped", || state().contains("stopped"));
    b.call(&["delete", "d"]).ok();
    assert_eq!(b.status(), "running");
    assert!(second(&["create", "d"]) && second(&["kill", "d", "KILL"]));
    wait_until("it has stopped again", || state().contains("stopped"));
    b.call(&["delete", "d"]).ok();
    assert_eq!(b.status(), "running");
}

/// Deeper than the runtime may have descriptors.
#[test]
fn nested_cgroups_of_the_container_go_with_it() {
    let Some(mut b) = bundle("nested_cgroups_of_the_container_go_with_it") else { return };
    mount_cgroups(&mut b, "rw");
    b.script(
        "cd /sys/fs/cgroup; [ -d pids ] && cd pids; \
         mkdir side side/one; (echo 0 > side/one/cgroup.procs) 2>/dev/null; \
         i=0; while [ $i -lt 200 ]; do mkdir x && cd x || exit 1; i=$((i+1)); done; \
         echo deep; sleep 1000",
    );
    b.start();
    wait_until("all are made", || b.output().contains("deep"));
    let program = env!("CARGO_BIN_EXE_dhow-runtime");
    let script = "ulimit -n 64; exec \"$0\" \"$@\"";
    let root = b.dir.join("state");
    let output = std::process::Command::new("sh")
        .args(["-c", script, program, "--root", root.to_str().unwrap()])
        .args(["delete", "--force", "c"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    b.assert_nothing_left();
}

#[test]
fn events_have_runcs_form() {
    let Some(mut b) = bundle("events_have_runcs_form") else { return };
    b.config["linux"]["resources"] =
        json!({ "memory": { "limit": 33_554_432 }, "pids": { "limit": 9 } });
    b.script("sleep 1000 & wait").start();
    let line = b.call(&["events", "--stats", "c"]).ok();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("c")));
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 33_554_432);
    assert!(data["memory"]["raw"].as_object().unwrap().len() > 10, "{line}");
    assert_eq!(data["pids"]["limit"], 9);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{line}");
    assert!(data["cpu"]["usage"]["kernel"].is_u64() && data["cpuset"].is_object(), "{line}");
    assert!(data["hugetlb"].is_object() && data["intel_rdt"].is_object(), "{line}");
    for wrong in ["0", "x", "-1s"] {
        b.call(&["events", "--interval", wrong, "c"]).fails("interval");
    }
    b.call(&["kill", "c", "KILL"]).ok();
    wait_until("it has stopped", || b.status() == "stopped");
    b.call(&["events", "--stats", "c"]).fails("container with id c is not running");
}

#[test]
pub(crate) fn events_tell_of_want_of_memory_until_the_end() {
    let Some(mut b) = bundle("events_tell_of_want_of_memory_until_the_end") else { return };
    b.config["linux"]["resources"] = json!({ "memory": { "limit": 33_554_432 } });
    b.script(
        "while [ ! -e /tmp/go ]; do sleep 0.05; done; \
         busybox dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 0.3; exit 0",
    );
    b.start();
    let out = std::fs::File::create(b.dir.join("events")).unwrap();
    let mut events = b
        .command(&["events", "--interval", "50ms", "c"])
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(b.dir.join("events")).unwrap();
    wait_until("it reports", || said().lines().count() >= 2);
    std::fs::write(b.rootfs().join("tmp/go"), "").unwrap();
    wait_until("the want of memory is told", || said().contains(r#""type":"oom""#));
    wait_until("it ends with the container", || events.try_wait().unwrap().is_some());
    let said = said();
    for line in said.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let kind = event["type"].as_str().unwrap();
        assert!(kind == "oom" && event.get("data").is_none() || kind == "stats", "{line}");
    }
}

#[test]
pub(crate) fn a_paused_container_is_changed_signalled_and_killed() {
    let Some(mut b) = bundle("a_paused_container_is_changed_signalled_and_killed") else { return };
    b.script("trap 'echo got' USR1; echo up; while :; do sleep 0.02; done").start();
    wait_until("it is up", || b.output() == "up\n");
    b.call(&["pause", "c"]).ok();
    b.call(&["pause", "c"]).fails("cannot pause a container that is paused");
    b.call(&["update", "--pids-limit", "50", "c"]).ok();
    assert_eq!(read(&b, ["pids.max", "pids.max"]), "50");
    b.call(&["kill", "--all", "c", "USR1"]).ok();
    assert_eq!(b.status(), "paused", "a signal does not thaw");
    assert_eq!(b.output(), "up\n");
    b.call(&["resume", "c"]).ok();
    wait_until("the signal has come", || b.output().contains("got"));
    b.call(&["pause", "c"]).ok();
    b.call(&["kill", "c", "KILL"]).ok();
    wait_until("it has stopped", || b.status() == "stopped");
    b.call(&["resume", "c"]).fails("cannot resume a container that is stopped");
    b.call(&["pause", "c"]).fails("cannot pause a container that is stopped");
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened() {
    let Some(mut b) = bundle("a_device_that_is_not_allowed_cannot_be_opened") else { return };
    let devices = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 240, "minor": 1, "access": "r" },
    ]);
    b.config["linux"]["resources"] = json!({ "devices": devices });
    b.script(
        "mknod /tmp/a c 240 1; mknod /tmp/b c 240 2; mknod /tmp/c b 240 1; mknod /tmp/null c 1 3; \
         for f in a b c null; do (: < /tmp/$f) 2>&1; (: >> /tmp/$f) 2>&1; done",
    );
    let out = b.run().out;
    // Nobody serves these numbers, which is told only to who may open them.
    let is_denied = |line: &str| line.contains("not permitted");
    let denied: Vec<bool> = out.lines().map(is_denied).collect();
    assert_eq!(denied, [false, true, true, true, true, true], "{out}");
    assert!(out.lines().next().is_some_and(|line| line.contains("No such device")), "{out}");
    b.config["linux"]["resources"]["devices"][1] =
        json!({ "allow": true, "type": "c", "access": "rwm" });
    let hole = json!({ "allow": false, "type": "c", "major": 1, "minor": 1, "access": "w" });
    b.config["linux"]["resources"]["devices"].as_array_mut().unwrap().push(hole);
    b.write();
    b.call(&["create", "c"])
        .fails("device rule `c 1:1 w`: cannot punch a hole in the wider rule `c *:* rwm`");
    b.assert_nothing_left();
}
