//! An engine of its own, in namespaces that stand for its host.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::output::{Output, capture, poll_until};
use crate::world::World;

/// How long what ends in the background may take: a link goes about 40 ms after its namespace; a supervisor may wait
/// for the disk, which has to have all that is written to it before an overlay on it is gone.
const SETTLE: Duration = Duration::from_secs(20);
/// How long it may take before a test fails for it.
const GONE: Duration = Duration::from_mins(1);

/// What an engine with this root calls its cgroup, and with what its other names begin.
pub fn engine_name(root: &Path) -> String {
    let hash = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let digits: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("dhow-{digits}")
}

/// An engine of its own, in a network and a mount namespace that stand for its host.
#[derive(Debug)]
pub struct Sandbox {
    directory: PathBuf,
    /// Keeps the namespaces, until its standard input ends.
    holder: Child,
    baseline: RefCell<Option<World>>,
    finished: Cell<bool>,
    environment: RefCell<BTreeMap<String, String>>,
    /// `dhow` is run by an ordinary user.
    is_user: Cell<bool>,
    /// The `cgroup.procs` of the cgroup that the user's commands begin in.
    begin: RefCell<Option<PathBuf>>,
}

/// Where programs are: the usual places, and then ours, where some are unpacked for the tests.
fn path() -> String {
    const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    std::env::var("PATH").map_or(USUAL.to_owned(), |ours| format!("{USUAL}:{ours}"))
}

impl Sandbox {
    /// A new one. `name` is for people.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let place =
            std::env::var_os("DHOW_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = place.join(format!("dhow-{name}-{}-{nth}", std::process::id()));
        for inner in ["root", "state", "work"] {
            std::fs::create_dir_all(directory.join(inner)).expect("make a temporary directory");
        }
        let holder = hold_namespaces();
        let sandbox = Self {
            directory,
            holder,
            baseline: RefCell::default(),
            finished: Cell::new(false),
            is_user: Cell::new(false),
            begin: RefCell::default(),
            // All tests can be had on another storage driver.
            environment: RefCell::new(
                std::env::var("DHOW_STORAGE_DRIVER")
                    .map(|driver| ("DHOW_STORAGE_DRIVER".to_owned(), driver))
                    .into_iter()
                    .collect(),
            ),
        };
        sandbox.baseline();
        sandbox
    }

    /// Takes the world as it is now for what must be left at the end: after an image was imported
    /// and a first container has made the engine's bridge.
    pub fn baseline(&self) {
        // A container's supervisor may still be at its last deeds when `dhow run` has returned, and
        // its link is gone some time after its namespace.
        poll_until(SETTLE, || {
            crate::world::processes_of(self).is_empty()
                && !crate::world::links(self).iter().any(|link| link.starts_with("ve"))
        });
        *self.baseline.borrow_mut() = Some(World::see(self));
    }

    /// The world that must be left at the end.
    pub fn expected(&self) -> World {
        self.baseline.borrow().clone().unwrap_or_default()
    }

    /// The engine's root directory.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The engine's state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// A directory for the test's own files.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// The sandbox's whole directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process whose namespaces stand for the host's.
    pub fn host_pid(&self) -> u32 {
        self.holder.id()
    }

    /// What the engine calls its cgroup.
    pub fn engine_name(&self) -> String {
        engine_name(&self.root())
    }

    /// Sets a variable for all commands from now on: `DHOW_FAILPOINTS`.
    pub fn set_env(&self, key: &str, value: &str) {
        self.environment.borrow_mut().insert(key.to_owned(), value.to_owned());
    }

    /// Takes it back.
    pub fn unset_env(&self, key: &str) {
        self.environment.borrow_mut().remove(key);
    }

