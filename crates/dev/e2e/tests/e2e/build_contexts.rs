//! What is built from: archives, Dockerfiles and repositories that are somewhere else, or come in.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use testkit::{Output, Sandbox, needs, wait_until};

use crate::busybox;
use crate::classic_build::{archive, post, tidy};
use crate::docker_client::Daemon;

/// A server of the sandbox's own, until it is dropped.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves the sandbox's folder `www` on port 8000.
pub(crate) fn serve(sandbox: &Sandbox) -> Server {
    let folder = sandbox.work().join("www");
    fs::create_dir_all(&folder).unwrap();
    let mut command = sandbox.command("busybox");
    command.args(["httpd", "-f", "-p", "127.0.0.1:8000", "-h"]).arg(&folder);
    let server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let ask =
        "busybox nc -z 127.0.0.1 8000 2>/dev/null || curl -s http://127.0.0.1:8000/ >/dev/null";
    wait_until("it listens", || sandbox.sh(ask).code == 0);
    server
}

fn www(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.work().join("www").join(name)
}

/// `dhow build ARGS`, with this on its standard input.
fn build(sandbox: &Sandbox, args: &[&str], input: Option<&Path>) -> Output {
    let mut command = sandbox.dhow_command(&["build", "-t", "made"]);
    command.args(args);
    if let Some(input) = input {
        command.stdin(File::open(input).unwrap());
    }
    testkit::capture(&mut command)
}

/// What is in the file `/out` of what was built.
#[track_caller]
fn out(sandbox: &Sandbox, built: &Output) -> String {
    assert_eq!(built.code, 0, "{}", built.stderr);
    sandbox.ok(&["run", "--rm", "made", "cat", "/out"])
}

const COPY: &str = "FROM busybox\nCOPY word /out\n";

/// Removes what builds have left.
fn end(sandbox: Sandbox) {
    sandbox.dhow(&["rmi", "-f", "made"]);
    tidy(Daemon::start(&sandbox), &[]);
    let _ = fs::remove_dir_all(sandbox.root().join("build-history"));
    sandbox.finish();
}

#[test]
fn archives_and_dockerfiles_from_elsewhere() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Curl, Docker);
    let sandbox = busybox("contexts");
    let server = serve(&sandbox);
    let other = "FROM busybox\nRUN echo other > /out\n";
    let files = [("Dockerfile", COPY), ("word", "one\n"), ("sub/Other", other)];
    let tar = archive(&sandbox, "www/context.tar", &files);
    sandbox.sh(&format!("gzip -k {} && xz -k {0}", tar.display())).success();
    for name in ["context.tar", "context.tar.gz", "context.tar.xz"] {
        let url = format!("http://127.0.0.1:8000/{name}");
        assert_eq!(out(&sandbox, &build(&sandbox, &[&url], None)), "one");
    }
    let url = "http://127.0.0.1:8000/context.tar";
    let built = build(&sandbox, &["-f", "sub/Other", url], None);
    assert_eq!(out(&sandbox, &built), "other");
    // It is asked for again, and is another one by now. (Who takes gzip gets `NAME.gz` of busybox's server.)
    let packed = www(&sandbox, "packed");
    fs::rename(www(&sandbox, "context.tar.gz"), &packed).unwrap();
    archive(&sandbox, "www/context.tar", &[("Dockerfile", COPY), ("word", "two!\n")]);
    assert_eq!(out(&sandbox, &build(&sandbox, &[url], None)), "two!");
    // What is no archive is a Dockerfile, alone in its context.
    fs::write(www(&sandbox, "File"), "FROM busybox\nRUN echo alone > /out\n").unwrap();
    let built = build(&sandbox, &["http://127.0.0.1:8000/File"], None);
    assert_eq!(out(&sandbox, &built), "alone");
    // Standard input: an archive, packed or not, or a Dockerfile.
    assert_eq!(out(&sandbox, &build(&sandbox, &["-"], Some(&tar))), "two!");
    assert_eq!(out(&sandbox, &build(&sandbox, &["-"], Some(&packed))), "one");
    let built = build(&sandbox, &["-f", "sub/Other", "-"], Some(&packed));
    assert_eq!(out(&sandbox, &built), "other");
    assert_eq!(out(&sandbox, &build(&sandbox, &["-"], Some(&www(&sandbox, "File")))), "alone");
    let here = sandbox.work().join("here");
    fs::create_dir(&here).unwrap();
    fs::write(here.join("word"), "here\n").unwrap();
    fs::write(sandbox.work().join("Copy"), COPY).unwrap();
    let place = here.display().to_string();
    let built = build(&sandbox, &["-f", "-", &place], Some(&sandbox.work().join("Copy")));
    assert_eq!(out(&sandbox, &built), "here");
    // Named ones: a directory, an image, a file behind a URL.
    let named = "FROM base\nCOPY --from=dir word /dir\nCOPY --from=file context /file\n\
                 RUN cat /dir /file > /out\n";
    fs::write(sandbox.work().join("Named"), named).unwrap();
    let (dir, file) = (format!("dir={place}"), "file=http://127.0.0.1:8000/File");
    let contexts = ["--build-context", &dir, "--build-context", file];
    let base = ["--build-context", "base=docker-image://busybox", "-f", "-", &place];
    let args = [&contexts[..], &base].concat();
    let built = build(&sandbox, &args, Some(&sandbox.work().join("Named")));
    assert_eq!(out(&sandbox, &built), "here\nFROM busybox\nRUN echo alone > /out");
    // What is not there, or is none.
    let missing = build(&sandbox, &["http://127.0.0.1:8000/nothing"], None);
    assert!(missing.stderr.contains("404"), "{}", missing.stderr);
    let missing = build(&sandbox, &["-f", "No", url], None);
    let words = "failed to read dockerfile: open No: no such file or directory";
    assert!(missing.stderr.contains(words), "{}", missing.stderr);
    fs::write(www(&sandbox, "bad.tar"), b"\x1f\x8b\x08 is no gzip").unwrap();
    let bad = build(&sandbox, &["http://127.0.0.1:8000/bad.tar"], None);
    assert!(bad.code != 0 && bad.stderr.contains("failed to unpack"), "{}", bad.stderr);
    drop(server);
    end(sandbox);
}

