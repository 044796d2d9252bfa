//! `/proc` and `/sys` that are not what they seem: group A, what is written to the kernel.

use std::path::Path;

use serde_json::json;

use crate::bundle::{Bundle, bundle};
use crate::canary::{Canary, create, mounts_of, pid, plant};
use crate::race::{Swapper, race};

/// A03, CVE-2015-3631: a volume over files of procfs. A vulnerable runtime mounts it, and writes
/// labels to files of the image.
#[test]
fn a03_nothing_is_mounted_inside_proc() {
    let Some(mut b) = bundle("a03_nothing_is_mounted_inside_proc") else { return };
    std::fs::create_dir_all(b.dir.join("volume/attr")).unwrap();
    std::fs::write(b.dir.join("volume/file"), "").unwrap();
    plant(&b, "short", "/proc/self");
    plant(&b, "up", "../../proc");
    let mounts = b.config["mounts"].clone();
    for (destination, source, kind) in [
        ("/proc/self/attr", "volume", "bind"),
        ("/proc/self/attr/current", "volume/file", "bind"),
        ("/proc/thread-self/attr", "volume", "bind"),
        ("/proc/1/attr", "tmpfs", "tmpfs"),
        ("/proc/sys", "volume", "bind"),
        ("/proc/sys", "tmpfs", "tmpfs"),
        ("/proc/sys/kernel/core_pattern", "volume/file", "bind"),
        ("/proc/sysrq-trigger", "volume/file", "bind"),
        ("/proc/../proc/sys", "volume", "bind"),
        ("//proc/./sys", "volume", "bind"),
        ("/tmp/../proc/self/attr", "volume", "bind"),
        ("/short/attr", "volume", "bind"),
        ("/short/attr/exec", "volume/file", "bind"),
        ("/up/sys", "volume", "bind"),
        ("/up", "volume", "bind"),
        ("/up", "tmpfs", "tmpfs"),
        ("/proc/self/attr", "proc", "proc"),
        ("/proc/sys", "sysfs", "sysfs"),
        ("/proc/irq", "cgroup", "cgroup"),
        ("/proc/irq", "mqueue", "mqueue"),
    ] {
        b.config["mounts"] = mounts.clone();
        b.mount(json!({ "destination": destination, "type": kind, "source": source, "options": if kind == "bind" { vec!["bind"] } else { vec![] } }));
        let ran = b.args(&["true"]).run();
        assert!(ran.status != 0, "{kind} on {destination}: {}", ran.out);
        b.assert_nothing_left();
    }
}

/// A04, CVE-2019-16884: all of `/proc` is a volume of the image's. A vulnerable runtime starts it
/// with the labels written to the volume.
#[test]
fn a04_proc_is_procfs_or_there_is_no_container() {
    let Some(mut b) = bundle("a04_proc_is_procfs_or_there_is_no_container") else { return };
    for name in ["volume/self/attr", "volume/1/attr", "volume/thread-self/attr"] {
        std::fs::create_dir_all(b.dir.join(name)).unwrap();
        std::fs::write(b.dir.join(name).join("exec"), "").unwrap();
        std::fs::write(b.dir.join(name).join("current"), "").unwrap();
    }
    let mounts = b.config["mounts"].clone();
    for mount in [
        json!({ "destination": "/proc", "source": "volume", "options": ["bind"] }),
        json!({ "destination": "/proc", "source": "volume", "options": ["rbind"] }),
        json!({ "destination": "/proc/", "source": "volume", "options": ["bind", "ro"] }),
        json!({ "destination": "/proc", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/proc", "type": "sysfs", "source": "sysfs" }),
        json!({ "destination": "/proc", "type": "cgroup", "source": "cgroup" }),
    ] {
        // After the container's procfs, and in its place.
        for keep in [true, false] {
            b.config["mounts"] = mounts.clone();
            if !keep {
                b.config["mounts"].as_array_mut().unwrap().remove(0);
            }
            b.mount(mount.clone());
            let ran = b.args(&["true"]).run();
            assert!(ran.status != 0, "{mount}: {}", ran.out);
            b.assert_nothing_left();
        }
    }
    for name in ["volume/self/attr/exec", "volume/1/attr/exec"] {
        assert_eq!(std::fs::read(b.dir.join(name)).unwrap(), b"");
    }
}

fn refused_with_a_link(b: &mut Bundle, name: &str) {
    let canary = Canary::new(b);
    let inside = b.rootfs().join("inside");
    std::fs::create_dir_all(&inside).unwrap();
    for target in [
        canary.dir.as_path(),
        Path::new("../../.."),
        Path::new("/inside"),
        Path::new("inside"),
        Path::new("/"),
        Path::new("."),
        Path::new("/nowhere"),
        Path::new("/etc/passwd"),
    ] {
        plant(b, name, target);
        b.args(&["true"]).run().fails("must be mounted on ordinary directory");
        b.assert_nothing_left();
    }
    assert!(std::fs::read_dir(&inside).unwrap().next().is_none());
    canary.assert_untouched();
}

/// A08 and A20, CVE-2023-27561 and CVE-2025-54867: `/proc` of the image is a link. A vulnerable
/// runtime mounts procfs where it leads, and masks nothing there.
#[test]
fn a08_a_proc_that_is_a_link_is_refused() {
    let Some(mut b) = bundle("a08_a_proc_that_is_a_link_is_refused") else { return };
    refused_with_a_link(&mut b, "proc");
}

/// A20, CVE-2025-54867: the same with `/sys`.
#[test]
fn a20_a_sys_that_is_a_link_is_refused() {
    let Some(mut b) = bundle("a20_a_sys_that_is_a_link_is_refused") else { return };
    refused_with_a_link(&mut b, "sys");
    // The host's, bound there, is no other case.
    for mount in b.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/sys" {
            *mount = json!({ "destination": "/sys", "source": "/sys", "options": ["rbind", "ro"] });
        }
    }
    plant(&b, "sys", "/inside");
    b.run().fails("must be mounted on ordinary directory");
}

