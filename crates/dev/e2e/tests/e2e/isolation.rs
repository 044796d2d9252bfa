//! What a container sees, and what it may do.

use std::path::{Path, PathBuf};

use crate::{busybox, inspect};
use testkit::needs;

#[test]
fn it_sees_its_own_processes_alone() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("isolation-pids");
    let ps = sandbox.ok(&["run", "--rm", "busybox", "sh", "-c", "ps -o pid,comm; :"]);
    let lines: Vec<&str> = ps.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 3, "{ps}");
    assert!(lines[1].starts_with("1 "), "{ps}");
    sandbox.finish();
}

#[test]
fn dangerous_paths_are_masked_or_read_only() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("isolation-paths");
    let script = "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; \
        ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -vc '^/' ; \
        echo x > /proc/sys/kernel/core_pattern; echo x > /proc/sysrq-trigger; \
        echo x > /sys/kernel/uevent_helper; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x";
    let output = sandbox.dhow(&["run", "--rm", "busybox", "sh", "-c", script]);
    assert!(output.stdout.starts_with("0\n"), "{output:?}");
    assert!(output.stderr.matches("Read-only file system").count() >= 3, "{output:?}");
    sandbox.finish();
}

#[test]
fn capabilities_and_system_calls_are_dockers() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("isolation-caps");
    let script = "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t'; \
        ls /proc/self/fd | wc -l; mount -t tmpfs t /tmp; unshare -U true; mknod /dev/sda b 8 0 && cat /dev/sda";
    let output = sandbox.dhow(&["run", "--rm", "busybox", "sh", "-c", script]);
    let want = "CapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\nCapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:0\nSeccomp:2\n4\n";
    assert_eq!(output.stdout, want, "{output:?}");
    assert!(output.stderr.contains("mount: permission denied"), "{output:?}");
    assert_eq!(output.stderr.matches("not permitted").count(), 2, "{output:?}");
    let script = "grep CapEff /proc/self/status | tr -d '\\t'; id -G";
    let user = sandbox.ok(&[
        "run",
        "--rm",
        "-u",
        "1000:1001",
        "--group-add",
        "7",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(user, "CapEff:0000000000000000\n1001 7");
    sandbox.finish();
}

#[test]
fn layers_are_shared_and_changes_are_its_own() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("isolation-layers");
    let script = "echo changed > /etc/group; rm /etc/passwd; echo new > /new";
    sandbox.ok(&["run", "--name", "one", "busybox", "sh", "-c", script]);
    sandbox.ok(&["run", "--name", "two", "busybox", "true"]);
    let (a, b) = (inspect(&sandbox, "one"), inspect(&sandbox, "two"));
    let data = |of: &serde_json::Value, key: &str| {
        of["GraphDriver"]["Data"][key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {of}"))
            .to_owned()
    };
    assert_eq!(data(&a, "LowerDir"), data(&b, "LowerDir"));
    assert_ne!(data(&a, "UpperDir"), data(&b, "UpperDir"));
    let upper = PathBuf::from(data(&a, "UpperDir"));
    assert_eq!(std::fs::read_to_string(upper.join("etc/group")).unwrap(), "changed\n");
    assert_eq!(std::fs::read_to_string(upper.join("new")).unwrap(), "new\n");
    assert!(is_whiteout(&upper.join("etc/passwd")));
    let lower = PathBuf::from(data(&a, "LowerDir"));
    assert!(std::fs::read_to_string(lower.join("etc/passwd")).unwrap().starts_with("root:"));
    let changes = sandbox.ok(&["diff", "one"]);
    let mut changes: Vec<&str> = changes.lines().collect();
    changes.sort_unstable();
    assert_eq!(changes, ["A /new", "C /etc", "C /etc/group", "D /etc/passwd"]);
    sandbox.ok(&["rm", "one", "two"]);
    sandbox.finish();
}

/// overlayfs's mark of a deleted file: a character device 0:0.
fn is_whiteout(path: &Path) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let metadata = std::fs::symlink_metadata(path).unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

#[test]
fn mounts_bind_tmpfs_and_read_only() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("isolation-mounts");
    let shared = sandbox.work().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let (rw, ro) = (format!("{}:/rw", shared.display()), format!("{}:/ro:ro", shared.display()));
    let script = "echo in > /rw/file; cat /ro/file; echo no > /ro/file; echo no > /etc/x; echo no >> /etc/hosts; echo yes > /run/x && cat /run/x; df /dev/shm | tail -1 | awk '{print $2}'";
    let output = sandbox.dhow(&[
        "run",
        "--rm",
        "-v",
        &rw,
        "-v",
        &ro,
        "--read-only",
        "--tmpfs",
        "/run",
        "--shm-size",
        "32m",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(output.stdout, "in\nyes\n32768\n", "{output:?}");
    assert_eq!(output.stderr.matches("Read-only file system").count(), 3, "{output:?}");
    assert_eq!(std::fs::read_to_string(shared.join("file")).unwrap(), "in\n");
    std::fs::remove_dir_all(shared).unwrap();
    sandbox.finish();
}

#[test]
fn namespaces_can_be_the_hosts_or_another_containers() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("isolation-shared");
    sandbox.ok(&["run", "-d", "--name", "first", "busybox", "sleep", "600"]);
    let namespace = |of: &str, name: &str| {
        let pid = crate::pid(&sandbox, of);
        std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap()
    };
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "second",
        "--network",
        "container:first",
        "--pid",
        "container:first",
        "busybox",
        "sleep",
        "600",
    ]);
    for name in ["net", "pid"] {
        assert_eq!(namespace("first", name), namespace("second", name), "{name}");
    }
    assert_ne!(namespace("first", "mnt"), namespace("second", "mnt"));
    sandbox.ok(&["rm", "-f", "second"]);
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    sandbox.ok(&[
        "run", "-d", "--name", "host", "--pid", "host", "--uts", "host", "--ipc", "host",
        "busybox", "sleep", "600",
    ]);
    assert_eq!(namespace("host", "pid"), own);
    sandbox.ok(&["rm", "-f", "first", "host"]);
    sandbox.finish();
}
