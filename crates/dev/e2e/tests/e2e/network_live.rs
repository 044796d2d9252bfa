//! Networks that a container joins and leaves while it runs.

use crate::api::{ask, message};
use crate::docker_client::Daemon;
use crate::{busybox, inspect, restart};
use testkit::{Sandbox, needs, wait_until};

/// What a script in a container prints.
#[track_caller]
fn inside(sandbox: &Sandbox, name: &str, script: &str) -> String {
    sandbox.dhow(&["exec", name, "sh", "-c", script]).stdout
}

fn field(sandbox: &Sandbox, name: &str, network: &str, field: &str) -> String {
    let info = inspect(sandbox, name);
    info["NetworkSettings"]["Networks"][network][field].as_str().unwrap_or_default().to_owned()
}

/// The default gateway of a container.
fn gateway(sandbox: &Sandbox, name: &str) -> String {
    inside(sandbox, name, "ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'")
        .trim()
        .to_owned()
}

const SERVER: &str = "while :; do hostname | nc -l -p 80; done";

#[test]
fn a_container_joins_and_leaves_while_it_runs() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-live");
    for (name, subnet) in [("back", "10.91.0.0/24"), ("front", "10.92.0.0/24")] {
        sandbox.ok(&["network", "create", "--subnet", subnet, name]);
    }
    let web = ["run", "-d", "--name", "web", "--hostname", "web", "-p", "8080:80", "-p", "81"];
    sandbox.ok(&[&web[..], &["busybox", "sh", "-c", SERVER]].concat());
    sandbox.ok(&["run", "-d", "--name", "peer", "--network", "back", "busybox", "sleep", "600"]);
    let was = sandbox.ok(&["port", "web"]);
    assert_ne!(sandbox.dhow(&["exec", "web", "nslookup", "peer"]).code, 0);

    sandbox.ok(&["network", "connect", "--alias", "shop", "--ip", "10.91.0.77", "back", "web"]);
    assert_eq!(field(&sandbox, "web", "back", "IPAddress"), "10.91.0.77");
    // Both sides know each other's names at once, and reach each other.
    assert!(inside(&sandbox, "web", "nslookup peer").contains("10.91.0."));
    wait_until("the other side answers", || {
        inside(&sandbox, "peer", "nc -w 1 shop 80 </dev/null") == "web\n"
    });
    assert!(inside(&sandbox, "web", "cat /etc/hosts").contains("10.91.0.77\tweb\n"));
    // The new network's name comes first, so it has the way out, and the published ports follow.
    assert_eq!(gateway(&sandbox, "web"), "10.91.0.1");
    assert_eq!(sandbox.ok(&["port", "web"]), was, "also those that were chosen for it");
    // A published port takes a connection also in the moments in which nobody listens behind it.
    let ask = "busybox nc -w 1 127.0.0.1 8080 </dev/null";
    wait_until("its port answers", || sandbox.sh(ask).stdout == "web\n");
    // One more, which may not have the way out.
    sandbox.ok(&["network", "connect", "--gw-priority", "-1", "front", "web"]);
    assert_eq!(gateway(&sandbox, "web"), "10.91.0.1");
    let links = inside(&sandbox, "web", "ls /sys/class/net | tr '\\n' ' '");
    assert_eq!(links, "eth0 eth1 eth2 lo ");
    let twice = sandbox.dhow(&["network", "connect", "back", "web"]);
    assert!(twice.stderr.contains("already exists in network back"), "{twice:?}");

    sandbox.ok(&["network", "disconnect", "back", "web"]);
    assert_ne!(gateway(&sandbox, "web"), "10.91.0.1");
    assert!(!inside(&sandbox, "web", "cat /etc/hosts").contains("10.91.0.77"));
    assert_ne!(sandbox.dhow(&["exec", "peer", "nslookup", "shop"]).code, 0);
    wait_until("its port still answers", || sandbox.sh(ask).stdout == "web\n");
    sandbox.ok(&["rm", "-f", "peer"]);
    sandbox.ok(&["network", "rm", "back"]);
    // The one that it was made with, too; then it has none, also when it starts again.
    sandbox.ok(&["network", "disconnect", "bridge", "web"]);
    sandbox.ok(&["network", "disconnect", "front", "web"]);
    assert_eq!(inside(&sandbox, "web", "ls /sys/class/net"), "lo\n");
    sandbox.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(inside(&sandbox, "web", "ls /sys/class/net"), "lo\n");
    sandbox.ok(&["network", "connect", "front", "web"]);
    sandbox.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(gateway(&sandbox, "web"), "10.92.0.1");
    sandbox.ok(&["rm", "-f", "web"]);
    sandbox.ok(&["network", "rm", "front"]);
    sandbox.finish();
}

