//! What the program may do: identity, capabilities, seccomp, limits, descriptors.

use serde_json::json;

use crate::bundle::bundle;

#[test]
fn capabilities_are_exactly_those_asked_for() {
    let Some(mut b) = bundle("capabilities_are_exactly_those_asked_for") else { return };
    b.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
    });
    let script = "grep -E '^Cap|^NoNew' /proc/self/status";
    let out = b.script(script).run().ok();
    // What root executes has all that is in the bounding set.
    assert_eq!(
        out.split_whitespace().collect::<Vec<_>>().join(" "),
        "CapInh: 0000000000000000 CapPrm: 0000000000000021 CapEff: 0000000000000021 \
         CapBnd: 0000000000000021 CapAmb: 0000000000000000 NoNewPrivs: 0"
    );
    b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    b.config["process"]["noNewPrivileges"] = json!(true);
    let out = b.script(script).run().ok();
    assert_eq!(
        out.split_whitespace().collect::<Vec<_>>().join(" "),
        "CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 \
         CapBnd: 0000000000000021 CapAmb: 0000000000000000 NoNewPrivs: 1"
    );
    let caps = json!(["CAP_KILL"]);
    b.config["process"]["capabilities"] = json!({ "bounding": caps, "permitted": caps,
        "effective": caps, "inheritable": caps, "ambient": caps });
    let out = b.script(script).run().ok();
    assert_eq!(out.matches("0000000000000020").count(), 5, "{out}");
}

#[test]
fn without_capabilities_there_are_none() {
    let Some(mut b) = bundle("without_capabilities_there_are_none") else { return };
    b.config["process"].as_object_mut().unwrap().remove("capabilities");
    let out = b.script("grep -E '^Cap' /proc/self/status").run().ok();
    assert_eq!(out.matches("0000000000000000").count(), 5, "{out}");
}

#[test]
fn the_identity_is_the_one_asked_for() {
    let Some(mut b) = bundle("the_identity_is_the_one_asked_for") else { return };
    b.config["process"]["user"] =
        json!({ "uid": 1000, "gid": 20, "additionalGids": [5, 6], "umask": 63 });
    // A user that is called 1000 and is root must not be mistaken for user 1000.
    std::fs::write(
        b.rootfs().join("etc/passwd"),
        "1000:x:0:0::/root:/bin/sh\nu:x:1000:20::/home/u:/bin/sh\n",
    )
    .unwrap();
    let out = b.script("id; umask; echo $HOME").run().ok();
    assert_eq!(out, "uid=1000(u) gid=20 groups=5,6\n0077\n/home/u\n");
    b.config["process"]["env"] = json!(["PATH=/bin", "HOME=/h", "X=1", "X=2"]);
    assert_eq!(b.script("echo $HOME $X").run().ok(), "/h 2\n");
}

#[test]
fn the_environment_is_only_what_was_asked_for() {
    let Some(mut b) = bundle("the_environment_is_only_what_was_asked_for") else { return };
    b.args(&["env"]).write();
    let output = b.command(&["run", "c"]).env("SECRET", "x").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "PATH=/bin\nHOME=/root\n");
}

#[test]
fn seccomp_applies_before_and_after_the_drop() {
    let Some(mut b) = bundle("seccomp_applies_before_and_after_the_drop") else { return };
    b.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 27 },
            { "names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS" },
        ],
    });
    for no_new_privs in [false, true] {
        b.config["process"]["noNewPrivileges"] = json!(no_new_privs);
        let ran = b.script("grep Seccomp: /proc/self/status; mkdir /tmp/x").run();
        assert_eq!(ran.out, "Seccomp:\t2\n");
        assert!(ran.err.contains("File too large"), "{}", ran.err);
        assert_eq!(b.args(&["hostname", "x"]).run().status, 128 + 31);
    }
}

#[test]
fn dockers_profile_lets_ordinary_programs_run() {
    let Some(mut b) = bundle("dockers_profile_lets_ordinary_programs_run") else { return };
    let profile = ::seccomp::Profile::docker_default();
    let resolved = ::seccomp::resolve(profile, &[], ::seccomp::Arch::NATIVE, (6, 1)).unwrap();
    b.config["linux"]["seccomp"] = serde_json::to_value(resolved).unwrap();
    let pid = b.script("ls / >/dev/null; (sleep 0.01); exec sleep 1000").start();
    let ran = b.call(&[
        "exec",
        "c",
        "sh",
        "-c",
        "grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp",
    ]);
    assert_eq!(ran.out, "Seccomp:\t2\n");
    assert!(ran.err.contains("permission denied"), "{}", ran.err);
    assert!(pid > 0);
}

#[test]
fn a_filter_that_forbids_forks_still_lets_processes_in() {
    let Some(mut b) = bundle("a_filter_that_forbids_forks_still_lets_processes_in") else { return };
    b.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["clone", "clone3", "fork", "vfork"], "action": "SCMP_ACT_ERRNO" }],
    });
    b.args(&["sleep", "1000"]).start();
    let out = b.call(&["exec", "c", "grep", "Seccomp:", "/proc/self/status"]).ok();
    assert_eq!(out, "Seccomp:\t2\n");
}

#[test]
fn limits_of_the_process_are_set_as_far_as_they_may_be() {
    let Some(mut b) = bundle("limits_of_the_process_are_set_as_far_as_they_may_be") else { return };
    b.config["process"]["rlimits"] = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
    ]);
    b.config["process"]["oomScoreAdj"] = json!(500);
    let script = "awk '/open files|core file/ {print $(NF-2), $(NF-1)}' /proc/self/limits; \
                  cat /proc/self/oom_score_adj";
    assert_eq!(b.script(script).run().ok(), "0 0\n100 200\n500\n");
    // Above what this process may: as much as it may, and the container runs.
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let Some(hard) = hard else { return };
    b.config["process"]["rlimits"] =
        json!([{ "type": "RLIMIT_NOFILE", "soft": hard + 10, "hard": hard + 10 }]);
    b.config["process"]["oomScoreAdj"] = json!(-900);
    let ran = b.script(script).run();
    assert_eq!(ran.status, 0, "{}", ran.err);
}

