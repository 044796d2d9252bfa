//! The container's cgroups: its limits are not its own to change, and the host's are not to be seen.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::bundle::{Bundle, bundle};
use crate::canary::detached;

fn with_cgroups(b: &mut Bundle, options: &[&str]) {
    b.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options }));
    b.config["linux"]["resources"] =
        json!({ "pids": { "limit": 100 }, "memory": { "limit": 64 << 20 } });
    let _there = std::os::unix::fs::symlink("busybox", b.rootfs().join("bin/find"));
}

/// Every file of a limit, in v1 and v2, and everything that could be made beside it.
const CHANGE: &str = "cd /sys/fs/cgroup; for f in $(find . -type f 2>/dev/null); do \
    case $f in *max|*limit*|*release_agent|*notify_on_release|*procs|*tasks|*devices.allow|*devices.deny|*subtree_control|*shares|*weight) \
    (echo 1 > $f) 2>/dev/null && echo CHANGED $f;; esac; done; \
    for d in . *; do [ -d $d ] && mkdir $d/new 2>/dev/null && echo MADE $d; done; echo done";

/// X13: root in the container changes its limits through the read-only cgroup mount, or with
/// setrlimit(2); and moves out of its cgroup.
#[test]
fn x13_limits_are_not_the_containers_to_change() {
    let Some(mut b) = bundle("x13_limits_are_not_the_containers_to_change") else { return };
    with_cgroups(&mut b, &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    b.config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 100 }, { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]);
    let script = format!(
        "{CHANGE}; (ulimit -n 101) 2>/dev/null && echo RAISED; (ulimit -c 1) 2>/dev/null && echo RAISED; \
        mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo REMOUNTED; umount /sys/fs/cgroup 2>/dev/null && echo UNMOUNTED; true"
    );
    assert_eq!(b.script(&script).run().ok(), "done\n");
    // What is executed is in the same cgroup, and has the same limits.
    b.args(&["sleep", "1000"]).start();
    assert_eq!(b.call(&["exec", "c", "sh", "-c", &script]).ok(), "done\n");
}

/// X14: the container reads the paths of the host's cgroups, in `/proc/self/cgroup` or in the mounts.
#[test]
fn x14_the_hosts_cgroup_paths_are_not_seen() {
    let Some(mut b) = bundle("x14_the_hosts_cgroup_paths_are_not_seen") else { return };
    with_cgroups(&mut b, &["ro"]);
    let script = "cat /proc/self/cgroup /proc/1/cgroup; grep cgroup /proc/self/mountinfo; ls /sys/fs/cgroup/*";
    let name = b.cgroup.trim_start_matches('/').to_owned();
    let out = b.script(script).run().out;
    assert!(!out.contains(&name) && !out.contains("/.."), "{out}");
    b.args(&["sleep", "1000"]).start();
    let out = b.call(&["exec", "c", "sh", "-c", script]).out;
    assert!(!out.contains(&name) && !out.contains("/.."), "{out}");
}

/// C01, CVE-2022-0492: in a user namespace of its own making, a container without a filter mounts a v1
/// hierarchy and sets its `release_agent`. That is the kernel's to forbid; what is the runtime's is
/// that the container has no other way to it.
#[test]
fn c01_a_release_agent_cannot_be_set() {
    let Some(mut b) = bundle("c01_a_release_agent_cannot_be_set") else { return };
    let script = "busybox unshare -U -r -C -m sh -c 'for c in memory pids rdma devices freezer; do mkdir -p /tmp/$c; \
        mount -t cgroup -o $c x /tmp/$c 2>/dev/null || continue; echo mounted; (echo /dhow-none > /tmp/$c/release_agent) 2>/dev/null && echo SET; done'; \
        mount -t cgroup -o memory x /tmp 2>/dev/null && echo SET; (echo x > /sys/fs/cgroup/memory/release_agent) 2>/dev/null && echo SET; echo done";
    with_cgroups(&mut b, &["ro"]);
    // As an ordinary user: root may map itself only with a capability that it does not have here.
    b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    let out = b.script(script).run().ok();
    assert!(!out.contains("SET") && out.ends_with("done\n"), "{out}");
}

/// C02, CVE-2023-25809: without a cgroup namespace of its own, the container sees its cgroups as the
/// host has them. On a vulnerable runtime it can write there.
#[test]
fn c02_cgroups_are_read_only_without_a_namespace() {
    let Some(mut b) = bundle("c02_cgroups_are_read_only_without_a_namespace") else { return };
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "cgroup");
    with_cgroups(&mut b, &["ro"]);
    assert_eq!(b.script(CHANGE).run().ok(), "done\n");
    // In a user namespace, and with all of the host's /sys, as for a container of an ordinary user.
    b.namespace("user", None);
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    b.config["linux"]["uidMappings"] = map.clone();
    b.config["linux"]["gidMappings"] = map;
    assert_eq!(b.script(CHANGE).run().ok(), "done\n");
    let mounts = b.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    for mount in mounts {
        if mount["destination"] == "/sys" {
            *mount =
                json!({ "destination": "/sys", "source": "/sys", "options": ["rbind", "rro"] });
        }
    }
    assert_eq!(b.script(CHANGE).run().ok(), "done\n");
}

