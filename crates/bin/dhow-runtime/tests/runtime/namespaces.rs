//! All eight namespaces, new and joined.

use serde_json::json;

use crate::bundle::{Bundle, bundle};

const FILES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// The namespaces of a process, in the order of [`FILES`].
fn of(pid: &str) -> Vec<String> {
    FILES
        .iter()
        .map(|name| {
            let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
            link.to_string_lossy().into_owned()
        })
        .collect()
}

/// Gives the container a user namespace, and its root the mapped root's files.
pub(crate) fn with_user_namespace(b: &mut Bundle) {
    b.namespace("user", None);
    for field in ["uidMappings", "gidMappings"] {
        b.config["linux"][field] = json!([
            { "containerID": 0, "hostID": 100_000, "size": 1000 },
            { "containerID": 1000, "hostID": 200_000, "size": 1000 },
        ]);
    }
    let chown =
        |path: &std::path::Path| std::os::unix::fs::chown(path, Some(100_000), Some(100_000));
    for entry in std::fs::read_dir(b.rootfs()).unwrap() {
        chown(&entry.unwrap().path()).unwrap();
    }
    chown(&b.rootfs()).unwrap();
}

#[test]
fn all_eight_can_be_new() {
    let Some(mut b) = bundle("all_eight_can_be_new") else { return };
    with_user_namespace(&mut b);
    b.namespace("time", None);
    b.config["linux"]["timeOffsets"] =
        json!({ "monotonic": { "secs": 1000 }, "boottime": { "secs": 8_640_000 } });
    b.config["process"]["user"] = json!({ "uid": 1000, "gid": 7, "additionalGids": [8] });
    b.script("id; cat /proc/self/uid_map /proc/uptime; hostname; ls -ld /; exec sleep 1000");
    let pid = b.start().to_string();
    for (ours, theirs) in of("self").iter().zip(of(&pid)) {
        assert_ne!(*ours, theirs);
    }
    crate::bundle::wait_until("it has said all", || b.output().contains(" /\n"));
    let out = b.output();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "uid=1000 gid=7 groups=8", "{out}");
    let map: Vec<Vec<&str>> =
        lines[1..3].iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(map, [["0", "100000", "1000"], ["1000", "200000", "1000"]]);
    let uptime: f64 = lines[3].split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 8_640_000.0, "{uptime}");
    assert_eq!(lines[4], "box");
    assert!(lines[5].contains(" root     0 "), "{}", lines[5]);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t200000\t200000\t200000\t200000\n"), "{status}");
    assert!(status.contains("CapInh:\t0000000000000000\n"), "{status}");
}

#[test]
pub(crate) fn all_but_the_mount_namespace_can_be_joined() {
    let Some(mut first) = bundle("all_but_the_mount_namespace_can_be_joined") else { return };
    let Some(mut second) = bundle("all_but_the_mount_namespace_can_be_joined") else { return };
    with_user_namespace(&mut first);
    first.namespace("time", None).args(&["sleep", "1000"]);
    let pid = first.start();
    let path = |kind: &str| Some(format!("/proc/{pid}/ns/{kind}"));
    for (kind, file) in [
        ("user", "user"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("pid", "pid"),
        ("time", "time"),
        ("cgroup", "cgroup"),
    ] {
        second.namespace(kind, path(file).as_deref());
    }
    second.config.as_object_mut().unwrap().remove("hostname");
    // Its own devpts and cgroup view belong to the joined namespaces.
    std::os::unix::fs::chown(second.rootfs(), Some(100_000), Some(100_000)).unwrap();
    for entry in std::fs::read_dir(second.rootfs()).unwrap() {
        let path = entry.unwrap().path();
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    second.script("exec sleep 1000");
    let other = second.start().to_string();
    let (ours, theirs) = (of(&pid.to_string()), of(&other));
    for (at, name) in FILES.iter().enumerate() {
        assert_eq!(ours[at] == theirs[at], *name != "mnt", "{name}: {} {}", ours[at], theirs[at]);
    }
    let seen = first.call(&["exec", "c", "ps"]).ok();
    assert_eq!(seen.matches("sleep 1000").count(), 2, "{seen}");
}

#[test]
pub(crate) fn a_namespace_can_be_joined_beside_a_new_user_namespace() {
    let name = "a_namespace_can_be_joined_beside_a_new_user_namespace";
    let Some(mut first) = bundle(name) else { return };
    let Some(mut second) = bundle(name) else { return };
    let pid = first.args(&["sleep", "1000"]).start();
    with_user_namespace(&mut second);
    second.namespace("network", Some(&format!("/proc/{pid}/ns/net")));
    let other = second.args(&["sleep", "1000"]).start().to_string();
    let (ours, theirs) = (of(&pid.to_string()), of(&other));
    assert_eq!(ours[3], theirs[3]);
    assert_ne!(ours[6], theirs[6]);
}

#[test]
fn the_hosts_namespaces_stay_without_a_wish() {
    let Some(mut b) = bundle("the_hosts_namespaces_stay_without_a_wish") else { return };
    b.config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
    b.config.as_object_mut().unwrap().remove("hostname");
    let pid = b.args(&["sleep", "1000"]).start().to_string();
    for (at, (ours, theirs)) in of("self").iter().zip(of(&pid)).enumerate() {
        assert_eq!(*ours == theirs, FILES[at] != "mnt", "{}", FILES[at]);
    }
}

#[test]
fn names_and_parameters_are_the_containers_own() {
    let Some(mut b) = bundle("names_and_parameters_are_the_containers_own") else { return };
    b.config["domainname"] = json!("example.org");
    b.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "7" });
    let out = b
        .script(
            "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward \
             /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max; \
             cat /sys/class/net/lo/operstate; ls /sys/class/net",
        )
        .run()
        .ok();
    assert_eq!(out, "box\nexample.org\n1\n1\n7\nunknown\nlo\n");
    assert_ne!(std::fs::read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap(), "7\n");
}

#[test]
fn the_cgroup_namespace_begins_at_the_containers_cgroup() {
    let Some(mut b) = bundle("the_cgroup_namespace_begins_at_the_containers_cgroup") else {
        return;
    };
    b.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["ro", "nosuid", "noexec", "nodev"] }));
    let out = b.script("cat /proc/self/cgroup; ls /sys/fs/cgroup; touch /sys/fs/cgroup/x").run();
    for line in out.out.lines().filter(|line| line.contains(':')) {
        assert!(line.ends_with(":/"), "{line}");
    }
    assert!(out.err.contains("Read-only file system"), "{}", out.err);
    assert!(!out.out.contains("dhow-test"));
    // Without one it sees its own directory all the same, and nothing above.
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "cgroup");
    let out = b
        .script(
            "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | wc -l",
        )
        .run();
    assert_eq!(out.status, 0, "{}", out.err);
    let count: u32 = out.out.trim().parse().unwrap();
    assert!(count <= 3, "{count}");
}
