//! Hooks, annotations, and what else of a configuration comes from an image.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use crate::attacker::{got, install};
use crate::bundle::{Bundle, bundle};
use crate::canary::{Canary, plant};

/// A hook that writes what it finds to a file of the host.
fn hook(b: &Bundle, name: &str) -> serde_json::Value {
    let script = format!(
        "cat > /dev/null; {{ tr '\\0' '\\n' < /proc/self/environ; echo; echo CWD $(readlink /proc/self/cwd); ls /proc/self/fd; }} > {}/{name}",
        b.dir.display()
    );
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
}

/// N02, CVE-2025-23266: a hook of the host's runs with variables of the image (`LD_PRELOAD`, `PATH`), in
/// a directory of the image. On a vulnerable combination the image's library is loaded by root of the
/// host.
#[test]
fn n02_hooks_have_an_environment_of_their_own() {
    let Some(mut b) = bundle("n02_hooks_have_an_environment_of_their_own") else { return };
    std::fs::create_dir_all(b.rootfs().join("evil")).unwrap();
    std::fs::write(b.rootfs().join("evil/evil.so"), "no library").unwrap();
    b.config["process"]["env"] = json!([
        "PATH=/evil:/bin",
        "LD_PRELOAD=./evil.so",
        "LD_LIBRARY_PATH=.",
        "LD_AUDIT=/evil/evil.so",
        "BASH_ENV=/evil/x",
        "ENV=/evil/x",
        "IFS=/"
    ]);
    b.config["process"]["cwd"] = json!("/evil");
    let mut hooks = serde_json::Map::new();
    let names = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for name in names {
        hooks.insert(name.to_owned(), hook(&b, name));
    }
    b.config["hooks"] = hooks.into();
    b.args(&["true"]).write();
    // The caller's own directory is the image's.
    let ran = b
        .command(&["run", "--bundle", b.dir.to_str().unwrap(), "c"])
        .env("LD_PRELOAD_OF_CALLER", "hunter2")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for name in names {
        let text = std::fs::read_to_string(b.dir.join(name)).unwrap();
        assert!(text.starts_with("PATH=/usr/bin:/bin\n"), "{name}: {text}");
        assert!(!text.contains("evil") && !text.contains("hunter2"), "{name}: {text}");
        // `createContainer` is called in the container's root, as runc has it, and what it finds
        // there is found by no variable of the image's.
        let inside = text.contains("rootfs");
        assert_eq!(inside, name == "createContainer", "{name}: {text}");
        // Streams, and the directory that is listed.
        let fds: Vec<&str> = text.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
        assert_eq!(fds, ["0", "1", "2", "3"], "{name}");
    }
}

/// X17: a hook that runs in the container (`startContainer`) is a program of the image: it reaches
/// neither the descriptors nor the memory of the process that called it, which is the container's first.
#[test]
fn x17_a_hook_of_the_containers_gets_nothing() {
    let Some(mut b) = bundle("x17_a_hook_of_the_containers_gets_nothing") else { return };
    install(&mut b);
    let script = "for f in /proc/1/fd/*; do readlink $f && echo GOT $f; done; head -c 1 /proc/1/mem && echo GOT mem; cat /proc/1/environ && echo GOT environ; \
        for n in 3 4 5 6 7 8; do (: >> /proc/1/fd/$n) && echo GOT $n; done; ls /proc/self/fd; exit 0";
    b.config["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", format!("{{ {script}; }} > /tmp/hook 2>/dev/null")], "env": ["PATH=/bin"] }] });
    b.args(&["cat", "/tmp/hook"]);
    let out = b.run().ok();
    assert_eq!(got(&out), Vec::<&str>::new());
    assert_eq!(out, "0\n1\n2\n3\n");
    let b_start = b.start();
    assert!(b_start > 0);
    crate::bundle::wait_until("it ends", || b.status() == "stopped");
    let text = std::fs::read_to_string(b.rootfs().join("tmp/hook")).unwrap();
    assert_eq!(got(&text), Vec::<&str>::new());
}

