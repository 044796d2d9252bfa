//! The file of the program is replaced while a daemon of it runs: an upgrade.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::docker_client::Daemon;
use crate::lifecycle::init;
use crate::restart::{kill, shim};
use crate::{busybox, inspect, pid};
use testkit::{Sandbox, needs, wait_until};

/// A file of the program that is a daemon's own.
struct Program(PathBuf);

impl Program {
    fn new(sandbox: &Sandbox) -> Self {
        let directory = sandbox.work().join("program");
        fs::create_dir(&directory).unwrap();
        let (built, path) = (testkit::dhow_program(), directory.join("dhow"));
        // As good as a copy, and made at once; not where the tests' place is on another file system.
        if fs::hard_link(&built, &path).is_err() {
            fs::copy(&built, &path).unwrap();
        }
        Self(path)
    }

    /// A daemon of it.
    fn daemon<'s>(&self, sandbox: &'s Sandbox) -> Daemon<'s> {
        let mut command = sandbox.command(&self.0);
        command.arg("daemon");
        Daemon::of(sandbox, command)
    }

    /// Puts another program in its place, as a package manager does: one that does nothing of what this one does.
    #[track_caller]
    fn replace(&self, daemon: &Daemon<'_>) {
        let new = self.0.with_extension("new");
        fs::write(&new, "#!/bin/sh\nexit 9\n").unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &self.0).unwrap();
        let own = program_of(i64::from(daemon.pid()));
        assert_eq!(own, format!("{} (deleted)", self.0.display()));
    }
}

/// What a process executes.
#[track_caller]
fn program_of(pid: i64) -> String {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap().to_string_lossy().into_owned()
}

/// Supervisors, the runtime, `docker-init` and what removes a container are all the daemon's own program: what is
/// in the place of its file now may be of any version.
#[test]
fn a_daemon_goes_on_as_the_program_that_it_is() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("upgrade");
    let program = Program::new(&sandbox);
    let daemon = program.daemon(&sandbox);
    let host = format!("unix://{}", daemon.socket());
    let dhow = |args: &[&str]| sandbox.ok(&[&["-H", host.as_str()][..], args].concat());
    let run = |name: &str| {
        let check = ["--health-cmd", "test -e /ok", "--health-interval", "30ms"];
        let rest = ["--restart", "on-failure", "--init", "busybox", "sleep", "600"];
        dhow(&[&["run", "-d", "--name", name][..], &check, &rest].concat());
    };
    run("before");
    program.replace(&daemon);
    // Where the copy of the program was made before, it is made again.
    fs::remove_dir_all(sandbox.root().join("init")).unwrap();
    run("after");
    assert_eq!(program_of(shim(&sandbox, "after")), program_of(i64::from(daemon.pid())));
    assert_eq!(dhow(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
    for name in ["before", "after"] {
        assert_eq!(dhow(&["exec", name, "echo", "inside"]), "inside");
        let state = || inspect(&sandbox, name)["State"].clone();
        wait_until("it is unhealthy", || state()["Health"]["Status"] == "unhealthy");
        dhow(&["exec", name, "touch", "/ok"]);
        wait_until("it is healthy", || state()["Health"]["Status"] == "healthy");
        // Its supervisor starts it again.
        kill(&sandbox, pid(&sandbox, name));
        wait_until("it lives again", || {
            inspect(&sandbox, name)["RestartCount"] == 1 && state()["Status"] == "running"
        });
        wait_until("it is healthy again", || state()["Health"]["Status"] == "healthy");
        dhow(&["restart", "-t", "0", name]);
        assert_eq!(dhow(&["exec", name, "echo", "inside"]), "inside");
        dhow(&["stop", "-t", "0", name]);
        assert_eq!(state()["Status"], "exited");
        dhow(&["start", name]);
        dhow(&["rm", "-f", name]);
    }
    // Its supervisor becomes what removes it.
    dhow(&["run", "-d", "--rm", "busybox", "true"]);
    wait_until("it is removed", || sandbox.ok(&["ps", "-aq"]).is_empty());
    drop(daemon);
    // The copy stays.
    fs::remove_dir_all(sandbox.root().join("init")).unwrap();
    sandbox.finish();
}

/// Out of a container's reach is what the daemon has kept of its program, as long as its path led there: a copy for
/// each container would take longer than all else, and where `vm.memfd_noexec` is 2 there could be none.
#[test]
fn containers_are_made_without_a_copy_of_it() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("upgrade-kept");
    let program = Program::new(&sandbox);
    // Between the container and its start: its process is still the runtime's.
    sandbox.set_env("DHOW_FAILPOINTS", "engine.go=delay:2000");
    let daemon = program.daemon(&sandbox);
    sandbox.unset_env("DHOW_FAILPOINTS");
    let host = format!("unix://{}", daemon.socket());
    let runs_as = || {
        let args = ["-H", host.as_str(), "run", "-d", "--name", "one", "busybox", "sleep", "600"];
        let mut run = sandbox.dhow_command(&args).stdout(Stdio::null()).spawn().unwrap();
        wait_until("its process waits", || init(&sandbox).is_some());
        let runs_as = program_of(i64::from(init(&sandbox).unwrap()));
        assert!(run.wait().unwrap().success());
        sandbox.ok(&["rm", "-f", "one"]);
        runs_as
    };
    let before = runs_as();
    program.replace(&daemon);
    assert_eq!(runs_as(), before);
    drop(daemon);
    sandbox.finish();
}
