//! What is wrong is said in one line that names it, and leaves nothing behind.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::bundle::{Bundle, Ran, bundle};

/// Sets what `pointer` leads to, also where it is not there yet.
fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut place = config;
    for key in pointer.split('/').skip(1) {
        place = match key.parse::<usize>() {
            Ok(number) if place.is_array() => &mut place[number],
            _ => &mut place[key],
        };
    }
    *place = value;
}

#[test]
fn each_wrong_field_is_named_with_its_value() {
    let Some(mut b) = bundle("each_wrong_field_is_named_with_its_value") else { return };
    let good = b.config.clone();
    let log = b.dir.join("log");
    for (pointer, value, why) in [
        ("/ociVersion", json!("1.0"), "ociVersion: `1.0` is not a version"),
        ("/ociVersion", json!(1), "ociVersion: invalid type: integer `1`, expected a string"),
        ("/ociVersion", json!("3.0.0"), "ociVersion: `3.0.0` is newer"),
        ("/root", Value::Null, "root is missing"),
        ("/root/path", json!(""), "root.path is missing"),
        ("/root/path", json!("a\u{0}b"), "root.path: `a\\0b` contains a NUL"),
        ("/root/path", json!("config.json"), "config.json\" is not a directory"),
        ("/root/readonly", json!("yes"), "root.readonly: invalid type: string \"yes\""),
        ("/process", Value::Null, "process is missing"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args/0", json!(7), "process.args[0]: invalid type: integer `7`"),
        ("/process/user/uid", json!(-1), "process.user.uid: invalid value: integer `-1`"),
        (
            "/process/user/uid",
            json!(4_294_967_296_u64),
            "process.user.uid: invalid value: integer `4294967296`",
        ),
        ("/process/user/gid", json!(1.5), "process.user.gid: invalid type: floating point `1.5`"),
        (
            "/process/rlimits",
            json!([{ "type": "RLIMIT_NOFILE", "soft": 1 }]),
            "process.rlimits[0]: missing field `hard`",
        ),
        ("/process/oomScoreAdj", json!(2000), "process.oomScoreAdj: `2000`"),
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_FIFO", "priority": 100 }),
            "process.scheduler.priority: `100`",
        ),
        ("/process/scheduler", json!({ "policy": "SCHED_FIFO" }), "process.scheduler"),
        ("/process/capabilities", json!("all"), "process.capabilities: invalid"),
        ("/process/terminal", json!(1), "process.terminal: invalid type: integer `1`"),
        ("/hostname", json!("h".repeat(65)), "is longer than 64 bytes"),
        ("/hostname", json!(["h"]), "hostname: invalid type"),
        ("/mounts/0/type", json!(null), "mounts[0].type"),
        ("/mounts/3/type", json!("nofs"), "(\"nofs\""),
        ("/mounts/0/options", json!("ro"), "mounts[0].options: invalid type: string \"ro\""),
        ("/mounts/1/options", json!(["nosuchoption=1"]), "mounts[1]"),
        (
            "/mounts/1",
            json!({ "destination": "/x", "source": "/nonexistent", "options": ["bind"] }),
            "mounts[1].source: \"/nonexistent\"",
        ),
        (
            "/mounts/1",
            json!({ "destination": "/x", "type": "tmpfs", "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] }),
            "mounts[1].uidMappings",
        ),
        (
            "/linux/namespaces/0/type",
            json!("net"),
            "linux.namespaces[0].type: unknown variant `net`",
        ),
        ("/linux/namespaces/0/type", json!("uts"), "`uts` is there twice"),
        ("/linux/namespaces/0/path", json!("/nonexistent"), "/nonexistent"),
        ("/linux/namespaces/0/path", json!("/tmp"), "`/tmp` is not a pid namespace"),
        (
            "/linux/namespaces/0/path",
            json!("/proc/self/ns/net"),
            "`/proc/self/ns/net` is not a pid namespace",
        ),
        (
            "/linux/namespaces/0/path",
            json!("ns"),
            "linux.namespaces[0].path: `ns` is not an absolute path",
        ),
        ("/linux/cgroupsPath", json!("/a/../../b"), "linux.cgroupsPath: `/a/../../b`"),
        (
            "/linux/sysctl",
            json!({ "kernel.panic": "1" }),
            "linux.sysctl.kernel.panic: `1` is for a parameter of the whole machine",
        ),
        ("/linux/sysctl", json!({ "net.nothing": "1" }), "linux.sysctl"),
        (
            "/linux/devices",
            json!([{ "type": "c", "path": "dev/x", "major": 1, "minor": 3 }]),
            "linux.devices[0].path: `dev/x`",
        ),
        (
            "/linux/devices",
            json!([{ "type": "c", "path": "/dev/x", "major": -1, "minor": 3 }]),
            "linux.devices[0].major: `-1`",
        ),
        (
            "/linux/devices",
            json!([{ "type": "c", "path": "/etc/passwd", "major": 1, "minor": 3 }]),
            "something else is there already",
        ),
        ("/linux/rootfsPropagation", json!("up"), "linux.rootfsPropagation: `up`"),
        (
            "/linux/personality",
            json!({ "domain": "LINUX", "flags": ["x"] }),
            "linux.personality.flags: `x`",
        ),
        ("/linux/seccomp", json!({}), "linux.seccomp: missing field `defaultAction`"),
        (
            "/linux/uidMappings",
            json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
            "linux.uidMappings",
        ),
        ("/linux/timeOffsets", json!({ "monotonic": { "secs": 1 } }), "linux.timeOffsets"),
        ("/hooks", json!({ "prestart": [{ "path": "hook" }] }), "hooks.prestart[0].path: `hook`"),
        (
            "/hooks",
            json!({ "poststop": [{ "path": "/x", "timeout": -1 }] }),
            "hooks.poststop[0].timeout: `-1`",
        ),
        ("/annotations", json!({ "a": 1 }), "annotations.a: invalid type: integer `1`"),
        ("/annotations", json!({ "": "x" }), "annotations have an empty key"),
    ] {
        b.config = good.clone();
        set(&mut b.config, pointer, value);
        b.write();
        let _old = std::fs::remove_file(&log);
        let output = b
            .command(&["--log", log.to_str().unwrap(), "--log-format", "json", "run", "c"])
            .output();
        let ran = Ran::of(&output.unwrap());
        assert_eq!(ran.status, 1, "{pointer}: {}", ran.err);
        ran.fails(why);
        let text = std::fs::read_to_string(&log).unwrap();
        let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(line["level"], "error");
        assert!(line["msg"].as_str().unwrap().contains(why), "{pointer}: {text}");
        b.assert_nothing_left();
    }
}

#[test]
fn what_is_no_configuration_is_told_so() {
    let Some(b) = bundle("what_is_no_configuration_is_told_so") else { return };
    let path = b.dir.join("config.json");
    let text = b.config.to_string();
    let twice = text.replacen('{', "{\"ociVersion\":\"1.0.0\",", 1);
    for (bytes, why) in [
        (Vec::new(), "EOF while parsing"),
        (b"[]".to_vec(), "config.json"),
        (b"\xff\xfe{}".to_vec(), "config.json"),
        (text.as_bytes()[..text.len() / 2].to_vec(), "EOF while parsing"),
        (format!("{text}x").into_bytes(), "trailing characters"),
        (twice.into_bytes(), "ociVersion: duplicate field `ociVersion`"),
        (format!("{{\"x\":{}", "[".repeat(100_000)).into_bytes(), "EOF while parsing a list"),
        (vec![b' '; 100 << 20], "is larger than 16 MiB"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        b.call(&["run", "c"]).fails(why);
        b.assert_nothing_left();
    }
    // A value of any length makes no line of any length.
    std::fs::write(&path, text.replace("\"1.2.0\"", &format!("\"{}\"", "v".repeat(1 << 20))))
        .unwrap();
    let ran = b.call(&["run", "c"]);
    assert!(ran.status == 1 && ran.err.len() < 5000, "{}", ran.err.len());
    std::fs::remove_file(&path).unwrap();
    b.call(&["run", "c"]).fails("config.json");
    std::fs::create_dir(&path).unwrap();
    b.call(&["run", "c"]).fails("config.json");
    std::fs::remove_dir(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    b.call(&["run", "c"]).fails("config.json");
    b.assert_nothing_left();
    let long = "x".repeat(300);
    for id in ["a/b", "..", ".", "", "a b", "a\u{7f}", &long, "ä"] {
        b.call(&["run", id]).fails("invalid container id");
        b.call(&["state", id]).fails("");
    }
}

/// What a field may be instead.
fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        Just(json!("")),
        Just(json!("relative")),
        Just(json!("/nonexistent")),
        Just(json!("a/../b")),
        Just(json!("nul\u{0}nul")),
        Just(json!("x".repeat(5000))),
        Just(json!(0)),
        Just(json!(-1)),
        Just(json!(u64::MAX)),
        Just(json!(i64::MIN)),
        Just(json!(1e300)),
        Just(json!(4_294_967_295_u64)),
        Just(json!({ "a": { "b": [null] } })),
        Just(json!(["x", 1, null])),
        any::<i64>().prop_map(|number| json!(number)),
    ]
}

/// Every place in `value`, as a pointer.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    if !at.is_empty() {
        all.push(at.to_owned());
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(key, one)| {
            places(one, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), all);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, one)| {
            places(one, &format!("{at}/{i}"), all);
        }),
        _ => {}
    }
}

