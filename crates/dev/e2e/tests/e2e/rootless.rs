//! The engine as an ordinary user, of uid 10001 in the sandbox, who has no capability and no say over
//! any cgroup unless a test delegates one. The leak check holds here as everywhere, so that neither a
//! namespace nor the process that keeps the network outlives the last container.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::{inspect, pid};
use testkit::{Sandbox, needs, user, wait_until};

/// A user's engine with the image `busybox`, whose first container has come and gone.
pub(crate) fn of_user(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name);
    sandbox.become_user();
    sandbox.import("busybox");
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.baseline();
    sandbox
}

fn uids(pid: i64) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.unwrap().split_whitespace().next().unwrap().to_owned()
}

/// Who keeps the network.
fn holder(sandbox: &Sandbox) -> Option<u32> {
    let state = sandbox.state().display().to_string();
    let wanted = format!("dhow-network\0{state}\0");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted.as_bytes())
    })
}

#[test]
fn a_user_runs_containers() {
    needs!(Root, Overlay, Netns, Busybox, OrdinaryUserNamespace, NewUidMap);
    let sandbox = of_user("rootless-run");
    let script = "id -u; stat -c %u /bin/busybox /; chown 33:44 /etc && stat -c %u:%g /etc; \
                  rm /etc/passwd; mkdir /d && rmdir /d; tr -s ' ' </proc/self/uid_map";
    let all = format!("0\n0\n0\n33:44\n 0 {} 1\n 1 {} {}", user::UID, user::SUB.0, user::SUB.1);
    assert_eq!(sandbox.ok(&["run", "--name", "one", "busybox", "sh", "-c", script]), all);
    assert_eq!(sandbox.ok(&["diff", "one"]), "C /etc\nD /etc/passwd");
    assert_eq!(sandbox.ok(&["commit", "one", "two"]).len(), 71);
    let lost = sandbox.dhow(&["run", "--rm", "two", "cat", "/etc/passwd"]);
    assert!(lost.stderr.contains("No such file"), "{lost:?}");
    sandbox.ok(&["rm", "one"]);
    sandbox.ok(&["rmi", "two"]);
    // On the machine root is the user, and nobody else is anybody.
    for (who, is) in [("0", user::UID), ("7", user::SUB.0 + 6)] {
        sandbox.ok(&["run", "-d", "--name", "sleeper", "-u", who, "busybox", "sleep", "600"]);
        assert_eq!(uids(pid(&sandbox, "sleeper")), is.to_string());
        sandbox.ok(&["rm", "-f", "sleeper"]);
    }
    sandbox.finish();
}