#[test]
fn no_descriptor_of_the_host_is_left() {
    let Some(mut b) = bundle("no_descriptor_of_the_host_is_left") else { return };
    let script = "ls -l /proc/self/fd | awk '{print $9, $11}' | grep -v '^ *$'";
    let lines = |out: &str| -> Vec<String> { out.lines().map(str::to_owned).collect() };
    let out = b.script(script).run().ok();
    let found = lines(&out);
    assert_eq!(found[0], "0 /dev/null", "{out}");
    // 3 is the directory that ls itself reads.
    assert!(found.len() <= 4 && found.iter().all(|line| !line.contains("/sys/")), "{out}");
    // Of what the caller has open, only what it asks for is passed on.
    b.write();
    let shell = |preserve: &str| {
        let runtime = env!("CARGO_BIN_EXE_dhow-runtime");
        let script = format!(
            "exec 3</etc/passwd 4</etc/group; exec {runtime} --root state run {preserve} c"
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(&b.dir)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let none = shell("");
    assert!(!none.contains("passwd") && !none.contains("group"), "{none}");
    let one = shell("--preserve-fds 1");
    assert!(one.contains("3 /etc/passwd") && !one.contains("group"), "{one}");
    // Not what hooks that run in between get, and not lost over them.
    let hook =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "! test -e /proc/self/fd/3 || exit 9"] });
    b.config["hooks"] = json!({ "createContainer": [&hook], "startContainer": [&hook] });
    b.write();
    let hooked = shell("--preserve-fds 1");
    assert!(hooked.contains("3 /etc/passwd") && !hooked.contains("group"), "{hooked}");
}

#[test]
fn sockets_to_listen_on_are_passed_on() {
    let Some(mut b) = bundle("sockets_to_listen_on_are_passed_on") else { return };
    let script = "echo $LISTEN_FDS $LISTEN_PID; readlink /proc/self/fd/3; readlink /proc/self/fd/4";
    b.script(script).write();
    let shell = |before: &str, options: &str| {
        let runtime = env!("CARGO_BIN_EXE_dhow-runtime");
        let script = format!(
            "exec 3</etc/passwd 4</etc/group; {before} exec {runtime} --root state run {options} c"
        );
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script]).current_dir(&b.dir).stdin(std::process::Stdio::null());
        String::from_utf8(shell.output().unwrap().stdout).unwrap()
    };
    let (one, both) = ("1 1\n/etc/passwd\n", "1 1\n/etc/passwd\n/etc/group\n");
    assert_eq!(shell("LISTEN_PID=$$ LISTEN_FDS=1", ""), one);
    assert_eq!(shell("LISTEN_FDS=1", ""), one);
    assert_eq!(shell("LISTEN_PID=$$ LISTEN_FDS=1", "--preserve-fds 1"), both);
    // They are for somebody else.
    assert_eq!(shell("LISTEN_PID=$PPID LISTEN_FDS=1", ""), "\n");
}

#[test]
fn a_capability_is_enough_to_execute() {
    let Some(mut b) = bundle("a_capability_is_enough_to_execute") else { return };
    std::fs::create_dir(b.rootfs().join("mine")).unwrap();
    let program = b.rootfs().join("mine/true");
    std::fs::copy(b.rootfs().join("bin/busybox"), &program).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    b.args(&["/mine/true"]).run().fails("permission denied");
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        b.config["process"]["capabilities"][set] = json!(["CAP_DAC_OVERRIDE"]);
    }
    b.args(&["/mine/true"]).run().ok();
}

#[test]
fn a_container_has_all_processors_wherever_the_runtime_began() {
    let Some(mut b) = bundle("a_container_has_all_processors_wherever_the_runtime_began") else {
        return;
    };
    let all = sys::sched_getaffinity().unwrap();
    let allowed = "grep Cpus_allowed_list /proc/self/status";
    let whole = b.script(allowed).run().ok();
    // Of one processor alone, the last that this process may use.
    let last = all.iter().rposition(|word| *word != 0).unwrap();
    let mut one = vec![0; all.len()];
    one[last] = 1 << all[last].ilog2();
    sys::sched_setaffinity(&one).unwrap();
    assert_eq!(b.call(&["run", "c"]).ok(), whole);
    b.args(&["sleep", "1000"]).start();
    assert_eq!(b.call(&["exec", "c", "sh", "-c", allowed]).ok(), whole);
}

#[test]
fn devices_are_denied_unless_allowed() {
    let Some(mut b) = bundle("devices_are_denied_unless_allowed") else { return };
    b.config["linux"]["resources"] = json!({ "devices": [] });
    let ran =
        b.script("mknod /dev/mem c 1 1; head -c 1 /dev/mem; head -c 1 /dev/zero | wc -c").run();
    assert!(ran.err.contains("/dev/mem: Operation not permitted"), "{}", ran.err);
    assert_eq!(ran.out, "1\n");
}

#[test]
fn the_scheduler_is_told() {
    let Some(mut b) = bundle("the_scheduler_is_told") else { return };
    b.config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
    b.config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
    b.config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    let out = b.script("awk '{print $19, $41}' /proc/self/stat; uname -m").run().ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "5 3");
    assert_ne!(lines[1], "x86_64");
}
