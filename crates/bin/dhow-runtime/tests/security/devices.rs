//! `/dev` of hostile images, terminals, and device rules.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::bundle::{Bundle, Ran, bundle};
use crate::canary::{Canary, pid, plant};
use crate::race::{Swapper, race};

/// The image's own `/dev`, without a tmpfs over it.
fn without_dev(b: &mut Bundle) {
    b.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    std::fs::create_dir_all(b.rootfs().join("dev/pts")).unwrap();
}

/// Creates the container with a terminal, whose other end comes back with it.
fn create_with_terminal(
    b: &Bundle,
    listener: &UnixListener,
) -> (Ran, Option<std::os::fd::OwnedFd>) {
    let ran = b.call(&["create", "--console-socket", "console.sock", "--pid-file", "pid", "c"]);
    if ran.status != 0 {
        return (ran, None);
    }
    let (socket, _) = listener.accept().unwrap();
    let (_, master) = sys::recv_fd(socket.as_fd()).unwrap();
    (ran, master)
}

fn listener(b: &Bundle) -> UnixListener {
    UnixListener::bind(b.dir.join("console.sock")).unwrap()
}

/// What device is at `path`, in the container as it was created.
fn device_in(b: &Bundle, path: &str) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let pid = std::fs::read_to_string(b.dir.join("pid")).unwrap();
    let stat = std::fs::symlink_metadata(format!("/proc/{pid}/root{path}")).unwrap();
    (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()))
}

/// A01 and A17, CVE-2015-3627 and CVE-2026-88264: everything that a runtime opens or makes in `/dev`
/// is a link of the image to the host. A vulnerable one opens it, or makes a file that belongs to
/// root.
#[test]
fn a01_links_in_dev_are_not_followed_to_the_host() {
    let Some(mut b) = bundle("a01_links_in_dev_are_not_followed_to_the_host") else { return };
    let canary = Canary::new(&b);
    without_dev(&mut b);
    let listener = listener(&b);
    let names = [
        "console", "tty", "fd", "stdin", "stdout", "stderr", "core", "ptmx", "null", "zero",
        "random", "pts", "shm",
    ];
    let terminals = ["console", "tty", "ptmx", "pts", "null"];
    for name in names {
        let with = if terminals.contains(&name) { &[false, true][..] } else { &[false] };
        for target in [
            canary.file(),
            canary.dir.join("new"),
            canary.dir.clone(),
            "../../canary/new".into(),
            "/nowhere".into(),
        ] {
            for &terminal in with {
                std::fs::remove_dir_all(b.rootfs().join("dev")).unwrap();
                std::fs::create_dir_all(b.rootfs().join("dev/pts")).unwrap();
                plant(&b, &format!("dev/{name}"), &target);
                b.config["process"]["terminal"] = json!(terminal);
                b.args(&["true"]).write();
                if terminal {
                    let (ran, _master) = create_with_terminal(&b, &listener);
                    if ran.status == 0 {
                        assert_eq!(device_in(&b, "/dev/console").0, 136, "{name} -> {target:?}");
                        b.call(&["start", "c"]);
                        b.call(&["delete", "--force", "c"]).ok();
                    }
                } else {
                    b.call(&["run", "c"]);
                }
                canary.assert_untouched();
            }
        }
    }
}

/// A12, CVE-2025-52565: the terminal's file, or `/dev/console` that it covers, is exchanged for a link
/// while the terminal is made. A vulnerable runtime mounts the link's target there, writable.
#[test]
fn a12_the_console_is_the_containers_terminal() {
    let Some(mut b) = bundle("a12_the_console_is_the_containers_terminal") else { return };
    let canary = Canary::new(&b);
    without_dev(&mut b);
    let listener = listener(&b);
    let dev = b.rootfs().join("dev");
    std::fs::write(dev.join("console"), "").unwrap();
    plant(&b, "dev/evil", "/proc/sys/kernel/domainname");
    std::fs::create_dir(b.rootfs().join("fakepts")).unwrap();
    std::fs::write(b.rootfs().join("fakepts/0"), "").unwrap();
    std::fs::write(b.rootfs().join("fakepts/ptmx"), "").unwrap();
    b.config["process"]["terminal"] = json!(true);
    b.args(&["true"]).write();
    let swappers = [
        Swapper::start(&dev.join("console"), &dev.join("evil")),
        Swapper::start(&dev.join("pts"), &b.rootfs().join("fakepts")),
    ];
    let mut made = 0;
    race("a12", &swappers, |_| {
        let (ran, _master) = create_with_terminal(&b, &listener);
        if ran.status == 0 {
            made += 1;
            let pid = pid(&b);
            // By name it is either of the two by now; the mount shows what was covered with what.
            let covers: Vec<_> = crate::canary::mounts_of(pid)
                .into_iter()
                .filter(|m| m.target.ends_with("/console") || m.target.ends_with("/evil"))
                .collect();
            assert!(covers.len() == 1 && covers[0].kind == "devpts", "{covers:?}");
        }
        b.call(&["delete", "--force", "c"]);
    });
    println!("a12: {made} made");
    drop(swappers);
    canary.assert_untouched();
}

