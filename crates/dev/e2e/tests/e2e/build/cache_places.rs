//! Where cache mounts are kept: beside a build's cache, in directories and archives of the client's, in volumes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use testkit::{Sandbox, needs, wait_until};

use super::{Background, built, context, dhow, tidy};
use crate::build_cache::Machine;
use crate::busybox;

/// What a step finds is in the image, and it leaves something for the next.
const DOCKERFILE: &str = "\
FROM busybox
ARG NTH
RUN --mount=type=cache,id=npm,target=/cache cat /cache/log > /found 2>/dev/null; \
    echo $NTH >> /cache/log; chown 7:8 /cache/log
RUN --mount=type=cache,target=/root/.own,uid=7,mode=0700 \
    cat /root/.own/own > /own 2>/dev/null; echo $NTH >> /root/.own/own
";

fn a_context(sandbox: &Sandbox) -> PathBuf {
    context(sandbox, "places", &[("Dockerfile", DOCKERFILE)])
}

/// Builds it; what the step has found.
#[track_caller]
fn build(sandbox: &Sandbox, dir: &Path, nth: &str, more: &[&str]) -> String {
    let arg = format!("NTH={nth}");
    built(sandbox, dir, &[&["-t", "made", "--build-arg", &arg], more].concat());
    sandbox.ok(&["run", "--rm", "made", "cat", "/found"])
}

/// A directory, and an archive, are what the cache is before and after, for one build; what all builds have stays.
#[test]
fn a_build_has_its_cache_in_a_directory_of_the_clients() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-places-dir");
    let dir = a_context(&sandbox);
    let place = sandbox.work().join("npm");
    let flag = format!("npm={}", place.display());
    assert_eq!(build(&sandbox, &dir, "other", &[]), "");
    // Nothing is there yet, so the build begins with nothing, whatever the engine has.
    assert_eq!(build(&sandbox, &dir, "first", &["--cache-mount", &flag]), "");
    assert_eq!(fs::read_to_string(place.join("log")).unwrap(), "first\n");
    let owner = sandbox.sh(&format!("stat -c %u:%g {}/log", place.display())).success();
    assert_eq!(owner.trim(), "7:8");
    fs::write(place.join("log"), "mine\n").unwrap();
    assert_eq!(build(&sandbox, &dir, "second", &["--cache-mount", &flag]), "mine");
    assert_eq!(fs::read_to_string(place.join("log")).unwrap(), "mine\nsecond\n");

    // What failed has kept nothing.
    fs::write(dir.join("Fails"), format!("{DOCKERFILE}RUN false\n")).unwrap();
    let file = dir.join("Fails");
    let fails = ["-f", file.to_str().unwrap(), "--cache-mount", &flag, "--build-arg", "NTH=third"];
    assert_eq!(dhow(&sandbox, &dir, &fails).code, 1);
    assert_eq!(fs::read_to_string(place.join("log")).unwrap(), "mine\nsecond\n");
    let left = sandbox.sh(&format!("ls -a {} | grep -c '^.npm'", sandbox.work().display()));
    assert_eq!(left.stdout.trim(), "0");
    assert_eq!(sandbox.ok(&["builder", "cache-mount", "ls", "-q"]), "/root/.own\nnpm");
    assert_eq!(build(&sandbox, &dir, "own", &[]), "other");
    assert_eq!(fs::read_to_string(place.join("log")).unwrap(), "mine\nsecond\n");

    // An archive, also of one with another owner; it goes to another machine.
    let tar = sandbox.work().join("own.tar");
    let flag = format!("/root/.own={},uid=7,mode=0700", tar.display());
    build(&sandbox, &dir, "fourth", &["--cache-mount", &flag]);
    let there = Machine::new(&sandbox, "there");
    there.build(&dir, &["-t", "made", "--build-arg", "NTH=fifth", "--cache-mount", &flag]);
    assert_eq!(there.ok(&["run", "--rm", "made", "cat", "/own"]), "fourth");
    let listed = sandbox.sh(&format!("tar xOf {} ./own", tar.display())).success();
    assert_eq!(listed, "fourth\nfifth\n");

    for (wrong, why) in
        [("npm", "give ID=DIR"), ("npm=x,uid=y", "give uid=N"), ("npm=volume:v,uid=1", "own owner")]
    {
        let refused = dhow(&sandbox, &dir, &["--cache-mount", wrong]);
        assert!(refused.code != 0 && refused.stderr.contains(why), "{wrong}: {refused:?}");
    }
    tidy(&sandbox);
    sandbox.discard();
}