/// Who has taken addresses over is found at once by those who knew another one there.
#[test]
fn neighbours_are_told_of_another_hardware_address() {
    const MAC: &str = "02:11:22:33:44:55";
    const ADDRESSES: [&str; 2] = ["172.30.0.50", "fd00:30::50"];
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-live-told");
    let subnets = ["--subnet", "172.30.0.0/24", "--subnet", "fd00:30::/64"];
    sandbox.ok(&[&["network", "create", "--ipv6"], &subnets[..], &["net"]].concat());
    let start = |name: &str, args: &[&str]| {
        let net = ["run", "-d", "--name", name, "--network", "net"];
        sandbox.ok(&[&net[..], args, &["busybox", "sleep", "600"]].concat());
    };
    let [ip, ip6] = ADDRESSES;
    start("one", &[]);
    start("two", &["--ip", ip, "--ip6", ip6]);
    let ping = |address: &str| inside(&sandbox, "one", &format!("ping -c 1 -W 2 {address}"));
    for address in ADDRESSES {
        wait_until("the first one answers", || ping(address).contains("1 packets received"));
    }
    sandbox.ok(&["rm", "-f", "two"]);
    start("two", &["--ip", ip, "--ip6", ip6, "--mac-address", MAC]);
    // Without a packet of its own to go there.
    for address in ADDRESSES {
        wait_until("it was told", || {
            let known = inside(&sandbox, "one", "ip neigh");
            known.lines().any(|line| line.starts_with(&format!("{address} ")) && line.contains(MAC))
        });
        assert!(ping(address).contains("1 packets received"), "{address}");
    }
    sandbox.ok(&["rm", "-f", "one", "two"]);
    sandbox.ok(&["network", "rm", "net"]);
    sandbox.finish();
}

#[test]
fn what_cannot_be_joined_changes_nothing() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-live-refused");
    sandbox.ok(&["network", "create", "--subnet", "10.91.0.0/24", "back"]);
    let sleeper = |name, args: &[&str]| {
        let all = [&["run", "-d", "--name", name], args, &["busybox", "sleep", "600"]].concat();
        sandbox.ok(&all);
    };
    sleeper("one", &["--network", "back", "--ip", "10.91.0.9"]);
    sleeper("two", &[]);
    sleeper("alone", &["--network", "none"]);
    sleeper("guest", &["--network", "container:two"]);
    sleeper("host", &["--network", "host"]);
    let before = inspect(&sandbox, "two")["NetworkSettings"].clone();
    for (args, want) in [
        (&["--ip", "10.91.0.9", "back", "two"][..], "Address already in use"),
        (&["--ip", "10.99.0.9", "back", "two"], "10.99.0.9"),
        (&["--mac-address", "x", "back", "two"], "invalid MAC address"),
        (&["back", "alone"], "private (none) mode"),
        (&["back", "guest"], "container sharing network namespace"),
        (&["back", "host"], "or host cannot be connected to any other network"),
        (&["host", "two"], "container must be created in host network mode"),
        (&["--alias", "x", "bridge", "one"], "network-scoped alias is supported only for"),
        (&["--alias", "x", "bridge", "alone"], "network-scoped alias is supported only for"),
        (&["--alias", "x", "host", "alone"], "network-scoped alias is supported only for"),
        (&["nosuch", "one"], "network nosuch not found"),
    ] {
        let refused = sandbox.dhow(&[&["network", "connect"], args].concat());
        assert_eq!(refused.code, 1, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(want), "{args:?}: {refused:?}");
    }
    let refused = sandbox.dhow(&["network", "disconnect", "host", "host"]);
    assert!(refused.stderr.contains("created in host network mode"), "{refused:?}");
    assert_eq!(inspect(&sandbox, "two")["NetworkSettings"], before);
    // A step that fails, here also when it is to be taken back: the next command does that.
    sandbox.set_env("DHOW_FAILPOINTS", "engine.rewired=error");
    assert_eq!(sandbox.dhow(&["network", "connect", "back", "two"]).code, 1);
    sandbox.unset_env("DHOW_FAILPOINTS");
    assert_eq!(inspect(&sandbox, "two")["NetworkSettings"], before);
    assert_eq!(inside(&sandbox, "two", "ls /sys/class/net"), "eth0\nlo\n");
    sandbox.ok(&["rm", "-f", "one", "two", "alone", "guest", "host"]);
    sandbox.ok(&["network", "rm", "back"]);
    sandbox.finish();
}

