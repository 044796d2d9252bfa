//! Bad input: one clear line on standard error, the right exit code, nothing left behind.

use std::path::PathBuf;

use crate::busybox;
use testkit::{Sandbox, needs};

#[test]
fn a_name_that_is_almost_right() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("almost-right");
    sandbox.ok(&["create", "--name", "database", "busybox", "true"]);
    sandbox.ok(&["volume", "create", "backups"]);
    sandbox.ok(&["network", "create", "frontend"]);
    sandbox.ok(&["tag", "busybox", "registry.test/tools:1"]);
    for (args, code, told) in [
        (&["start", "databse"][..], 1, "No such container: databse (did you mean database?)"),
        (&["stop", "databse"], 1, "No such container: databse (did you mean database?)"),
        (&["exec", "databse", "true"], 1, "No such container: databse (did you mean database?)"),
        (&["logs", "databsae"], 1, "No such container: databsae (did you mean database?)"),
        (&["rm", "-f", "databse"], 0, "No such container: databse (did you mean database?)"),
        (&["inspect", "databse"], 1, "No such object: databse (did you mean database?)"),
        (&["volume", "rm", "backup"], 1, "get backup: no such volume (did you mean backups?)"),
        (&["network", "rm", "frontnd"], 1, "network frontnd not found (did you mean frontend?)"),
        (
            &["rmi", "registry.test/tols:1"],
            1,
            "No such image: registry.test/tols:1 (did you mean registry.test/tools:1?)",
        ),
        (
            &["run", "--rm", "--network", "frontnd", "busybox", "true"],
            125,
            "network frontnd not found (did you mean frontend?)",
        ),
        (&["run", "--rm", "busibox", "true"], 125, "(did you mean busybox?)"),
        // Another name altogether.
        (&["start", "cache"], 1, "No such container: cache\n"),
    ] {
        let refused = sandbox.dhow(args);
        assert_eq!(refused.code, code, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(told), "{args:?}: {refused:?}");
    }
    sandbox.ok(&["rm", "database"]);
    sandbox.discard();
}

#[test]
fn flags_and_names() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("bad-input");
    sandbox.ok(&["create", "--name", "taken", "busybox", "true"]);
    for (args, code, want) in [
        (&["run", "--rm", "nothing-like-it"][..], 125, "nothing-like-it"),
        (&["run", "--rm", "UPPER", "true"], 125, "lowercase"),
        (&["run", "--rm", "--frob", "busybox"], 125, "--frob"),
        (
            &["run", "--rm", "--network", "nowhere", "busybox", "true"],
            125,
            "network nowhere not found",
        ),
        (&["run", "--rm", "--name", "taken", "busybox", "true"], 125, "already in use"),
        (&["run", "--rm", "--name", "no spaces", "busybox", "true"], 125, "Invalid container name"),
        (&["run", "--rm", "-p", "x:80", "busybox", "true"], 125, "x"),
        (&["run", "--rm", "-p", "70000:80", "busybox", "true"], 125, "70000"),
        (&["run", "--rm", "-p", "80:80/icmp", "busybox", "true"], 125, "icmp"),
        (&["run", "--rm", "--memory", "much", "busybox", "true"], 125, "much"),
        (&["run", "--rm", "--memory", "1m", "busybox", "true"], 125, "6MB"),
        (&["run", "--rm", "--cpus", "-1", "busybox", "true"], 125, "cpus"),
        (&["run", "--rm", "--cpus", "1000", "busybox", "true"], 125, "CPUs"),
        (&["run", "--rm", "-v", "relative:path", "busybox", "true"], 125, "relative:path"),
        (
            &["run", "--rm", "-v", "/no/such/dir", "-w", "not-absolute", "busybox", "true"],
            125,
            "not-absolute",
        ),
        (&["run", "--rm", "--cap-add", "CAP_FROB", "busybox", "true"], 125, "CAP_FROB"),
        (&["run", "--rm", "--security-opt", "frob=1", "busybox", "true"], 125, "frob"),
        (
            &["run", "--rm", "--sysctl", "kernel.core_pattern=x", "busybox", "true"],
            125,
            "kernel.core_pattern",
        ),
        (&["run", "--rm", "-u", "nobody-at-all", "busybox", "true"], 125, "nobody-at-all"),
        (&["run", "--rm", "-u", "4294967296", "busybox", "true"], 125, "4294967296"),
        (&["run", "--rm", "-u", "-1", "busybox", "true"], 125, "uids and gids must be in range"),
        (&["run", "--rm", "--device", "/etc", "busybox", "true"], 125, "not a device node"),
        (
            &["run", "--rm", "-v", "vol:/v:shared", "busybox", "true"],
            125,
            "BindOptions must not be",
        ),
        (
            &["run", "--rm", "--volumes-from", "taken:bar", "busybox", "true"],
            125,
            "invalid mode: bar",
        ),
        (&["tag", "busybox", "sha256:one"], 1, "using digest algorithm as name"),
        (&["run"], 1, "IMAGE"),
        (&["ps", "--format", "{{.Nope}}"], 1, "Nope"),
        (&["ps", "--filter", "frob=1"], 1, "frob"),
        (&["inspect", "nothing"], 1, "nothing"),
        (&["rm", "nothing"], 1, "nothing"),
        (&["logs", "nothing"], 1, "nothing"),
        (&["kill", "taken"], 1, "is not running"),
        (&["exec", "nothing", "true"], 1, "nothing"),
        (&["network", "create", "--subnet", "10.0.0.0/99", "x"], 1, "10.0.0.0/99"),
        (&["network", "create", "bridge"], 1, "bridge"),
        (&["network", "rm", "bridge"], 1, "bridge"),
        (&["import", "/no/such/file", "x"], 1, "/no/such/file"),
        (&["frob"], 1, "frob"),
    ] {
        let output = sandbox.dhow(args);
        assert_eq!(output.code, code, "{args:?}: {output:?}");
        assert!(output.stderr.contains(want), "{args:?}: {output:?}");
        assert!(!output.stderr.contains("panicked"), "{args:?}: {output:?}");
        assert_eq!(output.stdout.trim(), if args[0] == "inspect" { "[]" } else { "" }, "{args:?}");
    }
    sandbox.ok(&["rm", "taken"]);
    sandbox.finish();
}

