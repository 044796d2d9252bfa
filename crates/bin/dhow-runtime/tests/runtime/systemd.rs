//! systemd's cgroup driver: `--systemd-cgroup`.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Ran, bundle, wait_until};

/// A bundle whose unit is `dhowtest-PID-N.scope`, in a slice of a slice. `None` without systemd.
fn in_scope(test: &str) -> Option<(Bundle, String)> {
    if !Path::new("/run/systemd/system").is_dir() {
        println!("skipped: Systemd: it is not this machine's init");
        return None;
    }
    let mut b = bundle(test)?;
    let name = b.cgroup.trim_start_matches("/dhow-test-").to_owned();
    b.config["linux"]["cgroupsPath"] = json!(format!("dhowtest-sub.slice:dhowtest:{name}"));
    b.args(&["sleep", "1000"]).write();
    Some((b, format!("dhowtest-{name}.scope")))
}

fn call(b: &Bundle, args: &[&str]) -> Ran {
    b.call(&[&["--systemd-cgroup"], args].concat())
}

/// Creates and starts the container, whose output goes to a file.
fn start(b: &Bundle) -> i32 {
    b.write();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    let mut command = b.command(&["--systemd-cgroup", "create", "--pid-file", "pid", "c"]);
    let status = command.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
    assert!(status.success(), "create: {}", b.output());
    call(b, &["start", "c"]).ok();
    std::fs::read_to_string(b.dir.join("pid")).unwrap().parse().unwrap()
}