/// A network does not go under who is being started in it, and cannot be seen yet.
#[test]
fn who_starts_in_the_same_instant_keeps_its_network() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("network-live-instant");
    sandbox.ok(&["network", "create", "net"]);
    sandbox.ok(&["create", "--name", "one", "--network", "net", "busybox", "sleep", "600"]);
    let passed = sandbox.work().join("passed");
    std::fs::write(&passed, "").unwrap();
    let mut start = sandbox.dhow_command(&["start", "one"]);
    start.env("DHOW_FAILPOINTS", format!("network.leased=delay:500@{}", passed.display()));
    let mut start = start.stdout(std::process::Stdio::null()).spawn().unwrap();
    wait_until("it is about to be in it", || !std::fs::read_to_string(&passed).unwrap().is_empty());
    let refused = sandbox.dhow(&["network", "rm", "net"]);
    assert!(refused.code == 1 && refused.stderr.contains("active endpoints"), "{refused:?}");
    assert!(start.wait().unwrap().success());
    assert!(!gateway(&sandbox, "one").is_empty());
    assert_eq!(sandbox.ok(&["network", "prune", "-f"]), "");
    sandbox.ok(&["rm", "-f", "one"]);
    assert_eq!(sandbox.ok(&["network", "prune", "-f"]), "Deleted Networks:\nnet");
    sandbox.finish();
}

/// However many may be started in a network, and whatever else is done with them, it goes.
#[test]
fn those_who_do_not_run_are_not_waited_for() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("network-live-many");
    sandbox.ok(&["network", "create", "net"]);
    sandbox.ok(&["network", "create", "other"]);
    let names: Vec<String> = (0..60).map(|number| format!("c{number}")).collect();
    for name in &names {
        sandbox.ok(&["create", "--name", name, "--network", "net", "busybox", "true"]);
    }
    let passed = sandbox.work().join("passed");
    std::fs::write(&passed, "").unwrap();
    let mut connect = sandbox.dhow_command(&["network", "connect", "other", "c7"]);
    connect.env("DHOW_FAILPOINTS", format!("engine.connect=delay:8000@{}", passed.display()));
    let mut connect = connect.spawn().unwrap();
    wait_until("one is held", || !std::fs::read_to_string(&passed).unwrap().is_empty());
    // Fewer descriptors than there are of them.
    let mut removal = sandbox.command("prlimit");
    let removal = removal.args(["--nofile=48:48", "--"]).arg(testkit::dhow_program());
    let removed = removal.args(["network", "rm", "net"]).output().unwrap();
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(connect.try_wait().unwrap(), None, "it was waited for");
    assert!(connect.wait().unwrap().success());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    sandbox.ok(&[&["rm"], &names[..]].concat());
    sandbox.ok(&["network", "rm", "other"]);
    sandbox.finish();
}

