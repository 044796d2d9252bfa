//! `checkpoint` and `restore`, with criu where it is and works on this kernel.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Ran, bundle, wait_until};

/// The directories of `PATH`, and that of a criu that was unpacked for the tests.
fn path() -> std::ffi::OsString {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unpacked = here.ancestors().nth(3).map(|root| root.join("target/unpacked/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(unpacked.into_iter().chain(std::env::split_paths(&path))).unwrap()
}

/// A bundle and a criu that works, or `None` with a word about why not.
fn with_criu(test: &str) -> Option<Bundle> {
    let mut check = Command::new("criu");
    check.arg("check").env("PATH", path()).current_dir(std::env::temp_dir());
    let criu = check.stdin(Stdio::null()).output();
    let why = match criu {
        Ok(output) if output.status.success() => return bundle(test),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            text.lines().last().unwrap_or("criu check fails").to_owned()
        }
        Err(error) => error.to_string(),
    };
    println!("skipped: Criu: {test}: {why}");
    None
}

const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.05; done";

fn count(b: &Bundle) -> u64 {
    let text = std::fs::read_to_string(b.rootfs().join("count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Waits until the container counts on from `saved`.
#[track_caller]
fn counts_on(b: &Bundle, saved: u64) {
    wait_until("the container counts", || count(b) > saved + 2);
}

fn call(b: &Bundle, args: &[&str]) -> Ran {
    Ran::of(&b.command(args).env("PATH", path()).output().unwrap())
}

/// Starts it in the background, with nothing of the host's but `/dev/null`.
fn start(b: &Bundle) {
    b.write();
    let mut command = b.command(&["run", "-d", "c"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
}

fn counting(b: &mut Bundle) {
    b.script(COUNT);
    start(b);
    counts_on(b, 0);
}

#[test]
fn a_container_goes_on_where_it_was_saved() {
    for mode in ["soft", "ignore"] {
        let Some(mut b) = with_criu("a_container_goes_on_where_it_was_saved") else { return };
        let data = b.dir.join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("f"), "bound\n").unwrap();
        std::os::unix::fs::symlink("/elsewhere", b.rootfs().join("link")).unwrap();
        b.mount(json!({ "destination": "/link", "source": data, "options": ["bind", "ro"] }));
        b.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["ro"] }));
        b.config["linux"]["maskedPaths"] = json!(["/proc/keys", "/sys/firmware"]);
        b.config["process"]["noNewPrivileges"] = json!(true);
        counting(&mut b);
        // Twice: what was restored can be saved as well.
        for _ in 0..2 {
            call(&b, &["checkpoint", "--manage-cgroups-mode", mode, "c"]).ok();
            call(&b, &["state", "c"]).fails("does not exist");
            b.assert_nothing_left();
            let saved = count(&b);
            let restore =
                ["restore", "-d", "--manage-cgroups-mode", mode, "--pid-file", "pid", "c"];
            call(&b, &restore).ok();
            counts_on(&b, saved);
            assert_eq!(call(&b, &["exec", "c", "cat", "/link/f"]).ok(), "bound\n");
            assert_eq!(call(&b, &["exec", "c", "touch", "/link/f"]).status, 1, "it is read-only");
            assert_eq!(call(&b, &["exec", "c", "cat", "/proc/keys"]).ok(), "");
            let flags = call(&b, &["exec", "c", "cat", "/sys/class/net/lo/flags"]).ok();
            assert_eq!(flags.trim(), "0x9", "the loopback interface is up");
            let pid = std::fs::read_to_string(b.dir.join("pid")).unwrap();
            for kind in ["cgroup", "mnt", "pid", "net", "ipc", "uts"] {
                let namespace = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}"));
                assert_ne!(namespace(&pid).unwrap(), namespace("self").unwrap(), "{mode}: {kind}");
            }
            assert!(call(&b, &["state", "c"]).ok().contains(&format!("\"pid\": {pid}")));
            call(&b, &["pause", "c"]).ok();
            assert_eq!(b.status(), "paused");
            call(&b, &["resume", "c"]).ok();
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(b.dir.to_str().unwrap()), "left on the host: {mounts}");
        }
    }
}

