//! Processes that are executed in a running container.

use serde_json::json;

use crate::bundle::bundle;

#[test]
pub(crate) fn options_change_what_is_executed() {
    let Some(mut b) = bundle("options_change_what_is_executed") else { return };
    b.config["process"]["env"] = json!(["PATH=/bin", "A=1"]);
    b.args(&["sleep", "1000"]).start();
    let exec = |args: &[&str]| {
        let args: Vec<&str> = ["exec"].iter().chain(args).copied().collect();
        b.call(&args)
    };
    assert_eq!(exec(&["c", "sh", "-c", "exit 7"]).status, 7);
    assert_eq!(exec(&["-e", "B=2", "-e", "A=3", "c", "sh", "-c", "echo $A $B"]).ok(), "3 2\n");
    assert_eq!(exec(&["--cwd", "/tmp", "c", "pwd"]).ok(), "/tmp\n");
    for (user, id) in [("1", "uid=1 gid=0 groups=0"), ("7:9", "uid=7 gid=9 groups=9")] {
        assert_eq!(exec(&["-u", user, "c", "id"]).ok().replace("(root)", ""), format!("{id}\n"));
    }
    assert_eq!(
        exec(&["-u", "5:6", "-g", "8", "-g", "9", "c", "id"]).ok(),
        "uid=5 gid=6 groups=6,8,9\n"
    );
    for user in ["x", "+1", "-1", "0x1", ":5", "4294967295", "4294967296"] {
        assert_eq!(exec(&["-u", user, "c", "id"]).status, 255, "{user}");
    }
    let caps = ["c", "grep", "-E", "^CapEff|^CapInh", "/proc/self/status"];
    let with: Vec<&str> = ["--cap", "CAP_NET_RAW"].iter().chain(&caps).copied().collect();
    let out = exec(&with).ok();
    assert!(out.contains("CapInh:\t0000000000000000\n"), "{out}");
    let effective = |out: &str| {
        let hex = out.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap().to_owned();
        u64::from_str_radix(&hex, 16).unwrap()
    };
    assert_eq!(effective(&out) ^ effective(&exec(&caps).ok()), 1 << 13);
    assert_eq!(
        exec(&["--no-new-privs", "c", "grep", "NoNewPrivs", "/proc/self/status"]).ok(),
        "NoNewPrivs:\t1\n"
    );
    let missing = exec(&["c", "nothing"]);
    assert_eq!(
        (missing.status, missing.err.as_str()),
        (255, "dhow-runtime: error: exec: \"nothing\": executable file not found in $PATH\n")
    );
    exec(&["c"]).fails("process args cannot be empty");
    exec(&[]).fails("a container id is needed");
}

#[test]
fn a_process_can_be_described_by_a_file() {
    let Some(mut b) = bundle("a_process_can_be_described_by_a_file") else { return };
    b.args(&["sleep", "1000"]).start();
    let process = json!({ "args": ["sh", "-c", "id; pwd; echo $X"], "cwd": "/etc", "env": ["PATH=/bin", "X=y"],
        "user": { "uid": 3, "gid": 4 } });
    std::fs::write(b.dir.join("process.json"), process.to_string()).unwrap();
    let out = b.call(&["exec", "--process", "process.json", "c"]).ok();
    assert_eq!(out, "uid=3 gid=4\n/etc\ny\n");
    b.call(&["exec", "--process", "nowhere.json", "c"]).fails("--process: open(\"nowhere.json\")");
}

