//! `--init`.

use crate::{busybox, inspect, pid};
use testkit::{needs, wait_until};

#[test]
fn an_init_reaps_forwards_and_ends_with_the_programs_code() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("init");
    // The file that is mounted in each is made once.
    assert_eq!(sandbox.ok(&["run", "--rm", "--init", "busybox", "echo", "hi"]), "hi");
    sandbox.baseline();
    let first = "cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline";
    let shown = sandbox.ok(&["run", "--rm", "--init", "busybox", "sh", "-c", first]);
    assert!(shown.starts_with("docker-init\n/sbin/docker-init -- sh -c "), "{shown}");
    for (script, code) in [("exit 42", 42), ("kill -9 $$", 137), ("exec /no/such", 127)] {
        let ended = sandbox.dhow(&["run", "--rm", "--init", "busybox", "sh", "-c", script]);
        assert_eq!(ended.code, code, "{script}: {ended:?}");
    }
    assert_eq!(sandbox.dhow(&["run", "--rm", "--init", "busybox", "no-such-program"]).code, 127);
    assert_eq!(sandbox.dhow(&["run", "--rm", "--init", "busybox", "/etc"]).code, 126);
    // Nobody can write to it, nor to the host's own through it.
    let write = sandbox.dhow(&[
        "run",
        "--rm",
        "--init",
        "busybox",
        "sh",
        "-c",
        "chmod 777 /sbin/docker-init",
    ]);
    assert!(write.stderr.contains("Read-only file system"), "{write:?}");

    // The program handles no signal unless it says so; its init sees to the rest.
    sandbox.ok(&["run", "-d", "--name", "box", "--init", "busybox", "sleep", "600"]);
    assert_eq!(inspect(&sandbox, "box")["HostConfig"]["Init"], true);
    sandbox.ok(&["stop", "-t", "60", "box"]);
    assert_eq!(sandbox.ok(&["wait", "box"]), "143");
    sandbox.ok(&["rm", "box"]);
    let script = "trap 'exit 7' USR1; trap 'exit 8' RTMIN+3; (sleep 0.01 &); echo up; \
                  while :; do sleep 0.05; done";
    sandbox.ok(&["run", "-d", "--name", "box", "--init", "busybox", "sh", "-c", script]);
    wait_until("it is up", || sandbox.ok(&["logs", "box"]) == "up");
    let init = pid(&sandbox, "box");
    let zombies = || {
        let children = format!("/proc/{init}/task/{init}/children");
        std::fs::read_to_string(children).unwrap().split_whitespace().count()
    };
    wait_until("the orphan is reaped", || zombies() == 1);
    sandbox.ok(&["kill", "-s", "USR1", "box"]);
    assert_eq!(sandbox.ok(&["wait", "box"]), "7");
    sandbox.ok(&["rm", "box"]);
    sandbox.finish();
}

#[test]
fn an_administrator_may_want_one_everywhere() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("init-setting");
    let file = sandbox.work().join("daemon.json");
    std::fs::write(&file, r#"{"init": true}"#).unwrap();
    sandbox.set_env("DHOW_CONFIG", file.to_str().unwrap());
    let comm = ["busybox", "cat", "/proc/1/comm"];
    let run = |more: &[&str]| sandbox.ok(&[&["run", "--rm"], more, &comm].concat());
    assert_eq!(run(&[]), "docker-init");
    sandbox.baseline();
    assert_eq!(run(&["--init=false"]), "cat");
    // There is an init already.
    assert_ne!(run(&["--pid", "host"]), "docker-init");
    sandbox.finish();
}