#[test]
fn a_container_can_go_on_while_it_is_saved() {
    let Some(mut b) = with_criu("a_container_can_go_on_while_it_is_saved") else { return };
    counting(&mut b);
    call(&b, &["checkpoint", "--leave-running", "c"]).ok();
    counts_on(&b, count(&b));
    let pre = call(&b, &["checkpoint", "--pre-dump", "--image-path", "parent", "c"]);
    if pre.status != 0 && pre.err.contains("is not possible with this criu on this kernel") {
        println!("skipped: Criu: a_container_can_go_on_while_it_is_saved: {}", pre.err.trim());
        return;
    }
    pre.ok();
    counts_on(&b, count(&b));
    call(&b, &["checkpoint", "--image-path", "images", "--parent-path", "../parent", "c"]).ok();
    assert!(b.dir.join("images/parent").exists());
    let saved = count(&b);
    call(&b, &["restore", "-d", "--image-path", "images", "c"]).ok();
    counts_on(&b, saved);
}

#[test]
fn pipes_and_the_exit_status_are_those_of_who_restores() {
    let Some(mut b) = with_criu("pipes_and_the_exit_status_are_those_of_who_restores") else {
        return;
    };
    b.script("echo up; while read line; do echo \"heard $line\"; done; exit 7").write();
    let mut first = b.command(&["run", "c"]);
    let mut first = first.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    first.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    call(&b, &["checkpoint", "--work-path", "work", "c"]).ok();
    assert!(b.dir.join("work/dump.log").exists());
    assert!(!first.wait().unwrap().success());
    let mut command = b.command(&["restore", "c"]);
    command.env("PATH", path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut restored = command.stderr(Stdio::piped()).spawn().unwrap();
    restored.stdin.take().unwrap().write_all(b"this\n").unwrap();
    let ran = Ran::of(&restored.wait_with_output().unwrap());
    assert_eq!((ran.out.as_str(), ran.status), ("heard this\n", 7), "{}", ran.err);
    b.assert_nothing_left();
}

#[test]
fn the_terminal_goes_to_the_console_socket() {
    let Some(mut b) = with_criu("the_terminal_goes_to_the_console_socket") else { return };
    b.config["process"]["terminal"] = json!(true);
    b.script("echo up; while read line; do echo \"heard $line\"; done").write();
    let socket = b.dir.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let master = || -> std::fs::File {
        let (stream, _) = listener.accept().unwrap();
        let (_, fd): (_, Option<OwnedFd>) = sys::recv_fd(stream.as_fd()).unwrap();
        fd.unwrap().into()
    };
    let hears = |master: &mut std::fs::File, wanted: &str| {
        let mut text = String::new();
        while !text.contains(wanted) {
            let mut buffer = [0; 256];
            let n = master.read(&mut buffer).unwrap();
            text += &String::from_utf8_lossy(&buffer[..n]);
        }
    };
    let console = ["--console-socket", socket.to_str().unwrap()];
    let run = [&["run", "-d"][..], &console, &["c"]].concat();
    let mut command = b.command(&run);
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let mut first = master();
    hears(&mut first, "up");
    call(&b, &["checkpoint", "c"]).ok();
    drop(first);
    call(&b, &[&["restore", "-d"][..], &console, &["c"]].concat()).ok();
    let mut second = master();
    second.write_all(b"this\n").unwrap();
    hears(&mut second, "heard this");
}

#[test]
fn a_container_with_users_of_its_own_goes_on_too() {
    let Some(mut b) = with_criu("a_container_with_users_of_its_own_goes_on_too") else { return };
    b.namespace("user", None);
    b.config["linux"]["uidMappings"] =
        json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    b.config["linux"]["gidMappings"] = b.config["linux"]["uidMappings"].clone();
    std::os::unix::fs::chown(b.rootfs(), Some(100_000), Some(100_000)).unwrap();
    counting(&mut b);
    call(&b, &["checkpoint", "c"]).ok();
    let saved = count(&b);
    call(&b, &["restore", "-d", "c"]).ok();
    counts_on(&b, saved);
    let map = call(&b, &["exec", "c", "cat", "/proc/1/uid_map"]).ok();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    let mode = std::fs::metadata(b.dir.join("checkpoint")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
}

/// What the images say must not win over the configuration (CVE-2026-95837, CVE-2024-8676).
#[test]
fn a_checkpoint_gives_no_more_than_the_configuration() {
    let Some(mut b) = with_criu("a_checkpoint_gives_no_more_than_the_configuration") else {
        return;
    };
    let (data, other) = (b.dir.join("data"), b.dir.join("other"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&other).unwrap();
    b.mount(json!({ "destination": "/data", "source": data, "options": ["bind"] }));
    let last = b.config["mounts"].as_array().unwrap().len() - 1;
    counting(&mut b);
    call(&b, &["checkpoint", "c"]).ok();
    let saved = count(&b);
    let original = b.config.clone();
    let attack = |b: &Bundle, why: &str| {
        b.write();
        let ran = call(b, &["restore", "-d", "c"]);
        assert_eq!(count(b), saved, "it ran: {why}");
        ran.fails(why);
        b.assert_nothing_left();
    };
    b.config["process"]["capabilities"] = json!({ "bounding": [], "permitted": [] });
    attack(&b, "a process has");
    b.config = original.clone();
    b.config["process"]["noNewPrivileges"] = json!(true);
    attack(&b, "no_new_privs is not set");
    b.config = original.clone();
    b.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["reboot"], "action": "SCMP_ACT_ERRNO" }] });
    attack(&b, "no seccomp filter");
    b.config = original.clone();
    b.config["mounts"][last]["options"] = json!(["bind", "ro", "nosuid"]);
    attack(&b, "the mount on \"/data\" is not `ro`");
    b.config = original.clone();
    b.config["linux"]["maskedPaths"] = json!(["/proc/uptime"]);
    attack(&b, "\"/proc/uptime\" is not masked");
    b.config = original.clone();
    b.config["linux"]["readonlyPaths"] = json!(["/proc/fs"]);
    attack(&b, "\"/proc/fs\" is not read-only");
    b.config = original.clone();
    b.config["root"]["readonly"] = json!(true);
    attack(&b, "its root is not read-only");
    b.config = original.clone();
    b.mount(json!({ "destination": "/more", "type": "tmpfs", "source": "tmpfs" }));
    attack(&b, "there is no tmpfs on \"/more\"");
    b.config = original.clone();
    b.mount(json!({ "destination": "/more", "source": other, "options": ["bind"] }));
    attack(&b, "what is mounted on \"/more\" is not");
    b.config = original.clone();
    b.config["mounts"].as_array_mut().unwrap().remove(last);
    attack(&b, "criu cannot restore the container");
    b.config = original.clone();
    b.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    b.config["linux"]["uidMappings"] =
        json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    b.config["linux"]["gidMappings"] = b.config["linux"]["uidMappings"].clone();
    attack(&b, "the user namespace of the host");
    b.config = original;
    b.write();
    call(&b, &["restore", "-d", "c"]).ok();
    counts_on(&b, saved);
}

