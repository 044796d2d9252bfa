//! User namespaces as root makes them: maps, joined ones, whose files are whose.

use serde_json::{Value, json};

use crate::bundle::{Bundle, bundle, wait_until};

/// Gives the container a user namespace, and what lies in its root to `root`.
fn with_maps(b: &mut Bundle, maps: &Value, root: Option<u32>) {
    b.namespace("user", None);
    for field in ["uidMappings", "gidMappings"] {
        b.config["linux"][field] = maps.clone();
    }
    if root.is_some() {
        std::os::unix::fs::chown(b.rootfs(), root, root).unwrap();
        for entry in std::fs::read_dir(b.rootfs()).unwrap() {
            std::os::unix::fs::chown(entry.unwrap().path(), root, root).unwrap();
        }
    }
}

fn map(inside: u32, outside: u32, size: u32) -> Value {
    json!({ "containerID": inside, "hostID": outside, "size": size })
}

#[test]
fn maps_that_the_kernel_does_not_take_are_refused_by_name() {
    let Some(mut b) = bundle("maps_that_the_kernel_does_not_take_are_refused_by_name") else {
        return;
    };
    let many: Vec<Value> = (0..341).map(|i| map(i * 2, 100_000 + i * 2, 1)).collect();
    let long: Vec<Value> = (0..300).map(|i| map(i * 2, 1_000_000_000 + i * 2, 1)).collect();
    for (maps, why) in [
        (json!([]), "linux.uidMappings is missing"),
        (json!([map(0, 1, 0)]), "linux.uidMappings[0]: `0 1 0` maps nothing"),
        (
            json!([map(0, 100, 10), map(9, 200, 10)]),
            "linux.uidMappings[1]: `9 200 10` overlaps with another range",
        ),
        (
            json!([map(0, 100, 10), map(50, 109, 10)]),
            "linux.uidMappings[1]: `50 109 10` overlaps with another range",
        ),
        (
            json!([map(0, u32::MAX - 5, 10)]),
            "linux.uidMappings[0]: `0 4294967290 10` goes beyond the largest id",
        ),
        (json!(many), "linux.uidMappings: `341` ranges are more than the kernel takes (340)"),
        (json!(long), "bytes as text are more than the kernel takes (4095)"),
    ] {
        with_maps(&mut b, &maps, None);
        b.write();
        b.call(&["create", "c"]).fails(why);
        b.assert_nothing_left();
    }
    // As many as it takes.
    let most: Vec<Value> = (0..220).map(|i| map(i * 2, 100_000 + i * 2, 1)).collect();
    with_maps(&mut b, &json!(most), Some(100_000));
    b.script("wc -l < /proc/self/uid_map");
    assert_eq!(b.run().ok(), "220\n");
    b.namespace("user", None);
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "user");
    b.write();
    b.call(&["create", "c"]).fails("linux.uidMappings are there without a user namespace");
}

#[test]
fn ids_that_are_not_mapped_are_refused_by_name() {
    let Some(mut b) = bundle("ids_that_are_not_mapped_are_refused_by_name") else { return };
    with_maps(&mut b, &json!([map(0, 100_000, 10), map(1000, 200_000, 10)]), Some(100_000));
    for (user, why) in [
        (json!({ "uid": 10, "gid": 0 }), "process.user.uid: `10` is not mapped"),
        (json!({ "uid": 0, "gid": 999 }), "process.user.gid: `999` is not mapped"),
        (
            json!({ "uid": 0, "gid": 0, "additionalGids": [1, 1010] }),
            "process.user.additionalGids[1]: `1010` is not mapped",
        ),
    ] {
        b.config["process"]["user"] = user;
        b.write();
        b.call(&["create", "c"]).fails(why);
        b.assert_nothing_left();
    }
    b.config["process"]["user"] = json!({ "uid": 1009, "gid": 9, "additionalGids": [1001] });
    b.args(&["sleep", "1000"]).start();
    let exec = |args: &[&str]| b.call(&[&["exec"], args].concat());
    exec(&["-u", "10", "c", "id"]).fails("process.user.uid: `10`: is not mapped");
    exec(&["-u", "1:999", "c", "id"]).fails("is not mapped in the container's user namespace");
    exec(&["-g", "77", "c", "id"]).fails("is not mapped in the container's user namespace");
    assert_eq!(
        exec(&["-u", "1:2", "-g", "3", "--no-new-privs", "c", "id"]).ok(),
        "uid=1 gid=2 groups=2,3,1001\n"
    );
}

#[test]
fn a_joined_user_namespace_has_the_maps_that_are_named() {
    let name = "a_joined_user_namespace_has_the_maps_that_are_named";
    let Some(mut first) = bundle(name) else { return };
    let Some(mut second) = bundle(name) else { return };
    let maps = json!([map(0, 100_000, 500), map(500, 300_000, 500)]);
    with_maps(&mut first, &maps, Some(100_000));
    let pid = first.args(&["sleep", "1000"]).start();
    let path = format!("/proc/{pid}/ns/user");
    with_maps(&mut second, &json!([map(0, 100_000, 1000)]), Some(100_000));
    second.namespace("user", Some(&path)).script("cat /proc/self/uid_map");
    second.write();
    second.call(&["create", "c"]).fails(
        "linux.uidMappings: user namespaces enabled, but both namespace path and non-matching",
    );
    second.assert_nothing_left();
    for field in ["uidMappings", "gidMappings"] {
        second.config["linux"][field] = json!([map(500, 300_000, 500), map(0, 100_000, 500)]);
    }
    let words = |out: &str| out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&second.run().ok()), "0 100000 500 500 300000 500");
    for field in ["uidMappings", "gidMappings"] {
        second.config["linux"].as_object_mut().unwrap().remove(field);
    }
    assert_eq!(words(&second.run().ok()), "0 100000 500 500 300000 500");
    // Who is not there can only be told when it is entered.
    second.config["process"]["user"] = json!({ "uid": 5000, "gid": 0 });
    second.write();
    second.call(&["create", "c"]).fails("process.user.uid: `5000`: is not mapped");
    second.namespace("user", Some("/proc/self/ns/net"));
    second.write();
    second.call(&["create", "c"]).fails("`/proc/self/ns/net` is not a user namespace");
}

