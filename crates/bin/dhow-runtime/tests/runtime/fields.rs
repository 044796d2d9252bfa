//! Fields of the process, and what the runtime says about itself.

use serde_json::{Value, json};

use crate::bundle::bundle;

#[test]
fn an_executed_process_runs_where_it_should() {
    let Some(mut b) = bundle("an_executed_process_runs_where_it_should") else { return };
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let cpus: Vec<usize> = (0..1024).filter(|cpu| allowed.is_set(*cpu)).collect();
    let [first, .., last] = cpus.as_slice() else {
        println!("skipped: an_executed_process_runs_where_it_should: needs two processors");
        return;
    };
    let list = "grep Cpus_allowed_list /proc/self/status";
    b.config["process"]["execCPUAffinity"] =
        json!({ "initial": first.to_string(), "final": last.to_string() });
    b.args(&["sleep", "1000"]).start();
    assert_eq!(
        b.call(&["exec", "c", "sh", "-c", list]).ok(),
        format!("Cpus_allowed_list:\t{last}\n")
    );
    // The first process is not concerned.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap().to_owned();
    let pid = std::fs::read_to_string(b.dir.join("pid")).unwrap();
    let init = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(init.contains(&own), "{own}: {init}");
    // A description of its own may say otherwise, or only the first half.
    let process = b.dir.join("process.json");
    let write = |affinity: Value| {
        let process_json = json!({ "args": ["sh", "-c", list], "cwd": "/", "env": ["PATH=/bin"],
            "execCPUAffinity": affinity });
        std::fs::write(&process, process_json.to_string()).unwrap();
    };
    write(json!({ "initial": last.to_string() }));
    let exec = ["exec", "--process", process.to_str().unwrap(), "c"];
    // Without the second half it is the kernel's to say, and before Linux 6.2 a process that comes into
    // another cpuset forgets where it was.
    let out = b.call(&exec).ok();
    assert!(
        [format!("Cpus_allowed_list:\t{last}"), own].contains(&out.trim_end().to_owned()),
        "{out}"
    );
    write(json!({ "final": "0-x" }));
    b.call(&exec).fails("process.execCPUAffinity.final: `0-x` is not a list of numbers and ranges");
    write(json!({ "final": "1000" }));
    b.call(&exec).fails("process.execCPUAffinity.final: sched_setaffinity(");
}

#[test]
fn memory_comes_from_the_nodes_asked_for() {
    let Some(mut b) = bundle("memory_comes_from_the_nodes_asked_for") else { return };
    b.config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" });
    let ran = b.script("head -1 /proc/self/numa_maps").run();
    if ran.err.contains("Function not implemented") {
        println!("skipped: memory_comes_from_the_nodes_asked_for: this kernel has no NUMA");
        return;
    }
    assert!(ran.out.contains(" bind:0 "), "{}{}", ran.out, ran.err);
    for (policy, why) in [
        (json!({ "mode": "MPOL_NONE" }), "linux.memoryPolicy.mode: `MPOL_NONE` is not known"),
        (json!({ "mode": "MPOL_BIND", "nodes": "1-0" }), "linux.memoryPolicy.nodes: `1-0`"),
        (json!({ "mode": "MPOL_LOCAL", "nodes": "0" }), "must be empty for MPOL_LOCAL"),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["x"] }),
            "linux.memoryPolicy.flags: `x`",
        ),
        (json!({ "mode": "MPOL_BIND", "nodes": "1023" }), "linux.memoryPolicy: set_mempolicy("),
    ] {
        b.config["linux"]["memoryPolicy"] = policy;
        b.run().fails(why);
        b.assert_nothing_left();
    }
}

#[test]
fn what_is_for_other_systems_is_ignored() {
    let Some(mut b) = bundle("what_is_for_other_systems_is_ignored") else { return };
    for system in ["vm", "solaris", "windows", "zos", "freebsd"] {
        b.config[system] = json!({ "anything": [1, { "at": "all" }] });
    }
    b.config["process"]["commandLine"] = json!("cmd /c dir");
    b.config["process"]["user"]["username"] = json!("containeradministrator");
    b.config["process"]["consoleSize"] = json!({ "height": 99_999_999, "width": 1 });
    b.config["org.example.later"] = json!({ "x": 1 });
    b.config["linux"]["later"] = json!([]);
    assert_eq!(b.args(&["echo", "fine"]).run().ok(), "fine\n");
}