/// A12 on exec: the container has something else at `/dev/pts` and `/dev/ptmx`, and looks on.
#[test]
fn a12_a_terminal_on_exec_is_of_a_devpts() {
    let Some(mut b) = bundle("a12_a_terminal_on_exec_is_of_a_devpts") else { return };
    let canary = Canary::new(&b);
    b.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/pts");
    let listener = listener(&b);
    b.args(&["sleep", "1000"]).start();
    for script in [
        "mkdir -p /dev/pts; echo x > /dev/pts/ptmx; echo x > /dev/pts/0",
        "rm -rf /dev/pts; ln -s /proc/self/fd /dev/pts",
        "rm -rf /dev/pts; mkdir /dev/pts; ln -s /dev/null /dev/pts/ptmx",
        "rm -rf /dev/pts; mkdir /dev/pts; mknod /dev/pts/ptmx c 1 3; mknod /dev/pts/0 c 1 3",
        "rm -rf /dev/pts; mkdir /dev/pts; mknod /dev/pts/ptmx c 5 2",
        "rm -rf /dev/pts; mknod /dev/pts p",
    ] {
        b.call(&["exec", "c", "sh", "-c", script]).ok();
        let ran = b.call(&["exec", "-t", "-d", "--console-socket", "console.sock", "c", "true"]);
        assert!(ran.status != 0, "{script}");
    }
    drop(listener);
    canary.assert_untouched();
}

/// A14 and A16, CVE-2026-41579 and CVE-2026-47766: `/dev` of the image is a link to the host, also to
/// a directory of it that is mounted in the container. A vulnerable runtime removes `ptmx` there, and
/// makes links and devices.
#[test]
fn a14_a_linked_dev_makes_nothing_on_the_host() {
    let Some(mut b) = bundle("a14_a_linked_dev_makes_nothing_on_the_host") else { return };
    let canary = Canary::new(&b);
    b.config["linux"]["devices"] = json!([{ "type": "c", "path": "/dev/fuse", "major": 10, "minor": 229 },
        { "type": "p", "path": "/dev/pipe" }, { "type": "c", "path": "/dev/deep/er/zero", "major": 1, "minor": 5 }]);
    let all = b.config["mounts"].clone();
    let host = json!({ "destination": "/data", "source": canary.dir, "options": ["bind"] });
    for target in [
        canary.dir.as_path(),
        Path::new("../canary"),
        Path::new("../../canary"),
        Path::new("/data"),
        Path::new("data"),
    ] {
        plant(&b, "dev", target);
        let tmpfs_dev = all.clone();
        let no_dev = json!([all[0]]);
        for mounts in [tmpfs_dev, no_dev] {
            for volume in [false, true] {
                b.config["mounts"] = mounts.clone();
                if volume {
                    b.mount(host.clone());
                }
                let ran = b.args(&["true"]).run();
                canary.assert_untouched();
                // Inside the root, without a directory of the host, there is nothing wrong with it.
                assert!(volume || ran.status == 0, "{target:?}: {}", ran.err);
            }
        }
    }
    // A link on the way to a device.
    std::fs::remove_file(b.rootfs().join("dev")).unwrap();
    std::fs::create_dir_all(b.rootfs().join("dev/pts")).unwrap();
    plant(&b, "dev/deep", &canary.dir);
    b.config["mounts"] = json!([all[0]]);
    b.run();
    canary.assert_untouched();
}