/// A mount point whose name criu would read as a name of something else (CVE-2026-119101).
#[test]
fn a_mount_point_that_criu_would_misread_is_refused() {
    let Some(mut b) = with_criu("a_mount_point_that_criu_would_misread_is_refused") else { return };
    let bad = "odd]:/etc";
    std::fs::create_dir_all(b.rootfs().join(bad)).unwrap();
    std::os::unix::fs::symlink(bad, b.rootfs().join("link")).unwrap();
    let source = b.dir.join("data");
    std::fs::create_dir(&source).unwrap();
    b.mount(json!({ "destination": "/link", "source": source, "options": ["bind"] }));
    counting(&mut b);
    call(&b, &["checkpoint", "c"]).fails("criu would take the mount point");
    assert_eq!(b.status(), "running");
}

/// What annotations say, which can be an image's.
#[test]
fn annotations_neither_restore_nor_name_programs() {
    let Some(mut b) = with_criu("annotations_neither_restore_nor_name_programs") else { return };
    counting(&mut b);
    call(&b, &["checkpoint", "c"]).ok();
    let images = b.dir.join("checkpoint");
    b.config["annotations"] = json!({
        "io.kubernetes.cri-o.annotations.checkpoint.name": "c",
        "org.opencontainers.runtime.restore": images,
        "run.oci.restore": images,
    });
    let ran = b.script("echo anew").run();
    assert_eq!(ran.ok(), "anew\n");
    let hostile = b.rootfs().join("criu.conf");
    std::fs::write(&hostile, "action-script /bin/false\n").unwrap();
    b.config["annotations"] = json!({ "org.criu.config": hostile });
    counting(&mut b);
    call(&b, &["checkpoint", "--image-path", "more", "c"])
        .fails("is a file that the container can write");
    let conf = b.dir.join("criu.conf");
    std::fs::write(&conf, "log-file own.log\n").unwrap();
    call(&b, &["delete", "-f", "c"]).ok();
    b.config["annotations"] = json!({ "org.criu.config": conf });
    counting(&mut b);
    call(&b, &["checkpoint", "--image-path", "more", "c"]).ok();
    assert!(b.dir.join("more/own.log").exists());
}

