//! Cache mounts go elsewhere and come here: what a step keeps is there for steps of another machine.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use testkit::{Sandbox, needs, wait_until};

use super::{Background, built, context, dhow, tidy};
use crate::build_cache::Machine;
use crate::busybox;
use crate::docker_client::Daemon;

/// What a step finds is in the image, and it leaves something for the next.
const DOCKERFILE: &str = "\
FROM busybox
ARG NTH
RUN --mount=type=cache,id=npm,target=/cache cat /cache/log > /found 2>/dev/null; \
    echo $NTH >> /cache/log; mkdir -p /cache/d && ln -sf ../log /cache/d/link && chown 7:8 /cache/d
RUN --mount=type=cache,target=/root/.own,uid=7,mode=0700 echo $NTH > /root/.own/own
";

fn a_context(sandbox: &Sandbox) -> PathBuf {
    context(sandbox, "mounts", &[("Dockerfile", DOCKERFILE)])
}

fn found(sandbox: &Sandbox) -> String {
    sandbox.ok(&["run", "--rm", "made", "cat", "/found"])
}

fn log(sandbox: &Sandbox, dir: &std::path::Path) -> String {
    let unique = format!("NTH={:?}", std::time::Instant::now());
    built(sandbox, dir, &["-t", "made", "--build-arg", &unique]);
    found(sandbox)
}

#[test]
fn what_a_step_keeps_goes_to_another_machine() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-mounts");
    let dir = a_context(&sandbox);
    built(&sandbox, &dir, &["-t", "made", "--build-arg", "NTH=first"]);
    assert_eq!(found(&sandbox), "");

    let listed = sandbox.ok(&["builder", "cache-mount", "ls", "--format", "json"]);
    let listed: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = |at: usize| (listed[at]["ID"].as_str(), listed[at]["Owner"].as_str());
    assert_eq!(shown(0), (Some("/root/.own"), Some("7:0")));
    assert_eq!(shown(1), (Some("npm"), Some("0:0")));
    assert_eq!((listed[0]["Mode"].as_str(), listed.len()), (Some("0700"), 2));
    let table = sandbox.ok(&["builder", "cache-mount", "ls"]);
    assert!(table.starts_with("ID ") && table.contains("\nnpm "), "{table}");

    // The archive is as any tar reads it.
    let archive = sandbox.work().join("npm.tar");
    let tar = archive.to_str().unwrap();
    sandbox.ok(&["builder", "cache-mount", "export", "-o", tar, "npm"]);
    let names = sandbox.sh(&format!("tar tvf {tar}")).success();
    assert!(names.contains("7/8") && names.contains("./d/link -> ../log"), "{names}");

    let there = Machine::new(&sandbox, "there");
    assert_eq!(there.ok(&["builder", "cache-mount", "ls", "-q"]), "");
    assert_eq!(there.ok(&["builder", "cache-mount", "import", "-i", tar, "npm"]), "npm");
    there.build(&dir, &["-t", "made", "--build-arg", "NTH=second"]);
    assert_eq!(there.ok(&["run", "--rm", "made", "cat", "/found"]), "first");
    // And back, through pipes.
    let mut export = sandbox.dhow_command(&["builder", "cache-mount", "export", "-o", "-", "npm"]);
    export.env("DHOW_ROOT", sandbox.work().join("there/root"));
    export.env("DHOW_STATE", sandbox.work().join("there/state"));
    let output = export.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut import = sandbox.dhow_command(&["builder", "cache-mount", "import", "npm"]);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    assert!(import.wait().unwrap().success());
    assert_eq!(log(&sandbox, &dir), "first\nsecond");

    // A directory, for a cache of another owner that no build has made: it is in place of nothing else.
    let own = sandbox.work().join("own");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("log"), "mine\n").unwrap();
    there.ok(&["builder", "cache-mount", "rm", "npm"]);
    there.ok(&["builder", "cache-mount", "import", "-i", own.to_str().unwrap(), "npm"]);
    there.build(&dir, &["-t", "made", "--build-arg", "NTH=third"]);
    assert_eq!(there.ok(&["run", "--rm", "made", "cat", "/found"]), "mine");
    there.ok(&["builder", "cache-mount", "import", "-i", tar, "--uid", "9", "npm"]);
    let several = there.dhow(&["builder", "cache-mount", "export", "-o", tar, "npm"]);
    assert!(several.code == 1 && several.stderr.contains("several cache mounts"), "{several:?}");
    there.ok(&["builder", "cache-mount", "export", "--uid", "9", "-o", tar, "npm"]);

    let none = sandbox.dhow(&["builder", "cache-mount", "export", "-o", tar, "nothing"]);
    assert!(none.stderr.contains("no such cache mount: nothing"), "{none:?}");
    sandbox.discard();
}

/// An archive that leads out, that is none, or that ends early changes nothing.
#[test]
fn what_is_no_archive_leaves_the_cache_alone() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-mounts-bad");
    let dir = a_context(&sandbox);
    built(&sandbox, &dir, &["-t", "made", "--build-arg", "NTH=first"]);
    let work = sandbox.work();
    let bad = work.join("bad.tar").display().to_string();
    sandbox.ok(&["builder", "cache-mount", "export", "-o", &bad, "npm"]);
    let whole = fs::read(&bad).unwrap();
    fs::create_dir_all(work.join("in")).unwrap();
    fs::write(work.join("canary"), "sings").unwrap();
    let leads_out = format!("cd {0}/in && tar cPf {0}/out.tar ../canary", work.display());
    sandbox.sh(&leads_out).success();
    let leads_out = fs::read(work.join("out.tar")).unwrap();
    for (what, bytes) in
        [("half", &whole[..1000]), ("no archive", &b"#!/bin/sh\n"[..]), ("out", &leads_out[..])]
    {
        fs::write(&bad, bytes).unwrap();
        let refused = sandbox.dhow(&["builder", "cache-mount", "import", "-i", &bad, "npm"]);
        assert!(refused.code == 1 && refused.stderr.contains("archive"), "{what}: {refused:?}");
    }
    assert_eq!(log(&sandbox, &dir), "first");
    let left = sandbox.sh(&format!("ls {}/build | grep -c incoming", sandbox.root().display()));
    assert_eq!(left.stdout.trim(), "0");
    tidy(&sandbox);
    sandbox.finish();
}

