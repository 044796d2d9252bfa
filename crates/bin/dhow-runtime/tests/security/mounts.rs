//! Mount points that lead elsewhere: group A, what is mounted.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::json;

use crate::bundle::{Bundle, bundle};
use crate::canary::{Canary, SECRET, create, mounts_of, pid, plant};
use crate::race::{Swapper, race};

/// A volume in which another container changes what it likes.
fn volume(b: &mut Bundle) -> std::path::PathBuf {
    let volume = b.dir.join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    b.mount(json!({ "destination": "/volume", "source": "volume", "options": ["bind"] }));
    volume
}

/// Every mount of process `pid` is where the configuration has one, or in the volume.
#[track_caller]
fn assert_mounts_are_known(pid: i32) {
    for mount in mounts_of(pid) {
        let known = ["/proc", "/dev", "/sys", "/volume", "/escape"];
        let below = known.iter().any(|dir| Path::new(&mount.target).starts_with(dir));
        assert!(mount.target == "/" || below, "{mount:?}");
    }
}

/// A02, CVE-2015-3629: a container is started again after it has replaced its mount points by links.
/// A vulnerable runtime mounts over the files of the host that they name.
#[test]
fn a02_a_second_start_follows_no_planted_link() {
    let Some(mut b) = bundle("a02_a_second_start_follows_no_planted_link") else { return };
    let canary = Canary::new(&b);
    std::fs::write(b.dir.join("hosts"), "ours\n").unwrap();
    for target in ["/etc/hosts", "/etc/resolv.conf", "/data/file"] {
        b.mount(json!({ "destination": target, "source": "hosts", "options": ["bind"] }));
    }
    b.mount(json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs" }));
    b.args(&["true"]).run().ok();
    // What its root can do to its own file system, once it runs.
    plant(&b, "etc/hosts", canary.file());
    plant(&b, "etc/resolv.conf", canary.dir.join("new"));
    plant(&b, "data", &canary.dir);
    plant(&b, "run", canary.dir.join("directory"));
    let out = b.script("cat /etc/hosts /etc/resolv.conf /data/file; touch /run/x").run().ok();
    assert_eq!(out, "ours\nours\nours\n");
    canary.assert_untouched();
}

/// A06 and D08, CVE-2021-30465 and CVE-2026-42306: a part of the way to a mount point in a shared
/// volume is exchanged for a link while the mount is made. A vulnerable runtime mounts on the host,
/// or shows its files.
#[test]
fn a06_a_mount_never_lands_outside_of_the_root() {
    let Some(mut b) = bundle("a06_a_mount_never_lands_outside_of_the_root") else { return };
    let canary = Canary::new(&b);
    let volume = volume(&mut b);
    std::fs::create_dir_all(volume.join("a/b")).unwrap();
    std::fs::create_dir_all(b.dir.join("source")).unwrap();
    std::fs::write(b.dir.join("source/marker"), "marker").unwrap();
    symlink("/", volume.join("link")).unwrap();
    std::fs::create_dir_all(volume.join("c/d")).unwrap();
    symlink(&canary.dir, volume.join("link2")).unwrap();
    for target in ["/volume/a/b", "/volume/c/directory", "/volume/c/d"] {
        b.mount(json!({ "destination": target, "source": "source", "options": ["bind"] }));
    }
    b.mount(json!({ "destination": "/volume/a/b/c", "type": "tmpfs", "source": "tmpfs" }));
    // What is found at the end of the race, in the eyes of the container.
    b.script("cat /volume/*/secret /volume/*/*/secret /secret 2>/dev/null; ls /; true").write();
    let swappers = [
        Swapper::start(&volume.join("a"), &volume.join("link")),
        Swapper::start(&volume.join("c"), &volume.join("link2")),
    ];
    let host = mounts_of(std::process::id() as i32).len();
    let mut made = 0;
    race("a06", &swappers, |_| {
        let ran = b.call(&["run", "c"]);
        assert!(!ran.out.contains(SECRET), "{}", ran.out);
        made += usize::from(ran.status == 0);
        let ours = mounts_of(std::process::id() as i32);
        let dir = b.dir.to_string_lossy().into_owned();
        assert!(
            !ours.iter().any(|mount| mount.target.contains(&dir)),
            "{host} mounts before: {ours:?}"
        );
    });
    assert!(made > 0, "no container was ever made");
    drop(swappers);
    canary.assert_untouched();
}

/// A10 and D07, CVE-2024-45310 and CVE-2026-41568: the same while missing parts of the way are made.
/// A vulnerable runtime makes directories and empty files anywhere on the host.
#[test]
fn a10_nothing_is_made_outside_of_the_root() {
    let Some(mut b) = bundle("a10_nothing_is_made_outside_of_the_root") else { return };
    let canary = Canary::new(&b);
    let volume = volume(&mut b);
    std::fs::create_dir(volume.join("a")).unwrap();
    symlink(&canary.dir, volume.join("link")).unwrap();
    std::fs::write(b.dir.join("file"), "").unwrap();
    let mounts = b.config["mounts"].clone();
    let swapper = Swapper::start(&volume.join("a"), &volume.join("link"));
    let mut made = 0;
    race("a10", std::slice::from_ref(&swapper), |round| {
        b.config["mounts"] = mounts.clone();
        b.mount(json!({ "destination": format!("/volume/a/new{round}/x/y"), "type": "tmpfs", "source": "tmpfs" }));
        b.mount(json!({ "destination": format!("/volume/a/file{round}"), "source": "file", "options": ["bind"] }));
        b.config["process"]["cwd"] = json!(format!("/volume/a/cwd{round}"));
        made += usize::from(b.run().status == 0);
        canary.assert_untouched();
    });
    assert!(made > 0, "no container was ever made");
    drop(swapper);
}

/// A06 again with the root's own directories: another container has its file system in common.
#[test]
fn a06_the_roots_own_directories_may_be_exchanged_too() {
    let Some(mut b) = bundle("a06_the_roots_own_directories_may_be_exchanged_too") else { return };
    let canary = Canary::new(&b);
    let rootfs = b.rootfs();
    std::fs::create_dir(b.dir.join("source")).unwrap();
    std::fs::create_dir_all(rootfs.join("escape")).unwrap();
    for (name, target) in
        [("link1", canary.dir.to_str().unwrap()), ("link2", "../../canary"), ("link3", "/escape")]
    {
        plant(&b, name, target);
    }
    b.mount(json!({ "destination": "/etc/directory", "source": "source", "options": ["bind"] }));
    b.mount(json!({ "destination": "/tmp/x/y", "source": "source", "options": ["bind"] }));
    b.args(&["true"]).write();
    let swappers = [
        Swapper::start(&rootfs.join("etc"), &rootfs.join("link1")),
        Swapper::start(&rootfs.join("tmp"), &rootfs.join("link2")),
        Swapper::start(&rootfs.join("sys"), &rootfs.join("link3")),
    ];
    let mut made = 0;
    race("a06", &swappers, |_| {
        let ran = create(&b);
        if ran.status == 0 {
            made += 1;
            let pid = pid(&b);
            for mount in mounts_of(pid) {
                let canary = mount.target.contains("/canary") && !mount.root.ends_with("/source");
                assert!(!canary, "{mount:?}");
            }
        }
        b.call(&["delete", "--force", "c"]);
    });
    println!("a06: {made} made");
    drop(swappers);
    canary.assert_untouched();
}

/// A07, CVE-2021-43784: what the runtime says to the process inside is made too long by the sources
/// of mounts. On a vulnerable runtime the length wraps, and the rest is taken for other settings.
#[test]
fn a07_long_sources_forge_nothing() {
    let Some(mut b) = bundle("a07_long_sources_forge_nothing") else { return };
    let mounts = b.config["mounts"].clone();
    let long = format!("/{}", vec!["x".repeat(250); 15].join("/"));
    for count in [20, 1000, 4000] {
        b.config["mounts"] = mounts.clone();
        for i in 0..count {
            b.mount(
                json!({ "destination": format!("/m{i}"), "source": long, "options": ["bind"] }),
            );
        }
        b.args(&["true"]).run().fails("mounts[4].source");
        b.assert_nothing_left();
    }
    // The same length in what works: all namespaces are the container's own.
    b.config["mounts"] = mounts;
    let deep = b.dir.join(&long[1..1200]);
    std::fs::create_dir_all(&deep).unwrap();
    for i in 0..100 {
        b.mount(
            json!({ "destination": format!("/tmp/m{i}"), "source": deep, "options": ["bind"] }),
        );
    }
    let out = b
        .script("for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done")
        .run()
        .ok();
    for line in out.lines() {
        let kind = line.split(':').next().unwrap();
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(line, host.to_str().unwrap());
    }
    assert_eq!(out.lines().count(), 6);
}

/// A15 and A24, CVE-2019-18837 and CVE-2024-5154: mount points, and the files that engines have
/// mounted, are links of the image, absolute, relative, dangling or in a circle.
#[test]
fn a15_mount_points_that_are_links_stay_inside() {
    let Some(mut b) = bundle("a15_mount_points_that_are_links_stay_inside") else { return };
    let canary = Canary::new(&b);
    std::fs::write(b.dir.join("ours"), "ours\n").unwrap();
    let mounts = b.config["mounts"].clone();
    let dir = canary.dir.to_string_lossy().into_owned();
    for name in ["hosts", "hostname", "resolv.conf", "mtab", "passwd"] {
        for target in [
            canary.file().to_string_lossy().into_owned(),
            format!("{dir}/new"),
            format!("{dir}/new/newer"),
            format!("../../../../../../../..{dir}/secret"),
            "../../../../../../../../new".to_owned(),
            "/proc/self/mounts".to_owned(),
            "/proc/1/root/etc/passwd".to_owned(),
            name.to_owned(),
        ] {
            plant(&b, &format!("etc/{name}"), &target);
            b.config["mounts"] = mounts.clone();
            b.mount(json!({ "destination": format!("/etc/{name}"), "source": "ours", "options": ["bind"] }));
            let ran = b.script(&format!("cat /etc/{name}")).run();
            assert!(ran.status != 0 || ran.out == "ours\n", "{name} -> {target}: {}", ran.out);
            b.assert_nothing_left();
        }
        std::fs::remove_file(b.rootfs().join("etc").join(name)).unwrap();
    }
    // The directory itself.
    std::fs::remove_dir_all(b.rootfs().join("etc")).unwrap();
    for target in [dir.as_str(), "../canary", "../../canary"] {
        plant(&b, "etc", target);
        b.config["mounts"] = mounts.clone();
        for name in ["hosts", "mtab", "secret"] {
            b.mount(json!({ "destination": format!("/etc/{name}"), "source": "ours", "options": ["bind"] }));
        }
        assert_eq!(
            b.script("cat /etc/hosts /etc/mtab /etc/secret").run().ok(),
            "ours\nours\nours\n"
        );
        canary.assert_untouched();
    }
}

/// A25, CVE-2026-55686: a part of the working directory is a link. A vulnerable engine makes and
/// gives away a directory of the host.
#[test]
fn a25_a_working_directory_is_made_inside() {
    let Some(mut b) = bundle("a25_a_working_directory_is_made_inside") else { return };
    let canary = Canary::new(&b);
    b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    for target in [canary.dir.to_str().unwrap(), "../canary", "../../../../../../../../"] {
        plant(&b, "l", target);
        for cwd in ["/l/new", "/l/directory/new", "/l/../l/new2"] {
            b.config["process"]["cwd"] = json!(cwd);
            let ran = b.args(&["pwd"]).run();
            assert!(ran.status == 0, "{cwd} {target}: {}", ran.err);
            canary.assert_untouched();
        }
    }
    plant(&b, "l", "/l");
    b.run().fails("working directory");
}

/// A29, CVE-2020-1726, as far as a runtime copies: `tmpcopyup` of a directory with links, devices and
/// fifos in it, which becomes another one meanwhile. A vulnerable runtime copies what links name, or
/// never ends.
#[test]
fn a29_a_copied_directory_is_not_followed_out() {
    let Some(mut b) = bundle("a29_a_copied_directory_is_not_followed_out") else { return };
    let canary = Canary::new(&b);
    let data = b.rootfs().join("data");
    std::fs::create_dir_all(data.join("deep")).unwrap();
    std::fs::write(data.join("file"), "file\n").unwrap();
    symlink(canary.file(), data.join("link")).unwrap();
    symlink(&canary.dir, data.join("dirlink")).unwrap();
    symlink("/proc/self/fd", data.join("fds")).unwrap();
    for (name, kind, device) in [
        ("fifo", rustix::fs::FileType::Fifo, 0),
        ("zero", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
    ] {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            data.join(name),
            kind,
            rustix::fs::Mode::from_raw_mode(0o600),
            device,
        )
        .unwrap();
    }
    b.mount(json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"] }));
    let out = b
        .script("cat /data/file; cat /data/link /data/dirlink/secret 2>/dev/null; ls /data | wc -l")
        .run()
        .ok();
    assert_eq!(out, "file\n7\n");
    std::fs::write(b.rootfs().join("elsewhere"), "elsewhere").unwrap();
    plant(&b, "swap", canary.file());
    let swappers = [
        Swapper::start(&data.join("file"), &data.join("zero")),
        Swapper::start(&data.join("deep"), &data.join("dirlink")),
    ];
    b.script("cat /data/deep/secret /data/dirlink/secret 2>/dev/null; true").write();
    race("a29", &swappers, |_| {
        let ran = b.call(&["run", "c"]);
        assert!(!ran.out.contains(SECRET), "{}", ran.out);
    });
    drop(swappers);
    canary.assert_untouched();
}

/// X02: whatever the propagation of the root and of its mounts, none ever travels to the host, nor
/// do changes of one. A runtime that forgets a clone is a peer shows them there.
#[test]
fn x02_no_mount_travels_to_the_host() {
    let Some(mut b) = bundle("x02_no_mount_travels_to_the_host") else { return };
    let caps = json!(["CAP_SYS_ADMIN"]);
    b.config["process"]["capabilities"] =
        json!({ "bounding": caps, "permitted": caps, "effective": caps });
    std::fs::create_dir(b.dir.join("volume")).unwrap();
    let mounts = b.config["mounts"].clone();
    for root in ["", "private", "slave", "shared", "unbindable"] {
        for option in ["", "rslave", "rprivate", "private", "slave"] {
            b.config["linux"]["rootfsPropagation"] = json!(root);
            b.config["mounts"] = mounts.clone();
            b.mount(json!({ "destination": "/volume", "source": "volume", "options": ["rbind", option] }));
            b.args(&["sh", "-c", "mkdir -p /volume/m /tmp/m && mount -t tmpfs x /volume/m && mount -t tmpfs x /tmp/m && \
                mount -o remount,ro,bind /volume; cat /proc/self/mountinfo | grep -c tmpfs; sleep 1000"]).start();
            crate::bundle::wait_until("it has mounted", || b.output().contains('\n'));
            let dir = b.dir.to_string_lossy().into_owned();
            let host = mounts_of(std::process::id() as i32);
            assert!(
                !host.iter().any(|mount| mount.target.contains(&dir)),
                "{root}/{option}: {host:?}"
            );
            std::fs::write(b.dir.join("volume/still-writable"), "").unwrap();
            b.call(&["delete", "--force", "c"]).ok();
        }
    }
}

/// N01, CVE-2024-0132 and CVE-2024-0133: what is mounted for a device (libraries, sockets) lands on
/// links of the image, exchanged meanwhile. A vulnerable tool mounts the host's root or makes files
/// there.
#[test]
fn n01_mounts_for_devices_resist_links_and_exchanges() {
    let Some(mut b) = bundle("n01_mounts_for_devices_resist_links_and_exchanges") else { return };
    let canary = Canary::new(&b);
    std::fs::write(b.dir.join("lib.so"), "library").unwrap();
    for dir in ["usr/lib/a", "usr/lib/b", "run"] {
        std::fs::create_dir_all(b.rootfs().join(dir)).unwrap();
    }
    plant(&b, "usr/lib/evil", &canary.dir);
    plant(&b, "usr/lib/libcuda.so.1", canary.dir.join("libcuda.so.1"));
    plant(&b, "run/socket", canary.dir.join("socket"));
    for target in [
        "/usr/lib/a/libnvidia.so",
        "/usr/lib/a/new/libnvidia.so",
        "/usr/lib/libcuda.so.1",
        "/run/socket",
    ] {
        b.mount(json!({ "destination": target, "source": "lib.so", "options": ["bind", "ro", "nosuid"] }));
    }
    b.args(&["true"]).write();
    let swapper = Swapper::start(&b.rootfs().join("usr/lib/a"), &b.rootfs().join("usr/lib/evil"));
    let mut made = 0;
    race("n01", std::slice::from_ref(&swapper), |_| {
        let ran = create(&b);
        if ran.status == 0 {
            made += 1;
            assert_mounts_are_known_but(&b, pid(&b));
        }
        b.call(&["delete", "--force", "c"]);
        canary.assert_untouched();
    });
    assert!(made > 0, "no container was ever made");
}

/// As above; the library may be where the image's link leads inside.
#[track_caller]
fn assert_mounts_are_known_but(b: &Bundle, pid: i32) {
    let canary = std::fs::metadata(b.dir.join("canary")).unwrap().ino();
    for mount in mounts_of(pid) {
        let inside = format!("/proc/{pid}/root{}", mount.target);
        let ino = std::fs::symlink_metadata(inside).map_or(0, |stat| stat.ino());
        assert_ne!(ino, canary, "{mount:?}");
        assert!(mount.root.ends_with("/lib.so") || !mount.target.starts_with("/usr"), "{mount:?}");
    }
}

/// X03: a bind mount that is made inside a volume shows where it is, in every course of the race.
#[test]
fn x03_mounts_are_where_the_configuration_has_them() {
    let Some(mut b) = bundle("x03_mounts_are_where_the_configuration_has_them") else { return };
    let volume = volume(&mut b);
    std::fs::create_dir_all(volume.join("a/m")).unwrap();
    std::fs::create_dir_all(volume.join("b/m")).unwrap();
    b.mount(json!({ "destination": "/volume/a/m", "type": "tmpfs", "source": "tmpfs" }));
    b.args(&["true"]).write();
    let swapper = Swapper::start(&volume.join("a"), &volume.join("b"));
    race("x03", std::slice::from_ref(&swapper), |_| {
        create(&b).ok();
        assert_mounts_are_known(pid(&b));
        b.call(&["delete", "--force", "c"]).ok();
    });
}
