//! Mounts, devices, masks.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::bundle::bundle;

#[test]
pub(crate) fn bind_mounts_have_the_attributes_asked_for() {
    let Some(mut b) = bundle("bind_mounts_have_the_attributes_asked_for") else { return };
    let source = b.dir.join("source");
    std::fs::create_dir_all(source.join("deep")).unwrap();
    std::fs::write(source.join("file"), "content\n").unwrap();
    let source = source.to_str().unwrap().to_owned();
    b.mount(json!({ "destination": "/ro", "type": "bind", "source": source, "options": ["rbind", "ro", "nosuid"] }));
    b.mount(json!({ "destination": "/made/on/the/way", "source": "source", "options": ["bind", "noexec"] }));
    b.mount(json!({ "destination": "/etc/one", "source": format!("{source}/file"), "options": ["bind", "rprivate"] }));
    let out = b
        .script(
            "cat /ro/file /etc/one; touch /made/on/the/way/new; touch /ro/x 2>&1; \
             awk '$2 ~ \"^/(ro|made|etc)\" {print $2, $4}' /proc/self/mounts",
        )
        .run()
        .ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[..3],
        ["content", "content", "touch: /ro: Read-only file system"][..2]
            .iter()
            .copied()
            .chain(["touch: /ro/x: Read-only file system"])
            .collect::<Vec<_>>()[..]
    );
    assert!(lines.iter().any(|l| l.starts_with("/ro ro,nosuid")), "{out}");
    assert!(lines.iter().any(|l| l.starts_with("/made/on/the/way rw,noexec")), "{out}");
    assert!(b.dir.join("source/new").exists());
}

#[test]
pub(crate) fn a_tmpfs_can_begin_with_what_it_covers() {
    let Some(mut b) = bundle("a_tmpfs_can_begin_with_what_it_covers") else { return };
    let dir = b.rootfs().join("data/sub");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("f"), "kept\n").unwrap();
    std::os::unix::fs::chown(dir.join("f"), Some(7), Some(8)).unwrap();
    std::os::unix::fs::symlink("sub/f", b.rootfs().join("data/link")).unwrap();
    std::fs::set_permissions(b.rootfs().join("data"), PermissionsExt::from_mode(0o1751)).unwrap();
    b.mount(json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs",
        "options": ["tmpcopyup", "size=1m"] }));
    let out = b
        .script(
            "cat /data/link; stat -c '%u %g' /data/sub/f; stat -c %a /data; echo new > /data/new",
        )
        .run()
        .ok();
    assert_eq!(out, "kept\n7 8\n1751\n");
    assert!(!b.rootfs().join("data/new").exists());
}

#[test]
fn a_tmpfs_that_covers_nothing_is_for_everyone() {
    let Some(mut b) = bundle("a_tmpfs_that_covers_nothing_is_for_everyone") else { return };
    b.mount(json!({ "destination": "/new/place", "type": "tmpfs", "source": "tmpfs" }));
    b.mount(json!({ "destination": "/etc", "type": "tmpfs", "source": "tmpfs" }));
    assert_eq!(
        b.script("stat -c '%n %a' /new/place /etc").run().ok(),
        "/new/place 1777\n/etc 755\n"
    );
}

#[test]
fn a_file_does_not_cover_a_directory_nor_the_other_way_round() {
    for (source, target) in [("rootfs/etc/passwd", "/etc"), ("rootfs/etc", "/etc/passwd")] {
        let name = "a_file_does_not_cover_a_directory_nor_the_other_way_round";
        let Some(mut b) = bundle(name) else { return };
        b.mount(json!({ "destination": target, "source": source, "options": ["bind"] }));
        let ran = b.script("true").run();
        assert!(ran.err.to_lowercase().contains("not a directory"), "{}", ran.err);
        ran.fails(&format!("on {target:?}"));
    }
}

#[test]
pub(crate) fn masked_and_read_only_paths_hold() {
    let Some(mut b) = bundle("masked_and_read_only_paths_hold") else { return };
    b.config["linux"]["maskedPaths"] =
        json!(["/etc/secret", "/etc/dir", "/etc/other", "/etc/more", "/nothing"]);
    b.config["linux"]["readonlyPaths"] = json!(["/etc/fixed", "/proc/sys"]);
    for dir in ["dir", "more", "fixed"] {
        std::fs::create_dir(b.rootfs().join("etc").join(dir)).unwrap();
        std::fs::write(b.rootfs().join("etc").join(dir).join("f"), "x").unwrap();
    }
    for file in ["secret", "other"] {
        std::fs::write(b.rootfs().join("etc").join(file), "x").unwrap();
    }
    let out = b
        .script(
            "cat /etc/secret /etc/other; ls /etc/dir /etc/more; touch /etc/dir/x 2>&1; \
             touch /etc/fixed/x 2>&1; cat /etc/fixed/f; echo; \
             (echo x > /proc/sys/kernel/hostname) 2>&1; stat -c '%t %T' /etc/secret",
        )
        .run()
        .ok();
    assert_eq!(
        out,
        "/etc/dir:\n\n/etc/more:\ntouch: /etc/dir/x: Read-only file system\n\
         touch: /etc/fixed/x: Read-only file system\nx\n\
         sh: can't create /proc/sys/kernel/hostname: Read-only file system\n1 3\n"
    );
}

#[test]
pub(crate) fn a_read_only_root_is_read_only_and_its_mounts_are_not() {
    let Some(mut b) = bundle("a_read_only_root_is_read_only_and_its_mounts_are_not") else {
        return;
    };
    b.config["root"]["readonly"] = json!(true);
    let out = b.script("touch /x 2>&1; touch /dev/x && echo fine").run().ok();
    assert_eq!(out, "touch: /x: Read-only file system\nfine\n");
}