/// Runs a command whose process goes on, and would keep a pipe open.
fn detached(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// What systemd says of a unit: `KEY=VALUE` by key.
fn shown(unit: &str, key: &str) -> String {
    let output =
        Command::new("systemctl").args(["show", "--property", key, unit]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().strip_prefix(&format!("{key}=")).unwrap_or_default().to_owned()
}

/// Whether systemd has forgotten it.
fn is_gone(unit: &str) -> bool {
    shown(unit, "ActiveState") == "inactive" && shown(unit, "Transient") != "yes"
}

/// The directories of a process's cgroup that exist, and the path.
fn path_of(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // v2's, or that of systemd's own tree.
    let line =
        lines.iter().find(|line| line.contains(":name=systemd:") || line.starts_with("0::/d"));
    line.unwrap().rsplit(':').next().unwrap().to_owned()
}

fn read(path: &str, files: [(&str, &str); 2]) -> String {
    let trees = [format!("/sys/fs/cgroup{path}"), format!("/sys/fs/cgroup/{}{path}", files[0].0)];
    let found = trees.iter().zip([files[1].1, files[0].1]);
    let mut texts =
        found.filter_map(|(tree, file)| std::fs::read_to_string(format!("{tree}/{file}")).ok());
    texts.next().unwrap_or_else(|| panic!("{trees:?}: {files:?}")).trim().to_owned()
}

#[test]
fn a_container_is_a_scope_for_its_whole_life() {
    let Some((mut b, unit)) = in_scope("a_container_is_a_scope_for_its_whole_life") else { return };
    b.config["linux"]["resources"] = json!({
        "memory": { "limit": 67_108_864 },
        "pids": { "limit": 30 },
        "cpu": { "quota": 33_333, "period": 100_000 },
    });
    let pid = start(&b);
    assert_eq!(shown(&unit, "ActiveState"), "active");
    assert_eq!(shown(&unit, "Slice"), "dhowtest-sub.slice");
    assert_eq!(shown(&unit, "Delegate"), "yes");
    assert_eq!(shown(&unit, "TasksMax"), "30");
    assert_eq!(shown(&unit, "CPUQuotaPerSecUSec"), "340ms");
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(shown(&unit, if v2 { "MemoryMax" } else { "MemoryLimit" }), "67108864");
    let path = path_of(pid);
    assert_eq!(path, format!("/dhowtest.slice/dhowtest-sub.slice/{unit}"));
    let memory = [("memory", "memory.limit_in_bytes"), ("", "memory.max")];
    let pids = [("pids", "pids.max"), ("", "pids.max")];
    let cpu = [("cpu", "cpu.cfs_quota_us"), ("", "cpu.max")];
    assert_eq!(read(&path, memory), "67108864");
    assert_eq!(read(&path, pids), "30");
    // Not as systemd rounds it.
    assert!(read(&path, cpu).starts_with("33333"), "{}", read(&path, cpu));
    // All its processes are there.
    let inside = call(&b, &["exec", "c", "cat", "/proc/self/cgroup"]).ok();
    assert!(
        inside
            .lines()
            .all(|line| line.ends_with(":/") || line.contains("systemd") || line.contains("misc")),
        "{inside}"
    );
    let args = ["--systemd-cgroup", "exec", "--detach", "--pid-file", "exec", "c", "sleep", "1000"];
    detached(&mut b.command(&args));
    let other: i32 = std::fs::read_to_string(b.dir.join("exec")).unwrap().parse().unwrap();
    assert_eq!(path_of(other), path);
    // A change reaches both.
    call(&b, &["update", "--memory", "33554432", "--pids-limit", "20", "c"]).ok();
    assert_eq!(shown(&unit, "TasksMax"), "20");
    assert_eq!(shown(&unit, if v2 { "MemoryMax" } else { "MemoryLimit" }), "33554432");
    assert_eq!(read(&path, memory), "33554432");
    assert_eq!(read(&path, pids), "20");
    // What systemd does to all units leaves it as it is.
    let status = Command::new("systemctl").arg("daemon-reload").status().unwrap();
    assert!(status.success());
    assert_eq!(read(&path, memory), "33554432");
    call(&b, &["exec", "c", "sh", "-c", "echo >/dev/null"]).ok();
    call(&b, &["pause", "c"]).ok();
    assert_eq!(b.status(), "paused");
    call(&b, &["resume", "c"]).ok();
    assert!(call(&b, &["events", "--stats", "c"]).ok().contains("33554432"));
    call(&b, &["delete", "--force", "c"]).ok();
    assert!(is_gone(&unit));
    assert!(!Path::new(&format!("/sys/fs/cgroup{path}")).exists());
}

#[test]
fn in_the_foreground_too_and_nothing_is_left() {
    let Some((mut b, unit)) = in_scope("in_the_foreground_too_and_nothing_is_left") else { return };
    b.script("echo hello; exit 3").write();
    let ran = call(&b, &["run", "c"]);
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (3, "hello\n", ""));
    assert!(is_gone(&unit));
}

#[test]
fn annotations_are_properties_of_the_unit() {
    let Some((mut b, unit)) = in_scope("annotations_are_properties_of_the_unit") else { return };
    b.config["annotations"] = json!({
        "org.systemd.property.Description": "'a box of ours'",
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
    });
    start(&b);
    assert_eq!(shown(&unit, "Description"), "a box of ours");
    assert_eq!(shown(&unit, "TimeoutStopUSec"), "7s");
    assert_eq!(shown(&unit, "CollectMode"), "inactive-or-failed");
}

#[test]
fn what_systemd_refuses_is_told_and_leaves_nothing() {
    let Some((mut b, unit)) = in_scope("what_systemd_refuses_is_told_and_leaves_nothing") else {
        return;
    };
    b.config["annotations"] = json!({ "org.systemd.property.NoSuchThing": "true" });
    b.write();
    call(&b, &["run", "c"]).fails("NoSuchThing");
    b.assert_nothing_left();
    b.config["annotations"] = json!({ "org.systemd.property.CollectMode": "nonsense" });
    b.write();
    call(&b, &["run", "c"]).fails("annotations.org.systemd.property.CollectMode: `nonsense`");
    b.config["annotations"] = json!({});
    b.config["linux"]["cgroupsPath"] = json!("/a/path");
    b.write();
    call(&b, &["run", "c"]).fails("\"slice:prefix:name\"");
    b.assert_nothing_left();
    assert!(is_gone(&unit));
}

#[test]
fn a_unit_that_is_in_use_is_left_alone() {
    let Some((b, unit)) = in_scope("a_unit_that_is_in_use_is_left_alone") else { return };
    let pid = start(&b);
    let ran = call(&b, &["run", "other"]);
    assert_ne!(ran.status, 0);
    assert!(ran.err.contains("UnitExists"), "{}", ran.err);
    assert_eq!(b.status(), "running");
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(shown(&unit, "ActiveState"), "active");
}

#[test]
fn a_container_that_ends_takes_its_unit_along() {
    let Some((b, unit)) = in_scope("a_container_that_ends_takes_its_unit_along") else { return };
    start(&b);
    call(&b, &["kill", "c", "KILL"]).ok();
    wait_until("the unit is gone", || is_gone(&unit));
    wait_until("it has stopped", || b.status() == "stopped");
    call(&b, &["delete", "c"]).ok();
}

#[test]
fn devices_are_those_of_the_configuration() {
    let Some((mut b, unit)) = in_scope("devices_are_those_of_the_configuration") else { return };
    b.config["process"]["capabilities"]["bounding"] = json!(["CAP_MKNOD"]);
    b.config["process"]["capabilities"]["effective"] = json!(["CAP_MKNOD"]);
    b.config["process"]["capabilities"]["permitted"] = json!(["CAP_MKNOD"]);
    b.config["linux"]["resources"] = json!({ "devices": [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "b", "major": 7, "minor": 0, "access": "r" },
    ]});
    start(&b);
    assert_eq!(shown(&unit, "DevicePolicy"), "strict");
    let allowed = shown(&unit, "DeviceAllow");
    assert!(allowed.contains("/dev/block/7:0 r"), "{allowed}");
    // Only its reading was asked for.
    let script = "mknod /tmp/loop b 7 0 && exec 3</tmp/loop && echo read; \
                  (exec 3>>/tmp/loop) 2>&1; echo >/dev/null && echo null";
    let out = call(&b, &["exec", "c", "sh", "-c", script]).ok();
    assert!(out.starts_with("read\n") && out.ends_with("null\n"), "{out}");
    assert!(out.contains("Operation not permitted"), "{out}");
}