    /// A command in the sandbox, to be run by root.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.command_after(&[], program)
    }

    fn command_after(&self, first: &[&str], program: impl AsRef<std::ffi::OsStr>) -> Command {
        let pid = self.holder.id();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{pid}/ns/net"))
            .arg(format!("--mount=/proc/{pid}/ns/mnt"))
            .arg("--")
            .args(first)
            .arg(program)
            .env_clear()
            .env("PATH", path())
            .env("HOME", self.work())
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .env("DHOW_ROOT", self.root())
            .env("DHOW_STATE", self.state())
            .envs(&*self.environment.borrow())
            .stdin(Stdio::null());
        command
    }

    /// `dhow` is run by an ordinary user from now on: [`crate::user`].
    pub fn become_user(&self) {
        crate::user::make(self);
        self.is_user.set(true);
        self.baseline();
    }

    /// Delegates a cgroup to the user, whose commands begin in one below it. Its path.
    pub fn delegate_cgroup(&self) -> String {
        let path = format!("/{}-user", self.engine_name());
        *self.begin.borrow_mut() = Some(crate::user::delegate(&path));
        path
    }

    /// It is run by root again.
    pub fn become_root(&self) {
        self.is_user.set(false);
    }

    /// `dhow ARGS`, to be run.
    pub fn dhow_command(&self, args: &[&str]) -> Command {
        let mut command = if self.is_user.get() {
            let begin = self.begin.borrow().as_ref().map(|path| path.display().to_string());
            let begin = begin.as_deref().map(|path| [&crate::user::BEGIN[..], &[path]].concat());
            let first = [begin.unwrap_or_default(), crate::user::BECOME.to_vec()].concat();
            self.command_after(&first, crate::user::program(self))
        } else {
            self.command(crate::dhow_program())
        };
        command.args(args);
        command
    }

    /// Runs `dhow ARGS` to its end.
    #[track_caller]
    pub fn dhow(&self, args: &[&str]) -> Output {
        capture(&mut self.dhow_command(args))
    }

    /// The same, and it must succeed. Answers what it wrote, without the line break at the end.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.dhow(args);
        let Output { code, stderr, .. } = &output;
        assert!(*code == 0, "dhow {}: exit code {code}: {stderr}", args.join(" "));
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs a shell script in the sandbox to its end.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        capture(self.command("sh").args(["-c", script]))
    }

    /// Whether a process of the sandbox has `text` in its command line. Tests run beside each other: to look at all
    /// processes of the machine is to take another test's for this one's.
    pub fn runs(&self, text: &str) -> bool {
        crate::world::processes_of(self).values().any(|line| line.contains(text))
    }

    /// Makes the image `name` of busybox.
    #[track_caller]
    pub fn import(&self, name: &str) {
        let path = self.work().join("busybox.tar");
        crate::busybox_rootfs(&path);
        self.ok(&["import", path.to_str().expect("a path in UTF-8"), name]);
    }

    /// What is there that was not at the baseline, once what ends in the background had its time;
    /// and what is gone. Empty when nothing is.
    pub fn leaks(&self) -> String {
        self.leaks_after(GONE)
    }

    fn leaks_after(&self, patience: Duration) -> String {
        let baseline = self.expected();
        let mut difference = String::new();
        poll_until(patience, || {
            difference = World::see(self).difference(&baseline);
            difference.is_empty()
        });
        difference
    }

    /// Fails the test when anything is left.
    #[track_caller]
    pub fn assert_no_leaks(&self) {
        let leaks = self.leaks();
        assert!(leaks.is_empty(), "left behind:\n{leaks}");
    }

    /// Ends the sandbox. Fails the test when anything is left.
    #[track_caller]
    pub fn finish(self) {
        self.finished.set(true);
        self.assert_no_leaks();
    }

    /// Ends the sandbox, whatever is left: the test has told of it.
    pub fn discard(self) {
        self.finished.set(true);
    }

    /// Ends what is left, so that the test after this one starts clean.
    fn clean(&mut self) {
        if let Ok(hierarchy) = cgroup::Hierarchy::detect() {
            let name = format!("/{}", self.engine_name());
            if let Ok(group) = cgroup::Cgroup::open(&hierarchy, &name) {
                let _ = group.kill_all();
                let _ = group.remove();
            }
        }
        for pid in crate::world::processes_and_children_of(self) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        // A shim that was killed just now may still hold a mount of the directory.
        poll_until(SETTLE, || std::fs::remove_dir_all(&self.directory).is_ok());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let unchecked = !self.finished.get() && !std::thread::panicking();
        let leaks = if unchecked { self.leaks_after(SETTLE) } else { String::new() };
        self.clean();
        assert!(leaks.is_empty(), "left behind:\n{leaks}");
    }
}

/// Starts a process in new namespaces that ends with its standard input.
fn hold_namespaces() -> Child {
    let script = "ip link set lo up; echo ready; read line";
    let mut holder = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare (util-linux)");
    let mut line = String::new();
    let stdout = holder.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("read from unshare");
    assert_eq!(line, "ready\n", "unshare --net --mount");
    holder
}
