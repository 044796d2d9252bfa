//! Docker's own client, against `dhow daemon`.

use std::process::{Child, Command, Stdio};

use crate::busybox;
use testkit::{Output, Sandbox, needs, wait_until};

/// A daemon, until it is dropped.
pub(crate) struct Daemon<'s> {
    sandbox: &'s Sandbox,
    child: Child,
    socket: String,
}

impl<'s> Daemon<'s> {
    pub(crate) fn start(sandbox: &'s Sandbox) -> Self {
        Self::of(sandbox, sandbox.dhow_command(&["daemon"]))
    }

    /// What this command line starts is the daemon.
    pub(crate) fn of(sandbox: &'s Sandbox, mut command: Command) -> Self {
        let socket = sandbox.state().join("dhow.sock").to_string_lossy().into_owned();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // One that was killed leaves its socket, on which nobody listens.
        wait_until("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        Self { sandbox, child, socket }
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }

    /// A program beside it.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.sandbox.command(program)
    }

    /// Docker's client, which asks this daemon.
    pub(crate) fn docker_command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command("docker");
        command.args(["-H", &format!("unix://{}", self.socket)]).args(args);
        command
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Output {
        testkit::capture(&mut self.docker_command(args))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        self.sandbox.sh(&format!("kill -{name} {}", self.child.id())).success();
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.docker(args).success().trim_end_matches('\n').to_owned()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // As an administrator would end it.
        let _ = self.sandbox.sh(&format!("kill -TERM {}", self.child.id()));
        let _ = self.child.wait();
    }
}

#[test]
fn everything_of_a_containers_life() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("docker");
    let daemon = Daemon::start(&sandbox);
    assert!(daemon.ok(&["version", "--format", "{{.Server.APIVersion}}"]).starts_with("1."));
    assert_eq!(daemon.ok(&["info", "--format", "{{.Containers}}"]), "0");
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "sh", "-c", "exit 42"]).code, 42);
    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "no-such-program"]).code, 127);
    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "/etc"]).code, 126);
    let missing = daemon.docker(&["run", "--rm", "no-such-image"]);
    assert_eq!(missing.code, 125, "{missing:?}");

    let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let id = daemon.ok(&[
        "run", "-d", "--name", "web", "-p", "8080:80", "--memory", "64m", "busybox", "sh", "-c",
        script,
    ]);
    assert!(
        daemon
            .ok(&["ps", "--format", "{{.Names}} {{.Ports}}"])
            .contains("web 0.0.0.0:8080->80/tcp")
    );
    wait_until("it is up", || daemon.ok(&["logs", "web"]) == "up");
    assert_eq!(daemon.ok(&["exec", "web", "echo", "inside"]), "inside");
    assert_eq!(daemon.docker(&["exec", "web", "sh", "-c", "exit 7"]).code, 7);
    assert!(daemon.ok(&["top", "web"]).contains("sh -c"));
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.Id}}", "web"]), id);
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.HostConfig.Memory}}", "web"]), "67108864");
    // What Docker's client made, dhow's own sees without the daemon, and the other way round.
    assert_eq!(sandbox.ok(&["ps", "-q", "--no-trunc"]), id);
    assert_eq!(daemon.ok(&["stop", "web"]), "web");
    assert_eq!(daemon.ok(&["wait", "web"]), "0");
    assert_eq!(daemon.ok(&["rm", "web"]), "web");
    let input =
        format!("echo through | docker -H unix://{} run --rm -i busybox cat", daemon.socket);
    assert_eq!(sandbox.sh(&input).success(), "through\n");
    daemon.ok(&["network", "create", "net"]);
    daemon.ok(&["network", "inspect", "net"]);
    daemon.ok(&["network", "rm", "net"]);
    let input = format!("echo word | docker -H unix://{} secret create key -", daemon.socket);
    let key = sandbox.sh(&input).success();
    assert_eq!(daemon.ok(&["secret", "ls", "-q"]), key.trim());
    assert_eq!(daemon.ok(&["secret", "inspect", "-f", "{{.Spec.Name}}", "key"]), "key");
    assert_eq!(daemon.ok(&["secret", "rm", "key"]), "key");
    assert!(daemon.ok(&["images"]).contains("busybox"));
    drop(daemon);
    sandbox.finish();
}

#[test]
fn containers_outlive_the_daemon() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("docker-outlive");
    let mut daemon = Daemon::start(&sandbox);
    let id = daemon.ok(&["run", "-d", "busybox", "sleep", "600"]);
    daemon.kill();
    drop(daemon);
    assert_eq!(sandbox.ok(&["ps", "-q", "--no-trunc"]), id);
    let daemon = Daemon::start(&sandbox);
    assert_eq!(daemon.ok(&["ps", "-q", "--no-trunc"]), id);
    assert_eq!(daemon.ok(&["exec", &id, "echo", "alive"]), "alive");
    daemon.ok(&["rm", "-f", &id]);
    drop(daemon);
    sandbox.finish();
}