/// A configuration in which much is said.
fn rich(b: &mut Bundle) {
    b.config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 100 }]);
    b.config["process"]["oomScoreAdj"] = json!(100);
    b.config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 1 });
    b.config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 4 });
    b.config["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" });
    b.config["process"]["consoleSize"] = json!({ "height": 10, "width": 10 });
    b.config["process"]["user"]["additionalGids"] = json!([5]);
    b.config["process"]["user"]["umask"] = json!(18);
    b.config["domainname"] = json!("example.org");
    b.config["annotations"] = json!({ "a": "b" });
    b.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    b.config["linux"]["devices"] = json!([{ "type": "c", "path": "/dev/kit", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0 }]);
    b.config["linux"]["personality"] = json!({ "domain": "LINUX" });
    b.config["linux"]["rootfsPropagation"] = json!("slave");
    b.config["linux"]["resources"] = json!({
        "devices": [{ "allow": false, "access": "rwm" }], "pids": { "limit": 100 },
        "memory": { "limit": 268_435_456 }, "cpu": { "shares": 100 },
    });
    b.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] }],
    });
    b.config["hooks"] = json!({ "createRuntime": [
        { "path": "/bin/true", "args": ["true"], "env": ["A=1"], "timeout": 10 }
    ] });
}

#[test]
fn whatever_a_field_is_the_runtime_runs_it_or_says_no() {
    let Some(mut b) = bundle("whatever_a_field_is_the_runtime_runs_it_or_says_no") else { return };
    rich(&mut b);
    b.args(&["true"]).run().ok();
    let good = b.config.clone();
    let mut all = Vec::new();
    places(&good, "", &mut all);
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 300, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let change = (0..all.len(), anything(), any::<bool>());
    let result = runner.run(&change, |(place, value, remove)| {
        let mut config = good.clone();
        let (parent, key) = all[place].rsplit_once('/').unwrap();
        match config.pointer_mut(parent).unwrap() {
            Value::Object(map) if remove => drop(map.remove(key)),
            _ => *config.pointer_mut(&all[place]).unwrap() = value,
        }
        std::fs::write(b.dir.join("config.json"), config.to_string()).unwrap();
        let mut child = b
            .command(&["run", "c"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(b.dir.join("err")).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    panic!("it hangs: {config}");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let err = std::fs::read_to_string(b.dir.join("err")).unwrap();
        prop_assert!(status.code().is_some_and(|code| code != 101), "{status}: {err}{config}");
        prop_assert!(!err.contains("panicked"), "{err}{config}");
        if status.code() == Some(1) {
            let errors = err.lines().filter(|line| !line.contains(": warning: ")).count();
            prop_assert_eq!(errors, 1, "{}{}", err, config);
        }
        b.assert_nothing_left();
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