#[test]
pub(crate) fn a_detached_process_goes_on_in_the_containers_cgroup() {
    let Some(mut b) = bundle("a_detached_process_goes_on_in_the_containers_cgroup") else { return };
    b.args(&["sleep", "1000"]).start();
    let status = b
        .command(&["exec", "-d", "--pid-file", "exec-pid", "c", "sleep", "2000"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let pid = std::fs::read_to_string(b.dir.join("exec-pid")).unwrap();
    assert!(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("2000"));
    for dir in b.cgroups() {
        let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        assert!(procs.lines().any(|line| line == pid), "{dir:?}: {procs}");
    }
    let own = std::fs::read_to_string(b.dir.join("pid")).unwrap();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user", "time"] {
        let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(link(&pid), link(&own), "{name}");
    }
}

#[test]
pub(crate) fn a_process_enters_a_user_namespace_as_its_root() {
    let Some(mut b) = bundle("a_process_enters_a_user_namespace_as_its_root") else { return };
    b.namespace("user", None);
    for field in ["uidMappings", "gidMappings"] {
        b.config["linux"][field] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    }
    for path in
        [b.rootfs(), b.rootfs().join("dev"), b.rootfs().join("proc"), b.rootfs().join("sys")]
    {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    b.args(&["sleep", "1000"]).start();
    let out = b.call(&["exec", "c", "sh", "-c", "id; cat /proc/self/uid_map"]).ok();
    assert_eq!(
        out.split_whitespace().collect::<Vec<_>>().join(" "),
        "uid=0(root) gid=0 0 100000 65536"
    );
}

#[test]
pub(crate) fn signals_reach_what_is_executed_in_the_foreground() {
    let Some(mut b) = bundle("signals_reach_what_is_executed_in_the_foreground") else { return };
    b.args(&["sleep", "1000"]).start();
    let script = "trap 'exit 9' TERM; touch /tmp/ready; while :; do sleep 0.05; done";
    let mut child = b.command(&["exec", "c", "sh", "-c", script]).spawn().unwrap();
    let ready = b.rootfs().join("tmp/ready");
    crate::bundle::wait_until("it is ready", || ready.exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn a_process_has_the_containers_execution_domain() {
    let Some(mut b) = bundle("a_process_has_the_containers_execution_domain") else { return };
    b.config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    b.args(&["sleep", "1000"]).start();
    assert_eq!(b.call(&["exec", "c", "uname", "-m"]).ok(), "i686\n");
}

#[test]
fn a_socket_gets_a_pidfd_of_what_is_made() {
    let Some(mut b) = bundle("a_socket_gets_a_pidfd_of_what_is_made") else { return };
    b.args(&["sleep", "1000"]).write();
    let socket = std::os::unix::net::UnixListener::bind(b.dir.join("sock")).unwrap();
    let arrived = || {
        let (stream, _) = socket.accept().unwrap();
        let (name, pidfd) = sys::recv_fd(std::os::fd::AsFd::as_fd(&stream)).unwrap();
        assert_eq!(name, b"pidfd");
        let pidfd = pidfd.unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&pidfd);
        std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap()
    };
    let quiet = std::process::Stdio::null;
    let call = |args: &[&str]| {
        let mut child = b.command(args).stdout(quiet()).stderr(quiet()).spawn().unwrap();
        let info = arrived();
        assert!(child.wait().unwrap().success());
        info
    };
    let wanted = ["--pidfd-socket", "sock", "--pid-file", "pid"];
    for args in [
        &[&["create"][..], &wanted, &["c"]].concat(),
        &[&["exec", "-d"][..], &wanted, &["c", "sleep", "1000"]].concat(),
    ] {
        let info = call(args);
        let pid = std::fs::read_to_string(b.dir.join("pid")).unwrap();
        assert!(info.contains(&format!("Pid:\t{pid}\n")), "{pid}: {info}");
    }
    b.call(&["delete", "--force", "c"]).ok();
    b.call(&["run", "--pidfd-socket", "none", "c"]).fails("--pidfd-socket");
}

#[test]
fn the_root_is_the_containers_also_without_a_mount_namespace() {
    let Some(mut b) = bundle("the_root_is_the_containers_also_without_a_mount_namespace") else {
        return;
    };
    b.config["linux"] = json!({
        "cgroupsPath": b.config["linux"]["cgroupsPath"],
        "namespaces": [{ "type": "pid" }, { "type": "network" }],
    });
    b.config["mounts"] = json!([]);
    b.config.as_object_mut().unwrap().remove("hostname");
    std::fs::write(b.rootfs().join("only-here"), "").unwrap();
    b.args(&["sleep", "1000"]).start();
    for cwd in ["/", "/tmp"] {
        let out = b.call(&["exec", "--cwd", cwd, "c", "sh", "-c", "pwd; ls /only-here"]).ok();
        assert_eq!(out, format!("{cwd}\n/only-here\n"));
    }
    b.call(&["delete", "--force", "c"]).ok();
    b.assert_nothing_left();
}
