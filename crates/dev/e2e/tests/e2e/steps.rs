//! Steps of a build: containers of which only their builder knows. `dhow-step` stands for a builder.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::busybox;
use serde_json::{Value, json};
use testkit::{Sandbox, needs, wait_until};

/// A builder that carries out this step, which runs `script`.
fn command(sandbox: &Sandbox, script: &str, mut step: Value) -> Command {
    step["args"] = json!(["sh", "-c", script]);
    if step.get("image").is_none() {
        step["image"] = json!("busybox");
    }
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_dhow-step"));
    command.arg(step.to_string()).arg(testkit::dhow_program());
    command
}

fn run(sandbox: &Sandbox, script: &str, step: Value) -> testkit::Output {
    testkit::capture(&mut command(sandbox, script, step))
}

/// What a step wrote, which must succeed.
#[track_caller]
fn ok(sandbox: &Sandbox, script: &str, step: Value) -> String {
    let output = run(sandbox, script, step);
    assert_eq!(output.code, 0, "{script}: {} {}", output.stdout, output.stderr);
    output.stdout
}

/// A step that runs until it is killed.
fn sleeping(sandbox: &Sandbox, step: Value) -> Child {
    let mut builder = command(sandbox, "echo up; sleep 600", step);
    let mut child = builder.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let out = child.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    assert_eq!(line, "up\n");
    child
}

/// The ids of the containers whose folders are there.
fn folders(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.root().join("containers")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_step_has_what_its_builder_says() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("step");
    let script = "echo out; echo err >&2; id -u; pwd; hostname; env | sort; read x || echo none; \
                  grep -c eth0 /proc/net/dev; exit 3";
    let step = json!({
        "env": ["A=1 2"], "user": "7:8", "cwd": "/new", "hostname": "builder",
        "extra_hosts": ["other:10.1.2.3"],
    });
    let output = run(&sandbox, script, step);
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert_eq!(output.stderr, "err\n");
    let want = "out\n7\n/new\nbuilder\nA=1 2\nHOME=/\n\
                PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                PWD=/new\nSHLVL=1\nnone\n1\n";
    assert_eq!(output.stdout, want);
    let hosts = ok(&sandbox, "cat /etc/hosts", json!({ "extra_hosts": ["other:10.1.2.3"] }));
    assert!(hosts.contains("10.1.2.3\tother") && hosts.contains("buildkitsandbox"), "{hosts}");
    let links = "ls /sys/class/net | tr '\\n' ' '";
    assert_eq!(ok(&sandbox, links, json!({ "network": "none" })), "lo ");
    let caps = |privileged: bool| {
        let step = json!({ "privileged": privileged });
        ok(&sandbox, "grep -E 'CapEff|Seccomp:' /proc/self/status | tr -d '\\n\\t '", step)
    };
    assert_eq!(caps(false), "CapEff:00000000a80425fbSeccomp:2");
    assert!(caps(true).ends_with("Seccomp:0"));
    let refused = run(&sandbox, "true", json!({ "network": "container:x" }));
    let want = "joining network namespace of container: No such container: x\n";
    assert_eq!((refused.code, refused.stderr.as_str()), (125, want));
    let missing = run(&sandbox, "true", json!({ "user": "nobody-here" }));
    assert_eq!(missing.code, 125, "{}", missing.stderr);
    sandbox.finish();
}

#[test]
fn what_it_writes_is_kept_and_nothing_else() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("step-keep");
    let keep = |script: &str, mut step: Value| {
        step["keep"] = json!(true);
        ok(&sandbox, script, step)
    };
    assert_eq!(keep("true", json!({})), "kept nothing\n");
    assert_eq!(
        keep("echo x > /etc/motd; mkdir -p /a/b", json!({})),
        "kept:\n/a\n/a/b\n/etc\n/etc/motd\n"
    );
    // What is mounted leaves nothing: neither its mount points, nor what those are in.
    let dir = sandbox.work().join("cache");
    fs::create_dir(&dir).unwrap();
    let mounts = json!([
        { "kind": "cache", "path": dir, "target": "/root/.cache/pip" },
        { "kind": "tmpfs", "target": "/etc/new" },
        { "kind": "layers", "image": "busybox", "target": "/deep/er", "readonly": true },
    ]);
    assert_eq!(keep("touch /root/.cache/pip/x", json!({ "mounts": mounts })), "kept nothing\n");
    assert!(dir.join("x").exists(), "a cache stays");
    let used = keep("echo > /deep/file", json!({ "mounts": mounts }));
    assert_eq!(used, "kept:\n/deep\n/deep/file\n");
    // The engine's own files leave nothing either, nor what is written to them.
    assert_eq!(
        keep("echo x >> /etc/hosts; echo y >> /etc/resolv.conf", json!({})),
        "kept nothing\n"
    );
    assert_eq!(keep("echo x > /etc/hostname", json!({})), "kept:\n/etc\n/etc/hostname\n");
    // CVE-2024-23652: where a mount point was is a link that leads out.
    let canary = sandbox.work().join("canary/empty");
    fs::create_dir_all(&canary).unwrap();
    let above = canary.parent().unwrap().display();
    let script = format!("rm -rf /gone; ln -s {above} /m; mkdir /gone; ln -s {above} /gone/empty");
    let mounts = json!([{ "kind": "tmpfs", "target": "/x/empty" }]);
    let kept = keep(&format!("{script}; ln -s {above} /y"), json!({ "mounts": mounts }));
    assert!(!kept.contains("/x"), "{kept}");
    assert!(canary.is_dir());
    let out = json!([{ "kind": "layers", "target": "/run/out" }]);
    let step = json!({ "mounts": out, "keep_mount": 0, "keep": true });
    let both = ok(&sandbox, "echo x > /run/out/sbom", step);
    assert_eq!(both, "kept nothing\nkept:\n/sbom\n");
    sandbox.finish();
}

