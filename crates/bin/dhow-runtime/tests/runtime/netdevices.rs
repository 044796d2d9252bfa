//! Interfaces of the host that move into the container. The host is a network namespace of the
//! test's own, with nothing in it but what the test makes.

use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, bundle};

/// A bundle, and a network namespace for this thread and what it runs, with two interfaces in it.
fn prepare(test: &str) -> Option<Bundle> {
    let b = bundle(test)?;
    if Command::new("ip").arg("-V").output().is_err() {
        println!("skipped: {test}: there is no ip(8) (Debian: iproute2)");
        return None;
    }
    sys::unshare(sys::CloneFlags::NEWNET).unwrap();
    ip("link set lo up");
    ip("link add dev0 type veth peer name dev1");
    ip("link set dev0 mtu 1400 address 02:00:00:00:00:07");
    ip("address add 192.0.2.7/24 broadcast 192.0.2.255 dev dev0");
    ip("address add 2001:db8::7/64 nodad dev dev0");
    // Leased, and good on this link only: these stay behind.
    ip("address add 192.0.2.8/24 valid_lft 600 preferred_lft 600 dev dev0");
    ip("address add 169.254.7.7/16 scope link dev dev0");
    ip("link set dev0 up");
    ip("link set dev1 up");
    Some(b)
}

#[track_caller]
fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All that the host has of an interface, but for what a link that was down for a moment forgets.
fn dev0() -> String {
    let text = ip("-o address show dev dev0");
    let lines = text.lines().filter(|line| line.contains("global") && !line.contains("600sec"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>()[2..6].join(" ") + "\n").collect()
}

const LOOK: &str = "ip -o link show; ip -o address show | grep -v fe80; sleep 0.1";

#[test]
fn an_interface_moves_with_its_addresses_and_is_up() {
    let Some(mut b) = prepare("an_interface_moves_with_its_addresses_and_is_up") else { return };
    b.config["linux"]["netDevices"] = json!({ "dev0": { "name": "inner0" } });
    let out = b.script(LOOK).run().ok();
    let line = out.lines().find(|line| line.contains(" inner0@")).unwrap_or_default();
    assert!(line.contains("UP") && line.contains("mtu 1400"), "{out}");
    assert!(out.contains("02:00:00:00:00:07"), "{out}");
    assert!(out.contains("inet 192.0.2.7/24 brd 192.0.2.255 scope global inner0"), "{out}");
    assert!(out.contains("inet6 2001:db8::7/64 scope global"), "{out}");
    assert!(!out.contains("192.0.2.8") && !out.contains("169.254.7.7"), "{out}");
    // It went down with the container's namespace: a veth is gone then, with its other end.
    crate::bundle::wait_until("the pair is gone", || !ip("-o link").contains("dev1"));
}

#[test]
fn it_keeps_its_name_or_gets_a_number() {
    let Some(mut b) = prepare("it_keeps_its_name_or_gets_a_number") else { return };
    b.config["linux"]["netDevices"] = json!({ "dev0": {}, "dev1": { "name": "net%d" } });
    let out = b.script(LOOK).run().ok();
    assert!(out.contains(" dev0@net0: ") || out.contains(" dev0@"), "{out}");
    assert!(out.contains(" net0@") || out.contains(" net1@"), "{out}");
    assert!(out.contains("scope global dev0"), "{out}");
}

#[test]
fn a_namespace_that_is_joined_gets_it_too() {
    let Some(mut b) = prepare("a_namespace_that_is_joined_gets_it_too") else { return };
    let Some(mut other) = bundle("a_namespace_that_is_joined_gets_it_too") else { return };
    let pid = other.args(&["sleep", "1000"]).start();
    b.namespace("network", Some(&format!("/proc/{pid}/ns/net")));
    b.config["linux"]["netDevices"] = json!({ "dev0": { "name": "inner0" } });
    let out = b.script(LOOK).run().ok();
    assert!(out.contains("inet 192.0.2.7/24 brd 192.0.2.255 scope global inner0"), "{out}");
    // The name is taken there now, which is said before anything moves.
    b.config["linux"]["netDevices"] = json!({ "dev1": { "name": "inner0" } });
    b.run().fails("linux.netDevices: `dev1`: the container has an interface `inner0` already");
    assert!(ip("-o link").contains("dev1@"));
}

#[test]
fn what_cannot_move_is_named_and_what_moved_comes_back() {
    let Some(mut b) = prepare("what_cannot_move_is_named_and_what_moved_comes_back") else {
        return;
    };
    let before = dev0();
    assert_eq!(before.lines().count(), 2, "{before}");
    b.config["linux"]["netDevices"] = json!({ "dev0": { "name": "inner0" }, "none9": {} });
    b.run().fails("linux.netDevices: `none9` is no interface of this machine");
    b.assert_nothing_left();
    assert_eq!(dev0(), before);
    assert!(ip("-o link show dev0").contains("UP"));
    // The loopback interface belongs to its namespace, and every container has one.
    b.config["linux"]["netDevices"] = json!({ "lo": { "name": "lo7" } });
    b.run().fails("linux.netDevices: `lo`");
    b.config["linux"]["netDevices"] = json!({ "dev0": { "name": "lo" } });
    b.run().fails("the container has an interface `lo` already");
    // Later failures give it back, too.
    b.config["linux"]["netDevices"] = json!({ "dev0": {} });
    b.config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] });
    b.run().fails("hook \"/bin/false\": exit status 1");
    assert_eq!(dev0(), before);
}

#[test]
fn killed_at_a_move_nothing_but_the_interface_is_lost() {
    let name = "killed_at_a_move_nothing_but_the_interface_is_lost";
    if !cfg!(feature = "failpoints") {
        println!("skipped: {name}: needs the feature failpoints");
        return;
    }
    let Some(mut b) = prepare(name) else { return };
    b.config["linux"]["netDevices"] = json!({ "dev0": { "name": "inner0" } });
    b.args(&["sleep", "1000"]).write();
    for (point, moved) in [("runtime.net-device", false), ("runtime.net-device.moved", true)] {
        let status = b
            .command(&["create", "c"])
            .env("DHOW_FAILPOINTS", format!("{point}=kill"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        assert!(!status.unwrap().success(), "{point} was never passed");
        assert_eq!(b.call(&["delete", "--force", "c"]).status, 0, "{point}");
        b.assert_nothing_left();
        // It went down with the container's namespace, or was never taken.
        crate::bundle::wait_until("the pair is where it should be", || {
            ip("-o link").contains(" dev0@") != moved
        });
    }
}