/// A18, CVE-2026-88265: the image's `/dev/null` leads to a file of the host that is mounted in the
/// container. A vulnerable runtime opens it as the standard streams, and gives it to the user.
#[test]
fn a18_streams_are_never_opened_through_a_link() {
    let Some(mut b) = bundle("a18_streams_are_never_opened_through_a_link") else { return };
    let canary = Canary::new(&b);
    without_dev(&mut b);
    b.mount(json!({ "destination": "/mnt", "source": canary.file(), "options": ["bind"] }));
    b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    for target in ["/mnt", "../mnt", "../../canary/secret"] {
        plant(&b, "dev/null", target);
        let _refused = b.script("echo written; echo written >&2").run();
        b.assert_nothing_left();
        canary.assert_untouched();
    }
    // The same on exec, where the container itself puts it there.
    std::fs::remove_file(b.rootfs().join("dev/null")).unwrap();
    b.args(&["sleep", "1000"]);
    b.config["process"]["user"] = json!({ "uid": 0, "gid": 0 });
    b.start();
    for script in [
        "rm /dev/null; ln -s /mnt /dev/null",
        "rm /dev/null; mknod /dev/null p",
        "rm /dev/null; mkdir /dev/null",
        "rmdir /dev/null; mknod /dev/null c 1 5",
    ] {
        b.call(&["exec", "c", "sh", "-c", script]).ok();
        let out = b
            .call(&[
                "exec",
                "--user",
                "1000",
                "c",
                "sh",
                "-c",
                "echo out; stat -L -c %t:%T /proc/self/fd/0",
            ])
            .ok();
        assert_eq!(out, "out\n1:3\n", "{script}");
        canary.assert_untouched();
    }
}

/// C03, GHSA-g54h-m393-cpwq: a configuration without device rules. On a vulnerable runtime the
/// container opens every device.
#[test]
fn c03_devices_are_closed_unless_a_rule_opens_them() {
    let Some(mut b) = bundle("c03_devices_are_closed_unless_a_rule_opens_them") else { return };
    b.config["linux"].as_object_mut().unwrap().remove("resources");
    let script = "mknod /dev/mem c 1 1; mknod /dev/disk b 8 0; mknod /dev/loop b 7 0; mknod /dev/kmsg c 1 11; mknod /dev/port c 1 4; \
        for d in mem disk loop kmsg port; do head -c 1 /dev/$d 2>&1 >/dev/null; (: > /dev/$d) 2>&1; done; head -c 1 /dev/zero | wc -c";
    for resources in [json!(null), json!({}), json!({ "devices": [] })] {
        if !resources.is_null() {
            b.config["linux"]["resources"] = resources;
        }
        let out = b.script(script).run().ok();
        assert_eq!(out.matches("Operation not permitted").count(), 10, "{out}");
        assert!(out.ends_with("\n1\n"), "{out}");
    }
    // What a later, wider or other rule must not open again.
    for (rules, open) in [
        (json!([{ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" }]), "kmsg"),
        (
            json!([{ "allow": true, "type": "a", "access": "rwm" }, { "allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm" },
                { "allow": false, "type": "b", "access": "rwm" }, { "allow": false, "type": "c", "major": 1, "minor": 1, "access": "rwm" },
                { "allow": false, "type": "c", "major": 1, "minor": 4, "access": "rwm" }]),
            "",
        ),
    ] {
        b.config["linux"]["resources"] = json!({ "devices": rules });
        let ran = b.script("mknod /dev/mem c 1 1; mknod /dev/disk b 8 0; mknod /dev/kmsg c 1 11; mknod /dev/port c 1 4; \
            for d in mem disk kmsg port; do (: < /dev/$d) 2>/dev/null && echo $d; (: > /dev/$d) 2>/dev/null && echo w$d; done; true").run();
        // A v1 controller has no word for "all but these": then it is refused, not widened. What is
        // open may still need a capability.
        let out = ran.out.trim();
        assert!(out.is_empty() || out == open, "{rules}: {out}");
    }
}

/// X04: device files of the image with the numbers of the host's disks and memory are closed too, also
/// to what is executed later, and to one that is renamed over the image's `/dev/null`.
#[test]
fn x04_device_files_of_the_image_open_nothing() {
    let Some(mut b) = bundle("x04_device_files_of_the_image_open_nothing") else { return };
    without_dev(&mut b);
    for (name, kind, major, minor) in [
        ("dev/mem", FileType::CharacterDevice, 1, 1),
        ("dev/sda", FileType::BlockDevice, 8, 0),
        ("tmp/mem", FileType::CharacterDevice, 1, 1),
    ] {
        mknodat(
            CWD,
            b.rootfs().join(name),
            kind,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(major, minor),
        )
        .unwrap();
    }
    let script = "for d in /dev/mem /dev/sda /tmp/mem; do (: < $d) 2>&1; done";
    let out = b.script(script).run().out;
    assert_eq!(out.matches("Operation not permitted").count(), 3, "{out}");
    b.args(&["sleep", "1000"]).start();
    let out = b.call(&["exec", "c", "sh", "-c", script]).out;
    assert_eq!(out.matches("Operation not permitted").count(), 3, "{out}");
    b.call(&["delete", "--force", "c"]).ok();
    // A default device's name with another device behind it.
    std::fs::rename(b.rootfs().join("dev/mem"), b.rootfs().join("dev/null")).unwrap();
    b.args(&["true"]).run().fails("something else is there already");
}
