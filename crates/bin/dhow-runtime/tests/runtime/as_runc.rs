//! What programs and people that know runc count on.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::bundle::bundle;

#[test]
fn json_has_runcs_order() {
    let Some(mut b) = bundle("json_has_runcs_order") else { return };
    b.args(&["sleep", "1000"]).start();
    for (args, begins) in [
        (&["state", "c"][..], "{\n  \"ociVersion\": "),
        (&["list", "-f", "json"], "[{\"ociVersion\":"),
        (&["events", "--stats", "c"], "{\"type\":\"stats\",\"id\":\"c\",\"data\":{"),
    ] {
        let out = b.call(args).ok();
        assert!(out.starts_with(begins), "{args:?}: {out}");
    }
}

#[test]
fn a_process_can_be_read_from_a_pipe() {
    let Some(mut b) = bundle("a_process_can_be_read_from_a_pipe") else { return };
    b.args(&["sleep", "1000"]).start();
    let process = json!({ "args": ["echo", "from a pipe"], "cwd": "/", "env": ["PATH=/bin"],
        "user": { "uid": 0, "gid": 0 } });
    let mut command = b.command(&["exec", "-p", "/dev/stdin", "c"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Whoever writes may be later than the runtime that reads.
    std::thread::sleep(std::time::Duration::from_millis(100));
    child.stdin.take().unwrap().write_all(process.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from a pipe\n");
}

#[test]
fn exec_goes_below_the_cgroup_and_not_beside_it() {
    let Some(mut b) = bundle("exec_goes_below_the_cgroup_and_not_beside_it") else { return };
    b.args(&["sleep", "1000"]).start();
    let hierarchy = cgroup::Hierarchy::detect().unwrap();
    let path = format!("{}/sub", b.config["linux"]["cgroupsPath"].as_str().unwrap());
    cgroup::Cgroup::create(&hierarchy, &path).unwrap();
    let exec = |wanted: &[&str]| {
        let mut args = vec!["exec"];
        args.extend(wanted.iter().flat_map(|one| ["--cgroup", one]));
        args.extend(["c", "cat", "/proc/self/cgroup"]);
        b.call(&args)
    };
    assert!(exec(&["sub"]).ok().lines().any(|line| line.ends_with("/sub")));
    assert!(!exec(&["/"]).ok().lines().any(|line| line.ends_with("/sub")));
    exec(&[".."]).fails("--cgroup: .. is not a sub cgroup path");
    exec(&["sub/../.."]).fails("is not a sub cgroup path");
    exec(&["nowhere"]).fails("/nowhere/cgroup.procs: no such file or directory");
    exec(&["whaaat:/"]).fails("unknown controller whaaat");
    exec(&["a", "b"]).fails("missing CONTROLLER: prefix");
    if hierarchy.mode() != cgroup::Mode::V2 && hierarchy.has("pids") {
        let out = exec(&["pids:sub"]).ok();
        let in_sub = out.lines().filter(|line| line.ends_with("/sub")).collect::<Vec<_>>();
        assert!(matches!(in_sub[..], [line] if line.contains("pids")), "{out}");
    }
}

#[test]
fn a_cgroup_that_is_there_in_one_tree_is_taken() {
    let Some(mut b) = bundle("a_cgroup_that_is_there_in_one_tree_is_taken") else { return };
    let path = b.config["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
    let tree = ["cpu", "pids", "."].map(|name| format!("/sys/fs/cgroup/{name}"));
    let tree = tree.iter().find(|tree| std::path::Path::new(tree).join("cgroup.procs").exists());
    std::fs::create_dir_all(format!("{}{path}", tree.unwrap())).unwrap();
    b.args(&["true"]).run().ok();
    b.assert_nothing_left();
}

#[test]
pub(crate) fn without_a_pivot_the_hosts_proc_is_out_of_reach() {
    let Some(mut b) = bundle("without_a_pivot_the_hosts_proc_is_out_of_reach") else { return };
    b.config["linux"]["maskedPaths"] = json!(["/proc/sysrq-trigger"]);
    // Without this one the kernel does not map root.
    for set in ["bounding", "effective", "permitted"] {
        let caps = &mut b.config["process"]["capabilities"][set];
        caps.as_array_mut().unwrap().push(json!("CAP_SETFCAP"));
    }
    let script = "busybox unshare -mrpf sh -c 'mount -t proc none /proc || echo refused'";
    b.script(script).write();
    for args in [&["run", "c"][..], &["run", "--no-pivot", "c"]] {
        let ran = b.call(args);
        assert_eq!(ran.out, "refused\n", "{args:?}: {}", ran.err);
        b.assert_nothing_left();
    }
}

#[test]
fn a_read_only_tmpfs_still_gets_its_devices_and_mounts() {
    let Some(mut b) = bundle("a_read_only_tmpfs_still_gets_its_devices_and_mounts") else { return };
    for mount in b.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/dev" {
            mount["options"].as_array_mut().unwrap().push(json!("ro"));
        }
    }
    let out = b.script("test -c /dev/null; test -d /dev/pts; touch /dev/x || echo ro").run().ok();
    assert_eq!(out, "ro\n");
}

#[test]
pub(crate) fn a_container_hook_begins_in_the_root() {
    let Some(mut b) = bundle("a_container_hook_begins_in_the_root") else { return };
    b.config["hooks"] = json!({ "createContainer": [
        { "path": "/bin/sh", "args": ["sh", "-c", "touch ./etc/made-by-hook"] } ] });
    b.script("test -e /etc/made-by-hook && echo there");
    assert_eq!(b.run().ok(), "there\n");
}

#[test]
fn debug_messages_have_runcs_words() {
    let Some(mut b) = bundle("debug_messages_have_runcs_words") else { return };
    b.args(&["true"]).write();
    let log = b.dir.join("log");
    b.call(&["--debug", "--log", log.to_str().unwrap(), "run", "c"]).ok();
    let text = std::fs::read_to_string(log).unwrap();
    for words in ["nsexec container setup", "child process in init()", "init: closing the pipe"] {
        assert_eq!(text.matches(words).count(), 1, "{words}: {text}");
    }
}
