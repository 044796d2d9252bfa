//! One container: what the engine would do for it.

use std::ffi::{CStr, CString};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shim_protocol::{
    Attach, CONTROL_FD, Config, Console, Exec, ExecStatus, LogConfig, LogMode, OnExit, Reply,
    Request, RestartPolicy, Root, Rootfs, Rotation, Runtime, Status, receive, send,
};

use crate::fixture::{
    base, busybox_layer, cgroup_parent, foreign_runtime, own_runtime, wait_until,
};

/// A container that is described but not made.
pub(crate) struct Container {
    pub(crate) config: Config,
    pub(crate) spec: Value,
    run: PathBuf,
    state: PathBuf,
    shim: Option<(sys::Spawned, UnixStream)>,
    /// Where the shim is to fail: `NAME=ACTION`.
    pub(crate) failpoints: String,
}

/// All three streams.
pub(crate) const ALL: Attach = Attach { stdin: true, stdout: true, stderr: true };

impl Container {
    /// One that runs `sh -c SCRIPT`.
    pub(crate) fn new(script: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:032x}{number:032x}", std::process::id());
        let state = base().join(number.to_string());
        let run = state.join("containers").join(&id);
        let data_dir = state.join("data");
        let bundle = run.join("bundle");
        for dir in [&bundle, &data_dir, &state.join("execs"), &state.join("upper")] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::create_dir_all(state.join("work")).unwrap();
        let config = Config {
            id: id.clone(),
            data_dir,
            bundle,
            runtime: Runtime {
                program: foreign_runtime(),
                root: state.join("runtime"),
                args: vec![],
            },
            kept_exe: None,
            root_ids: None,
            mount_label: String::new(),
            supplies: Vec::new(),
            supplies_dir: std::path::PathBuf::new(),
            rootfs: Rootfs::Overlay {
                lower: vec![busybox_layer().to_path_buf()],
                upper: state.join("upper"),
                work: state.join("work"),
                volatile: false,
            },
            console: None,
            open_stdin: false,
            stdin_once: false,
            log: json_file(),
            network: endpoint::Plan::default(),
            listeners: vec![],
            growth: None,
            trash: None,
            cgroup_parent: None,
            netns: None,
            on_exit: OnExit::End,
            restart: RestartPolicy::No,
            restart_count: 0,
            joins: vec![],
            events: None,
            rootless: None,
            health: None,
            tied: false,
            proxied: None,
        };
        Self { config, spec: spec(script, &id), run, state, shim: None, failpoints: String::new() }
    }

    /// With a terminal of 100 columns and 40 rows.
    pub(crate) fn with_terminal(mut self) -> Self {
        self.config.console = Some(Console { width: 100, height: 40 });
        self.config.open_stdin = true;
        self.spec["process"]["terminal"] = json!(true);
        self
    }

    /// Spawns the shim, which creates it.
    pub(crate) fn create(&mut self) -> Reply {
        self.describe();
        self.spawn(&[]);
        self.control()
    }

    /// Spawns a shim that waits to be told to supervise it.
    pub(crate) fn spawn_ahead(&mut self) {
        self.spawn(&[c"ahead"]);
    }

    /// Tells the shim that was spawned ahead, which creates it.
    pub(crate) fn supervise(&mut self) -> Reply {
        self.describe();
        send(self.control_stream(), &Request::Supervise).unwrap();
        self.control()
    }

    /// What is to be mounted as its root.
    pub(crate) fn root(&self) -> Root {
        let target = PathBuf::from(self.spec["root"]["path"].as_str().unwrap());
        Root { rootfs: self.config.rootfs.clone(), mount_label: String::new(), target }
    }

    fn describe(&self) {
        fs::write(self.run.join("shim.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
        let spec = serde_json::to_vec(&self.spec).unwrap();
        fs::write(self.config.bundle.join("config.json"), spec).unwrap();
    }

    fn spawn(&mut self, how: &[&CStr]) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let errors = fs::File::create(self.state.join("shim.log")).unwrap();
        let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let run = CString::new(self.run.to_str().unwrap()).unwrap();
        let argv: Vec<CString> = [c"dhow-shim"]
            .iter()
            .chain(how)
            .map(|&word| CString::from(word))
            .chain([run])
            .collect();
        let spawned = sys::Spawn {
            program: c"/proc/self/exe",
            argv: &argv,
            env: &[CString::new(format!("DHOW_FAILPOINTS={}", self.failpoints)).unwrap()],
            fds: &[(theirs.as_fd(), CONTROL_FD), (null.as_fd(), 1), (errors.as_fd(), 2)],
            new_session: true,
        };
        let spawned = spawned.spawn().unwrap();
        drop(theirs);
        self.shim = Some((spawned, ours));
    }

    /// The next reply on the control connection.
    pub(crate) fn control(&mut self) -> Reply {
        let (_, control) = self.shim.as_ref().unwrap();
        control.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut reply = receive(control).unwrap();
        if reply == Some(Reply::Listening) {
            reply = receive(control).unwrap();
        }
        reply.unwrap_or_else(|| panic!("the shim ended without a reply\n{}", self.shim_log()))
    }

    /// Spawns the shim, and waits until it listens.
    #[track_caller]
    pub(crate) fn listen(&mut self) {
        self.describe();
        self.spawn(&[]);
        assert_eq!(receive(self.control_stream()).unwrap(), Some(Reply::Listening));
    }

    /// Has it started.
    pub(crate) fn start(&mut self) {
        send(&self.shim.as_ref().unwrap().1, &Request::Start).unwrap();
        let reply = self.control();
        assert!(matches!(reply, Reply::Started { .. }), "{reply:?}\n{}", self.shim_log());
    }

    /// Creates and starts it.
    pub(crate) fn launch(&mut self) {
        let reply = self.create();
        assert!(matches!(reply, Reply::Created { .. }), "{reply:?}\n{}", self.shim_log());
        self.start();
    }

    /// Creates it, attaches, and starts it.
    pub(crate) fn launch_attached(&mut self, streams: Attach) -> UnixStream {
        let reply = self.create();
        assert!(matches!(reply, Reply::Created { .. }), "{reply:?}\n{}", self.shim_log());
        let client = self.attach(streams);
        self.start();
        client
    }

    /// The engine dies: its end of the control connection is closed.
    pub(crate) fn abandon(&mut self) {
        let (_, control) = self.shim.as_ref().unwrap();
        control.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Kills the shim, as recovery has to expect it.
    pub(crate) fn kill_shim(&mut self) {
        let (shim, _) = self.shim.as_ref().unwrap();
        shim.handle.signal(9).unwrap();
    }

    /// The control connection.
    pub(crate) fn control_stream(&self) -> &UnixStream {
        &self.shim.as_ref().unwrap().1
    }

    /// Waits until the shim has ended.
    pub(crate) fn wait_for_shim(&mut self) {
        let (shim, _) = self.shim.as_ref().unwrap();
        let pid = Some(shim.pid);
        // The second time there is no such child any more.
        let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
    }

    /// Has the runtime take away what the shim did not.
    pub(crate) fn delete_in_runtime(&self) {
        let runtime = &self.config.runtime;
        let program = runtime.program.clone().or_else(own_runtime).unwrap();
        std::process::Command::new(program)
            .arg("--root")
            .arg(&runtime.root)
            .args(["delete", "--force", &self.config.id])
            .status()
            .unwrap();
    }

    /// The shim's own process number.
    pub(crate) fn shim_pid(&self) -> i32 {
        self.shim.as_ref().unwrap().0.pid.as_raw_nonzero().get()
    }

    /// Sends a request; the connection and the reply.
    pub(crate) fn begin(&self, request: &impl serde::Serialize) -> UnixStream {
        let client = self.connect();
        send(&client, request).unwrap();
        client
    }

    /// A connection on which nothing is asked yet.
    pub(crate) fn connect(&self) -> UnixStream {
        let dir = fs::File::open(&self.run).unwrap();
        let path = format!("/proc/self/fd/{}/shim.sock", dir.as_raw_fd());
        let client = UnixStream::connect(path).unwrap();
        client.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        client
    }

    pub(crate) fn request(&self, request: &Request) -> (UnixStream, Reply) {
        let client = self.begin(request);
        let reply = receive(&client).unwrap().expect("no reply");
        (client, reply)
    }

    pub(crate) fn attach(&self, streams: Attach) -> UnixStream {
        let (client, reply) = self.request(&Request::Attach(streams));
        assert_eq!(reply, Reply::Ok);
        client
    }

    /// Runs `args` inside, with these streams.
    pub(crate) fn exec(
        &self,
        id: &str,
        args: &[&str],
        attach: Attach,
        terminal: bool,
    ) -> (UnixStream, Reply) {
        let mut process: oci::runtime::Process =
            serde_json::from_value(self.spec["process"].clone()).unwrap();
        process.args = args.iter().map(|&arg| arg.to_owned()).collect();
        process.terminal = terminal;
        let console = terminal.then_some(Console { width: 70, height: 20 });
        self.request(&Request::Exec(Box::new(Exec { id: id.into(), process, attach, console })))
    }

    pub(crate) fn exec_status(&self, id: &str) -> ExecStatus {
        ExecStatus::load(&self.state.join("execs"), id).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        Status::load(&self.config.data_dir).unwrap()
    }

    /// The log's pieces, of one stream.
    pub(crate) fn log(&self, stream: &str) -> Vec<String> {
        let path = self.config.data_dir.join(format!("{}-json.log", self.config.id));
        let text = fs::read_to_string(path).unwrap();
        let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects
            .filter(|object| object["stream"] == stream)
            .map(|object| object["log"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Where it writes on the host.
    pub(crate) fn upper(&self) -> PathBuf {
        self.state.join("upper")
    }

    pub(crate) fn run_dir(&self) -> &Path {
        &self.run
    }

    pub(crate) fn shim_log(&self) -> String {
        fs::read_to_string(self.state.join("shim.log")).unwrap_or_default()
    }

    /// Waits until it has ended; its exit code. Holds that nothing of it is left.
    #[track_caller]
    pub(crate) fn join(&mut self) -> i32 {
        self.wait_for_shim();
        self.assert_nothing_left();
        assert_eq!(self.shim_log(), "", "the shim has nothing to complain about");
        self.status().exit_code
    }

    /// The same for one whose shim becomes another program, for which it leaves the lock.
    #[track_caller]
    pub(crate) fn join_follower(&mut self) -> i32 {
        self.wait_for_shim();
        let left: Vec<_> =
            fs::read_dir(&self.run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["shim.lock"], "{}", self.shim_log());
        fs::remove_dir_all(&self.run).unwrap();
        self.join()
    }

    /// Holds that the shim and the runtime left nothing behind.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        assert!(!self.run.exists(), "{}\n{}", self.run.display(), self.shim_log());
        let runtime = self.state.join("runtime").join(&self.config.id);
        assert!(!runtime.exists(), "{}", runtime.display());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.config.id), "{mounts}");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let group = hierarchy.unwrap().path().join(self.cgroup());
            wait_until("cgroup is gone", || !group.exists());
        }
    }

    fn cgroup(&self) -> &str {
        self.spec["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/')
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some((shim, _)) = self.shim.take() {
            // After a test that failed halfway: the runtime ends what the shim can no more.
            let _ = shim.handle.signal(9);
            if self.state.join("runtime").join(&self.config.id).exists() {
                self.delete_in_runtime();
            }
        }
    }
}

/// Everything that comes until the end.
pub(crate) fn read_all(mut client: &UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    all
}

/// What comes until `text` has come.
#[track_caller]
pub(crate) fn read_until(mut client: &UnixStream, text: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(text) {
        let mut byte = [0];
        let got = client.read(&mut byte);
        assert!(matches!(got, Ok(1)), "{got:?} after {:?}", String::from_utf8_lossy(&all));
        all.push(byte[0]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

pub(crate) fn write(mut client: &UnixStream, text: &str) {
    client.write_all(text.as_bytes()).unwrap();
}

/// Standard output and error out of frames.
pub(crate) fn unframe(mut bytes: &[u8]) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some((header, rest)) = bytes.split_at_checked(8) {
        let length = u32::from_be_bytes(*header[4..].first_chunk().unwrap()) as usize;
        let (payload, rest) = rest.split_at(length);
        let stream = if header[0] == 1 { &mut out } else { &mut err };
        stream.extend_from_slice(payload);
        bytes = rest;
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Docker's default log driver.
fn json_file() -> LogConfig {
    let rotation = Rotation { max_bytes: None, max_files: 1, compress: false };
    LogConfig::JsonFile { rotation, attrs: [].into(), mode: LogMode::Blocking }
}

/// A small `config.json`, with namespaces of its own but the network's.
fn spec(script: &str, id: &str) -> Value {
    let caps = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"];
    // One mount point for all, as the engine has it.
    let rootfs = base().join("rootfs");
    fs::create_dir_all(&rootfs).unwrap();
    let namespaces = ["pid", "mount", "ipc", "uts"].map(|kind| json!({"type": kind}));
    let device = |path: &str, minor: u32| json!({"path": path, "type": "c", "major": 1, "minor": minor, "fileMode": 0o666, "uid": 0, "gid": 0});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/",
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin", "TERM=xterm"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": rootfs, "readonly": false},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "cgroupsPath": format!("{}/{}", cgroup_parent(), &id[32..]),
            "devices": [device("/dev/null", 3), device("/dev/zero", 5)],
            "resources": {"devices": [{"allow": true, "access": "rwm"}]},
            "namespaces": namespaces,
        },
    })
}
