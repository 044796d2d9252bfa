//! Mount options and propagation, as the container's own mountinfo has them.

use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::{Bundle, bundle};

/// Each mount point below `/m`, its attributes, its propagation, and the flags of its file system.
const SCRIPT: &str = "awk '$5 ~ \"^/m/\" {o=\"\"; for (i=7; $i != \"-\"; i++) o = o \" \" $i; print $5, $6, \"|\" o, \"|\", $NF}' \
     /proc/self/mountinfo";

#[track_caller]
fn sh(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

/// Takes a mount away when the test is over: a directory that one is on cannot be removed.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = Command::new("umount").args(["-l", &self.0]).status();
    }
}

/// A mount namespace for this thread and what it runs, in which `source` of the bundle is a shared
/// mount with another, `sub`, below it.
fn with_source(b: &Bundle) -> (String, Mounted) {
    sys::unshare(sys::CloneFlags::NEWNS).unwrap();
    let source = b.dir.join("source").to_string_lossy().into_owned();
    std::fs::create_dir_all(&source).unwrap();
    sh(&format!(
        "mount --make-rprivate /; mount -t tmpfs a {source}; mkdir {source}/sub; \
         mount -t tmpfs b {source}/sub; mount --make-rshared {source}"
    ));
    (source.clone(), Mounted(source))
}

#[test]
pub(crate) fn bind_mounts_take_every_option() {
    let Some(mut b) = bundle("bind_mounts_take_every_option") else { return };
    let (source, _mounted) = with_source(&b);
    let cases: &[(&str, &str, &str)] = &[
        // The options; then what must be there of the mount, and of the one below it.
        ("ro", "ro,", "rw,"),
        ("nosuid,nodev,noexec", "nosuid,nodev,noexec", "rw,relatime"),
        ("noatime", "noatime", "relatime"),
        ("nodiratime", "nodiratime", "relatime"),
        ("strictatime", "rw |", "relatime"),
        ("noatime,relatime", "relatime", "relatime"),
        ("noatime,atime", "relatime", "relatime"),
        ("nosymfollow", "nosymfollow", "relatime"),
        ("nosuid,suid,nodev,dev,noexec,exec,ro,rw", "rw,relatime", "rw,relatime"),
        ("nodiratime,diratime,nosymfollow,symfollow", "rw,relatime", "rw,relatime"),
        ("strictatime,nostrictatime,norelatime", "rw,relatime", "rw,relatime"),
        ("rro", "ro,", "ro,"),
        ("rnosuid,rnodev,rnoexec", "nosuid,nodev,noexec", "nosuid,nodev,noexec"),
        ("rnoatime", "noatime", "noatime"),
        ("rnodiratime", "nodiratime", "nodiratime"),
        ("rstrictatime", "rw |", "rw |"),
        ("rnosymfollow", "nosymfollow", "nosymfollow"),
        ("rro,rrw,rnosuid,rsuid,rnodev,rdev,rnoexec,rexec", "rw,relatime", "rw,relatime"),
        ("rnodiratime,rdiratime,rnosymfollow,rsymfollow", "rw,relatime", "rw,relatime"),
        ("rnoatime,rrelatime", "relatime", "relatime"),
        ("rnoatime,ratime", "relatime", "relatime"),
        ("rstrictatime,rnostrictatime,rnorelatime", "relatime", "relatime"),
        ("defaults,async,silent,loud,nomand,nolazytime,noiversion", "rw,relatime", "rw,relatime"),
        // Without a word: what is mounted on the host appears, and never the other way.
        ("", "master:", "master:"),
        ("private", "relatime | |", "shared:"),
        ("rprivate", "relatime | |", "relatime | |"),
        ("slave", "master:", "shared:"),
        ("rslave", "master:", "master:"),
        ("shared", "shared:", "shared:"),
        ("rshared", "shared:", "shared:"),
        ("unbindable", "unbindable", "shared:"),
        ("runbindable", "unbindable", "unbindable"),
    ];
    for (i, (options, ..)) in cases.iter().enumerate() {
        let options: Vec<&str> =
            options.split(',').filter(|one| !one.is_empty()).chain(["rbind"]).collect();
        b.mount(json!({ "destination": format!("/m/{i}"), "source": source, "options": options }));
    }
    let out = b.script(SCRIPT).run().ok();
    for (i, (options, top, below)) in cases.iter().enumerate() {
        for (path, wanted) in [(format!("/m/{i}"), top), (format!("/m/{i}/sub"), below)] {
            let line = out.lines().find(|line| line.starts_with(&format!("{path} ")));
            let line = line.unwrap_or_else(|| panic!("{path} is missing: {out}"));
            assert!(line.contains(wanted), "`{options}`: no `{wanted}` in `{line}`");
        }
    }
    // Without `rbind` there is nothing below it.
    b.mount(json!({ "destination": "/m/one", "source": source, "options": ["bind"] }));
    let out = b.script(SCRIPT).run().ok();
    assert!(out.contains("/m/one ") && !out.contains("/m/one/sub"), "{out}");
}

