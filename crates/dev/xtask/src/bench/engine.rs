//! Those who are compared, and how each is asked.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::memory::Watch;
use super::peer;

/// Who it is, and what is particular about it.
pub(super) enum Kind {
    /// Plain tools that take the layers.
    Floor,
    /// Ourselves, without a daemon.
    Dhow,
    /// The client, and the daemon that we have started.
    Docker(Daemon),
    Podman,
}

/// One of those who are compared.
pub(super) struct Engine {
    pub(super) kind: Kind,
    program: PathBuf,
}

/// Docker's daemon, which goes with this.
pub(super) struct Daemon {
    process: Child,
    socket: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _status = self.process.wait();
    }
}

/// Everyone that can be measured here, and why the others cannot.
pub(super) fn all(disk: &Disk, programs: &Path) -> (Vec<Engine>, Vec<String>) {
    let own = |kind, program: &str| Engine { kind, program: programs.join(program) };
    let mut engines = vec![own(Kind::Floor, "dhow"), own(Kind::Dhow, "dhow")];
    let mut left_out = Vec::new();
    let named = |name: &str| peer(name).ok_or(format!("{name}: not in PATH"));
    let docker = named("docker").and_then(|program| {
        let daemon = Daemon::start(&named("dockerd")?, disk)?;
        Ok(Engine { kind: Kind::Docker(daemon), program })
    });
    let podman = named("podman").map(|program| Engine { kind: Kind::Podman, program });
    for engine in [docker, podman] {
        match engine {
            Ok(engine) => engines.push(engine),
            Err(why) => left_out.push(why),
        }
    }
    (engines, left_out)
}

impl Daemon {
    fn start(program: &Path, disk: &Disk) -> Result<Self, String> {
        let path = |name: &str| disk.path(name).display().to_string();
        let socket = format!("unix://{}", path("docker.sock"));
        let log = disk.path("dockerd.log");
        let failed = |error: std::io::Error| format!("{}: {error}", program.display());
        let mut command = Command::new(program);
        command.args(["--data-root", &path("docker"), "--exec-root", &path("docker-run")]);
        command.args(["--pidfile", &path("docker.pid"), "-H", &socket]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.env("BENCH_PLACE", disk.directory()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).map_err(failed)?);
        let mut process = command.spawn().map_err(failed)?;
        let end = Instant::now() + Duration::from_mins(1);
        while std::os::unix::net::UnixStream::connect(disk.path("docker.sock")).is_err() {
            let ended = process.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > end {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("it does not answer");
                return Err(format!("dockerd: {last}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { process, socket })
    }
}

impl Engine {
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Floor => "floor",
            Kind::Dhow => "dhow",
            Kind::Docker(_) => "docker",
            Kind::Podman => "podman",
        }
    }

    pub(super) fn version(&self) -> String {
        let output = match &self.kind {
            Kind::Docker(daemon) => Command::new(&self.program)
                .args([
                    "-H",
                    &daemon.socket,
                    "version",
                    "--format",
                    "{{.Server.Version}} (client {{.Client.Version}})",
                ])
                .output(),
            _ => Command::new(&self.program).arg("--version").output(),
        };
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    }

    pub(super) fn command(&self, args: &[&str], disk: &Disk) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null()).env("BENCH_PLACE", disk.directory());
        command.env_remove("DOCKER_HOST").env_remove("DHOW_HOST");
        match &self.kind {
            Kind::Floor => {}
            Kind::Dhow => {
                command.env("DHOW_ROOT", disk.path("dhow"));
                command.env("DHOW_STATE", disk.path("dhow-run"));
            }
            Kind::Docker(daemon) => {
                command.args(["-H", &daemon.socket]);
            }
            Kind::Podman => {
                command.arg("--root").arg(disk.path("podman"));
                command.arg("--runroot").arg(disk.path("podman-run"));
            }
        }
        command.args(args);
        if matches!(self.kind, Kind::Podman) && matches!(args, ["pull" | "push", ..]) {
            command.arg("--tls-verify=false");
        }
        command
    }

    /// Runs a command of this engine's, and looks at how long it takes and at the memory of the
    /// command and the daemon together.
    pub(super) fn timed(&self, mut command: Command) -> Result<Sample, String> {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let start = Instant::now();
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut pids = vec![child.id()];
        if let Kind::Docker(daemon) = &self.kind {
            pids.push(daemon.process.id());
        }
        let watch = Watch::new(pids);
        let output = child.wait_with_output();
        let seconds = start.elapsed().as_secs_f64();
        let peak = watch.most();
        finish(output)?;
        Ok(Sample { seconds, peak })
    }
}

/// One time of one job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// The most that the engine's processes had together, in KiB.
    pub(super) peak: u64,
}

pub(super) fn finish(output: std::io::Result<std::process::Output>) -> Result<(), String> {
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.trim().lines().last().unwrap_or("it fails").to_owned())
}
