//! Networks that share a link of the machine's: `macvlan` and `ipvlan`.

use crate::{busybox, inspect, restart, rootless};
use testkit::{Sandbox, needs, wait_until};

/// Makes a cable: one end is the parent `lan0`, the other the machine's, at 10.93.0.1.
fn lay_cable(sandbox: &Sandbox) {
    let script = "ip link add lan0 type veth peer name out0 && ip addr add 10.93.0.1/24 dev out0 \
                  && ip link set lan0 up && ip link set out0 up";
    sandbox.sh(script).success();
}

/// Takes it away; whatever was made on it would go with it.
fn finish(sandbox: Sandbox) {
    assert_eq!(sandbox.sh("ip -o link | grep -c ': d[mi]-\\|: lan0[.]'").stdout, "0\n");
    sandbox.sh("ip link del lan0").success();
    sandbox.finish();
}

fn create(sandbox: &Sandbox, driver: &str, args: &[&str]) {
    let network = ["network", "create", "-d", driver, "--subnet", "10.93.0.0/24"];
    sandbox.ok(&[&network[..], &["--gateway", "10.93.0.1"], args].concat());
}

fn inside(sandbox: &Sandbox, name: &str, script: &str) -> String {
    sandbox.dhow(&["exec", name, "sh", "-c", script]).stdout
}

const SERVER: &str = "while :; do hostname | nc -l -p 80; done";

/// What holds for both drivers.
fn containers_are_on_the_machines_own_network(sandbox: &Sandbox, driver: &str) {
    lay_cable(sandbox);
    create(sandbox, driver, &["-o", "parent=lan0", "--aux-address", "printer=10.93.0.2", "lan"]);
    let shown: serde_json::Value =
        serde_json::from_str(&sandbox.ok(&["network", "inspect", "lan"])).unwrap();
    assert_eq!(
        (&shown[0]["Driver"], &shown[0]["Options"]["parent"]),
        (&driver.into(), &"lan0".into())
    );
    assert_eq!(shown[0]["IPAM"]["Config"][0]["Gateway"], "10.93.0.1");

    let web =
        ["run", "-d", "--name", "web", "--hostname", "web", "--network", "lan", "-p", "8080:80"];
    sandbox.ok(&[&web[..], &["busybox", "sh", "-c", SERVER]].concat());
    sandbox.ok(&["run", "-d", "--name", "peer", "--network", "lan", "busybox", "sleep", "600"]);
    let info = inspect(sandbox, "web");
    let place = &info["NetworkSettings"]["Networks"]["lan"];
    assert_eq!(
        (&place["IPAddress"], &place["Gateway"]),
        (&"10.93.0.3".into(), &"10.93.0.1".into())
    );
    assert_eq!(place["MacAddress"] == "", driver == "ipvlan");
    // They know each other's names, and reach each other and who is out there.
    wait_until("the other one answers", || {
        inside(sandbox, "peer", "nc -w 1 web 80 </dev/null") == "web\n"
    });
    wait_until("the gateway answers", || {
        inside(sandbox, "peer", "ping -c 1 -W 2 10.93.0.1").contains("1 packets received")
    });
    let route = inside(sandbox, "web", "ip route");
    assert!(route.contains("default via 10.93.0.1 dev eth0"), "{route}");
    // They are reached from there by their own addresses; no port of the machine's leads to them.
    let ask = "busybox nc -w 1 10.93.0.3 80 </dev/null";
    wait_until("it is reached from outside", || sandbox.sh(ask).stdout == "web\n");
    assert_eq!(sandbox.ok(&["port", "web"]), "");
    assert_eq!(sandbox.sh("busybox nc -w 1 127.0.0.1 8080 </dev/null").stdout, "");
    let explained = sandbox.ok(&["container", "explain", "web"]);
    assert!(explained.contains("eth0 shares lan0"), "{explained}");

    let refused = sandbox.dhow(&["network", "rm", "lan"]);
    assert!(refused.code == 1 && refused.stderr.contains("active endpoints"), "{refused:?}");
    // Started again at once, it is the same.
    sandbox.ok(&["restart", "-t", "0", "web"]);
    wait_until("it answers again", || {
        inside(sandbox, "peer", "nc -w 1 web 80 </dev/null") == "web\n"
    });
    assert_eq!(
        inspect(sandbox, "web")["NetworkSettings"]["Networks"]["lan"]["IPAddress"],
        "10.93.0.3"
    );
    sandbox.ok(&["rm", "-f", "web", "peer"]);
}

