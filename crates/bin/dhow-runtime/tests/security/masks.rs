//! Masked and read-only paths: groups A and C.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::bundle::{Bundle, bundle};
use crate::canary::{Canary, create, mounts_of, pid, plant};
use crate::race::{Swapper, at_rest, race};

/// The image's own `/dev`, without a tmpfs over it.
fn without_dev(b: &mut Bundle) {
    b.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    std::fs::create_dir_all(b.rootfs().join("dev/pts")).unwrap();
}

/// Puts something in the place of `/dev/null`.
type Plant<'a> = &'a dyn Fn(&Bundle);

/// A11 and A21, CVE-2025-31133 and CVE-2025-62161: masks are made of the image's `/dev/null`, which
/// is something else. A vulnerable runtime mounts the host's file that it names, writable, or leaves
/// the mask out.
#[test]
fn a11_masks_are_made_of_the_null_device_alone() {
    let Some(mut b) = bundle("a11_masks_are_made_of_the_null_device_alone") else { return };
    let canary = Canary::new(&b);
    without_dev(&mut b);
    std::fs::write(b.rootfs().join("masked"), "masked\n").unwrap();
    std::fs::create_dir(b.rootfs().join("maskeddir")).unwrap();
    std::fs::write(b.rootfs().join("maskeddir/file"), "masked\n").unwrap();
    b.config["linux"]["maskedPaths"] =
        json!(["/masked", "/maskeddir", "/proc/kcore", "/proc/timer_list"]);
    b.script("cat /masked /maskeddir/file /proc/timer_list 2>/dev/null; echo evil > /masked; echo evil > /proc/timer_list; stat -c %t:%T /masked");
    let null = b.rootfs().join("dev/null");
    let plants: [(&str, Plant<'_>); 6] = [
        ("host file", &|b| plant(b, "dev/null", canary.file())),
        ("kernel file", &|b| plant(b, "dev/null", "/proc/sys/kernel/domainname")),
        ("regular file", &|b| std::fs::write(b.rootfs().join("dev/null"), "file").unwrap()),
        ("directory", &|b| std::fs::create_dir(b.rootfs().join("dev/null")).unwrap()),
        ("dangling link", &|b| plant(b, "dev/null", "/nowhere/at/all")),
        ("nothing", &|_| ()),
    ];
    for (name, make) in plants {
        let _file = std::fs::remove_file(&null);
        let _dir = std::fs::remove_dir(&null);
        make(&b);
        let ran = b.run();
        assert!(ran.status != 0 || ran.out == "1:3\n", "{name}: {} {}", ran.out, ran.err);
        assert_eq!(std::fs::read(b.rootfs().join("masked")).unwrap(), b"masked\n", "{name}");
        b.assert_nothing_left();
        canary.assert_untouched();
    }
}

/// A11 under way: the image's `/dev/null` is exchanged all the time.
#[test]
fn a11_masks_resist_an_exchange_of_the_null_device() {
    let Some(mut b) = bundle("a11_masks_resist_an_exchange_of_the_null_device") else { return };
    let canary = Canary::new(&b);
    without_dev(&mut b);
    let rootfs = b.rootfs();
    std::fs::write(rootfs.join("masked"), "masked\n").unwrap();
    b.config["linux"]["maskedPaths"] = json!(["/masked", "/proc/kcore", "/proc/timer_list"]);
    b.script(
        "cat /masked /proc/timer_list; (echo evil > /masked) 2>/dev/null; stat -c %t:%T /masked",
    )
    .write();
    b.call(&["run", "c"]).ok(); // makes the devices
    // As good as core_pattern for whoever would follow it, and the container's own.
    plant(&b, "dev/evil", "/proc/sys/kernel/domainname");
    std::fs::set_permissions(rootfs.join("dev"), PermissionsExt::from_mode(0o777)).unwrap();
    let swapper = Swapper::start(&rootfs.join("dev/null"), &rootfs.join("dev/evil"));
    let mut made = 0;
    race("a11", std::slice::from_ref(&swapper), |_| {
        let ran = b.call(&["run", "c"]);
        if ran.status == 0 {
            made += 1;
            assert_eq!(ran.out, "1:3\n", "{}", ran.err);
        }
        canary.assert_untouched();
    });
    println!("a11: {made} made");
    drop(swapper);
    assert_eq!(std::fs::read(rootfs.join("masked")).unwrap(), b"masked\n");
}

/// A23, GHSA-3q8j-pf29-vwv8: a read-only path is found twice, once as what is mounted and once as
/// where. When a part of it is exchanged in between, a vulnerable runtime covers the wrong one.
#[test]
fn a23_a_read_only_path_is_found_once() {
    let Some(mut b) = bundle("a23_a_read_only_path_is_found_once") else { return };
    let volume = b.dir.join("volume");
    // Many of them, so that an exchange falls between the two looks at one.
    let names: Vec<String> = (0..60).map(|n| format!("ro{n}")).collect();
    for name in names.iter().map(String::as_str).chain(["masked"]) {
        std::fs::create_dir_all(volume.join("d").join(name)).unwrap();
        std::fs::create_dir_all(volume.join("e").join(name)).unwrap();
    }
    b.mount(json!({ "destination": "/volume", "source": "volume", "options": ["bind"] }));
    let paths: Vec<String> = names.iter().map(|name| format!("/volume/d/{name}")).collect();
    b.config["linux"]["readonlyPaths"] = json!(paths);
    b.config["linux"]["maskedPaths"] = json!(["/volume/d/masked"]);
    b.args(&["true"]).write();
    at_rest("a23", (&volume.join("d"), &volume.join("e")), |swapped| {
        if swapped {
            create(&b).ok();
            return;
        }
        // Nothing moves now: each mount is where the directory is that it shows.
        let mounts = mounts_of(pid(&b));
        let covers: Vec<_> = mounts.iter().filter(|mount| mount.target.contains("/ro")).collect();
        assert_eq!(covers.len(), names.len(), "{mounts:?}");
        for cover in covers {
            assert!(cover.root.ends_with(&cover.target), "{cover:?}");
        }
        assert!(mounts.iter().any(|mount| mount.target.ends_with("/masked")), "{mounts:?}");
        b.call(&["delete", "--force", "c"]).ok();
    });
}

/// X23: in a container without a filter, a process makes a user namespace, and in it a procfs or sysfs
/// that nothing masks. The kernel forbids it as long as the only ones there are masked: a runtime that
/// leaves another one in the mount namespace, even out of sight, gives everything away.
#[test]
fn x23_a_namespace_inside_brings_no_unmasked_proc() {
    let Some(mut b) = bundle("x23_a_namespace_inside_brings_no_unmasked_proc") else { return };
    let script = "busybox unshare -U -r -m -n -p -f sh -c 'mkdir -p /tmp/x; mount -t proc proc /tmp/x 2>/dev/null && echo PROC; \
        mount -t sysfs sysfs /tmp/x 2>/dev/null && echo SYS; echo done'";
    // As an ordinary user: root may map itself only with a capability that it does not have here.
    b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    b.script(script).write();
    for args in [&["run", "c"][..], &["run", "--no-pivot", "c"]] {
        assert_eq!(b.call(args).ok(), "done\n", "{args:?}");
    }
    // The control: without masks the kernel has nothing against it.
    b.config["linux"]["maskedPaths"] = json!([]);
    b.config["linux"]["readonlyPaths"] = json!([]);
    let out = b.run().ok();
    assert!(out.contains("PROC"), "{out}");
}

/// C04 to C08, CVE-2015-3630, CVE-2017-16539, CVE-2018-10892, GHSA-jq35-85cj-fj4p, GHSA-6fw5-f8r9-fgfm:
/// Docker's list of masked and read-only paths, each of which reads empty or cannot be written.
#[test]
fn c04_every_masked_path_is_empty_and_every_read_only_path_is() {
    let Some(mut b) = bundle("c04_every_masked_path_is_empty_and_every_read_only_path_is") else {
        return;
    };
    let masked = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
    ];
    let read_only = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    b.config["linux"]["maskedPaths"] = json!(masked);
    b.config["linux"]["readonlyPaths"] = json!(read_only);
    let script = format!(
        "for p in {}; do [ -e $p ] || continue; echo p; if [ -d $p ]; then ls -A $p; (touch $p/x) 2>/dev/null && echo WRITTEN $p; \
         else head -c 1 $p; [ $(stat -c %t:%T $p) = 1:3 ] || echo NOT-NULL $p; fi; done; \
         for p in {}; do [ -e $p ] || continue; echo r; f=$p; [ -d $p ] && f=$p/x; (echo h > $f) 2>/dev/null && echo WRITTEN $p; touch $p 2>&1 | grep -q Read-only || echo WRITABLE $p; done; \
         (echo x > /proc/sys/kernel/core_pattern) 2>&1",
        masked.join(" "),
        read_only.join(" ")
    );
    let out = b.script(&script).run().out;
    assert!(out.matches('p').count() >= 4 && out.matches("r\n").count() >= 3, "{out}");
    assert!(!out.contains("WRIT") && !out.contains("NOT-NULL"), "{out}");
    assert!(out.contains("Read-only file system"), "{out}");
    let rest: Vec<&str> = out.lines().filter(|line| !matches!(*line, "p" | "r")).collect();
    assert_eq!(rest.len(), 1, "{out}");
}