#[test]
fn archives_that_are_broken_or_try_to_leave_their_root() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("bad-archives");
    let canary = sandbox.work().join("canary");
    std::fs::write(&canary, "untouched").unwrap();
    let canary_name = canary.to_str().unwrap().to_owned();
    let hostile: Vec<(&str, PathBuf)> = vec![
        ("dot-dot", write(&sandbox, "dot-dot", |tar| tar.file("../../canary", 0o644, b"x"))),
        ("absolute", write(&sandbox, "absolute", |tar| tar.file("/tmp/dhow-canary", 0o644, b"x"))),
        (
            "hard-link",
            write(&sandbox, "hard-link", |tar| tar.hard_link("leak", "../../../../etc/passwd")),
        ),
        (
            "through-symlink",
            write(&sandbox, "through-symlink", |tar| {
                tar.symlink("way", "../..");
                tar.file("way/canary", 0o644, b"x");
            }),
        ),
        (
            "hard-link-through-symlink",
            write(&sandbox, "hard-link-through-symlink", |tar| {
                tar.symlink("out", "/etc");
                tar.hard_link("leak", "out/passwd");
            }),
        ),
    ];
    for (name, path) in &hostile {
        let output = sandbox.dhow(&["import", path.to_str().unwrap(), "hostile"]);
        // A symbolic link that leads out is resolved inside the root: refused or harmless.
        if output.code == 0 {
            assert!(name.contains("symlink"), "{name} was taken");
            sandbox.ok(&["rmi", "hostile"]);
        } else {
            assert_eq!(output.stderr.lines().count(), 1, "{name}: {output:?}");
        }
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched", "{name}");
        std::fs::remove_file(path).unwrap();
    }
    assert!(std::fs::metadata("/tmp/dhow-canary").is_err());
    assert_eq!(std::fs::read_to_string(&canary_name).unwrap(), "untouched");
    std::fs::remove_file(&canary).unwrap();

    let whole = sandbox.work().join("whole.tar");
    testkit::busybox_rootfs(&whole);
    let bytes = std::fs::read(&whole).unwrap();
    for (name, content) in [
        ("truncated", bytes[..bytes.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("garbage", b"this is no archive at all".repeat(100)),
    ] {
        let path = sandbox.work().join(name);
        std::fs::write(&path, content).unwrap();
        let output = sandbox.dhow(&["import", path.to_str().unwrap(), "broken"]);
        assert_eq!(output.code, 1, "{name}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{name}: {output:?}");
        let output =
            sandbox.dhow(&["run", "--rm", "--rootfs", path.to_str().unwrap(), "/bin/true"]);
        assert_eq!(output.code, 125, "{name}: {output:?}");
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::remove_file(&whole).unwrap();
    sandbox.finish();
}

fn write(sandbox: &Sandbox, name: &str, fill: impl FnOnce(&mut testkit::Archive)) -> PathBuf {
    let path = sandbox.work().join(format!("{name}.tar"));
    testkit::archive(&path, |tar| {
        tar.file("first", 0o644, b"first");
        fill(tar);
    });
    path
}