#[test]
fn mounts_are_what_was_asked_for() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("step-mounts");
    let context = sandbox.work().join("context");
    fs::create_dir_all(context.join("sub")).unwrap();
    fs::write(context.join("sub/file"), "context\n").unwrap();
    fs::set_permissions(&context, fs::Permissions::from_mode(0o711)).unwrap();
    let mount = |kind: &str, more: Value| {
        let mut mount = json!({ "kind": kind, "target": "/m" });
        for (key, value) in more.as_object().unwrap() {
            mount[key] = value.clone();
        }
        json!({ "mounts": [mount] })
    };
    let one = |script: &str, kind: &str, more: Value| run(&sandbox, script, mount(kind, more));
    let path = json!({ "path": context });
    // A context: what is written is gone, and never reaches it (CVE-2025-4953).
    let write = "stat -c %a /m; echo x > /m/sub/file && rm -r /m/sub && echo y > /m/new; ls /m";
    assert_eq!(one(write, "directory", path.clone()).stdout, "711\nnew\n");
    assert_eq!(fs::read_to_string(context.join("sub/file")).unwrap(), "context\n");
    assert!(!context.join("new").exists());
    let read_only = json!({ "path": context, "readonly": true });
    let output = one("cat /m/sub/file; echo x > /m/x", "directory", read_only.clone());
    assert_eq!(output.stdout, "context\n");
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    // Also for who may mount.
    let mut step = mount("directory", read_only);
    step["privileged"] = json!(true);
    let script = "mount -o remount,rw /m; mount -o remount,rw,bind /m; echo x > /m/x; ls /m";
    assert_eq!(run(&sandbox, script, step).stdout, "sub\n");
    assert!(!context.join("x").exists());
    let file = json!({ "path": context, "subpath": "/sub/file", "readonly": true });
    assert_eq!(one("cat /m", "directory", file).stdout, "context\n");
    // The result of a stage.
    let layers = json!({ "image": "busybox" });
    assert_eq!(one("echo x > /m/etc/x; cat /m/etc/x", "layers", layers.clone()).stdout, "x\n");
    assert_eq!(one("ls /m/etc/x", "layers", layers).code, 1);
    let tmpfs =
        one("df -k /m | tail -1 | awk '{print $1, $2}'", "tmpfs", json!({ "size": 1 << 20 }));
    assert_eq!(tmpfs.stdout, "tmpfs 1024\n");
    let socket = sandbox.work().join("agent");
    let _listener = UnixListener::bind(&socket).unwrap();
    let agent = json!({ "path": socket, "uid": 5, "gid": 6, "mode": 0o600 });
    assert_eq!(one("stat -c '%F %u:%g %a' /m", "socket", agent).stdout, "socket 5:6 600\n");
    // A secret: in memory, and in nothing that is kept.
    let secret = json!({ "text": "hush", "uid": 5, "gid": 6, "mode": 0o400 });
    let script = "stat -c '%u:%g %a' /m; cat /m; grep -c ' /m tmpfs ' /proc/mounts";
    assert_eq!(one(script, "secret", secret.clone()).stdout, "5:6 400\nhush1\n");
    let mut step = mount("secret", secret);
    step["keep"] = json!(true);
    assert_eq!(ok(&sandbox, "test -s /m", step), "kept nothing\n");
    let no_socket = one("true", "socket", json!({ "path": context }));
    assert!(no_socket.stderr.contains("is no socket"), "{}", no_socket.stderr);
    sandbox.finish();
}