#[test]
fn file_systems_take_their_own_options() {
    let Some(mut b) = bundle("file_systems_take_their_own_options") else { return };
    let tmpfs = |destination: &str, options: Value| json!({ "destination": destination, "type": "tmpfs", "source": "t", "options": options });
    for (name, options) in [
        ("sync", json!(["sync"])),
        ("dirsync", json!(["dirsync"])),
        ("lazytime", json!(["lazytime"])),
        ("undone", json!(["sync", "async", "lazytime", "nolazytime"])),
        ("iversion", json!(["iversion", "mand"])),
        ("size", json!(["size=1m", "mode=0711", "nosuid"])),
    ] {
        b.mount(tmpfs(&format!("/m/{name}"), options));
    }
    // Mounted again, other parameters count.
    b.mount(json!({ "destination": "/m/size", "options": ["remount", "size=2m", "noexec"] }));
    let out = b.script(&format!("{SCRIPT}; stat -c %a /m/size")).run().ok();
    let line = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(&format!("/m/{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {out}")).to_owned()
    };
    assert!(line("sync").contains("rw,sync"), "{out}");
    assert!(line("dirsync").contains("rw,dirsync"), "{out}");
    assert!(line("lazytime").contains("lazytime"), "{out}");
    assert!(!line("undone").contains("sync") && !line("undone").contains("lazytime"), "{out}");
    assert!(line("iversion").contains("| rw"), "{out}");
    let size = line("size");
    assert!(
        size.contains("nosuid") && size.contains("noexec") && size.contains("size=2048k"),
        "{out}"
    );
    assert!(out.ends_with("711\n"), "{out}");
    b.mount(tmpfs("/m/bad", json!(["rubbish"])));
    b.run().fails("Unknown parameter 'rubbish'");
    b.assert_nothing_left();
}

#[test]
pub(crate) fn the_root_propagates_as_asked_for() {
    let Some(mut b) = bundle("the_root_propagates_as_asked_for") else { return };
    sys::unshare(sys::CloneFlags::NEWNS).unwrap();
    let dir = b.dir.to_string_lossy().into_owned();
    sh(&format!("mount --make-rprivate /; mount --bind {dir} {dir}; mount --make-shared {dir}"));
    let _mounted = Mounted(dir);
    for (value, there, not) in [
        ("", "master:", "shared:"),
        ("slave", "master:", "shared:"),
        ("rslave", "master:", "shared:"),
        ("private", "", ":"),
        ("rprivate", "", ":"),
        ("shared", "shared:", "unbindable"),
        ("unbindable", "unbindable", ":"),
    ] {
        b.config["linux"]["rootfsPropagation"] = json!(value);
        let script = "awk '$5 == \"/\" {for (i=7; $i != \"-\"; i++) printf \"%s \", $i}' /proc/self/mountinfo";
        let out = b.script(script).run().ok();
        assert!(out.contains(there) && !out.contains(not), "{value:?}: {out:?}");
    }
}

/// What the host's mount has: kept where nothing is asked for, else only what is asked for; and in a
/// user namespace none of it can be taken away.
#[test]
fn a_bind_mount_has_what_is_asked_for_and_what_is_locked() {
    let test = "a_bind_mount_has_what_is_asked_for_and_what_is_locked";
    let Some(mut b) = bundle(test) else { return };
    let (source, _mounted) = with_source(&b);
    sh(&format!("mount -o remount,bind,ro,nodev,noexec,nosymfollow {source}"));
    let options = |b: &mut Bundle, options: &str| {
        b.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/m/x");
        let options: Vec<&str> = options.split(',').collect();
        b.mount(
            json!({ "destination": "/m/x", "type": "bind", "source": source, "options": options }),
        );
        b.script("awk '$5 == \"/m/x\" {print $6}' /proc/self/mountinfo").run()
    };
    let all = "ro,nodev,noexec,relatime,nosymfollow\n";
    for (asked, has) in [
        ("rbind", all),
        ("rbind,rprivate", all),
        ("bind,dev", "rw,relatime\n"),
        ("bind,nosuid", "rw,nosuid,relatime\n"),
        ("bind,ro", "ro,relatime\n"),
        ("bind,rw,nodev", "rw,nodev,relatime\n"),
    ] {
        assert_eq!(options(&mut b, asked).ok(), has, "{asked}");
    }
    crate::namespaces::with_user_namespace(&mut b);
    for (asked, has) in [
        ("rbind", all),
        ("bind,nosuid", "ro,nosuid,nodev,noexec,relatime\n"),
        ("bind,ro,symfollow", "ro,nodev,noexec,relatime\n"),
    ] {
        assert_eq!(options(&mut b, asked).ok(), has, "{asked}");
    }
    for asked in ["bind,rw", "bind,dev,nosuid", "bind,exec"] {
        options(&mut b, asked).fails("is locked by the user namespace");
    }
}

#[test]
fn a_source_in_the_containers_root_is_what_is_mounted_there() {
    let test = "a_source_in_the_containers_root_is_what_is_mounted_there";
    let Some(mut b) = bundle(test) else { return };
    for dir in ["host", "host/sub", "rootfs/m", "rootfs/n"] {
        std::fs::create_dir_all(b.dir.join(dir)).unwrap();
    }
    std::fs::write(b.dir.join("host/sub/file"), "of the host").unwrap();
    let root = b.rootfs().to_string_lossy().into_owned();
    let host = b.dir.join("host").to_string_lossy().into_owned();
    let bind = |source: &str, at: &str| json!({ "destination": at, "type": "bind", "source": source, "options": ["rbind"] });
    b.mount(bind(&host, "/m"));
    b.mount(bind(&format!("{root}/m/sub"), &format!("{root}/n")));
    assert_eq!(b.script("cat /n/file").run().ok(), "of the host");
    // A link there leads nowhere but inside.
    std::os::unix::fs::symlink("/etc", b.dir.join("host/link")).unwrap();
    b.config["mounts"].as_array_mut().unwrap().pop();
    b.mount(bind(&format!("{root}/m/link"), "/n"));
    std::fs::write(b.rootfs().join("etc/own"), "the container's").unwrap();
    assert_eq!(b.script("cat /n/own").run().ok(), "the container's");
    b.config["mounts"].as_array_mut().unwrap().pop();
    b.mount(bind(&format!("{root}/m/none"), "/n"));
    b.run().fails("the source \"/m/none\" in the container");
}