/// A09, CVE-2023-28642: the same with masked and read-only paths and labels that would be written
/// there.
#[test]
fn a09_a_linked_proc_bypasses_no_mask() {
    let Some(mut b) = bundle("a09_a_linked_proc_bypasses_no_mask") else { return };
    std::fs::create_dir_all(b.rootfs().join("evil/self/attr")).unwrap();
    std::fs::create_dir_all(b.rootfs().join("evil/sys/kernel")).unwrap();
    std::fs::write(b.rootfs().join("evil/sys/kernel/core_pattern"), "").unwrap();
    plant(&b, "proc", "/evil");
    b.config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
    b.config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/sys/kernel/core_pattern"]);
    b.run().fails("must be mounted on ordinary directory");
    // A container without a procfs has the image's files there, masked and all.
    b.config["mounts"].as_array_mut().unwrap().remove(0);
    let out = b
        .script(
            "echo x > /proc/sys/kernel/core_pattern; wc -c < /evil/sys/kernel/core_pattern; \
        touch /evil/sys/x 2>&1",
        )
        .run();
    assert!(out.out.contains("0\n") && out.out.contains("Read-only"), "{} {}", out.out, out.err);
}

/// A05, CVE-2019-19921: `/proc` becomes a link into a volume while the container is made. A
/// vulnerable runtime mounts procfs in the volume.
#[test]
fn a05_procfs_is_never_mounted_in_a_volume() {
    let Some(mut b) = bundle("a05_procfs_is_never_mounted_in_a_volume") else { return };
    let volume = b.dir.join("volume");
    std::fs::create_dir_all(volume.join("evil")).unwrap();
    b.config["mounts"].as_array_mut().unwrap().insert(
        0,
        json!({ "destination": "/volume",
        "source": "volume", "options": ["bind"] }),
    );
    plant(&b, "link", "/volume/evil");
    b.write();
    let swapper = Swapper::start(&b.rootfs().join("proc"), &b.rootfs().join("link"));
    let (mut made, mut refused) = (0, 0);
    race("a05", &[swapper], |_| {
        let ran = create(&b);
        if ran.status == 0 {
            made += 1;
            let pid = pid(&b);
            for mount in mounts_of(pid) {
                let is_proc = matches!(mount.kind.as_str(), "proc" | "sysfs");
                assert!(!(is_proc && mount.target.starts_with("/volume")), "{mount:?}");
            }
        } else {
            refused += 1;
        }
        b.call(&["delete", "--force", "c"]);
    });
    println!("a05: {made} made, {refused} refused");
    assert!(refused > 0, "the link was never there in time");
    assert!(std::fs::read_dir(volume.join("evil")).unwrap().next().is_none());
}