/// Archives that would reach out of their context. `canary` is a file of the machine's.
fn hostile(path: &Path, canary: &Path, what: &str) {
    let target = canary.display().to_string();
    let folder = canary.parent().unwrap().display().to_string();
    testkit::archive(path, |tar| {
        let plain = |tar: &mut testkit::Archive| {
            tar.file("Dockerfile", 0o644, b"FROM busybox\nCOPY . /all\nRUN ls /all > /out\n");
        };
        match what {
            "dockerfile" => tar.symlink("Dockerfile", &target),
            "dockerignore" => {
                plain(tar);
                tar.symlink(".dockerignore", &target);
            }
            "parent" => {
                plain(tar);
                tar.file("../../../../../../planted", 0o644, b"x");
            }
            "through" => {
                plain(tar);
                tar.symlink("way", &folder);
                tar.file("way/planted", 0o644, b"x");
                tar.file("way/canary", 0o644, b"changed");
            }
            "absolute" => {
                plain(tar);
                tar.file(&format!("{folder}/planted"), 0o644, b"x");
            }
            "copy" => {
                tar.file("Dockerfile", 0o644, b"FROM busybox\nCOPY leak /out\n");
                tar.symlink("leak", &target);
            }
            other => panic!("{other}"),
        }
    });
}

/// Security rows H20, H21, H22: what an archive from outside says leads nowhere.
#[test]
fn hostile_archives_reach_nothing() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Curl, Docker);
    let sandbox = busybox("contexts-hostile");
    let server = serve(&sandbox);
    let folder = sandbox.work().join("safe");
    fs::create_dir(&folder).unwrap();
    let canary = folder.join("canary");
    fs::write(&canary, "FROM busybox\nRUN echo SECRETWORD > /out\n").unwrap();
    let daemon = Daemon::start(&sandbox);
    for what in ["dockerfile", "dockerignore", "parent", "through", "absolute", "copy"] {
        let path = www(&sandbox, &format!("{what}.tar"));
        hostile(&path, &canary, what);
        let url = format!("http://127.0.0.1:8000/{what}.tar");
        let built = build(&sandbox, &[&url], None);
        let remote = post(&daemon, &format!("/build?remote={url}"), None);
        let body = post(&daemon, "/build", Some(&path));
        for said in [
            built.stderr.clone(),
            built.stdout.clone(),
            format!("{:?}", remote.lines),
            format!("{:?}", body.lines),
        ] {
            assert!(!said.contains("SECRETWORD"), "{what}: {said}");
        }
        if built.code == 0 {
            let found = sandbox.dhow(&["run", "--rm", "made", "cat", "/out"]);
            assert!(!found.stdout.contains("SECRETWORD"), "{what}");
        } else {
            assert_ne!((remote.error(), body.error()), ("", ""), "{what}: {}", built.stderr);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "{what}");
        assert!(fs::read_to_string(&canary).unwrap().contains("SECRETWORD"), "{what}");
        assert!(!Path::new("/planted").exists(), "{what}");
        for must_fail in ["dockerfile", "copy"] {
            assert!(what != must_fail || built.code != 0, "{what}");
        }
    }
    drop((daemon, server));
    end(sandbox);
}