/// One whose supervisor is killed while a daemon runs is started again, as its policy says, before its network goes.
#[test]
fn who_is_to_be_started_again_keeps_its_network() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("network-live-again");
    sandbox.ok(&["network", "create", "net"]);
    let run = ["run", "-d", "--name", "one", "--network", "net", "--restart", "always", "busybox"];
    sandbox.ok(&[&run[..], &["sleep", "600"]].concat());
    let daemon = Daemon::start(&sandbox);
    let supervisor = restart::shim(&sandbox, "one");
    restart::kill(&sandbox, supervisor);
    // Docker's client would have a look at it first, by which it is started again.
    let refused = message(&ask(&daemon, "1.51", "DELETE /networks/net", ""));
    assert!(refused.starts_with("403 ") && refused.contains("active endpoints"), "{refused}");
    assert!(!gateway(&sandbox, "one").is_empty());
    assert_eq!(inspect(&sandbox, "one")["RestartCount"], 1);
    sandbox.ok(&["rm", "-f", "one"]);
    sandbox.ok(&["network", "rm", "net"]);
    drop(daemon);
    sandbox.finish();
}

/// Who was about to join a network in the moment in which it went is told, and starts as before.
#[test]
fn nobody_joins_a_network_that_has_gone_meanwhile() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("network-live-gone-meanwhile");
    sandbox.ok(&["network", "create", "net"]);
    sandbox.ok(&["create", "--name", "one", "busybox", "true"]);
    let passed = sandbox.work().join("passed");
    std::fs::write(&passed, "").unwrap();
    let mut connect = sandbox.dhow_command(&["network", "connect", "net", "one"]);
    connect.env("DHOW_FAILPOINTS", format!("engine.connect=delay:2000@{}", passed.display()));
    let mut connect = connect.stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until("it has looked", || !std::fs::read_to_string(&passed).unwrap().is_empty());
    sandbox.ok(&["network", "rm", "net"]);
    assert_eq!(connect.wait().unwrap().code(), Some(1));
    sandbox.ok(&["start", "-a", "one"]);
    sandbox.ok(&["rm", "one"]);
    sandbox.finish();
}

/// A network goes while nobody runs in it; who was to be in it starts without it.
#[test]
fn a_network_that_is_gone_can_be_left() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-live-gone");
    sandbox.ok(&["network", "create", "gone"]);
    sandbox.ok(&["network", "create", "stays"]);
    sandbox.ok(&["run", "-d", "--name", "one", "--network", "gone", "busybox", "sleep", "600"]);
    sandbox.ok(&["stop", "-t", "0", "one"]);
    sandbox.ok(&["network", "rm", "gone"]);
    let refused = sandbox.dhow(&["start", "one"]);
    assert!(refused.stderr.contains("network gone not found"), "{refused:?}");
    let refused = sandbox.dhow(&["network", "disconnect", "nosuch", "one"]);
    assert!(refused.stderr.contains("network nosuch not found"), "{refused:?}");
    sandbox.ok(&["network", "disconnect", "gone", "one"]);
    assert_eq!(inspect(&sandbox, "one")["NetworkSettings"]["Networks"], serde_json::json!({}));
    sandbox.ok(&["network", "connect", "stays", "one"]);
    sandbox.ok(&["start", "one"]);
    assert!(!field(&sandbox, "one", "stays", "IPAddress").is_empty());
    sandbox.ok(&["rm", "-f", "one"]);
    sandbox.ok(&["network", "rm", "stays"]);
    sandbox.finish();
}

/// Who removes networks waits for one that has its record and is being made: nothing is left of it without that.
#[test]
fn a_network_that_is_being_made_goes_when_it_is_there() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("network-live-making");
    let there =
        || sandbox.sh("ip -br link show type bridge | cut -d' ' -f1; nft list tables").stdout;
    let before = there();
    let passed = sandbox.work().join("passed");
    std::fs::write(&passed, "").unwrap();
    let mut create = sandbox.dhow_command(&["network", "create", "net"]);
    create.env("DHOW_FAILPOINTS", format!("network.created=delay:2000@{}", passed.display()));
    let mut create = create.spawn().unwrap();
    wait_until("it has a record", || !std::fs::read_to_string(&passed).unwrap().is_empty());
    sandbox.ok(&["network", "prune", "-f"]);
    assert!(create.wait().unwrap().success());
    assert_eq!(sandbox.ok(&["network", "ls", "-q", "-f", "name=net"]), "");
    assert_eq!(there(), before);
    sandbox.finish();
}
