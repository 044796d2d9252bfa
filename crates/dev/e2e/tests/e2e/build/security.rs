//! Published attacks on builders, tried on ours (docs/security-build.md). A canary lies beside the context;
//! no build may read or change it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::{Output, Sandbox, needs};

use super::{Background, Docker, built, context, dhow, tidy};
use crate::busybox;

/// What is in the canary.
const CANARY: &str = "canary-text";
/// How often a race is run.
const TRIES: usize = 25;

struct Attack {
    sandbox: Sandbox,
    canary: PathBuf,
}

impl Attack {
    fn new(name: &str) -> Self {
        let sandbox = busybox(name);
        let canary = sandbox.work().join("canary");
        fs::create_dir_all(&canary).unwrap();
        fs::write(canary.join("file"), CANARY).unwrap();
        Self { sandbox, canary }
    }

    fn context(&self, name: &str, file: &str) -> PathBuf {
        context(&self.sandbox, name, &[("Dockerfile", file)])
    }

    /// A build, which may fail, and says nothing of the canary.
    #[track_caller]
    fn build(&self, dir: &Path, args: &[&str]) -> Output {
        let output = dhow(&self.sandbox, dir, args);
        assert!(!output.stderr.contains(CANARY), "{}", output.stderr);
        assert!(!output.stdout.contains(CANARY), "{}", output.stdout);
        output
    }

    /// The same of a Dockerfile, which is refused.
    #[track_caller]
    fn refused(&self, name: &str, file: &str) -> String {
        let dir = self.context(name, file);
        let output = self.build(&dir, &["--no-cache"]);
        assert_eq!(output.code, 1, "{name}: {}", output.stderr);
        output.stderr
    }

    #[track_caller]
    fn finish(self) {
        let names = fs::read_dir(&self.canary).unwrap().count();
        assert_eq!(names, 1, "the canary has other files");
        assert_eq!(fs::read_to_string(self.canary.join("file")).unwrap(), CANARY);
        let stated = fs::metadata(self.canary.join("file")).unwrap();
        assert_eq!(stated.permissions().mode() & 0o7777, 0o644);
        tidy(&self.sandbox);
        self.sandbox.finish();
    }
}

/// CVE-2019-13139: what is a branch to one is an option to another.
#[test]
fn h01_no_url_of_a_repository_is_an_option() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h01");
    let mark = attack.sandbox.work().join("ran");
    let run = format!("touch {}", mark.display());
    for url in [
        format!("git://127.0.0.1:1/x#--upload-pack={run}"),
        format!("https://127.0.0.1:1/x.git#-u{run}"),
        format!("https://127.0.0.1:1/x.git#--output={}", mark.display()),
        format!("ssh://-oProxyCommand={run}/x.git"),
        format!("--upload-pack={run}.git"),
    ] {
        let output = attack.sandbox.dhow(&["build", &url]);
        assert_ne!(output.code, 0, "{url}");
        let file = format!("FROM busybox\nADD {url} /x\n");
        let dir = attack.context("add", &file);
        assert_eq!(attack.build(&dir, &[]).code, 1, "{url}");
    }
    assert!(!mark.exists(), "a command was run");
    attack.finish();
}

/// CVE-2024-23651, CVE-2024-11218: while one step exchanges what it mounts, others mount a part of it.
#[test]
fn h07_h18_a_swapper_shows_nobody_the_machine() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h07");
    let up = format!("/{}{}", "../".repeat(12), attack.canary.display());
    let swap = format!(
        "FROM busybox\nRUN --mount=type=cache,id=c,target=/c cd /c; touch ready; \
         while true; do rm -rf x; ln -s {up} x; rm x; ln -s {} x; rm x; mkdir x; done\n",
        attack.canary.display()
    );
    let dir = attack.context("swapper", &swap);
    let mut command = attack.sandbox.dhow_command(&["build", dir.to_str().unwrap()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let swapper = Background(command.spawn().unwrap());
    testkit::wait_until("the swapper runs", || attack.sandbox.runs("touch ready"));
    let file = "FROM busybox\n\
        RUN --mount=type=cache,id=c,source=x,target=/m ls -a /m; cat /m/file; echo x > /m/file; true\n\
        RUN --mount=type=cache,id=c,target=/c cat /c/x/file; true\n";
    let dir = attack.context("victim", file);
    for _ in 0..TRIES {
        attack.build(&dir, &["--no-cache"]);
    }
    drop(swapper);
    attack.finish();
}

/// CVE-2024-23652: what was a mount point is a link when it is cleaned up.
#[test]
fn h08_no_mount_point_is_removed_behind_a_link() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h08");
    let empty = attack.sandbox.work().join("empty/dir");
    fs::create_dir_all(&empty).unwrap();
    let above = empty.parent().unwrap().display();
    let file = format!(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/a/dir true\n\
         RUN --mount=type=tmpfs,target=/a/dir ln -s {above} /b; mv /a /gone 2>/dev/null; \
         ln -s {above} /a; true\nRUN --mount=type=tmpfs,target=/b/dir true\n"
    );
    let dir = attack.context("stub", &file);
    attack.build(&dir, &[]);
    assert!(empty.is_dir());
    attack.finish();
}