#[test]
fn the_features_are_what_the_specification_knows() {
    let Some(b) = bundle("the_features_are_what_the_specification_knows") else { return };
    let features: Value = serde_json::from_str(&b.call(&["features"]).ok()).unwrap();
    let keys =
        |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    for key in keys(&features).split(' ') {
        let known = [
            "annotations",
            "hooks",
            "linux",
            "mountOptions",
            "ociVersionMax",
            "ociVersionMin",
            "potentiallyUnsafeConfigAnnotations",
        ];
        assert!(known.contains(&key), "{key}");
    }
    assert_eq!(
        keys(&features["linux"]),
        "apparmor capabilities cgroup intelRdt memoryPolicy mountExtensions namespaces netDevices \
         seccomp selinux"
    );
    assert_eq!(keys(&features["linux"]["cgroup"]), "rdma systemd systemdUser v1 v2");
    assert_eq!(
        keys(&features["linux"]["seccomp"]),
        "actions archs enabled knownFlags operators supportedFlags"
    );
    assert_eq!(keys(&features["linux"]["intelRdt"]), "enabled monitoring schemata");
    assert_eq!(features["linux"]["memoryPolicy"]["modes"].as_array().unwrap().len(), 7);
    assert_eq!(features["linux"]["netDevices"]["enabled"], true);
    assert_eq!(features["linux"]["namespaces"].as_array().unwrap().len(), 8);
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    // What it says that it accepts is accepted.
    let Some(mut b) = bundle("the_features_are_what_the_specification_knows") else { return };
    for version in ["ociVersionMin", "ociVersionMax"] {
        b.config["ociVersion"] = features[version].clone();
        b.args(&["true"]).run().ok();
    }
}

#[test]
fn a_profile_confines_the_program_and_what_is_executed() {
    if !testkit::Need::AppArmor.is_met() {
        return;
    }
    let Some(mut b) = bundle("a_profile_confines_the_program_and_what_is_executed") else { return };
    apparmor::load_default().unwrap();
    let original = b.config.clone();
    let current = "cat /proc/self/attr/current";
    // Whatever else it may do, the profile lets it mount nothing.
    let tries = format!("{current}; mount -t tmpfs none /tmp 2>/dev/null || echo refused");
    b.config["process"]["apparmorProfile"] = json!(apparmor::DEFAULT);
    let caps = json!(["CAP_SYS_ADMIN", "CAP_KILL"]);
    for set in ["bounding", "effective", "permitted"] {
        b.config["process"]["capabilities"][set] = caps.clone();
    }
    b.config["linux"].as_object_mut().unwrap().remove("seccomp");
    let confined = format!("{} (enforce)\nrefused\n", apparmor::DEFAULT);
    assert_eq!(b.script(&tries).run().ok(), confined);
    b.args(&["sleep", "1000"]).start();
    assert_eq!(
        b.call(&["exec", "--apparmor", apparmor::DEFAULT, "c", "sh", "-c", &tries]).ok(),
        confined
    );
    b.call(&["delete", "--force", "c"]).ok();
    // The same without it.
    b.config["process"].as_object_mut().unwrap().remove("apparmorProfile");
    assert_eq!(b.script(&tries).run().ok(), "unconfined\n");
    b.config = original;
    b.config["process"]["apparmorProfile"] = json!("dhow-no-such-profile");
    let ran = b.args(&["true"]).run();
    ran.fails("process.apparmorProfile: dhow-no-such-profile");
}

#[test]
fn hooks_begin_in_the_bundle_with_nothing_but_their_own() {
    let Some(mut b) = bundle("hooks_begin_in_the_bundle_with_nothing_but_their_own") else {
        return;
    };
    let hook = |name: &str| {
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("(echo {name}; pwd; env | grep -v -e PWD -e SHLVL -e _=) >> {}/said", b.dir.display())],
                 "env": ["A=1"] }])
    };
    b.config["hooks"] = json!({ "createRuntime": hook("r"), "createContainer": hook("c") });
    b.args(&["true"]).write();
    let bundle = b.dir.to_str().unwrap().to_owned();
    let mut command = b.command(&["run", "--bundle", &bundle, "c"]);
    let output = command.current_dir("/").env("SECRET", "x").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = std::fs::read_to_string(b.dir.join("said")).unwrap();
    assert_eq!(said, format!("r\n{bundle}\nA=1\nc\n{bundle}/rootfs\nA=1\n"));
}

#[test]
fn a_program_that_cannot_be_executed_is_named() {
    let Some(mut b) = bundle("a_program_that_cannot_be_executed_is_named") else { return };
    std::fs::write(b.rootfs().join("bin/plain"), "").unwrap();
    for (program, why) in [
        ("nothing", "exec: \"nothing\": executable file not found in $PATH"),
        ("/bin/nothing", "exec: \"/bin/nothing\": stat /bin/nothing: no such file or directory"),
        ("/bin/plain", "exec: \"/bin/plain\": permission denied"),
        ("/bin", "exec: \"/bin\": is a directory"),
        ("/etc/passwd/x", "not a directory"),
    ] {
        b.args(&[program]).run().fails(why);
        b.assert_nothing_left();
    }
    // What is looked for is looked for where the container's own environment says.
    b.config["process"]["env"] = json!(["PATH=/none:/bin"]);
    b.args(&["true"]).run().ok();
    b.config["process"]["env"] = json!(["PATH=/none"]);
    b.args(&["true"]).run().fails("executable file not found in $PATH");
    // A missing working directory is made, one that is none is refused.
    b.config["process"]["env"] = json!(["PATH=/bin"]);
    b.config["process"]["cwd"] = json!("/etc/passwd");
    b.args(&["true"]).run().fails("/etc/passwd");
    b.assert_nothing_left();
}