/// CVE-2024-1753, CVE-2024-23651: no part of what is mounted leads out of it.
#[test]
fn no_mount_leads_out() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("step-links");
    fs::write(sandbox.work().join("canary"), "host").unwrap();
    let cache = sandbox.work().join("cache");
    fs::create_dir_all(cache.join("real")).unwrap();
    symlink("/", cache.join("root")).unwrap();
    symlink(format!("../../../../../..{}", sandbox.work().display()), cache.join("up")).unwrap();
    for kind in ["cache", "directory"] {
        for readonly in [false, true] {
            for part in ["root", "up", "up/canary", "root/etc", "../canary", "root/proc/self/root"]
            {
                let mount = json!({
                    "kind": kind, "path": cache, "subpath": part, "target": "/m",
                    "readonly": readonly,
                });
                let output =
                    run(&sandbox, "ls /m/; cat /m /m/canary", json!({ "mounts": [mount] }));
                assert!(!output.stdout.contains("host"), "{kind} {part}: {}", output.stdout);
                assert!(!output.stdout.contains("canary"), "{kind} {part}: {}", output.stdout);
            }
        }
    }
    for target in ["/", "relative", "/proc/x", "/a/../../proc/self"] {
        let mount = json!({ "kind": "tmpfs", "target": target });
        let output = run(&sandbox, "true", json!({ "mounts": [mount] }));
        assert_eq!(output.code, 125, "{target}");
    }
    // While another step exchanges it with a link, as fast as it can.
    let swap = "cd /c; while true; do rm -rf x; ln -s / x; rm x; mkdir x; done";
    let whole = json!({ "mounts": [{ "kind": "cache", "path": cache, "target": "/c" }] });
    let mut swapper = command(&sandbox, swap, whole).spawn().unwrap();
    for _ in 0..8 {
        let mount = json!({ "kind": "cache", "path": cache, "subpath": "x", "target": "/m" });
        let output = run(&sandbox, "ls -a /m", json!({ "mounts": [mount] }));
        assert!(!output.stdout.contains("proc"), "{}", output.stdout);
    }
    swapper.kill().unwrap();
    swapper.wait().unwrap();
    sandbox.ok(&["ps"]);
    sandbox.finish();
}

#[test]
fn nobody_sees_it() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("step-hidden");
    let events = sandbox.state().join("events.jsonl");
    let before = fs::read_to_string(&events).unwrap();
    let mut builder = sleeping(&sandbox, json!({}));
    let ids = folders(&sandbox);
    let [id] = &ids[..] else { panic!("{ids:?}") };
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    assert_eq!(sandbox.ok(&["info", "--format", "{{.Containers}} {{.ContainersRunning}}"]), "0 0");
    assert_eq!(
        sandbox.ok(&["container", "prune", "-f"]).lines().next(),
        Some("Total reclaimed space: 0B")
    );
    let df = sandbox.ok(&["system", "df"]);
    let line = df.lines().find(|line| line.starts_with("Containers")).unwrap();
    assert!(line.split_whitespace().nth(1) == Some("0"), "{df}");
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Running}}", id]), "true");
    for wanted in [&id[..12], &format!("step:{id}")] {
        assert_ne!(sandbox.dhow(&["inspect", "--type", "container", wanted]).code, 0, "{wanted}");
    }
    sandbox.ok(&["system", "check", "--quick"]);
    assert!(!sandbox.root().join(format!("containers/{id}/{id}-json.log")).exists());
    builder.kill().unwrap();
    builder.wait().unwrap();
    sandbox.ok(&["ps"]);
    let news = fs::read_to_string(&events).unwrap();
    let news: Vec<&str> =
        news[before.len()..].lines().filter(|line| !line.contains("\"prune\"")).collect();
    assert!(news.is_empty(), "{news:?}");
    sandbox.finish();
}

#[test]
fn it_ends_with_its_builder() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("step-orphan");
    let mut builder = sleeping(&sandbox, json!({}));
    builder.kill().unwrap();
    builder.wait().unwrap();
    // Without any other command: its supervisor sees it.
    let runs = sandbox.state().join("containers");
    wait_until("the step has ended", || fs::read_dir(&runs).unwrap().next().is_none());
    assert_eq!(folders(&sandbox).len(), 1, "what is on the disk is for who comes next");
    sandbox.ok(&["ps"]);
    assert!(folders(&sandbox).is_empty());
    sandbox.finish();
}

#[test]
fn it_is_cancelled() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("step-cancel");
    let begun = Instant::now();
    let output = run(&sandbox, "trap '' TERM INT; echo up; sleep 600", json!({ "cancel_ms": 500 }));
    assert_eq!((output.code, output.stderr.as_str()), (125, "canceled\n"));
    assert!(begun.elapsed() < Duration::from_mins(5), "it is killed, not waited for");
    assert!(folders(&sandbox).is_empty());
    sandbox.finish();
}

#[test]
fn a_lack_of_memory_is_told() {
    needs!(Root, Overlay, Netns, Nft, Busybox, MemoryCgroup);
    let sandbox = busybox("step-oom");
    let script = "dd if=/dev/zero of=/dev/null bs=64M count=1";
    let output = run(&sandbox, script, json!({ "memory": 16 << 20 }));
    assert!(output.stderr.contains("out of memory"), "{} {}", output.code, output.stderr);
    sandbox.finish();
}

#[test]
fn its_supervisor_may_be_killed() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("step-lost");
    let builder = sleeping(&sandbox, json!({}));
    let id = folders(&sandbox).pop().unwrap();
    let status = fs::read_to_string(sandbox.root().join(format!("containers/{id}/status.json")));
    let status: Value = serde_json::from_str(&status.unwrap()).unwrap();
    sandbox.sh(&format!("kill -9 {}", status["shim_pid"]));
    let output = builder.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(folders(&sandbox).is_empty());
    sandbox.finish();
}