#[test]
pub(crate) fn devices_are_those_of_the_specification_and_those_asked_for() {
    let Some(mut b) = bundle("devices_are_those_of_the_specification_and_those_asked_for") else {
        return;
    };
    b.config["linux"]["devices"] = json!([
        { "type": "c", "path": "/dev/kit/fuse", "major": 10, "minor": 229, "fileMode": 416, "uid": 5, "gid": 6 },
        { "type": "p", "path": "/dev/pipe", "fileMode": 384 },
    ]);
    let out = b
        .script(
            "cd /dev; stat -c '%n %F %t %T %a' null zero full random urandom tty; \
             stat -c '%n %F %t %T %a %u %g' kit/fuse; stat -c '%n %F %a' pipe; \
             for l in fd stdin ptmx; do readlink $l; done",
        )
        .run()
        .ok();
    assert_eq!(
        out,
        "null character special file 1 3 666\nzero character special file 1 5 666\n\
         full character special file 1 7 666\nrandom character special file 1 8 666\n\
         urandom character special file 1 9 666\ntty character special file 5 0 666\n\
         kit/fuse character special file a e5 640 5 6\npipe fifo 600\n\
         /proc/self/fd\n/proc/self/fd/0\npts/ptmx\n"
    );
}

#[test]
pub(crate) fn in_a_user_namespace_devices_are_bound() {
    let Some(mut b) = bundle("in_a_user_namespace_devices_are_bound") else { return };
    b.namespace("user", None);
    for field in ["uidMappings", "gidMappings"] {
        b.config["linux"][field] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    }
    for path in
        [b.rootfs(), b.rootfs().join("dev"), b.rootfs().join("proc"), b.rootfs().join("sys")]
    {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    let out = b
        .script(
            "stat -c '%t %T' /dev/null; echo x > /dev/null && head -c 2 /dev/zero | wc -c; \
                 cat /proc/kcore; mknod /dev/mine c 1 3 2>&1",
        )
        .run();
    assert_eq!(out.out, "1 3\n2\nmknod: /dev/mine: Operation not permitted\n", "{}", out.err);
}

#[test]
fn id_mapped_mounts_show_other_owners() {
    let Some(mut b) = bundle("id_mapped_mounts_show_other_owners") else { return };
    std::fs::create_dir(b.dir.join("source")).unwrap();
    std::fs::write(b.dir.join("source/f"), "").unwrap();
    std::os::unix::fs::chown(b.dir.join("source/f"), Some(1), Some(2)).unwrap();
    b.mount(json!({ "destination": "/mapped", "source": "source", "options": ["bind", "idmap"],
        "uidMappings": [{ "containerID": 0, "hostID": 5000, "size": 10 }],
        "gidMappings": [{ "containerID": 0, "hostID": 6000, "size": 10 }] }));
    let ran = b.script("stat -c '%u %g' /mapped/f").run();
    if ran.err.contains("Invalid argument") {
        println!("skipped: id_mapped_mounts_show_other_owners: the file system has no id mapping");
        return;
    }
    assert_eq!(ran.out, "5001 6002\n", "{}", ran.err);
}

#[test]
pub(crate) fn nothing_but_procfs_covers_proc() {
    let Some(mut b) = bundle("nothing_but_procfs_covers_proc") else { return };
    let good = b.config.clone();
    std::fs::create_dir(b.dir.join("fake")).unwrap();
    std::fs::write(b.dir.join("fake-info"), "fake\n").unwrap();
    for (destination, source) in
        [("/proc", "fake"), ("/proc/self/attr", "fake"), ("/proc/sys", "fake"), ("/alias", "fake")]
    {
        b.config = good.clone();
        let _old = std::fs::remove_file(b.rootfs().join("alias"));
        std::os::unix::fs::symlink("/proc/self/attr", b.rootfs().join("alias")).unwrap();
        b.mount(json!({ "destination": destination, "source": source, "options": ["bind"] }));
        b.write();
        b.call(&["create", "c"]).fails("cannot be mounted because it is inside /proc");
        b.assert_nothing_left();
    }
    b.config = good;
    b.mount(json!({ "destination": "/proc/meminfo", "source": "fake-info", "options": ["bind"] }));
    assert_eq!(b.script("cat /proc/meminfo").run().ok(), "fake\n");
}

#[test]
fn a_missing_working_directory_is_made() {
    let Some(mut b) = bundle("a_missing_working_directory_is_made") else { return };
    b.config["process"]["cwd"] = json!("/made/here");
    assert_eq!(b.args(&["pwd"]).run().ok(), "/made/here\n");
}

#[test]
fn the_root_can_be_moved_instead_of_pivoted() {
    let Some(mut b) = bundle("the_root_can_be_moved_instead_of_pivoted") else { return };
    b.script("ls /; cat /proc/self/mountinfo | wc -l").write();
    let ran = b.call(&["run", "--no-pivot", "c"]);
    assert!(ran.out.starts_with("bin\n"), "{}{}", ran.out, ran.err);
}

#[test]
fn a_container_of_other_namespaces_can_do_without_mounts() {
    let Some(mut b) = bundle("a_container_of_other_namespaces_can_do_without_mounts") else {
        return;
    };
    b.config["mounts"] = json!([]);
    b.config["linux"]["maskedPaths"] = json!([]);
    b.config["linux"]["readonlyPaths"] = json!([]);
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "mount");
    assert_eq!(b.script("echo /*; hostname").run().ok(), "/bin /dev /etc /proc /sys /tmp\nbox\n");
}