/// A13 and A22, CVE-2025-52881 and CVE-2025-62596: what is written to procfs (labels, parameters, the
/// OOM score) is led to other files of it. A vulnerable runtime writes a label to `core_pattern` of
/// the host.
#[test]
fn a13_writes_to_procfs_are_not_led_astray() {
    let Some(mut b) = bundle("a13_writes_to_procfs_are_not_led_astray") else { return };
    let canary = Canary::new(&b);
    let core = "/proc/sys/kernel/core_pattern";
    let mounts = b.config["mounts"].clone();
    b.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "4096" });
    b.config["process"]["oomScoreAdj"] = json!(77);
    for (destination, source) in [
        ("/proc/self/attr/exec", core),
        ("/proc/self/attr/current", core),
        ("/proc/thread-self/attr/exec", core),
        ("/proc/1/oom_score_adj", core),
        ("/proc/sys/net/ipv4/ip_forward", core),
        ("/proc/sys/kernel/msgmax", "/proc/sysrq-trigger"),
    ] {
        b.config["mounts"] = mounts.clone();
        b.mount(json!({ "destination": destination, "source": source, "options": ["bind"] }));
        let ran = b.run();
        assert!(ran.status != 0, "{destination}: {}", ran.out);
        b.assert_nothing_left();
    }
    // No procfs at all, or one that is a directory of the image: what is written still arrives.
    std::fs::create_dir_all(b.rootfs().join("proc/sys/net/ipv4")).unwrap();
    std::fs::write(b.rootfs().join("proc/sys/net/ipv4/ip_forward"), "image").unwrap();
    std::fs::write(b.rootfs().join("proc/sys/kernel"), "image").unwrap();
    b.config["mounts"] = mounts;
    b.config["mounts"].as_array_mut().unwrap().remove(0);
    b.mount(json!({ "destination": "/real", "type": "proc", "source": "proc" }));
    b.script("cat /real/sys/net/ipv4/ip_forward /real/sys/kernel/msgmax /real/self/oom_score_adj");
    let out = b.run().ok();
    assert_eq!(out, "1\n4096\n77\n");
    assert_eq!(std::fs::read(b.rootfs().join("proc/sys/net/ipv4/ip_forward")).unwrap(), b"image");
    canary.assert_untouched();
}

/// A19, CVE-2026-115521: with a `/proc` of the image's own, the root stays writable on a vulnerable
/// runtime, which finds the mount to make read-only through `/proc/self/fd`.
#[test]
fn a19_a_read_only_root_needs_no_proc() {
    let Some(mut b) = bundle("a19_a_read_only_root_needs_no_proc") else { return };
    std::fs::create_dir_all(b.rootfs().join("proc/self/fd")).unwrap();
    for n in 0..40 {
        plant(&b, &format!("proc/self/fd/{n}"), "/tmp");
    }
    b.config["root"]["readonly"] = json!(true);
    b.config["mounts"].as_array_mut().unwrap().remove(0);
    b.script("touch /x 2>&1; touch /etc/x 2>&1; touch /tmp/x 2>&1; mkdir /dev/../y 2>&1; true");
    let out = b.run().ok();
    assert_eq!(out.matches("Read-only file system").count(), 4, "{out}");
    assert!(!b.rootfs().join("tmp/x").exists());
}

/// X01: the container's own `/proc` is exchanged while parameters are set, between the mount of
/// procfs and the write. What is written goes to the kernel, or the container is not made.
#[test]
fn x01_parameters_are_set_while_proc_is_exchanged() {
    let Some(mut b) = bundle("x01_parameters_are_set_while_proc_is_exchanged") else { return };
    let fake = b.rootfs().join("fake/sys/net/ipv4");
    std::fs::create_dir_all(&fake).unwrap();
    std::fs::write(fake.join("ip_forward"), "image").unwrap();
    b.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    b.config["linux"]["readonlyPaths"] = json!([]);
    b.config["linux"]["maskedPaths"] = json!([]);
    b.write();
    let swapper = Swapper::start(&b.rootfs().join("proc"), &b.rootfs().join("fake"));
    race("x01", std::slice::from_ref(&swapper), |_| {
        let ran = create(&b);
        if ran.status == 0 {
            let state: serde_json::Value =
                serde_json::from_str(&b.call(&["state", "c"]).ok()).unwrap();
            let value = std::process::Command::new("nsenter")
                .args([
                    "-n",
                    "-t",
                    &state["pid"].to_string(),
                    "cat",
                    "/proc/sys/net/ipv4/ip_forward",
                ])
                .output()
                .unwrap();
            assert_eq!(value.stdout, b"1\n", "not set in the container's namespace");
        }
        b.call(&["delete", "--force", "c"]);
    });
    drop(swapper);
    let found = [b.rootfs().join("fake"), b.rootfs().join("proc")].iter().any(|dir| {
        std::fs::read(dir.join("sys/net/ipv4/ip_forward")).is_ok_and(|text| text == b"image")
    });
    assert!(found, "the image's file was written to");
}