/// A volume is a cache, for a build that asks for one that is meant for it, or by the settings.
#[test]
fn a_build_has_its_cache_in_a_volume() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-places-volume");
    let dir = a_context(&sandbox);
    let flag = ["--cache-mount", "npm=volume:npm"];
    assert_eq!(build(&sandbox, &dir, "first", &flag), "");
    let look = ["run", "--rm", "-v", "npm:/v", "busybox", "cat", "/v/log"];
    assert_eq!(sandbox.ok(&look), "first");
    assert_eq!(build(&sandbox, &dir, "second", &flag), "first");
    // It is no part of the build cache, nor of builds that do not ask for it.
    assert_eq!(sandbox.ok(&["builder", "cache-mount", "ls", "-q"]), "/root/.own");
    sandbox.ok(&["builder", "prune", "-af"]);
    assert_eq!(build(&sandbox, &dir, "third", &[]), "");

    // One that is not meant for it is nobody's who may only build.
    sandbox.ok(&["volume", "create", "theirs"]);
    let theirs =
        dhow(&sandbox, &dir, &["--build-arg", "NTH=4", "--cache-mount", "npm=volume:theirs"]);
    assert!(
        theirs.code == 1 && theirs.stderr.contains("lacks the label dhow.cache-mount"),
        "{theirs:?}"
    );
    sandbox.ok(&[
        "volume",
        "create",
        "--label",
        "dhow.cache-mount",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "fs",
    ]);
    let fs_volume =
        dhow(&sandbox, &dir, &["--build-arg", "NTH=5", "--cache-mount", "npm=volume:fs"]);
    assert!(fs_volume.stderr.contains("a file system of its own"), "{fs_volume:?}");

    // While a step has it, it is not removed.
    let slow = "FROM busybox\nRUN --mount=type=cache,id=npm,target=/cache sleep 602\n";
    fs::write(dir.join("Slow"), slow).unwrap();
    let path = dir.to_str().unwrap();
    let file = format!("{path}/Slow");
    let args = [&["build", "-f", &file][..], &flag, &[path]].concat();
    let child = sandbox.dhow_command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let background = Background(child.unwrap());
    let sleeps = || sandbox.runs("sleep 602");
    wait_until("the step runs", sleeps);
    let refused = sandbox.dhow(&["volume", "rm", "npm"]);
    assert!(refused.stderr.contains("volume is in use - [a build]"), "{refused:?}");
    drop(background);
    wait_until("the step is gone", || !sleeps());
    wait_until("the volume is free", || sandbox.dhow(&["volume", "rm", "npm"]).code == 0);

    // The administrator may name any, and it is made.
    let settings = r#"{ "builder": { "cache-mounts": { "npm": "volume:theirs" } } }"#;
    let file = sandbox.work().join("daemon.json");
    fs::write(&file, settings).unwrap();
    sandbox.set_env("DHOW_CONFIG", file.to_str().unwrap());
    build(&sandbox, &dir, "sixth", &[]);
    sandbox.unset_env("DHOW_CONFIG");
    let look = ["run", "--rm", "-v", "theirs:/v", "busybox", "cat", "/v/log"];
    assert_eq!(sandbox.ok(&look), "sixth");
    for name in ["theirs", "fs"] {
        sandbox.ok(&["volume", "rm", name]);
    }
    sandbox.discard();
}