#[test]
fn containers_have_hardware_addresses_of_their_own_on_the_machines_network() {
    needs!(Root, Overlay, Netns, Busybox, Macvlan);
    let sandbox = busybox("network-macvlan");
    containers_are_on_the_machines_own_network(&sandbox, "macvlan");
    // One may be asked for; and the interface's name.
    let mac = ["--mac-address", "02:11:22:33:44:55"];
    let name = "name=lan,driver-opt=com.docker.network.endpoint.ifname=lan7";
    let run = ["run", "--rm", "--network", name, mac[0], mac[1], "busybox"];
    let said = sandbox.ok(&[&run[..], &["cat", "/sys/class/net/lan7/address"]].concat());
    assert_eq!(said, mac[1]);
    sandbox.ok(&["network", "rm", "lan"]);
    finish(sandbox);
}

#[test]
fn containers_share_the_machines_hardware_address() {
    needs!(Root, Overlay, Netns, Busybox, Ipvlan);
    let sandbox = busybox("network-ipvlan");
    containers_are_on_the_machines_own_network(&sandbox, "ipvlan");
    let run = ["run", "--rm", "--network", "lan", "--mac-address", "02:11:22:33:44:55"];
    let refused = sandbox.dhow(&[&run[..], &["busybox", "true"]].concat());
    assert!(refused.stderr.contains("do not support custom mac address"), "{refused:?}");
    sandbox.ok(&["network", "rm", "lan"]);
    // Of layer 3 the link itself leads out.
    create(&sandbox, "ipvlan", &["-o", "parent=lan0", "-o", "ipvlan_mode=l3", "lan"]);
    let route = sandbox.ok(&["run", "--rm", "--network", "lan", "busybox", "ip", "route"]);
    assert!(route.contains("default dev eth0"), "{route}");
    sandbox.ok(&["network", "rm", "lan"]);
    finish(sandbox);
}

#[test]
fn a_shared_link_is_joined_and_left_while_a_container_runs() {
    needs!(Root, Overlay, Netns, Busybox, Macvlan);
    let sandbox = busybox("network-macvlan-live");
    lay_cable(&sandbox);
    create(&sandbox, "macvlan", &["-o", "parent=lan0", "lan"]);
    sandbox.ok(&["network", "create", "--subnet", "10.94.0.0/24", "back"]);
    let web = ["run", "-d", "--name", "web", "--network", "back", "-p", "8080:80"];
    sandbox.ok(&[&web[..], &["busybox", "sleep", "600"]].concat());
    sandbox.ok(&["run", "-d", "--name", "peer", "--network", "lan", "busybox", "sleep", "600"]);
    let gateway =
        || inside(&sandbox, "web", "ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'");
    assert_eq!(gateway(), "10.94.0.1\n");
    for _ in 0..2 {
        sandbox.ok(&[
            "network",
            "connect",
            "--gw-priority",
            "1",
            "--ip",
            "10.93.0.77",
            "lan",
            "web",
        ]);
        assert_eq!(gateway(), "10.93.0.1\n");
        assert!(inside(&sandbox, "peer", "ping -c 1 -W 2 web").contains("1 packets received"));
        // The ports follow the way out, which is not the machine's.
        assert_eq!(sandbox.ok(&["port", "web"]), "");
        sandbox.ok(&["network", "disconnect", "lan", "web"]);
        assert_eq!(gateway(), "10.94.0.1\n");
        assert!(sandbox.ok(&["port", "web"]).contains(":8080"));
        assert_eq!(inside(&sandbox, "web", "ls /sys/class/net | tr '\\n' ' '"), "eth0 lo ");
    }
    sandbox.ok(&["rm", "-f", "web", "peer"]);
    sandbox.ok(&["network", "rm", "lan", "back"]);
    finish(sandbox);
}

#[test]
fn what_is_killed_leaves_nothing_on_the_parent() {
    needs!(Root, Overlay, Netns, Busybox, Macvlan);
    let sandbox = busybox("network-macvlan-killed");
    lay_cable(&sandbox);
    create(&sandbox, "macvlan", &["-o", "parent=lan0", "lan"]);
    let start = |name: &str, network: &str| {
        sandbox.ok(&["run", "-d", "--name", name, "--network", network, "busybox", "sleep", "600"]);
    };
    start("web", "lan");
    // Another one keeps its network namespace, and with it the interface that has its address.
    start("beside", "container:web");
    restart::kill(&sandbox, restart::shim(&sandbox, "web"));
    sandbox.ok(&["start", "web"]);
    start("peer", "lan");
    let address = "10.93.0.2";
    assert!(
        inside(&sandbox, "peer", &format!("ping -c 1 -W 2 {address}"))
            .contains("1 packets received")
    );
    assert_eq!(inside(&sandbox, "beside", "ls /sys/class/net"), "lo\n");
    sandbox.ok(&["rm", "-f", "web", "beside", "peer"]);
    sandbox.ok(&["network", "rm", "lan"]);
    finish(sandbox);
}