#[test]
fn a_container_lives_and_is_talked_to() {
    needs!(Root, Overlay, Netns, Busybox, OrdinaryUserNamespace, NewUidMap);
    let sandbox = of_user("rootless-life");
    sandbox.ok(&["volume", "create", "vol"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    sandbox.baseline();
    sandbox.ok(&["volume", "create", "vol"]);
    let script = "echo started; trap 'echo ended; exit 3' TERM; while :; do sleep 0.1; done";
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "life",
        "-v",
        "vol:/vol",
        "--health-cmd",
        "true",
        "--health-interval",
        "100ms",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    wait_until("it says so", || sandbox.ok(&["logs", "life"]) == "started");
    let health = ["inspect", "-f", "{{.State.Health.Status}}", "life"];
    wait_until("it is healthy", || sandbox.ok(&health) == "healthy");
    assert_eq!(sandbox.ok(&["exec", "-u", "5", "life", "id", "-u"]), "5");
    sandbox.ok(&["exec", "life", "sh", "-c", "echo of vol >/vol/file; chown 9 /vol/file"]);
    let file = sandbox.work().join("file");
    std::fs::write(&file, "copied").unwrap();
    let (file, out) = (file.display().to_string(), sandbox.work().join("out"));
    sandbox.ok(&["cp", &file, "life:/tmp/"]);
    assert_eq!(sandbox.ok(&["exec", "life", "cat", "/tmp/file"]), "copied");
    sandbox.ok(&["cp", "life:/vol/file", &out.display().to_string()]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "of vol\n");
    // Without a cgroup the processes are found by their namespace.
    assert!(sandbox.ok(&["top", "life"]).contains("sh -c echo started"));
    let used = sandbox.ok(&["stats", "--no-stream", "--format", "{{.PIDs}}", "life"]);
    // Between two sleeps the shell is alone.
    assert!(used.parse::<u32>().unwrap() >= 1, "{used}");
    let pause = sandbox.dhow(&["pause", "life"]);
    assert!(pause.stderr.contains("no cgroup"), "{pause:?}");
    sandbox.ok(&["stop", "life"]);
    assert_eq!(sandbox.ok(&["logs", "life"]), "started\nended");
    assert_eq!(inspect(&sandbox, "life")["State"]["ExitCode"], 3);
    sandbox.ok(&["start", "life"]);
    sandbox.ok(&["rm", "-f", "life"]);
    // A restart policy, and a container that removes itself.
    sandbox.ok(&["run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "false"]);
    assert_eq!(sandbox.ok(&["wait", "again"]), "1");
    wait_until("it was tried thrice", || inspect(&sandbox, "again")["RestartCount"] == 2);
    sandbox.ok(&["rm", "-f", "again"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    sandbox.finish();
}

#[test]
fn neighbours_and_published_ports_are_reached() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Curl, OrdinaryUserNamespace, NewUidMap);
    let sandbox = of_user("rootless-net");
    sandbox.ok(&["network", "create", "net"]);
    let serve = "echo served >/tmp/index.html; exec httpd -f -v -p 80 -h /tmp";
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "net",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        serve,
    ]);
    let get = "curl -s --retry 20 --retry-all-errors --retry-delay 0 http://127.0.0.1:8080/";
    wait_until("it serves", || sandbox.sh(get).stdout == "served\n");
    // The service sees the bridge, and not its own loopback, which it might trust (CVE-2021-20199).
    let log = || sandbox.dhow(&["logs", "web"]).stderr;
    wait_until("it says who asked", || log().contains("172."));
    assert!(!log().contains("127.0.0.1"), "{}", log());
    let from = ["run", "--rm", "--network", "net", "busybox", "wget", "-qO-", "http://web/"];
    assert_eq!(sandbox.ok(&from), "served");
    // The bridge is not the machine's.
    assert_eq!(sandbox.sh("ip -o link | grep -vc ' lo:'").stdout, "0\n");
    let taken = sandbox.dhow(&["run", "--rm", "-p", "8080:80", "busybox", "true"]);
    assert_eq!(taken.code, 125, "{taken:?}");
    assert!(taken.stderr.contains("8080"), "{taken:?}");
    let low = sandbox.dhow(&["run", "--rm", "-p", "81:80", "busybox", "true"]);
    assert!(low.stderr.contains("ip_unprivileged_port_start"), "{low:?}");
    // `none` has nothing, `host` what the machine has.
    let links = |network: &str| {
        sandbox.ok(&["run", "--rm", "--network", network, "busybox", "ls", "/sys/class/net"])
    };
    assert_eq!(links("none"), "lo");
    let own = sandbox.sh("readlink /proc/self/ns/net").stdout;
    let host = ["run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"];
    assert_eq!(sandbox.ok(&host), own.trim_end());
    sandbox.ok(&["rm", "-f", "web"]);
    sandbox.ok(&["network", "rm", "net"]);
    sandbox.finish();
}

#[test]
fn the_outside_is_reached_through_a_program() {
    needs!(Root, Overlay, Netns, Nft, Busybox, OrdinaryUserNamespace, NewUidMap, Slirp4netns);
    let sandbox = of_user("rootless-outside");
    // Another machine, on which something listens. It waits to be asked: slirp4netns loses a connection of
    // which it sees at once that it is made and that its other side has ended.
    let listen = "read line; ip addr add 192.0.2.254/24 dev out1; ip link set out1 up
        exec busybox nc -l -p 9000 -e sh -c 'read who; echo outside'";
    let mut other = sandbox.command("unshare");
    other.args(["--net", "sh", "-c", listen]).stdin(Stdio::piped());
    let mut other = other.spawn().unwrap();
    let there = format!("/proc/{}/ns/net", other.id());
    let own = std::fs::read_link(format!("/proc/{}/ns/net", sandbox.host_pid())).unwrap();
    wait_until("it is another", || std::fs::read_link(&there).is_ok_and(|there| there != own));
    let link = format!(
        "ip link add out0 type veth peer name out1 netns {} && ip addr add 192.0.2.1/24 dev out0 &&
         ip link set out0 up && ip route add default via 192.0.2.254",
        other.id()
    );
    sandbox.sh(&link).success();
    drop(other.stdin.take());
    let tables =
        format!("cat /proc/{0}/net/tcp /proc/{0}/net/tcp6 | grep -q ':2328 .* 0A'", other.id());
    wait_until("it listens", || sandbox.sh(&tables).code == 0);
    let client = "echo who | nc -w 50 192.0.2.254 9000";
    let ask = ["run", "--rm", "busybox", "sh", "-c", client];
    let said = sandbox.dhow(&ask);
    other.kill().unwrap();
    other.wait().unwrap();
    let log = sandbox.state().join("rootless/network.log");
    let log = std::fs::read_to_string(log).unwrap_or_default();
    assert_eq!(said.stdout, "outside\n", "{said:?}, {log}");
    // The link goes with the other machine.
    sandbox.finish();
}

#[test]
fn whatever_is_killed_the_next_command_goes_on() {
    needs!(Root, Overlay, Netns, Nft, Busybox, OrdinaryUserNamespace, NewUidMap);
    let sandbox = of_user("rootless-killed");
    let run = |name: &str| {
        sandbox.ok(&["run", "-d", "--name", name, "busybox", "sleep", "600"]);
        let address = inspect(&sandbox, name)["NetworkSettings"]["IPAddress"].clone();
        address.as_str().unwrap().to_owned()
    };
    let ping = |from: &str, to: &str| {
        assert_eq!(sandbox.dhow(&["exec", from, "ping", "-c1", "-W5", to]).code, 0, "{from}");
    };
    let first = run("first");
    // Who keeps the network: the next container finds the namespace by the first.
    sandbox.sh(&format!("kill -9 {}", holder(&sandbox).unwrap()));
    wait_until("the holder is gone", || holder(&sandbox).is_none());
    let second = run("second");
    ping("first", &second);
    ping("second", &first);
    // A supervisor: its container ends, with all that was in it, without a cgroup to find that by.
    let init = pid(&sandbox, "first");
    let shim = inspect(&sandbox, "first")["State"]["Pid"].clone();
    assert_eq!(shim, init);
    let parent = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap();
    let parent = parent.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().to_owned();
    sandbox.sh(&format!("kill -9 {parent}"));
    wait_until("it is found", || inspect(&sandbox, "first")["State"]["Status"] == "exited");
    // Its new parent may not have looked yet.
    let state = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    assert_eq!(inspect(&sandbox, "first")["State"]["ExitCode"], 137);
    sandbox.ok(&["start", "first"]);
    ping("second", &first);
    // Everything, at once: the namespaces are gone, and made anew.
    let left = sandbox.ok(&["ps", "-q"]).lines().count();
    assert_eq!(left, 2);
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    let engines = namespace(&pid(&sandbox, "second").to_string());
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.parse::<u32>().is_ok() && namespace(&name) == engines {
            sandbox.sh(&format!("kill -9 {name}"));
        }
    }
    wait_until("all is found", || sandbox.ok(&["ps", "-q"]).is_empty());
    sandbox.ok(&["start", "first", "second"]);
    ping("first", &second);
    sandbox.ok(&["rm", "-f", "first", "second"]);
    for point in ["rootless.make", "rootless.made", "rootless.hold", "rootless.held"] {
        // It ends with the last supervisor, which a command does not wait for.
        wait_until("nobody is there", || holder(&sandbox).is_none());
        sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}=kill"));
        let killed = sandbox.dhow(&["run", "--rm", "busybox", "true"]);
        assert_ne!(killed.code, 0, "{point}");
        sandbox.unset_env("DHOW_FAILPOINTS");
        sandbox.ok(&["run", "--rm", "busybox", "true"]);
    }
    sandbox.finish();
}

