//! What an administrator has set is for containers that do not say otherwise.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use testkit::{Sandbox, needs, wait_until};

use crate::busybox;
use crate::docker_client::Daemon;

#[test]
fn it_is_for_who_says_nothing() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("settings");
    let file = sandbox.work().join("daemon.json");
    let set = json!({
        "default-shm-size": "1m",
        "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 99, "Soft": 77}},
        "default-cgroupns-mode": "host",
        "no-new-privileges": true,
        "dns": ["192.0.2.1"],
        "dns-search": ["example.org"],
        "host-gateway-ip": "192.0.2.9",
        "labels": ["rack=7"],
        "iptables": true,
    });
    std::fs::write(&file, set.to_string()).unwrap();
    sandbox.set_env("DHOW_CONFIG", &file.display().to_string());
    let look = "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; ulimit -n; ulimit -Hn
        grep -c host.test /etc/hosts; grep 192.0.2.9 /etc/hosts | tr '\\t' ' '
        sed -n 's/NoNewPrivs:.//p' /proc/self/status; readlink /proc/self/ns/cgroup";
    let own = std::fs::read_link("/proc/self/ns/cgroup").unwrap().display().to_string();
    let run = |args: &[&str], script: &str| {
        let all = [&["run", "--rm"], args, &["busybox", "sh", "-c", script]].concat();
        sandbox.ok(&all)
    };
    let host = ["--add-host", "host.test:host-gateway"];
    assert_eq!(run(&host, look), format!("1024\n77\n99\n1\n192.0.2.9 host.test\n1\n{own}"));
    let says = ["--shm-size", "2m", "--ulimit", "nofile=50:60", "--cgroupns", "private"];
    let says = [&says[..], &["--security-opt", "no-new-privileges=false"], &host].concat();
    let said = run(&says, look);
    assert!(said.starts_with("2048\n50\n60\n1\n192.0.2.9 host.test\n0\n"), "{said}");
    assert!(!said.contains(&own), "{said}");
    let resolv = "cat /etc/resolv.conf";
    let told = run(&[], resolv);
    assert!(told.contains("nameserver 192.0.2.1") && told.contains("search example.org"), "{told}");
    let told = run(&["--dns", "192.0.2.2"], resolv);
    assert!(told.contains("nameserver 192.0.2.2") && !told.contains("192.0.2.1"), "{told}");
    assert_eq!(sandbox.ok(&["info", "--format", "{{json .Labels}}"]), r#"["rack=7"]"#);
    let warnings = sandbox.ok(&["info", "--format", "{{json .Warnings}}"]);
    assert!(warnings.contains(r#"daemon.json: \"iptables\" has no effect"#), "{warnings}");
    // What cannot be is refused before anything is made.
    std::fs::write(&file, r#"{"default-ipc-mode": "host"}"#).unwrap();
    let refused = sandbox.dhow(&["create", "busybox", "true"]);
    assert!(refused.stderr.contains("IPC mode \"host\" is not supported"), "{refused:?}");
    let refused = sandbox.dhow(&["daemon"]);
    assert!(refused.stderr.contains("IPC mode \"host\" is not supported"), "{refused:?}");
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    // An empty file sets nothing.
    std::fs::write(&file, "").unwrap();
    assert!(run(&[], look).starts_with("65536\n"));
    let daemon = Daemon::start(&sandbox);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    // What asks for images reads it as well: that one is not there, and not the file that is wrong.
    let refused = sandbox.dhow(&["pull", "127.0.0.1:1/nothing"]);
    assert!(refused.stderr.contains("refused"), "{refused:?}");
    drop(daemon);
    sandbox.unset_env("DHOW_CONFIG");
    sandbox.finish();
}

#[test]
fn they_can_be_judged_before_a_daemon_has_them() {
    needs!(Root, Netns);
    let sandbox = Sandbox::new("settings-judged");
    let file = sandbox.work().join("daemon.json").display().to_string();
    let judge = |text: &str| {
        std::fs::write(&file, text).unwrap();
        sandbox.dhow(&["daemon", "--validate", "--config-file", &file])
    };
    let good = r#"{"labels": ["a=b"], "hosts": ["unix:///nowhere/x.sock"], "iptables": true}"#;
    for text in ["", "{}", good] {
        let judged = judge(text);
        assert_eq!(judged.code, 0, "{text}: {judged:?}");
        assert!(judged.stderr.ends_with("configuration OK\n"), "{text}: {judged:?}");
        assert_eq!(
            judged.stderr.contains("\"iptables\" has no effect"),
            text == good,
            "{judged:?}"
        );
    }
    let wrong = "unable to configure the Docker daemon with file";
    for (text, why) in [
        ("{", "EOF while parsing"),
        (r#"{"labels": "a=b"}"#, "expected a sequence"),
        (r#"{"image-gc": "x"}"#, "\"image-gc\" in"),
        (r#"{"default-ipc-mode": "host"}"#, "is not supported as default value"),
        (
            r#"{"default-address-pools": [{"base": "x", "size": 24}]}"#,
            "\"default-address-pools\": x is no range",
        ),
        (r#"{"bip": "300.1.1.1/24"}"#, "\"bip\": invalid CIDR address: 300.1.1.1/24"),
        (r#"{"fixed-cidr-v6": "10.0.0.0/8"}"#, "\"fixed-cidr-v6\": invalid CIDR address"),
        (r#"{"hosts": ["unix://x", "fd://"]}"#, "invalid address `unix://x`"),
        (r#"{"hosts": ["tcp://0.0.0.0:1"]}"#, "0.0.0.0:1"),
        (r#"{"tls": true, "tlscert": "/nowhere.pem", "tlskey": "/nowhere.pem"}"#, "/nowhere.pem"),
        (
            r#"{"iptable": true}"#,
            "the following directives don't match any configuration option: iptable",
        ),
    ] {
        let judged = judge(text);
        assert_eq!(judged.code, 1, "{text}: {judged:?}");
        assert!(judged.stderr.contains(wrong) && judged.stderr.contains(why), "{text}: {judged:?}");
    }
    std::fs::remove_file(&file).unwrap();
    let absent = sandbox.dhow(&["daemon", "--validate", "--config-file", &file]);
    assert!(absent.code == 1 && absent.stderr.contains("No such file"), "{absent:?}");
    // That there is none is fine where none was named; and nothing was begun by any of this.
    sandbox.set_env("DHOW_CONFIG", &file);
    assert_eq!(sandbox.dhow(&["daemon", "--validate"]).code, 0);
    sandbox.unset_env("DHOW_CONFIG");
    assert_ne!(sandbox.dhow(&["daemon", "--config-file", &file]).code, 0);
    assert!(!sandbox.directory().join("root/dhow.db").exists());
    sandbox.finish();
}

#[test]
fn a_profile_of_system_calls_is_for_who_names_none() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("set-profile");
    let (file, profile) = (sandbox.work().join("daemon.json"), sandbox.work().join("profile.json"));
    let rule = json!({"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO"});
    let hardened = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    std::fs::write(&profile, hardened.to_string()).unwrap();
    std::fs::write(&file, json!({"seccomp-profile": profile}).to_string()).unwrap();
    sandbox.set_env("DHOW_CONFIG", &file.display().to_string());
    let look = "touch /f; chmod 700 /f 2>/dev/null; echo $?";
    let run = |args: &[&str]| {
        sandbox.ok(&[&["run", "--rm"], args, &["busybox", "sh", "-c", look]].concat())
    };
    assert_eq!(run(&[]), "1");
    assert_eq!(run(&["--security-opt", "seccomp=builtin"]), "0");
    assert_eq!(run(&["--privileged"]), "0");
    let shown = sandbox.ok(&["info", "--format", "{{json .SecurityOptions}}"]);
    assert!(shown.contains(&format!("name=seccomp,profile={}", profile.display())), "{shown}");
    // What cannot be read confines nobody less: nothing is made.
    std::fs::remove_file(&profile).unwrap();
    for args in [&["create", "busybox", "true"][..], &["daemon"]] {
        let refused = sandbox.dhow(args);
        assert!(refused.stderr.contains("opening seccomp profile ("), "{refused:?}");
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    std::fs::write(&file, r#"{"seccomp-profile": "unconfined"}"#).unwrap();
    let status = ["run", "--rm", "busybox", "sed", "-n", "s/^Seccomp:.//p", "/proc/self/status"];
    assert_eq!(sandbox.ok(&status), "0");
    sandbox.unset_env("DHOW_CONFIG");
    sandbox.finish();
}

#[test]
fn a_daemon_reads_them_again() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("settings-again");
    let file = sandbox.work().join("daemon.json");
    std::fs::write(&file, r#"{"labels": ["a=b"]}"#).unwrap();
    sandbox.set_env("DHOW_CONFIG", &file.display().to_string());
    let daemon = Daemon::start(&sandbox);
    let labels = || daemon.ok(&["info", "--format", "{{json .Labels}}"]);
    assert_eq!(labels(), r#"["a=b"]"#);
    let set = json!({"labels": ["c=d"], "default-shm-size": "1m", "max-concurrent-uploads": 7,
        "insecure-registries": ["r.test:5000"], "proxies": {"http-proxy": "http://me:word@proxy.test:1"}});
    std::fs::write(&file, set.to_string()).unwrap();
    daemon.signal("HUP");
    wait_until("it has read them", || labels() == r#"["c=d"]"#);
    let proxy = daemon.ok(&["info", "--format", "{{.HTTPProxy}}"]);
    assert_eq!(proxy, "http://xxxxx:xxxxx@proxy.test:1");
    let look = "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2";
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "sh", "-c", look]), "1024");
    // What cannot be is not taken, and ends nothing.
    std::fs::write(&file, r#"{"default-ipc-mode": "host", "labels": ["e=f"]}"#).unwrap();
    daemon.signal("HUP");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let until = (now.as_secs() + 1).to_string();
    let id = daemon.ok(&["info", "--format", "{{.ID}}"]);
    let of_daemon = format!("daemon={id}");
    let all = ["events", "--since", "1", "--until", &until, "--filter", &of_daemon];
    let told =
        daemon.ok(&[&all[..], &["--format", "{{.Action}} {{json .Actor.Attributes}}"]].concat());
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 1, "{told}");
    for wanted in [
        "reload {",
        r#""default-shm-size":"1048576""#,
        r#""insecure-registries":"[\"r.test:5000\"]""#,
        r#""labels":"[\"c=d\"]""#,
        r#""max-concurrent-uploads":"7""#,
    ] {
        assert!(lines[0].contains(wanted), "{wanted} in {told}");
    }
    assert_eq!(labels(), r#"["c=d"]"#);
    drop(daemon);
    sandbox.unset_env("DHOW_CONFIG");
    sandbox.finish();
}

#[test]
fn networks_are_as_they_were_set() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("set-networks");
    let file = sandbox.work().join("daemon.json");
    let set = json!({
        "bip": "10.9.0.1/24", "fixed-cidr": "10.9.0.128/25", "mtu": 1400, "ip": "127.0.0.1",
        "default-address-pools": [{"base": "10.6.0.0/16", "size": 24}],
        "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1300"}},
    });
    std::fs::write(&file, set.to_string()).unwrap();
    sandbox.set_env("DHOW_CONFIG", &file.display().to_string());
    let look = "ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4; cat /sys/class/net/eth0/mtu";
    let run = |args: &[&str]| {
        sandbox.ok(&[&["run", "--rm"], args, &["busybox", "sh", "-c", look]].concat())
    };
    assert_eq!(run(&[]), "10.9.0.128/24\n1400");
    sandbox.ok(&["network", "create", "new"]);
    assert_eq!(run(&["--network", "new"]), "10.6.0.2/24\n1300");
    sandbox.ok(&["run", "-d", "--name", "published", "-p", "80", "busybox", "sleep", "60"]);
    let ports = sandbox.ok(&["port", "published"]);
    assert!(ports.contains("127.0.0.1:") && !ports.contains("0.0.0.0:"), "{ports}");
    sandbox.ok(&["rm", "-f", "published"]);
    sandbox.ok(&["network", "rm", "new"]);
    // None at all: a container of the default network has no interface.
    std::fs::write(&file, r#"{"bridge": "none"}"#).unwrap();
    let links = sandbox.ok(&["run", "--rm", "busybox", "ls", "/sys/class/net"]);
    assert!(!links.contains("eth0"), "{links}");
    let names = sandbox.ok(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!names.lines().any(|name| name == "bridge"), "{names}");
    // And as it was, where nothing is set any more.
    sandbox.unset_env("DHOW_CONFIG");
    assert_eq!(run(&[]).split('.').next(), Some("172"));
    sandbox.finish();
}