#[test]
fn a_network_without_a_parent_is_one_of_its_own() {
    needs!(Root, Overlay, Netns, Busybox, Macvlan, Dummy);
    let sandbox = busybox("network-macvlan-dummy");
    lay_cable(&sandbox);
    sandbox.ok(&["network", "create", "-d", "macvlan", "inside"]);
    let links = "ip -o link | grep -c ': dm-'";
    assert_eq!(sandbox.sh(links).stdout, "1\n");
    sandbox.ok(&["run", "-d", "--name", "web", "--network", "inside", "busybox", "sleep", "600"]);
    let run = ["run", "--rm", "--network", "inside", "busybox"];
    sandbox.ok(&[&run[..], &["ping", "-c", "1", "-W", "2", "web"]].concat());
    let route = sandbox.ok(&[&run[..], &["ip", "route"]].concat());
    assert!(!route.contains("default"), "{route}");
    sandbox.ok(&["rm", "-f", "web"]);
    sandbox.ok(&["network", "rm", "inside"]);
    assert_eq!(sandbox.sh(links).stdout, "0\n");
    // Nor need there be addresses.
    let bare = ["network", "create", "-d", "macvlan", "--ipv4=false", "bare"];
    sandbox.ok(&bare);
    sandbox.ok(&["run", "-d", "--name", "web", "--network", "bare", "busybox", "sleep", "600"]);
    let addresses = inside(&sandbox, "web", "ip -o addr show dev eth0 | wc -l");
    assert_eq!(addresses.trim(), "0");
    let refused = sandbox.dhow(&["network", "rm", "bare"]);
    assert!(refused.stderr.contains("active endpoints"), "{refused:?}");
    sandbox.ok(&["rm", "-f", "web"]);
    sandbox.ok(&["network", "rm", "bare"]);
    finish(sandbox);
}

/// A network without addresses stays for who is about to be in it.
#[test]
fn who_starts_in_the_same_instant_is_noticed() {
    needs!(Root, Overlay, Netns, Busybox, Macvlan, Failpoints);
    let sandbox = busybox("network-macvlan-instant");
    lay_cable(&sandbox);
    let network = ["network", "create", "-d", "macvlan", "--ipv4=false", "-o", "parent=lan0"];
    sandbox.ok(&[&network[..], &["bare"]].concat());
    sandbox.ok(&["create", "--name", "web", "--network", "bare", "busybox", "sleep", "600"]);
    let passed = sandbox.work().join("passed");
    std::fs::write(&passed, "").unwrap();
    // The network was found, and nothing of the start can be seen yet.
    let mut start = sandbox.dhow_command(&["start", "web"]);
    start.env("DHOW_FAILPOINTS", format!("network.leased=delay:500@{}", passed.display()));
    let mut start = start.stdout(std::process::Stdio::null()).spawn().unwrap();
    wait_until("it is about to be in it", || !std::fs::read_to_string(&passed).unwrap().is_empty());
    let refused = sandbox.dhow(&["network", "rm", "bare"]);
    assert!(refused.code == 1 && refused.stderr.contains("active endpoints"), "{refused:?}");
    assert!(start.wait().unwrap().success());
    assert_eq!(sandbox.ok(&["network", "prune", "-f"]), "");
    assert_eq!(inside(&sandbox, "web", "ls /sys/class/net"), "eth0\nlo\n");
    // Who does not run keeps none.
    sandbox.ok(&["stop", "-t", "0", "web"]);
    sandbox.ok(&["network", "rm", "bare"]);
    sandbox.ok(&["rm", "web"]);
    finish(sandbox);
}

#[test]
fn a_vlan_is_made_for_a_network_that_names_it() {
    needs!(Root, Overlay, Netns, Busybox, Macvlan, Vlan);
    let sandbox = busybox("network-macvlan-vlan");
    lay_cable(&sandbox);
    create(&sandbox, "macvlan", &["-o", "parent=lan0.30", "lan"]);
    assert_eq!(sandbox.sh("ip link show dev lan0.30").code, 0);
    let run = ["run", "--rm", "--network", "lan", "busybox"];
    sandbox.ok(&[&run[..], &["ip", "addr", "show", "dev", "eth0"]].concat());
    sandbox.ok(&["network", "rm", "lan"]);
    finish(sandbox);
}

#[test]
fn an_ordinary_user_cannot_share_the_machines_links() {
    needs!(Root, Overlay, Netns, Busybox, OrdinaryUserNamespace, NewUidMap);
    let sandbox = rootless::of_user("network-macvlan-user");
    for driver in ["macvlan", "ipvlan"] {
        let refused =
            sandbox.dhow(&["network", "create", "-d", driver, "-o", "parent=lan0", "lan"]);
        assert!(refused.stderr.contains("cannot share parent interface lan0"), "{refused:?}");
    }
    sandbox.finish();
}
