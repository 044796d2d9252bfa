//! A bundle of its own for each test: a root of busybox, a state directory, a cgroup. Whatever the
//! test leaves behind is an error.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const BUSYBOX: &str = "/bin/busybox";

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) config: Value,
}

/// What a command did.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            status: status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status == 0, "status {}: {}{}", self.status, self.err, self.out);
        self.out
    }

    #[track_caller]
    pub(crate) fn fails(self, why: &str) {
        assert!(self.status != 0, "it worked: {}", self.out);
        assert!(self.err.contains(why), "{:?} does not say {why:?}", self.err);
        assert_eq!(self.err.trim().lines().count(), 1, "more than one line: {}", self.err);
    }
}

/// The runtime that is tested: ours, unless `DHOW_TEST_RUNTIME` names another one.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("DHOW_TEST_RUNTIME")
        .map_or_else(|| env!("CARGO_BIN_EXE_dhow-runtime").into(), PathBuf::from)
}

/// The bundle, or `None` with a word about why the test cannot run here.
pub(crate) fn bundle(test: &str) -> Option<Bundle> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: {test}: needs root");
        return None;
    }
    if !Path::new(BUSYBOX).exists() {
        println!("skipped: {test}: {BUSYBOX} is missing (Debian: busybox-static)");
        return None;
    }
    let unique = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(format!("dhow-runtime-{unique}"));
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(dir.join("rootfs").join(name)).unwrap();
    }
    std::fs::set_permissions(dir.join("rootfs/tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::copy(BUSYBOX, dir.join("rootfs/bin/busybox")).unwrap();
    let applets = [
        "sh", "cat", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls",
        "mkdir", "mknod", "mount", "ps", "pwd", "readlink", "rm", "sleep", "stat", "stty", "touch",
        "true", "tty", "uname", "awk", "ln", "umask", "test", "chmod", "wc", "setsid", "find",
        "ip", "taskset", "sort", "tr", "cut", "sed", "df",
    ];
    for applet in applets {
        std::os::unix::fs::symlink("busybox", dir.join("rootfs/bin").join(applet)).unwrap();
    }
    std::fs::write(dir.join("rootfs/etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    let cgroup = format!("/dhow-test-{unique}");
    let config = config(&format!("{cgroup}/c"));
    Some(Bundle { dir, cgroup, config })
}

fn config(cgroup: &str) -> Value {
    let caps = ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_MKNOD"];
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
        },
        "root": { "path": "rootfs" },
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" },
            ],
            "maskedPaths": ["/proc/kcore", "/proc/acpi", "/sys/firmware", "/nothing/here"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}

impl Bundle {
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Has the container execute a shell script.
    pub(crate) fn script(&mut self, script: &str) -> &mut Self {
        self.config["process"]["args"] = json!(["sh", "-c", script]);
        self
    }

    pub(crate) fn args(&mut self, args: &[&str]) -> &mut Self {
        self.config["process"]["args"] = json!(args);
        self
    }

    pub(crate) fn mount(&mut self, mount: Value) -> &mut Self {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    pub(crate) fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|ns| ns["type"] != kind);
        let mut ns = json!({ "type": kind });
        if let Some(path) = path {
            ns["path"] = json!(path);
        }
        list.push(ns);
        self
    }

    pub(crate) fn write(&self) {
        std::fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
    }

    /// A command of the runtime.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(program());
        command.arg("--root").arg(self.dir.join("state")).args(args).current_dir(&self.dir);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn call<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    /// `run` in the foreground.
    pub(crate) fn run(&self) -> Ran {
        self.write();
        self.call(&["run", "c"])
    }

    /// Creates and starts the container, whose output goes to a file.
    pub(crate) fn start(&self) -> i32 {
        self.write();
        let out = std::fs::File::create(self.dir.join("out")).unwrap();
        let status = self
            .command(&["create", "--pid-file", "pid", "c"])
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        assert!(status.success(), "create: {}", self.output());
        self.call(&["start", "c"]).ok();
        std::fs::read_to_string(self.dir.join("pid")).unwrap().parse().unwrap()
    }

    /// What a container of [`Bundle::start`] has said so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.dir.join("out")).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.call(&["state", "c"]).ok()).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    /// The directories of the container's cgroup that exist.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let hierarchy = cgroup::Hierarchy::detect().unwrap();
        match cgroup::Cgroup::open(&hierarchy, &format!("{}/c", self.cgroup)) {
            Ok(cgroup) => cgroup.paths().into_values().collect(),
            Err(_) => Vec::new(),
        }
    }

    /// What there must not be any more.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let state = self.dir.join("state");
        let entries: Vec<_> =
            std::fs::read_dir(state).map(|dir| dir.flatten().collect()).unwrap_or_default();
        assert!(entries.is_empty(), "left in the state directory: {entries:?}");
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "left of the cgroup");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.to_string_lossy().into_owned();
        assert!(!mounts.contains(&dir), "left mounts: {mounts}");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let deleted = self.call(&["delete", "--force", "c"]);
        let gone = deleted.status == 0;
        if !std::thread::panicking() {
            assert!(gone, "delete: {}", deleted.err);
            self.assert_nothing_left();
        }
        if let Ok(hierarchy) = cgroup::Hierarchy::detect()
            && let Ok(parent) = cgroup::Cgroup::open(&hierarchy, &self.cgroup)
        {
            let _kept = parent.kill_all();
            let _kept = parent.remove();
        }
        let _kept = std::fs::remove_dir_all(&self.dir);
    }
}

/// Waits until `done` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
