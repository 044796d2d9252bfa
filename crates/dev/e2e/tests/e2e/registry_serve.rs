//! `dhow registry serve`: one engine's images for another one, and for other programs.

use std::process::{Child, Command, Stdio};

use crate::{busybox, inspect};
use serde_json::Value;
use testkit::{Sandbox, needs, wait_until};

/// Where it answers, in the sandbox's own network.
pub(crate) const HOST: &str = "localhost:5000";

/// An engine of its own that serves its images, until it is dropped.
pub(crate) struct Server<'s> {
    sandbox: &'s Sandbox,
    child: Child,
}

impl<'s> Server<'s> {
    pub(crate) fn start(sandbox: &'s Sandbox, more: &[&str]) -> Self {
        let mut command = Self::command(sandbox, &["registry", "serve"]);
        let child = command.args(more).stderr(Stdio::null()).spawn().unwrap();
        let listens = "grep -q ' 0100007F:1388 00000000:0000 0A' /proc/net/tcp";
        wait_until("the registry listens", || sandbox.sh(listens).code == 0);
        Self { sandbox, child }
    }

    /// A command of the server's engine.
    fn command(sandbox: &Sandbox, args: &[&str]) -> Command {
        let dir = sandbox.work().join("server");
        let mut command = sandbox.dhow_command(args);
        command.env("DHOW_ROOT", dir.join("root")).env("DHOW_STATE", dir.join("state"));
        command
    }

    /// Runs a command of the server's engine, which must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = Self::command(self.sandbox, args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dhow {}: {said}", args.join(" "));
        String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
    }

    /// The names of the server's images.
    #[track_caller]
    fn images(&self) -> String {
        self.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn images_go_from_one_machine_to_another() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("serve");
    let server = Server::start(&sandbox, &[]);
    let name = format!("{HOST}/me/app:1");
    let id = inspect(&sandbox, "busybox")["Id"].clone();
    sandbox.ok(&["tag", "busybox", &name]);
    assert!(sandbox.ok(&["push", &name]).contains("\n1: digest: sha256:"));
    let digest = inspect(&sandbox, &name)["RepoDigests"][0].as_str().unwrap().to_owned();
    // There, it is an image like any other.
    assert_eq!(server.images(), name);
    let there: Value = serde_json::from_str(&server.ok(&["inspect", &name])).unwrap();
    assert_eq!((&there[0]["Id"], &there[0]["RepoDigests"][0]), (&id, &digest.as_str().into()));
    // What is there is not sent again.
    let again = sandbox.ok(&["push", &name]);
    assert!(again.contains("Layer already exists"), "{again}");
    sandbox.ok(&["rmi", &name, "busybox"]);

    let ran = sandbox.dhow(&["run", "--rm", &name, "echo", "hi"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hi\n"), "{}", ran.stderr);
    assert_eq!(inspect(&sandbox, &name)["Id"], id);
    assert_eq!(sandbox.ok(&["pull", "-q", &digest]), digest);
    sandbox.ok(&["rmi", &name]);

    // An image that was never pushed has its whole name there.
    let archive = sandbox.work().join("busybox.tar");
    server.ok(&["import", archive.to_str().unwrap(), "tools:1"]);
    let tools = format!("{HOST}/docker.io/library/tools:1");
    assert_eq!(sandbox.ok(&["run", "--rm", "-q", &tools, "echo", "hi"]), "hi");
    sandbox.ok(&["tag", &tools, &format!("{HOST}/docker.io/library/tools:2")]);
    let denied = sandbox.dhow(&["push", &format!("{HOST}/docker.io/library/tools:2")]);
    assert!(denied.code == 1 && denied.stderr.contains("can only be read here"), "{denied:?}");
    sandbox.ok(&["rmi", "-f", &tools, &format!("{HOST}/docker.io/library/tools:2")]);

    // What is removed there cannot be had any more.
    server.ok(&["rmi", &name]);
    let missing = sandbox.dhow(&["pull", &name]);
    assert!(missing.code == 1 && missing.stderr.contains("manifest unknown"), "{missing:?}");
    assert!(server.ok(&["system", "check"]).ends_with("all is right"));
    drop(server);
    sandbox.discard();
}

#[test]
fn a_registry_that_is_killed_keeps_what_it_said_it_had() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("serve-killed");
    let name = format!("{HOST}/me/app:1");
    sandbox.ok(&["tag", "busybox", &name]);
    // Its folders are there beforehand.
    drop(Server::start(&sandbox, &[]));
    for point in ["content.renamed", "images.serve", "images.served", "images.record"] {
        sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}=kill"));
        let server = Server::start(&sandbox, &[]);
        sandbox.unset_env("DHOW_FAILPOINTS");
        assert_ne!(sandbox.dhow(&["push", &name]).code, 0, "{point} was not passed");
        drop(server);
        let server = Server::start(&sandbox, &[]);
        sandbox.ok(&["push", &name]);
        assert_eq!(server.images(), name, "{point}");
        assert!(server.ok(&["system", "check"]).ends_with("all is right"), "{point}");
        server.ok(&["rmi", &name]);
        assert_eq!(server.images(), "", "{point}");
    }
    sandbox.discard();
}