/// Through a daemon, while a step has the cache: it is not taken from under it.
#[test]
fn a_cache_that_a_step_has_is_left_to_it() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-mounts-used");
    let dir = a_context(&sandbox);
    built(&sandbox, &dir, &["-t", "made", "--build-arg", "NTH=first"]);
    let tar = sandbox.work().join("npm.tar").display().to_string();
    let daemon = Daemon::start(&sandbox);
    let host = format!("unix://{}", daemon.socket());
    let mount =
        |args: &[&str]| sandbox.dhow(&[&["-H", &host, "builder", "cache-mount"], args].concat());
    assert_eq!(mount(&["export", "-o", &tar, "npm"]).code, 0);
    let slow = "FROM busybox\nRUN --mount=type=cache,id=npm,target=/cache sleep 601\n";
    fs::write(dir.join("Slow"), slow).unwrap();
    let path = dir.to_str().unwrap();
    let mut build = sandbox.dhow_command(&["build", "-f", &format!("{path}/Slow"), path]);
    let child = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let background = Background(child);
    let sleeps = || sandbox.runs("sleep 601");
    wait_until("the step runs", sleeps);
    for args in [&["export", "-o", &tar, "npm"][..], &["import", "-i", &tar, "npm"], &["rm", "npm"]]
    {
        let refused = mount(args);
        let says = refused.stderr.contains("cache mount npm is in use");
        assert!(refused.code == 1 && says, "{args:?}: {refused:?}");
    }
    drop(background);
    wait_until("the step is gone", || !sleeps());
    wait_until("the cache is free", || mount(&["import", "-i", &tar, "npm"]).code == 0);
    assert_eq!(mount(&["rm", "npm"]).code, 0);
    assert_eq!(mount(&["ls", "-q"]).stdout, "/root/.own\n");
    drop(daemon);
    tidy(&sandbox);
    sandbox.finish();
}

/// A directory of the machine is a cache mount where the administrator says so.
#[test]
fn a_cache_is_kept_where_the_settings_say() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-mounts-placed");
    let dir = a_context(&sandbox);
    let place = sandbox.work().join("npm");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("log"), "from before\n").unwrap();
    let settings = serde_json::json!({ "builder": { "cache-mounts": { "npm": place } } });
    let file = sandbox.work().join("daemon.json");
    fs::write(&file, settings.to_string()).unwrap();
    sandbox.set_env("DHOW_CONFIG", file.to_str().unwrap());
    built(&sandbox, &dir, &["-t", "made", "--build-arg", "NTH=first"]);
    assert_eq!(found(&sandbox), "from before");
    assert_eq!(fs::read_to_string(place.join("log")).unwrap(), "from before\nfirst\n");
    // It is the administrator's, and no part of the build cache.
    assert_eq!(sandbox.ok(&["builder", "cache-mount", "ls", "-q"]), "/root/.own");
    sandbox.ok(&["builder", "prune", "-af"]);
    assert!(place.join("log").exists());
    fs::remove_dir_all(&place).unwrap();
    let failed = dhow(&sandbox, &dir, &["-t", "made", "--build-arg", "NTH=second"]);
    assert!(failed.stderr.contains("is no directory of this machine"), "{failed:?}");
    sandbox.unset_env("DHOW_CONFIG");
    tidy(&sandbox);
    sandbox.finish();
}

/// Killed anywhere, an import was not or was: never half of it.
#[test]
fn an_import_is_killed() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    let sandbox = busybox("build-mounts-killed");
    let dir = a_context(&sandbox);
    built(&sandbox, &dir, &["-t", "made", "--build-arg", "NTH=first"]);
    let tar = sandbox.work().join("npm.tar").display().to_string();
    sandbox.ok(&["builder", "cache-mount", "export", "-o", &tar, "npm"]);
    let points = ["", "-unpacked", "-exchanged"];
    for (n, action) in [(0, "kill"), (1, "kill"), (2, "kill"), (1, "error")] {
        log(&sandbox, &dir);
        let before = log(&sandbox, &dir);
        assert!(before.lines().count() > 1, "{before}");
        let point = format!("build.cache-mount{}={action}", points[n]);
        sandbox.set_env("DHOW_FAILPOINTS", &point);
        let killed = sandbox.dhow(&["builder", "cache-mount", "import", "-i", &tar, "npm"]);
        sandbox.unset_env("DHOW_FAILPOINTS");
        assert_ne!(killed.code, 0, "{point}");
        let after = log(&sandbox, &dir);
        let was_imported = after == "first";
        assert_eq!(was_imported, n == 2, "{point}: {after:?}");
        assert!(was_imported || after.starts_with(&before), "{point}: {after:?}");
        let left = sandbox.sh(&format!("ls {}/build | grep -c incoming", sandbox.root().display()));
        assert_eq!(left.stdout.trim(), "0", "{point}");
    }
    assert_eq!(dhow(&sandbox, &dir, &["-t", "made"]).code, 0);
    tidy(&sandbox);
    sandbox.finish();
}