#[test]
pub(crate) fn namespaces_of_other_owners_are_joined_beside_a_user_namespace() {
    let name = "namespaces_of_other_owners_are_joined_beside_a_user_namespace";
    let Some(mut owner) = bundle(name) else { return };
    let Some(mut other) = bundle(name) else { return };
    let Some(mut b) = bundle(name) else { return };
    let maps = json!([map(0, 100_000, 1000)]);
    with_maps(&mut owner, &maps, Some(100_000));
    let owner_pid = owner.args(&["sleep", "1000"]).start();
    // Of the machine's own user namespace.
    let other_pid = other.args(&["sleep", "1000"]).start();
    with_maps(&mut b, &maps, Some(100_000));
    for field in ["uidMappings", "gidMappings"] {
        b.config["linux"].as_object_mut().unwrap().remove(field);
    }
    b.namespace("user", Some(&format!("/proc/{owner_pid}/ns/user")));
    b.namespace("network", Some(&format!("/proc/{other_pid}/ns/net")));
    b.namespace("ipc", Some(&format!("/proc/{other_pid}/ns/ipc")));
    b.namespace("pid", Some(&format!("/proc/{owner_pid}/ns/pid")));
    let pid = b.args(&["sleep", "1000"]).start();
    let link = |pid: i32, name: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    assert_eq!(link(pid, "user"), link(owner_pid, "user"));
    assert_eq!(link(pid, "pid"), link(owner_pid, "pid"));
    assert_eq!(link(pid, "net"), link(other_pid, "net"));
    assert_eq!(link(pid, "ipc"), link(other_pid, "ipc"));
    assert!(b.call(&["exec", "c", "id"]).ok().starts_with("uid=0(root)"));
}

#[test]
fn a_root_that_is_somebody_elses_is_named() {
    let Some(mut b) = bundle("a_root_that_is_somebody_elses_is_named") else { return };
    with_maps(&mut b, &json!([map(0, 100_000, 1000)]), None);
    std::fs::remove_dir(b.rootfs().join("sys")).unwrap();
    b.args(&["true"]).write();
    let path = b.rootfs();
    b.call(&["create", "c"]).fails(&format!(
        "root.path: {path:?} belongs to an id that the container's user namespace does not map: \
         give it to the ids that linux.uidMappings"
    ));
    b.assert_nothing_left();
    std::os::unix::fs::chown(b.rootfs(), Some(100_007), Some(100_008)).unwrap();
    std::os::unix::fs::chown(b.rootfs().join("dev"), Some(100_000), Some(100_000)).unwrap();
    // Mapped, though not root's: root inside has its way.
    assert_eq!(b.run().status, 0);
}

#[test]
fn a_tmpfs_begins_with_what_it_covers_in_a_user_namespace() {
    let name = "a_tmpfs_begins_with_what_it_covers_in_a_user_namespace";
    let Some(mut b) = bundle(name) else { return };
    let dir = b.rootfs().join("data");
    std::fs::create_dir(&dir).unwrap();
    with_maps(&mut b, &json!([map(0, 100_000, 1000)]), Some(100_000));
    for (file, id) in [("root", 100_000), ("seven", 100_007), ("nobody", 5)] {
        std::fs::write(dir.join(file), "kept\n").unwrap();
        std::os::unix::fs::chown(dir.join(file), Some(id), Some(id)).unwrap();
    }
    b.mount(json!({ "destination": "/data", "type": "tmpfs", "options": ["tmpcopyup"] }));
    b.script("cd /data; cat root seven nobody; stat -c '%u:%g' root seven nobody");
    assert_eq!(b.run().ok(), "kept\nkept\nkept\n0:0\n7:7\n0:0\n");
}

#[test]
fn with_the_hosts_network_the_hosts_sys_is_shown() {
    let Some(mut b) = bundle("with_the_hosts_network_the_hosts_sys_is_shown") else { return };
    with_maps(&mut b, &json!([map(0, 100_000, 1000)]), Some(100_000));
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "network");
    b.script("ls /sys/class/net | wc -l; readlink /proc/self/ns/net; touch /sys/x");
    let out = b.run();
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    let links = std::fs::read_dir("/sys/class/net").unwrap().count();
    assert_eq!(out.out, format!("{links}\n{}\n", ours.display()), "{}", out.err);
    assert!(out.err.contains("Read-only file system"), "{}", out.err);
}

#[test]
fn a_source_that_only_the_host_may_see_is_mounted() {
    let Some(mut b) = bundle("a_source_that_only_the_host_may_see_is_mounted") else { return };
    with_maps(&mut b, &json!([map(0, 100_000, 1000)]), Some(100_000));
    std::fs::create_dir_all(b.dir.join("closed/dir")).unwrap();
    std::fs::write(b.dir.join("closed/dir/f"), "seen\n").unwrap();
    std::fs::set_permissions(
        b.dir.join("closed"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    b.mount(json!({ "destination": "/d", "source": "closed/dir", "options": ["bind"] }));
    b.script("cat /d/f; exec sleep 1000");
    b.start();
    wait_until("it was seen", || b.output().contains("seen"));
    assert_eq!(b.call(&["exec", "c", "cat", "/d/f"]).ok(), "seen\n");
}