/// They go with a cache that they are asked for with, and come with it.
#[test]
fn cache_mounts_go_with_a_cache() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-places-cache");
    let dir = a_context(&sandbox);
    let cache = sandbox.work().join("cache").display().to_string();
    let to = format!("type=local,dest={cache},mode=max,cache-mounts=true");
    let from = format!("type=local,src={cache},cache-mounts=true");
    assert_eq!(build(&sandbox, &dir, "first", &["--cache-to", &to]), "");

    // What has them beside it is a cache as any other, also for who does not ask for them.
    let there = Machine::new(&sandbox, "there");
    let plain = format!("type=local,src={cache}");
    let same = there.build(&dir, &["--build-arg", "NTH=first", "--cache-from", &plain]);
    assert!(same.contains("CACHED"), "{same}");
    assert_eq!(there.ok(&["builder", "cache-mount", "ls", "-q"]), "");

    // A step finds them, those of another owner, too; what is here already is not replaced.
    let second =
        ["-t", "made", "--build-arg", "NTH=second", "--cache-from", &from, "--cache-to", &to];
    let told = there.build(&dir, &second);
    assert!(told.contains("importing cached mount /npm"), "{told}");
    assert_eq!(there.ok(&["run", "--rm", "made", "cat", "/found"]), "first");
    assert_eq!(there.ok(&["run", "--rm", "made", "cat", "/own"]), "first");
    assert_eq!(build(&sandbox, &dir, "third", &["--cache-from", &from]), "first");

    // Steps that were in the cache keep theirs in it, wherever they are.
    let third = Machine::new(&sandbox, "third");
    let told = third.build(&dir, &second);
    assert!(!told.contains("importing cached mount"), "{told}");
    let fourth = Machine::new(&sandbox, "fourth");
    fourth.build(&dir, &["-t", "made", "--build-arg", "NTH=4", "--cache-from", &from]);
    assert_eq!(fourth.ok(&["run", "--rm", "made", "cat", "/found"]), "first\nsecond");

    // One whose archive is not what it was is told of, and the build goes on without it.
    let blobs = format!("{cache}/blobs/sha256");
    let spoil = format!(
        "for f in {blobs}/*; do gzip -t $f 2>/dev/null && \
         printf xxxx | dd of=$f bs=1 seek=20 conv=notrunc 2>/dev/null; done; true"
    );
    sandbox.sh(&spoil).success();
    let fifth = Machine::new(&sandbox, "fifth");
    let told = fifth.build(&dir, &["-t", "made", "--build-arg", "NTH=5", "--cache-from", &from]);
    assert!(told.contains("ERROR") && told.contains("importing cached mount"), "{told}");
    assert_eq!(fifth.ok(&["run", "--rm", "made", "cat", "/found"]), "");

    let inline =
        dhow(&sandbox, &dir, &["-t", "made", "--cache-to", "type=inline,cache-mounts=true"]);
    assert!(inline.code == 1 && inline.stderr.contains("cache-mounts=true"), "{inline:?}");
    sandbox.discard();
}

/// One that began with files of a stage, and was killed meanwhile, begins with them again.
#[test]
fn a_cache_is_killed_while_it_is_filled() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    let sandbox = busybox("build-places-killed");
    let dockerfile = "\
FROM busybox AS seed
RUN mkdir /seed && for i in 1 2 3 4 5 6 7 8 9; do echo $i > /seed/$i; done
FROM busybox
ARG NTH
RUN --mount=type=cache,target=/cache,from=seed,source=/seed \
    ls /cache | wc -l > /found; stat -c %a /cache >> /found; echo $NTH > /cache/new
";
    let dir = context(&sandbox, "filled", &[("Dockerfile", dockerfile)]);
    for (n, point) in ["build.cache-filling", "build.cache-filled"].into_iter().enumerate() {
        for action in ["kill", "error"] {
            let arg = format!("NTH={n}{action}");
            sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}={action}"));
            let failed = dhow(&sandbox, &dir, &["--build-arg", &arg]);
            sandbox.unset_env("DHOW_FAILPOINTS");
            assert_ne!(failed.code, 0, "{point}={action}");
        }
        assert_eq!(build(&sandbox, &dir, &n.to_string(), &[]), "9\n755", "{point}");
        assert_eq!(build(&sandbox, &dir, &format!("{n} again"), &[]), "10\n755", "{point}");
        sandbox.ok(&["builder", "cache-mount", "rm", "/cache"]);
    }
    tidy(&sandbox);
    sandbox.finish();
}
