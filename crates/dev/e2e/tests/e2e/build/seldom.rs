//! What clients ask for seldom, found by BuildKit's own tests.

use std::fs;
use std::os::unix::fs::symlink;

use testkit::{needs, wait_until};

use super::{Background, Docker, built, context, dhow, tidy};
use crate::busybox;

/// Two steps that have the same two caches in another order, and one that has a cache twice, wait for nobody for ever.
#[test]
fn caches_that_are_mounted_twice() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-twice");
    let text = "\
FROM busybox AS a
RUN --mount=type=cache,id=x,target=/x,sharing=locked --mount=type=cache,id=y,target=/y,sharing=locked sleep 0.3; touch /x/a /a
FROM busybox AS b
RUN --mount=type=cache,id=y,target=/y,sharing=locked --mount=type=cache,id=x,target=/x,sharing=locked sleep 0.3; touch /x/b /b
FROM busybox
RUN --mount=type=cache,id=z,target=/1,sharing=locked --mount=type=cache,id=z,target=/2 touch /1/f && test -e /2/f
COPY --from=a /a /
COPY --from=b /b /
";
    let dir = context(&sandbox, "twice", &[("Dockerfile", text)]);
    let mut command =
        sandbox.dhow_command(&["build", "--progress", "plain", dir.to_str().unwrap()]);
    let mut building = Background(command.spawn().unwrap());
    wait_until("the build is over", || building.0.try_wait().unwrap().is_some());
    assert!(building.0.wait().unwrap().success());
    tidy(&sandbox);
    sandbox.finish();
}

/// Without the cache, a build begins its cache mounts anew, and keeps what it puts there.
#[test]
fn without_the_cache_there_is_nothing_in_cache_mounts() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-anew");
    let text = "\
FROM busybox
ARG NTH
RUN --mount=type=cache,target=/cache touch /cache/$NTH; ls /cache > /found
RUN --mount=type=cache,target=/cache ls /cache > /again
";
    let dir = context(&sandbox, "anew", &[("Dockerfile", text)]);
    let found = |args: &[&str]| {
        built(&sandbox, &dir, &[&["-t", "made"], args].concat());
        sandbox.ok(&["run", "--rm", "made", "cat", "/found", "/again"]).replace('\n', " ")
    };
    assert_eq!(found(&["--build-arg", "NTH=a"]), "a a");
    assert_eq!(found(&["--build-arg", "NTH=b"]), "a b a b");
    assert_eq!(found(&["--build-arg", "NTH=c", "--no-cache"]), "c c");
    assert_eq!(found(&["--build-arg", "NTH=d"]), "c d c d");
    tidy(&sandbox);
    sandbox.finish();
}

/// What the programs of a build may use of the machine (`--resource` of the newest Buildx) is no part of what they make.
#[test]
fn programs_have_the_limits_of_their_build() {
    needs!(Root, Overlay, Netns, Nft, Busybox, MemoryCgroup);
    let sandbox = busybox("build-limits");
    let text = "\
FROM busybox
RUN cd /sys/fs/cgroup; (cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max) > /limit
RUN grep Cpus_allowed_list /proc/self/status > /cpus
";
    let dir = context(&sandbox, "limits", &[("Dockerfile", text)]);
    let found = |memory: &str| {
        let memory = format!("memory={memory}");
        let limits = ["--resource", &memory, "--resource", "cpuset-cpus=0"];
        built(&sandbox, &dir, &[&["-t", "made"], &limits[..]].concat());
        sandbox.ok(&["run", "--rm", "made", "cat", "/limit", "/cpus"])
    };
    assert_eq!(found("64m"), "67108864\nCpus_allowed_list:\t0");
    assert_eq!(found("128m"), "67108864\nCpus_allowed_list:\t0", "both steps were there");
    tidy(&sandbox);
    sandbox.finish();
}

/// What builds may do is for the machine's configuration to say.
#[test]
fn entitlements_of_the_machine() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("build-entitled");
    let all = "FROM busybox\nRUN --security=insecure grep Seccomp: /proc/self/status\n";
    let dir = context(&sandbox, "all", &[("Dockerfile", all)]);
    let host = "FROM busybox\nRUN --network=host true\n";
    let host = context(&sandbox, "host", &[("Dockerfile", host)]);
    let allow = |dir: &std::path::Path, what: &str| dhow(&sandbox, dir, &["--allow", what]);
    let refused = "is not allowed by build daemon configuration";
    let told = allow(&dir, "security.insecure");
    assert!(told.code == 1 && told.stderr.contains(refused), "{told:?}");
    assert_eq!(allow(&host, "network.host").code, 0);

    let file = sandbox.work().join("daemon.json");
    let text =
        r#"{"builder": {"entitlements": {"security-insecure": true, "network-host": false}}}"#;
    fs::write(&file, text).unwrap();
    sandbox.set_env("DHOW_CONFIG", file.to_str().unwrap());
    let told = allow(&dir, "security.insecure");
    assert!(told.code == 0 && told.stderr.contains("Seccomp:\t0"), "{told:?}");
    let told = allow(&host, "network.host");
    assert!(told.code == 1 && told.stderr.contains(refused), "{told:?}");
    // What the machine lets builds do they have to be given all the same.
    let told = dhow(&sandbox, &dir, &[]);
    assert!(told.stderr.contains("security.insecure is not allowed"), "{told:?}");
    let docker = Docker::start(&sandbox);
    let told = docker.run(&host, &["buildx", "build", "--allow", "network.host", "."]);
    assert!(told.code == 1 && told.stderr.contains(refused), "{told:?}");
    drop(docker);
    sandbox.unset_env("DHOW_CONFIG");
    tidy(&sandbox);
    sandbox.finish();
}

/// A Dockerfile may be a link; an image may leave as a directory of blobs.
#[test]
fn links_and_layouts() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("build-layouts");
    let dir = context(&sandbox, "linked", &[("Dockerfile.web", "FROM busybox\nRUN touch /f\n")]);
    symlink("Dockerfile.web", dir.join("Dockerfile")).unwrap();
    let docker = Docker::start(&sandbox);
    let output = "type=oci,tar=false,dest=../layout";
    docker.ok(&dir, &["buildx", "build", "-o", output, "."]);
    let layout = sandbox.work().join("layout");
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("blobs").join(digest)).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for blob in layers.iter().chain([&manifest["config"]]) {
        let name = blob["digest"].as_str().unwrap().replace(':', "/");
        let size = fs::metadata(layout.join("blobs").join(name)).unwrap().len();
        assert_eq!(Some(size), blob["size"].as_u64());
    }
    drop(docker);
    tidy(&sandbox);
    sandbox.finish();
}
