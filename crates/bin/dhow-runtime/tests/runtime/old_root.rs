//! The host's root, which the runtime detaches from the container while init goes on.

use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, bundle, wait_until};

/// One whose init leaves that to the runtime: it need not look for a `HOME`.
fn prepare(test: &str) -> Option<Bundle> {
    if !cfg!(feature = "failpoints") {
        println!("skipped: {test}: needs the feature failpoints");
        return None;
    }
    let mut b = bundle(test)?;
    b.config["process"]["env"] = json!(["PATH=/bin", "HOME=/"]);
    Some(b)
}

/// `create`, with something to happen at a failpoint.
fn create(b: &Bundle, failpoint: &str) -> ExitStatus {
    b.write();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    b.command(&["create", "c"])
        .env("DHOW_FAILPOINTS", failpoint)
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap()
}

/// The same where the runtime is slow to detach. Whether it was the runtime that did.
fn create_slowly(b: &Bundle) -> bool {
    let passed = b.dir.join("passed");
    std::fs::write(&passed, "").unwrap();
    let status = create(b, &format!("runtime.detach=delay:200@{}", passed.display()));
    assert!(status.success(), "{}", b.output());
    std::fs::read_to_string(passed).unwrap() == "runtime.detach\n"
}

#[test]
fn no_path_of_the_containers_leads_to_it() {
    let Some(mut b) = prepare("no_path_of_the_containers_leads_to_it") else { return };
    // A way that climbs above the root, to what the host's root does not have.
    symlink("bin", b.rootfs().join("only-here")).unwrap();
    symlink("../../../only-here", b.rootfs().join("way")).unwrap();
    b.config["process"]["env"] = json!(["PATH=/way", "HOME=/"]);
    b.config["process"]["cwd"] = json!("/way");
    b.script("pwd -P; awk '{ print $5 }' /proc/self/mountinfo; echo end; sleep 1000");
    for (uid, no_new_privs, read_only) in [(0, false, false), (1000, true, true)] {
        b.config["process"]["user"] = json!({ "uid": uid, "gid": uid });
        b.config["process"]["noNewPrivileges"] = json!(no_new_privs);
        b.config["root"]["readonly"] = json!(read_only);
        assert!(create_slowly(&b));
        b.call(&["start", "c"]).ok();
        wait_until("it has said all", || b.output().contains("end\n"));
        let out = b.output();
        let mut lines = out.lines();
        assert_eq!(lines.next(), Some("/bin"), "{out}");
        let mut places: Vec<_> = lines.collect();
        let n_mounts = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), n_mounts, "two mounts on one place: {out}");
        b.call(&["delete", "--force", "c"]).ok();
        b.assert_nothing_left();
    }
}

#[test]
fn an_init_that_looks_into_the_container_first_detaches_it_itself() {
    let Some(mut b) = prepare("an_init_that_looks_into_the_container_first_detaches_it_itself")
    else {
        return;
    };
    b.config["process"]["env"] = json!(["PATH=/bin"]);
    b.script("awk '$5 == \"/\"' /proc/self/mountinfo | wc -l; echo end; sleep 1000");
    assert!(!create_slowly(&b));
    b.call(&["start", "c"]).ok();
    wait_until("it has said all", || b.output().contains("end\n"));
    assert_eq!(b.output(), "1\nend\n");
}

#[test]
fn a_runtime_that_cannot_detach_it_says_so_and_undoes_all() {
    let Some(b) = prepare("a_runtime_that_cannot_detach_it_says_so_and_undoes_all") else {
        return;
    };
    for name in ["runtime.detach", "runtime.detached"] {
        assert!(!create(&b, &format!("{name}=error")).success());
        assert!(b.output().contains(name), "{}", b.output());
        b.assert_nothing_left();
    }
}

#[test]
fn init_ends_with_a_runtime_that_is_killed_before_it_says_that_it_has() {
    let Some(mut b) = prepare("init_ends_with_a_runtime_that_is_killed_before_it_says_that_it_has")
    else {
        return;
    };
    b.script("echo ran > /ran; sleep 1000");
    for name in ["runtime.detach", "runtime.detached"] {
        let status = create(&b, &format!("{name}=kill"));
        assert_eq!(status.signal(), Some(9), "{name}: {}", b.output());
        wait_until("init has ended", || b.status() == "stopped");
        b.call(&["start", "c"]).fails("cannot start a container that has stopped: c");
        assert!(!b.rootfs().join("ran").exists());
        b.call(&["delete", "--force", "c"]).ok();
        b.assert_nothing_left();
    }
}

#[test]
fn who_executes_something_in_one_that_is_being_made_waits_for_that() {
    let Some(mut b) = prepare("who_executes_something_in_one_that_is_being_made_waits_for_that")
    else {
        return;
    };
    std::fs::write(b.rootfs().join("only-here"), "").unwrap();
    b.script("sleep 1000");
    b.write();
    // Before the root is changed, and between that and the end of the old one.
    for name in ["runtime.pivot", "runtime.detach"] {
        let passed = b.dir.join("passed");
        std::fs::write(&passed, "").unwrap();
        let mut create = b
            .command(&["create", "c"])
            .env("DHOW_FAILPOINTS", format!("{name}=delay:1000@{}", passed.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("it comes there", || !std::fs::read_to_string(&passed).unwrap().is_empty());
        assert_eq!(b.call(&["exec", "c", "ls", "/only-here"]).ok(), "/only-here\n", "{name}");
        assert!(create.wait().unwrap().success());
        b.call(&["start", "c"]).ok();
        assert_eq!(b.call(&["exec", "c", "ls", "/only-here"]).ok(), "/only-here\n");
        b.call(&["delete", "--force", "c"]).ok();
        b.assert_nothing_left();
    }
}