/// CVE-2024-23653: nobody gets more than was allowed, however it is asked for.
#[test]
fn h10_rights_are_not_taken() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let attack = Attack::new("h10");
    let text = attack.refused("insecure", "FROM busybox\nRUN --security=insecure true\n");
    assert!(text.contains("security.insecure"), "{text}");
    let text = attack.refused("other", "FROM busybox\nRUN --security=frob true\n");
    assert!(text.contains("frob"), "{text}");
    attack.refused("host", "FROM busybox\nRUN --network=host true\n");
    let show = "FROM busybox\nRUN grep -E 'CapEff|Seccomp:' /proc/self/status\n";
    let dir = attack.context("show", show);
    let told = built(&attack.sandbox, &dir, &[]);
    assert!(told.contains("00000000a80425fb") && told.contains("Seccomp:\t2"), "{told}");
    // By Docker's client.
    let docker = Docker::start(&attack.sandbox);
    let refused = attack.context("insecure", "FROM busybox\nRUN --security=insecure true\n");
    assert_eq!(docker.run(&refused, &["build", "."]).code, 1);
    assert_eq!(docker.run(&refused, &["buildx", "build", "--allow", "frob", "."]).code, 1);
    drop(docker);
    attack.finish();
}

/// CVE-2026-93320: what should be a file is a pipe, a device, a socket. Nobody waits for it.
#[test]
fn h12_special_files_hold_nothing_up() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h12");
    let special = "mkfifo FIFO; mknod ZERO c 1 5";
    for (name, script, code) in [
        ("dockerfile", "rm Dockerfile; mkfifo Dockerfile", 1),
        ("zero", "rm Dockerfile; mknod Dockerfile c 1 5", 1),
        ("ignore", "mkfifo .dockerignore", 1),
    ] {
        let dir = attack.context(name, "FROM busybox\nCOPY . /x\n");
        attack.sandbox.sh(&format!("cd {} && {script}", dir.display())).success();
        let begun = Instant::now();
        let output = attack.build(&dir, &[]);
        assert_eq!(output.code, code, "{name}: {}", output.stderr);
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}: {:?}", begun.elapsed());
    }
    // From another stage they are copied as what they are, and never opened.
    let file = format!(
        "FROM busybox AS a\nRUN mkdir /s && cd /s && {special}\n\
         FROM busybox\nCOPY --from=a /s /s\nCOPY --from=a /s/FIFO /one\n\
         RUN --mount=from=a,source=/s,target=/m test -p /s/FIFO && test -c /s/ZERO && test -p /m/FIFO\n"
    );
    let dir = attack.context("stage", &file);
    let begun = Instant::now();
    let output = attack.build(&dir, &[]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(output.code, 0, "{}", output.stderr);
    attack.finish();
}

/// CVE-2024-24557: an image whose history says that it is what a build would make is not taken for it.
#[test]
fn h13_an_image_is_no_entry_of_the_cache() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h13");
    let dir = attack.context("real", "FROM busybox\nRUN echo good > /word\n");
    built(&attack.sandbox, &dir, &["-t", "good"]);
    // The same history, and another file.
    let sandbox = &attack.sandbox;
    let archive = sandbox.work().join("good.tar").display().to_string();
    sandbox.ok(&["save", "-o", &archive, "good"]);
    sandbox.ok(&["rmi", "good"]);
    sandbox.ok(&["builder", "prune", "-af"]);
    sandbox.ok(&["create", "--name", "evil", "busybox", "true"]);
    fs::write(sandbox.work().join("word"), "evil\n").unwrap();
    let word = sandbox.work().join("word").display().to_string();
    sandbox.ok(&["cp", &word, "evil:/word"]);
    let message = "RUN /bin/sh -c echo good > /word # buildkit";
    sandbox.ok(&["commit", "-m", message, "evil", "poison"]);
    sandbox.ok(&["rm", "evil"]);
    let told = built(sandbox, &dir, &["-t", "good"]);
    assert_eq!(super::carried_out(&told).len(), 1, "{told}");
    assert_eq!(sandbox.ok(&["run", "--rm", "good", "cat", "/word"]), "good");
    attack.finish();
}