/// What another program makes of our images, and brings back, is the same to the byte.
#[test]
fn skopeo_copies_to_and_from_it() {
    needs!(Root, Overlay, Netns, Busybox, Skopeo);
    let sandbox = busybox("serve-skopeo");
    let server = Server::start(&sandbox, &[]);
    sandbox.ok(&["tag", "busybox", &format!("{HOST}/me/app:1")]);
    sandbox.ok(&["push", &format!("{HOST}/me/app:1")]);
    let work = sandbox.work();
    let skopeo = |args: &str| {
        let args = args.replace("AT", &format!("docker://{HOST}"));
        let args = args.replace("WORK", &work.display().to_string());
        let script = format!("skopeo --insecure-policy {args} --tls-verify=false");
        let output = sandbox.sh(&script);
        assert_eq!(output.code, 0, "{script}: {}", output.stderr);
        output.stdout
    };
    let copy = |args: &str| {
        skopeo(&format!("copy -q --src-tls-verify=false --dest-tls-verify=false {args}"));
    };
    let digest = |name: &str| skopeo(&format!("inspect --format '{{{{.Digest}}}}' AT/{name}"));
    let copied = [
        ("AT/me/app:1", "oci:WORK/layout:1"),
        ("oci:WORK/layout:1", "AT/me/copy:1"),
        ("AT/me/copy:1", "AT/me/across:1"),
    ];
    for (from, to) in copied {
        copy(&format!("{from} {to}"));
    }
    assert_eq!(digest("me/copy:1"), digest("me/app:1"));
    assert_eq!(digest("me/across:1"), digest("me/app:1"));
    // As schema 2, and through Docker's archive.
    copy("--format v2s2 AT/me/app:1 AT/me/docker:1");
    let raw: Value = serde_json::from_str(&skopeo("inspect --raw AT/me/docker:1")).unwrap();
    assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    copy("AT/me/docker:1 docker-archive:WORK/archive.tar:me/app:1");
    copy("docker-archive:WORK/archive.tar AT/me/archive:1");
    for name in ["copy", "across", "docker", "archive"] {
        let name = format!("{HOST}/me/{name}:1");
        assert_eq!(sandbox.ok(&["run", "--rm", "-q", &name, "echo", "hi"]), "hi", "{name}");
        sandbox.ok(&["rmi", &name]);
    }
    let tags: Value = serde_json::from_str(&skopeo("list-tags AT/me/copy")).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["1"]));
    skopeo("delete AT/me/copy:1");
    assert!(!server.images().contains("/me/copy:1"));
    assert!(server.ok(&["system", "check"]).ends_with("all is right"));
    drop(server);
    sandbox.discard();
}