/// C15, C16, G03 and B17, CVE-2023-6476, CVE-2024-3154, CVE-2026-94603 and CVE-2025-24965: annotations
/// of every runtime there is change nothing: no cgroup file, no unit, no handler, no restored checkpoint.
#[test]
fn g03_annotations_are_data() {
    let Some(mut b) = bundle("g03_annotations_are_data") else { return };
    let canary = Canary::new(&b);
    let marker = b.dir.join("marker");
    plant(&b, ".krun_config.json", canary.file());
    b.config["annotations"] = json!({
        "org.systemd.property.ExecStartPre": format!("[('/bin/touch', ['/bin/touch', '{}'], false)]", marker.display()),
        "org.systemd.property.MemoryMax": "1",
        "io.kubernetes.cri-o.unified-cgroup.c": "pids.max=1",
        "run.oci.handler": "krun",
        "run.oci.keep_original_groups": "1",
        "run.oci.systemd.force_cgroup_v1": "/sys/fs/cgroup",
        "run.oci.hooks.stdout": marker,
        "run.oci.hooks.stderr": marker,
        "run.oci.seccomp.receiver": "/nowhere.sock",
        "run.oci.seccomp.plugins": "/evil.so",
        "run.oci.delegate-cgroup": "/../../x",
        "run.oci.mount_context_type": "fscontext",
        "io.podman.annotations.privileged": "TRUE",
        "io.podman.annotations.checkpoint.runtime.name": "runc",
        "org.criu.checkpoint": "/checkpoint",
        "criu.config": "/evil.conf",
        "org.criu.config": "/evil.conf",
        "io.containerd.restart.loguri": format!("binary:///bin/touch?{}", marker.display()),
        "containerd.io/restart.loguri": "binary:///bin/touch",
    });
    b.config["linux"]["resources"] = json!({ "pids": { "limit": 55 } });
    b.config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; echo said"] }] });
    let script =
        "grep -E '^(Cap(Eff|Prm|Inh)|NoNewPrivs|Seccomp:|Groups)' /proc/self/status | tr -d ' \\t'";
    let with = b.script(script).run().ok();
    b.config.as_object_mut().unwrap().remove("annotations");
    assert_eq!(with, b.script(script).run().ok());
    assert!(!marker.exists());
    canary.assert_untouched();
}

/// X18: a hook that says more than a pipe holds, or ends with its output open, stops nobody.
#[test]
fn x18_a_talkative_hook_stops_nothing() {
    let Some(mut b) = bundle("x18_a_talkative_hook_stops_nothing") else { return };
    let run = |b: &mut Bundle, script: &str| {
        b.config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }] });
        b.args(&["true"]).run()
    };
    run(&mut b, "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; cat >/dev/null").ok();
    run(&mut b, "sleep 3 & exit 0").ok();
    let ran = run(&mut b, "head -c 1000000 /dev/zero | tr '\\0' x; exit 1");
    assert!(ran.status != 0 && ran.err.len() < 4096, "{} bytes", ran.err.len());
    let ran = run(&mut b, "printf '\\033[2J\\033]0;title\\007\\r\\nforged: line\\n' >&2; exit 1");
    assert!(
        ran.status != 0
            && !ran.err.contains('\x1b')
            && !ran.err.contains('\x07')
            && ran.err.lines().count() == 1,
        "{:?}",
        ran.err
    );
}

/// N03, CVE-2025-23267, as far as a runtime goes: a file of the image that a hook would write is a link.
/// What the runtime itself writes into an image (mount points, devices, links, the working directory)
/// goes through no link: the host's files are untouched when all of it is one.
#[test]
fn n03_what_the_runtime_makes_goes_through_no_link() {
    let Some(mut b) = bundle("n03_what_the_runtime_makes_goes_through_no_link") else { return };
    let canary = Canary::new(&b);
    std::fs::write(b.dir.join("cache"), "cache").unwrap();
    for name in ["etc", "dev", "tmp", "run", "work", "lib"] {
        plant(&b, name, &canary.dir);
    }
    symlink(canary.file(), b.rootfs().join("ld.so.cache")).unwrap();
    for target in ["/etc/ld.so.cache", "/ld.so.cache", "/lib/x.so", "/run/x/y"] {
        b.mount(json!({ "destination": target, "source": "cache", "options": ["bind"] }));
    }
    b.config["process"]["cwd"] = json!("/work/here");
    b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    std::fs::set_permissions(b.rootfs(), PermissionsExt::from_mode(0o755)).unwrap();
    b.args(&["true"]).run();
    canary.assert_untouched();
}