#[test]
fn whatever_kills_the_runtime_force_removes_the_unit() {
    if !cfg!(feature = "failpoints") {
        println!("skipped: Failpoints: built without the feature");
        return;
    }
    let Some((b, unit)) = in_scope("whatever_kills_the_runtime_force_removes_the_unit") else {
        return;
    };
    let steps = ["systemd.", "cgroup.attach", "cgroup.create", "cgroup.limit", "runtime.record"];
    let names =
        failpoint::ALL.iter().filter(|name| steps.iter().any(|step| name.starts_with(step)));
    let mut hit = 0;
    for name in names {
        for action in ["kill", "error"] {
            let failed = ["create", "delete"].iter().any(|command| {
                let force: &[&str] = if *command == "delete" { &["--force"] } else { &[] };
                let args = [&["--systemd-cgroup", command], force, &["c"]].concat();
                let status = b
                    .command(&args)
                    .env("DHOW_FAILPOINTS", format!("{name}={action}"))
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                !status.unwrap().success()
            });
            hit += u32::from(failed);
            call(&b, &["delete", "--force", "c"]).ok();
            assert!(is_gone(&unit), "{action} at {name}");
            b.assert_nothing_left();
        }
    }
    assert!(hit >= 16, "only {hit} steps went wrong");
}

#[test]
fn without_systemd_it_says_so() {
    if Path::new("/run/systemd/system").is_dir() {
        println!("skipped: no systemd: it is this machine's init");
        return;
    }
    let Some(mut b) = bundle("without_systemd_it_says_so") else { return };
    b.config["linux"]["cgroupsPath"] = json!("system.slice:dhow:c");
    b.write();
    call(&b, &["run", "c"])
        .fails("systemd not running on this host, cannot use systemd cgroups manager");
    b.assert_nothing_left();
}

/// The user that the guest has a session of systemd's for.
const USER: &str = "1000";

/// A command of the runtime, as that user.
fn as_user(b: &Bundle, args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--reset-env", "--"]);
    command.arg("env").arg(format!("XDG_RUNTIME_DIR=/run/user/{USER}"));
    command.arg(b.dir.join("dhow-runtime")).arg("--root").arg(b.dir.join("state"));
    command.arg("--systemd-cgroup").args(args).current_dir(&b.dir).stdin(Stdio::null());
    command
}

/// It, and it succeeds.
fn well(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_user_has_scopes_of_their_own() {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !v2 || !Path::new("/run/user").join(USER).join("bus").exists() {
        println!("skipped: UserSystemd: user {USER} has no session of systemd's with cgroup v2");
        return;
    }
    let Some((mut b, unit)) = in_scope("a_user_has_scopes_of_their_own") else { return };
    b.namespace("user", None);
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    b.config["linux"]["uidMappings"] = map.clone();
    b.config["linux"]["gidMappings"] = map;
    b.config["linux"]["resources"] = json!({ "pids": { "limit": 30 } });
    b.write();
    std::fs::copy(env!("CARGO_BIN_EXE_dhow-runtime"), b.dir.join("dhow-runtime")).unwrap();
    let owner = format!("{USER}:{USER}");
    assert!(Command::new("chown").args(["-R", &owner]).arg(&b.dir).status().unwrap().success());
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    let mut command = as_user(&b, &["run", "--detach", "--pid-file", "pid", "c"]);
    let status = command.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
    assert!(status.success(), "run: {}", b.output());
    let pid: i32 = std::fs::read_to_string(b.dir.join("pid")).unwrap().parse().unwrap();
    let path = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = path.trim().trim_start_matches("0::").to_owned();
    let own = format!("/user.slice/user-{USER}.slice/user@{USER}.service");
    assert_eq!(path, format!("{own}/dhowtest.slice/dhowtest-sub.slice/{unit}"));
    assert_eq!(read(&path, [("", ""), ("", "pids.max")]), "30");
    detached(&mut as_user(&b, &["exec", "--detach", "--pid-file", "exec", "c", "sleep", "1000"]));
    let other: i32 = std::fs::read_to_string(b.dir.join("exec")).unwrap().parse().unwrap();
    let other = std::fs::read_to_string(format!("/proc/{other}/cgroup")).unwrap();
    assert_eq!(other.trim(), format!("0::{path}"));
    well(&mut as_user(&b, &["update", "--pids-limit", "20", "c"]));
    assert_eq!(read(&path, [("", ""), ("", "pids.max")]), "20");
    well(&mut as_user(&b, &["delete", "--force", "c"]));
    assert!(!Path::new(&format!("/sys/fs/cgroup{path}")).exists());
}