#[test]
fn what_cannot_be_had_is_said() {
    needs!(Root, Overlay, Netns, Busybox, OrdinaryUserNamespace, NewUidMap);
    let sandbox = of_user("rootless-refused");
    let limited =
        sandbox.dhow(&["run", "--rm", "-m", "64m", "--pids-limit", "9", "busybox", "true"]);
    assert_eq!(limited.code, 0);
    assert!(limited.stderr.contains("memory limit capabilities"), "{limited:?}");
    assert!(limited.stderr.contains("PIDs limit"), "{limited:?}");
    for (args, why) in [
        (&["--cpus", "1"][..], "NanoCPUs can not be set"),
        (&["--userns", "auto"], "--userns auto is root's"),
    ] {
        let output = sandbox.dhow(&[&["run", "--rm"], args, &["busybox", "true"]].concat());
        assert!(output.code == 125 && output.stderr.contains(why), "{args:?}: {output:?}");
    }
    let options = sandbox.ok(&["info", "-f", "{{json .SecurityOptions}} {{.CgroupDriver}}"]);
    assert_eq!(options, r#"["name=seccomp,profile=builtin","name=rootless","name=cgroupns"] none"#);
    assert!(sandbox.dhow(&["info"]).stderr.contains("without cgroups"));
    // A container that shares the cgroup namespace of the machine changes nothing there (CVE-2023-25809).
    let write =
        "find /sys/fs/cgroup -type f -exec sh -c 'echo 1 >\"$1\"' sh {} ';' 2>/dev/null -print";
    let script = format!(
        "{write} | wc -l; find /sys/fs/cgroup -type f -writable 2>/dev/null | while read f; do (echo >>$f) 2>/dev/null && echo $f; done"
    );
    let written =
        sandbox.ok(&["run", "--rm", "--cgroupns", "host", "busybox", "sh", "-c", &script]);
    assert_eq!(written, "0");
    // No ranges: the user's own id, and files of nobody else.
    user::set_ranges(&sandbox, "");
    // Namespaces stay as they are until the last that is in them has gone: the supervisor of the container
    // before may still be about it.
    wait_until("the namespaces are new ones", || {
        let map = sandbox.ok(&["run", "--rm", "busybox", "cat", "/proc/self/uid_map"]);
        map.split_whitespace().eq(["0", "10001", "1"])
    });
    assert!(sandbox.dhow(&["info"]).stderr.contains("no range in /etc/subuid"));
    let other = sandbox.dhow(&["run", "--rm", "-u", "5", "busybox", "true"]);
    assert!(other.stderr.contains("user 5 of the container cannot be had"), "{other:?}");
    sandbox.finish();
}

#[test]
fn things_are_where_xdg_says_and_a_daemon_serves_them() {
    needs!(Root, Overlay, Netns, Busybox, Curl, OrdinaryUserNamespace, NewUidMap);
    let sandbox = of_user("rootless-daemon");
    let work = sandbox.work();
    let mut daemon = sandbox.dhow_command(&["daemon"]);
    daemon.env_remove("DHOW_ROOT").env_remove("DHOW_STATE");
    let mut daemon = daemon.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(daemon.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    let socket = sandbox.directory().join("xdg/dhow.sock");
    assert!(line.trim_end().ends_with(&format!("unix://{}", socket.display())), "{line}");
    let address = format!("unix://{}", socket.display());
    sandbox.set_env("DOCKER_HOST", &address);
    sandbox.import("busybox");
    assert_eq!(sandbox.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
    assert!(work.join(".local/share/dhow/dhow.db").exists());
    if testkit::Need::Docker.is_met() {
        let output = testkit::capture(
            sandbox.command("docker").args(["run", "--rm", "-p", "8081:80", "busybox", "id", "-u"]),
        );
        assert_eq!(output.stdout, "0\n", "{output:?}");
        let output = testkit::capture(sandbox.command("docker").args([
            "info",
            "-f",
            "{{.SecurityOptions}}",
        ]));
        assert!(output.stdout.contains("rootless"), "{output:?}");
    }
    sandbox.unset_env("DOCKER_HOST");
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    daemon.wait().unwrap();
    sandbox.finish();
}

#[test]
fn with_a_delegated_cgroup_there_are_limits() {
    needs!(
        Root,
        Overlay,
        Netns,
        Busybox,
        MemoryCgroup,
        PidsCgroup,
        OrdinaryUserNamespace,
        NewUidMap
    );
    let sandbox = of_user("rootless-cgroup");
    let parent = sandbox.delegate_cgroup();
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "-m",
        "64m",
        "--pids-limit",
        "50",
        "busybox",
        "sleep",
        "600",
    ]);
    let cgroups =
        std::fs::read_to_string(format!("/proc/{}/cgroup", pid(&sandbox, "one"))).unwrap();
    assert!(cgroups.contains(&format!("{parent}/{}/", sandbox.engine_name())), "{cgroups}");
    let stats = ["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "one"];
    let stats = sandbox.ok(&stats);
    assert!(stats.ends_with("64MiB 1"), "{stats}");
    sandbox.ok(&["pause", "one"]);
    assert_eq!(inspect(&sandbox, "one")["State"]["Status"], "paused");
    sandbox.ok(&["unpause", "one"]);
    sandbox.ok(&["commit", "one", "two"]);
    sandbox.ok(&["rmi", "two"]);
    let options = sandbox.ok(&["info", "-f", "{{.CgroupDriver}} {{.MemoryLimit}}"]);
    assert_eq!(options, "cgroupfs true");
    sandbox.ok(&["rm", "-f", "one"]);
    wait_until("nobody is there", || holder(&sandbox).is_none());
    // Nothing is left below it.
    let hierarchy = cgroup::Hierarchy::detect().unwrap();
    for path in [format!("{parent}/own"), parent] {
        wait_until("the cgroup is empty", || {
            cgroup::remove_if_empty(&hierarchy, &path).unwrap_or(false)
        });
    }
    sandbox.finish();
}