/// CVE-2020-27534: names that somebody could guess, in directories where anybody may write.
#[test]
fn h14_planted_links_are_not_followed() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h14");
    let temporary = attack.sandbox.work().join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
    for name in ["qemu-check", "check", "dhow", "buildkit", "docker-build", "context", "Dockerfile"]
    {
        symlink(attack.canary.join("file"), temporary.join(name)).unwrap();
    }
    attack.sandbox.set_env("TMPDIR", temporary.to_str().unwrap());
    let dir = attack.context("planted", "FROM busybox\nCOPY Dockerfile /x\nRUN echo x > /y\n");
    let out = attack.sandbox.work().join("out").display().to_string();
    built(&attack.sandbox, &dir, &["-o", &out]);
    attack.sandbox.unset_env("TMPDIR");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 7, "nothing was put there");
    attack.finish();
}

/// CVE-2024-1753, CVE-2024-9675, CVE-2024-9407: no part of what is mounted, no name of a cache and no option
/// leads out.
#[test]
fn h15_h16_h17_no_mount_of_a_step_leads_out() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h15");
    let canary = attack.canary.display().to_string();
    let links =
        format!("FROM busybox AS a\nRUN ln -s / /root-link; ln -s {canary} /l\nFROM busybox\n");
    for (name, mount) in [
        ("link", "type=bind,from=a,source=/l,target=/m".to_owned()),
        ("root", format!("type=bind,from=a,source=/root-link{canary},target=/m")),
        ("up", format!("type=bind,from=a,source=../../../../..{canary},target=/m")),
        ("context", "type=bind,source=../canary,target=/m".to_owned()),
        ("cache", "type=cache,from=a,source=/l,target=/m".to_owned()),
        ("id", format!("type=cache,id=../../../../../..{canary},target=/m")),
        ("cache-up", format!("type=cache,source=../../..{canary},target=/m")),
    ] {
        let file =
            format!("{links}RUN --mount={mount} ls -a /m; cat /m/file; echo x > /m/file; true\n");
        let dir = attack.context(name, &file);
        attack.build(&dir, &["--no-cache"]);
    }
    for (name, mount) in [
        ("propagation", "type=bind,target=/m,bind-propagation=shared"),
        ("option", "type=bind,target=/m,rw=true,z"),
        ("kind", "type=volume,target=/m"),
        ("size", "type=bind,target=/m,size=1"),
        ("mode", "type=cache,target=/m,mode=0755;suid"),
        ("quoted", "type=bind,\"target=/m,shared\",shared"),
    ] {
        let text = attack.refused(name, &format!("FROM busybox\nRUN --mount={mount} true\n"));
        assert!(text.contains("Dockerfile:2"), "{name}: {text}");
    }
    attack.finish();
}

/// CVE-2025-4953: what a step writes to a context that it has mounted goes nowhere.
#[test]
fn h19_a_context_is_not_written_to() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h19");
    let file = "FROM busybox\nRUN --mount=type=bind,target=/m,rw echo x > /m/new; rm /m/Dockerfile; \
                chmod 777 /m; ls /m\nRUN --mount=type=bind,target=/m test -e /m/Dockerfile -a ! -e /m/new\n";
    let dir = attack.context("written", file);
    built(&attack.sandbox, &dir, &[]);
    let names: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["Dockerfile"]);
    assert_eq!(fs::read_to_string(dir.join("Dockerfile")).unwrap(), file);
    attack.finish();
}

/// CVE-2026-44517, CVE-2022-4122, CVE-2022-4123: what a builder reads first is a link out of the context.
#[test]
fn h20_h22_files_that_are_links_out_are_not_read() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let attack = Attack::new("h20");
    fs::write(attack.canary.join("file"), CANARY).unwrap();
    let out = attack.canary.join("file");
    for (name, link) in [("dockerfile", "Dockerfile"), ("ignore", ".dockerignore")] {
        let dir = context(&attack.sandbox, name, &[("other", "x\n")]);
        if name == "ignore" {
            fs::write(dir.join("Dockerfile"), "FROM busybox\nCOPY . /x\nRUN find /x\n").unwrap();
        }
        symlink(&out, dir.join(link)).unwrap();
        attack.build(&dir, &["--no-cache"]);
        fs::remove_file(dir.join(link)).unwrap();
        symlink("../canary/file", dir.join(link)).unwrap();
        attack.build(&dir, &["--no-cache"]);
    }
    // A part of the context, by a link.
    let dir = attack.context("part", "FROM busybox\nCOPY l/file /x\nRUN cat /x\n");
    symlink(&attack.canary, dir.join("l")).unwrap();
    assert_eq!(attack.build(&dir, &["--no-cache"]).code, 1);
    attack.finish();
}
