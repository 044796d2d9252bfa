//! Seccomp: every action, every operator, the flags, and an agent for what is notified.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Value, json};

use crate::bundle::bundle;

fn profile(rules: &Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

#[test]
fn every_action_does_what_it_says() {
    let Some(mut b) = bundle("every_action_does_what_it_says") else { return };
    let killed = 128 + 31;
    for (action, errno, status, says) in [
        ("SCMP_ACT_ALLOW", None, 0, ""),
        ("SCMP_ACT_LOG", None, 0, ""),
        ("SCMP_ACT_ERRNO", None, 1, "Operation not permitted"),
        ("SCMP_ACT_ERRNO", Some(27), 1, "File too large"),
        // Nobody traces it.
        ("SCMP_ACT_TRACE", None, 1, "Function not implemented"),
        ("SCMP_ACT_TRACE", Some(7), 1, "Function not implemented"),
        ("SCMP_ACT_TRAP", None, killed, ""),
        ("SCMP_ACT_KILL", None, killed, ""),
        ("SCMP_ACT_KILL_THREAD", None, killed, ""),
        ("SCMP_ACT_KILL_PROCESS", None, killed, ""),
    ] {
        let mut rule = json!({ "names": ["mkdir", "mkdirat"], "action": action });
        if let Some(errno) = errno {
            rule["errnoRet"] = json!(errno);
        }
        b.config["linux"]["seccomp"] = profile(&json!([rule]));
        let _old = std::fs::remove_dir(b.rootfs().join("tmp/x"));
        let ran = b.args(&["mkdir", "/tmp/x"]).run();
        assert_eq!(ran.status, status, "{action}: {}", ran.err);
        assert!(ran.err.contains(says), "{action}: {}", ran.err);
        assert_eq!(b.rootfs().join("tmp/x").exists(), status == 0, "{action}");
    }
}

#[test]
fn every_operator_compares() {
    let Some(mut b) = bundle("every_operator_compares") else { return };
    // Signals that the first process of a namespace does not even see from itself.
    let script = "for s in 17 18 23 28; do kill -$s $$ 2>/dev/null || echo $s; done";
    for (arg, refused) in [
        (json!({ "index": 1, "op": "SCMP_CMP_EQ", "value": 23 }), "23"),
        (json!({ "index": 1, "op": "SCMP_CMP_NE", "value": 23 }), "17 18 28"),
        (json!({ "index": 1, "op": "SCMP_CMP_LT", "value": 18 }), "17"),
        (json!({ "index": 1, "op": "SCMP_CMP_LE", "value": 18 }), "17 18"),
        (json!({ "index": 1, "op": "SCMP_CMP_GT", "value": 18 }), "23 28"),
        (json!({ "index": 1, "op": "SCMP_CMP_GE", "value": 18 }), "18 23 28"),
        (json!({ "index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 4, "valueTwo": 4 }), "23 28"),
        (json!({ "index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 5, "valueTwo": 1 }), "17"),
    ] {
        b.config["linux"]["seccomp"] =
            profile(&json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [arg] }]));
        let out = b.script(script).run().ok();
        assert_eq!(out.split_whitespace().collect::<Vec<_>>().join(" "), refused, "{arg}");
    }
}

#[test]
fn flags_and_architectures_are_taken() {
    let Some(mut b) = bundle("flags_and_architectures_are_taken") else { return };
    let mut seccomp =
        profile(&json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]));
    seccomp["flags"] = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
    ]);
    seccomp["architectures"] = json!([
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_S390X"
    ]);
    b.config["linux"]["seccomp"] = seccomp.clone();
    for no_new_privs in [false, true] {
        b.config["process"]["noNewPrivileges"] = json!(no_new_privs);
        let ran = b.script("grep Seccomp: /proc/self/status; mkdir /tmp/x").run();
        assert_eq!(ran.out, "Seccomp:\t2\n", "{}", ran.err);
        assert!(ran.err.contains("not permitted"), "{}", ran.err);
    }
    for (field, value, why) in [
        ("flags", json!(["SECCOMP_FILTER_FLAG_NEW_LISTENER"]), "unknown seccomp flag"),
        (
            "architectures",
            json!(["SCMP_ARCH_PDP11"]),
            "unknown seccomp architecture `SCMP_ARCH_PDP11`",
        ),
        ("defaultAction", json!("SCMP_ACT_NO"), "unknown seccomp action `SCMP_ACT_NO`"),
        ("defaultErrnoRet", json!(1), "seccomp action `SCMP_ACT_ALLOW` takes no errno"),
        ("syscalls", json!([{ "names": [], "action": "SCMP_ACT_ERRNO" }]), "names no system call"),
        (
            "syscalls",
            json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000 }]),
            "errno 5000 of a seccomp rule is above 4095",
        ),
        (
            "syscalls",
            json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO",
                     "args": [{ "index": 6, "op": "SCMP_CMP_EQ", "value": 1 }] }]),
            "looks at argument 6",
        ),
    ] {
        b.config["linux"]["seccomp"] = seccomp.clone();
        b.config["linux"]["seccomp"][field] = value;
        b.run().fails(why);
        b.assert_nothing_left();
    }
}

