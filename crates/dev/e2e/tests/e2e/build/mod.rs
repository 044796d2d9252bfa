//! Building, as people do it.

mod attest;
mod bad_input;
mod cache_mounts;
mod cache_places;
mod clients;
mod devices;
// Of a machine that is not the one of the foreign programs.
#[cfg(target_arch = "x86_64")]
mod emulated;
mod explain;
mod front_ends;
mod killed;
mod outputs;
mod packages;
mod proxied;
mod real;
mod security;
mod seldom;
mod sources;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testkit::{Output, Sandbox, wait_until};

use crate::docker_client::Daemon;

/// Docker's newest client, with its plugins, which asks a daemon of dhow's.
struct Docker<'s> {
    sandbox: &'s Sandbox,
    daemon: Daemon<'s>,
}

impl<'s> Docker<'s> {
    fn start(sandbox: &'s Sandbox) -> Self {
        let plugins = sandbox.work().join(".docker/cli-plugins");
        fs::create_dir_all(&plugins).unwrap();
        for plugin in ["docker-buildx", "docker-compose"] {
            let found = sandbox.sh(&format!("command -v {plugin}")).success();
            let link = plugins.join(plugin);
            if !link.exists() {
                symlink(found.trim(), link).unwrap();
            }
        }
        Self { sandbox, daemon: Daemon::start(sandbox) }
    }

    /// A command of it, in the directory `dir`.
    fn command(&self, dir: &Path, args: &[&str]) -> Command {
        // Who enters a mount namespace is at its root.
        let mut command = self.sandbox.command("sh");
        let host = format!("unix://{}", self.daemon.socket());
        let script = "cd \"$0\" && exec docker-client \"$@\"";
        command.args(["-c", script]).arg(dir).args(args).env("DOCKER_HOST", host);
        command
    }

    fn run(&self, dir: &Path, args: &[&str]) -> Output {
        testkit::capture(&mut self.command(dir, args))
    }

    /// What it printed, which must succeed.
    #[track_caller]
    fn ok(&self, dir: &Path, args: &[&str]) -> String {
        let output = self.run(dir, args);
        let Output { code, stderr, .. } = &output;
        assert!(*code == 0, "docker {}: exit code {code}: {stderr}", args.join(" "));
        output.stdout.trim_end_matches('\n').to_owned()
    }
}

/// Writes files below a directory, which is made.
fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A context of these files: its directory.
fn context(sandbox: &Sandbox, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = sandbox.work().join(name);
    write(&dir, files);
    dir
}

/// `dhow build ARGS DIR`.
fn dhow(sandbox: &Sandbox, dir: &Path, args: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    sandbox.dhow(&[&["build", "--progress", "plain"], args, &[dir]].concat())
}

/// The same, and it must succeed. What it told.
#[track_caller]
fn built(sandbox: &Sandbox, dir: &Path, args: &[&str]) -> String {
    let output = dhow(sandbox, dir, args);
    assert_eq!(output.code, 0, "{args:?}: {}", output.stderr);
    output.stderr
}

/// The names of the steps that were carried out, and not found in the cache.
fn carried_out(told: &str) -> Vec<String> {
    let mut names = std::collections::BTreeMap::new();
    let mut cached = std::collections::BTreeSet::new();
    for line in told.lines() {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        let Ok(number) = number.parse::<u32>() else { continue };
        if rest == "CACHED" {
            cached.insert(number);
        } else if rest.starts_with('[') {
            names.entry(number).or_insert_with(|| rest.to_owned());
        }
    }
    let is_step = |name: &String| !name.contains("internal]") && !name.contains("] FROM ");
    names
        .into_iter()
        .filter(|(number, name)| !cached.contains(number) && is_step(name))
        .map(|(_, name)| name)
        .collect()
}

/// Takes away all that builds have left, and looks whether anything is wrong.
fn tidy(sandbox: &Sandbox) {
    let check = sandbox.dhow(&["system", "check"]);
    assert_eq!(check.code, 0, "{check:?}");
    let images = sandbox.ok(&["images", "-a", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    for image in images.lines().filter(|image| !image.starts_with("busybox:")) {
        let (name, id) = image.split_once(' ').unwrap();
        // One that had several names may be gone by now.
        sandbox.dhow(&["rmi", "-f", if name.contains("<none>") { id } else { name }]);
    }
    sandbox.ok(&["builder", "prune", "-af"]);
    for left in ["build", "build-history"] {
        let _ = fs::remove_dir_all(sandbox.root().join(left));
    }
}

/// A program in the background, until this is dropped.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves an engine's images at localhost:5000 for `user` with the password `secret`.
fn registry(sandbox: &Sandbox) -> Background {
    let dir = sandbox.work().join("registry");
    fs::create_dir_all(&dir).unwrap();
    let users = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
    fs::write(dir.join("htpasswd"), users).unwrap();
    let users = dir.join("htpasswd");
    let mut command = sandbox.dhow_command(&["registry", "serve", "--htpasswd"]);
    command.arg(users).env("DHOW_ROOT", dir.join("root")).env("DHOW_STATE", dir.join("state"));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let listens = "grep -q ' 0100007F:1388 00000000:0000 0A' /proc/net/tcp";
    wait_until("the registry listens", || sandbox.sh(listens).code == 0);
    Background(child)
}