/// Whether there is a server of repositories; if not, it is said that the test is skipped.
pub(crate) fn has_git_daemon(sandbox: &Sandbox) -> bool {
    let has = sandbox.sh("git daemon -h 2>&1 | grep -q usage").code == 0;
    if !has {
        testkit::skip("git", "there is no git daemon");
    }
    has
}

/// Serves the repositories in `git`, of which `url` is one, until this is dropped.
pub(crate) fn git_daemon(sandbox: &Sandbox, url: &str) -> Server {
    // Not by `git daemon`, which waits for it, and is not it.
    let place = sandbox.sh("git --exec-path").success();
    let mut command = sandbox.command(format!("{}/git-daemon", place.trim()));
    command.args(["--export-all", "--reuseaddr", "--listen=127.0.0.1", "--port=9418"]);
    command.arg(format!("--base-path={}", sandbox.work().join("git").display()));
    let server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("it listens", || sandbox.sh(&format!("git ls-remote {url}")).code == 0);
    server
}

/// Security row H04: a subdirectory of a repository is one, and no link leads to it.
#[test]
fn repositories_and_their_subdirectories() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Docker);
    let sandbox = busybox("contexts-git");
    if !has_git_daemon(&sandbox) {
        return sandbox.finish();
    }
    let repo = sandbox.work().join("git/repo");
    fs::create_dir_all(repo.join("sub/deep")).unwrap();
    fs::write(repo.join("Dockerfile"), COPY).unwrap();
    fs::write(repo.join("word"), "top\n").unwrap();
    fs::write(repo.join("sub/deep/Dockerfile"), COPY).unwrap();
    fs::write(repo.join("sub/deep/word"), "deep\n").unwrap();
    let outside = sandbox.work().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("Dockerfile"), "FROM busybox\nRUN echo SECRETWORD > /out\n").unwrap();
    symlink(&outside, repo.join("link")).unwrap();
    symlink("sub", repo.join("inner")).unwrap();
    let make = "cd $0 && git init -q -b main && git add -A && git -c user.name=a -c user.email=a@b \
                commit -qm one && git tag v1 && echo two > word && git -c user.name=a \
                -c user.email=a@b commit -qam two";
    sandbox.sh(&make.replace("$0", &repo.display().to_string())).success();
    let url = "git://127.0.0.1/repo/.git";
    let server = git_daemon(&sandbox, url);
    let at = |part: &str| format!("{url}{part}");
    assert_eq!(out(&sandbox, &build(&sandbox, &[&at("")], None)), "two");
    assert_eq!(out(&sandbox, &build(&sandbox, &[&at("#v1")], None)), "top");
    assert_eq!(out(&sandbox, &build(&sandbox, &[&at("#main:sub/deep")], None)), "deep");
    let named = format!("src={}", at("#v1:sub"));
    let file = sandbox.work().join("Named");
    fs::write(&file, "FROM busybox\nCOPY --from=src deep/word /out\n").unwrap();
    let built = build(&sandbox, &["--build-context", &named, "-"], Some(&file));
    assert_eq!(out(&sandbox, &built), "deep");
    for part in [
        "#main:link",
        "#main:inner",
        "#main:inner/deep",
        "#main:../outside",
        "#main:sub/../../outside",
        "#main:.git",
        "#--upload-pack=touch /planted",
        "#main:word",
    ] {
        let built = build(&sandbox, &[&at(part)], None);
        assert_ne!(built.code, 0, "{part}");
        assert!(!built.stderr.contains("SECRETWORD"), "{part}: {}", built.stderr);
    }
    assert!(!Path::new("/planted").exists());
    // The same by the older API.
    let daemon = Daemon::start(&sandbox);
    let remote = |part: &str| {
        let part = part.replace('#', "%23");
        post(&daemon, &format!("/build?t=made&remote={url}{part}"), None)
    };
    remote("#main:sub/deep").id();
    assert_eq!(sandbox.ok(&["run", "--rm", "made", "cat", "/out"]), "deep");
    let refused = remote("#main:link");
    assert_eq!(refused.status, 500, "{:?}", refused.lines);
    drop((daemon, server));
    end(sandbox);
}