#[test]
fn the_default_errno_is_the_one_asked_for() {
    let Some(mut b) = bundle("the_default_errno_is_the_one_asked_for") else { return };
    let profile = ::seccomp::Profile::docker_default();
    let mut resolved = ::seccomp::resolve(profile, &[], ::seccomp::Arch::NATIVE, (6, 1)).unwrap();
    resolved.default_errno_ret = Some(27);
    b.config["linux"]["seccomp"] = serde_json::to_value(resolved).unwrap();
    let ran = b.script("mount -t tmpfs x /tmp").run();
    assert!(ran.err.contains("File too large"), "{}", ran.err);
}

/// What the runtime sends to an agent: one message, with one descriptor.
fn receive(listener: &UnixListener) -> (Value, OwnedFd) {
    let (connection, _) = listener.accept().unwrap();
    let (message, fd) = sys::recv_fd(connection.as_fd()).unwrap();
    // Nothing more comes, and the connection is closed.
    assert!(sys::recv_fd(connection.as_fd()).unwrap().0.is_empty());
    (serde_json::from_slice(&message).unwrap(), fd.unwrap())
}

/// Waits until somebody waits for the agent's answer.
fn wait_notified(fd: &OwnedFd) {
    let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1, "nobody asked");
    assert!(fds[0].revents().contains(PollFlags::IN));
}

#[test]
fn an_agent_gets_the_listener_and_the_containers_state() {
    let Some(mut b) = bundle("an_agent_gets_the_listener_and_the_containers_state") else { return };
    let path = b.dir.join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    b.config["annotations"] = json!({ "org.example.key": "value" });
    for (no_new_privs, flags) in [
        (false, json!([])),
        (true, json!(["SECCOMP_FILTER_FLAG_TSYNC"])),
        (true, json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])),
    ] {
        b.config["process"]["noNewPrivileges"] = json!(no_new_privs);
        // The runtime needs nothing of what a profile may forbid, but for writing.
        b.config["linux"]["seccomp"] = profile(&json!([
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" },
            { "names": ["sendmsg", "recvmsg", "socket"], "action": "SCMP_ACT_ERRNO" },
        ]));
        b.config["linux"]["seccomp"]["flags"] = flags;
        b.config["linux"]["seccomp"]["listenerPath"] = json!(path);
        b.config["linux"]["seccomp"]["listenerMetadata"] = json!("opaque");
        b.script("mkdir /tmp/x; exec sleep 1000");
        let (pid, said, fd) = std::thread::scope(|scope| {
            let agent = scope.spawn(|| receive(&listener));
            let pid = b.start();
            let (said, fd) = agent.join().unwrap();
            (pid, said, fd)
        });
        assert_eq!(
            said,
            json!({
                "ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": pid, "metadata": "opaque",
                "state": {
                    "ociVersion": "1.2.0", "id": "c", "status": "creating", "pid": pid,
                    "bundle": b.dir, "annotations": { "org.example.key": "value" },
                },
            })
        );
        wait_notified(&fd);
        // An agent that is gone: whoever asks it is told that there is no such call.
        drop(fd);
        crate::bundle::wait_until("mkdir has its answer", || {
            b.output().contains("Function not implemented")
        });
        // What is executed later has a listener of its own.
        std::thread::scope(|scope| {
            let agent = scope.spawn(|| {
                let (said, fd) = receive(&listener);
                wait_notified(&fd);
                said
            });
            let ran = b.call(&["exec", "c", "mkdir", "/tmp/y"]);
            assert!(ran.err.contains("Function not implemented"), "{}", ran.err);
            let said = agent.join().unwrap();
            assert_eq!(
                (&said["state"]["status"], &said["state"]["pid"]),
                (&json!("running"), &json!(pid))
            );
            assert_ne!(said["pid"], json!(pid));
        });
        b.call(&["delete", "--force", "c"]).ok();
    }
}

#[test]
fn an_agent_that_cannot_be_reached_is_an_error() {
    let Some(mut b) = bundle("an_agent_that_cannot_be_reached_is_an_error") else { return };
    b.config["linux"]["seccomp"] =
        profile(&json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]));
    b.config["linux"]["seccomp"]["listenerPath"] = json!("/nonexistent/agent.sock");
    b.run().fails("linux.seccomp.listenerPath");
    b.assert_nothing_left();
    for call in ["write", "mkdir"] {
        b.config["linux"]["seccomp"]["syscalls"] =
            json!([{ "names": [call], "action": "SCMP_ACT_NOTIFY" }]);
        if call == "mkdir" {
            b.config["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY");
        }
        b.run().fails("cannot be used for");
        b.assert_nothing_left();
    }
}