/// C17, CVE-2025-47291: a container with a user namespace is left in another cgroup, and its limits are
/// not its.
#[test]
fn c17_a_user_namespace_changes_no_cgroup() {
    let Some(mut b) = bundle("c17_a_user_namespace_changes_no_cgroup") else { return };
    b.namespace("user", None);
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    b.config["linux"]["uidMappings"] = map.clone();
    b.config["linux"]["gidMappings"] = map;
    b.config["linux"]["resources"] =
        json!({ "pids": { "limit": 77 }, "memory": { "limit": 64 << 20 } });
    for path in [b.dir.clone(), b.rootfs()] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let pid = b.args(&["sleep", "1000"]).start();
    detached(&b, &["exec", "-d", "--pid-file", "exec.pid", "c", "sleep", "1000"]).ok();
    let executed = std::fs::read_to_string(b.dir.join("exec.pid")).unwrap();
    for pid in [pid.to_string(), executed] {
        for dir in b.cgroups() {
            let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
            assert!(procs.lines().any(|line| line == pid), "{pid} is not in {}", dir.display());
        }
    }
    let limits: Vec<String> = b
        .cgroups()
        .iter()
        .filter_map(|dir| std::fs::read_to_string(dir.join("pids.max")).ok())
        .collect();
    assert!(limits.iter().any(|text| text == "77\n"), "{limits:?}");
}

/// X15: a path, a name of a file or a size in the configuration leads out of the container's cgroup.
#[test]
fn x15_names_of_cgroup_files_are_not_paths() {
    let Some(mut b) = bundle("x15_names_of_cgroup_files_are_not_paths") else { return };
    let own = b.config["linux"]["cgroupsPath"].clone();
    for resources in [
        json!({ "unified": { "../../cgroup.procs": "1" } }),
        json!({ "unified": { "/etc/passwd": "x" } }),
        json!({ "unified": { "memory.max/../../x": "1" } }),
        json!({ "unified": { "..": "1" } }),
        json!({ "unified": { "": "1" } }),
        json!({ "hugepageLimits": [{ "pageSize": "../../2MB", "limit": 1 }] }),
        json!({ "hugepageLimits": [{ "pageSize": "2MB/../../x", "limit": 1 }] }),
        json!({ "rdma": { "../../x": { "hcaHandles": 1 } } }),
    ] {
        b.config["linux"]["resources"] = resources.clone();
        let ran = b.args(&["true"]).run();
        // A machine without the controller leaves it out, with a word.
        assert!(ran.status != 0 || ran.err.contains("warning"), "{resources}: {}", ran.err);
        b.assert_nothing_left();
    }
    b.config["linux"]["resources"] = json!({});
    for path in
        ["/../../dhow-escape", "../../../dhow-escape", "/a/../../../dhow-escape", "/dhow\nescape"]
    {
        b.config["linux"]["cgroupsPath"] = json!(path);
        b.args(&["true"]).run();
        for base in ["/sys/fs", "/sys", "/"] {
            assert!(
                !std::path::Path::new(base).join("dhow-escape").exists(),
                "{path} made one in {base}"
            );
        }
        b.call(&["delete", "--force", "c"]);
    }
    b.config["linux"]["cgroupsPath"] = own;
    b.args(&["sleep", "1000"]).start();
    for sub in ["..", "../..", "/../x", "a/../../.."] {
        assert!(b.call(&["exec", "--cgroup", sub, "c", "true"]).status != 0, "{sub}");
    }
}

/// J11, CVE-2018-20699: a list of processors without end costs time and memory.
#[test]
fn j11_a_list_of_processors_has_an_end() {
    let Some(mut b) = bundle("j11_a_list_of_processors_has_an_end") else { return };
    let long = vec!["0-1"; 1_000_000].join(",");
    for cpus in ["0-2147483647", "0-4294967295", "0-18446744073709551615", long.as_str()] {
        for field in ["cpus", "mems"] {
            b.config["linux"]["resources"] = json!({ "cpu": { field: cpus } });
            b.args(&["true"]).write();
            // With little memory to spend.
            let line = format!(
                "ulimit -v 300000; exec {} --root state run c",
                crate::bundle::program().display()
            );
            let out = std::process::Command::new("sh")
                .args(["-c", &line])
                .current_dir(&b.dir)
                .output()
                .unwrap();
            assert!(!out.status.success(), "{field} {}", &cpus[..cpus.len().min(30)]);
            assert!(out.status.code().is_some_and(|code| code < 128), "{:?}", out.status);
            assert!(out.stderr.len() < 10_000, "{} bytes of error", out.stderr.len());
        }
    }
}