#[test]
fn what_cannot_be_saved_or_restored_is_one_line_and_leaves_nothing() {
    let name = "what_cannot_be_saved_or_restored_is_one_line_and_leaves_nothing";
    let Some(mut b) = bundle(name) else { return };
    b.script(COUNT).write();
    call(&b, &["checkpoint", "c"]).fails("does not exist");
    for (args, why) in [
        (&["checkpoint", "--manage-cgroups-mode", "some", "c"][..], "manage-cgroups-mode"),
        (&["checkpoint", "--page-server", "1.2.3.4", "c"], "Use --page-server ADDRESS:PORT"),
        (&["checkpoint", "--empty-ns", "pid", "c"], "namespace \"pid\" is not supported"),
        (&["restore", "--image-path", "/nowhere", "c"], "--image-path: open(\"/nowhere\")"),
    ] {
        call(&b, args).fails(why);
    }
    std::fs::create_dir(b.dir.join("images")).unwrap();
    call(&b, &["restore", "--image-path", "images", "c"]).fails("has no checkpoint");
    std::fs::write(b.dir.join("images/descriptors.json"), "[\"\", \"\", \"\"]").unwrap();
    let without =
        |args: &[&str]| Ran::of(&b.command(args).env("PATH", "/nowhere").output().unwrap());
    without(&["restore", "--image-path", "images", "c"]).fails("criu is not installed");
    b.assert_nothing_left();
    let mut create = b.command(&["create", "c"]);
    assert!(create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    call(&b, &["checkpoint", "c"]).fails("cannot be checkpointed in created state");
    call(&b, &["start", "c"]).ok();
    without(&["checkpoint", "c"]).fails("criu is not installed");
    assert_eq!(b.status(), "running");
}

#[test]
fn whatever_kills_the_restore_force_removes_the_container() {
    let Some(mut b) = with_criu("whatever_kills_the_restore_force_removes_the_container") else {
        return;
    };
    if !cfg!(feature = "failpoints") {
        println!("skipped: whatever_kills_the_restore: needs the feature failpoints");
        return;
    }
    counting(&mut b);
    call(&b, &["checkpoint", "c"]).ok();
    for name in ["runtime.criu", "runtime.restored", "cgroup.created", "runtime.record.written"] {
        for action in ["kill", "error"] {
            let mut command = b.command(&["restore", "-d", "c"]);
            command.env("PATH", path()).env("DHOW_FAILPOINTS", format!("{name}={action}"));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            assert!(!command.status().unwrap().success(), "{name}={action}");
            call(&b, &["delete", "--force", "c"]).ok();
            b.assert_nothing_left();
        }
    }
    let saved = count(&b);
    call(&b, &["restore", "-d", "c"]).ok();
    counts_on(&b, saved);
}
