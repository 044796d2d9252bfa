//! Those who are compared, and how each is asked.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::memory::Watch;
use super::place::{BASE, FULL, Place, remove};
use super::{Job, Sample};
use crate::bench::peer;

/// Who it is, and what is particular about it.
enum Kind {
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
    kind: Kind,
    program: PathBuf,
}

/// Docker's daemon, which goes with this.
struct Daemon {
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
pub(super) fn all(place: &Place, programs: &Path) -> (Vec<Engine>, Vec<String>) {
    let own = |kind, program: &str| Engine { kind, program: programs.join(program) };
    let mut engines = vec![own(Kind::Floor, "dhow"), own(Kind::Dhow, "dhow")];
    let mut left_out = Vec::new();
    let named = |name: &str| peer(name).ok_or(format!("{name}: not in PATH"));
    let docker = named("docker").and_then(|program| {
        let daemon = Daemon::start(&named("dockerd")?, place)?;
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
    fn start(program: &Path, place: &Place) -> Result<Self, String> {
        let path = |name: &str| place.path(name).display().to_string();
        let socket = format!("unix://{}", path("docker.sock"));
        let log = place.path("dockerd.log");
        let failed = |error: std::io::Error| format!("{}: {error}", program.display());
        let mut command = Command::new(program);
        command.args(["--data-root", &path("docker"), "--exec-root", &path("docker-run")]);
        command.args(["--pidfile", &path("docker.pid"), "-H", &socket]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.env("BENCH_PLACE", place.directory()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).map_err(failed)?);
        let mut process = command.spawn().map_err(failed)?;
        let end = Instant::now() + Duration::from_mins(1);
        while std::os::unix::net::UnixStream::connect(place.path("docker.sock")).is_err() {
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

    pub(super) fn does(&self, job: Job) -> bool {
        !matches!(self.kind, Kind::Floor) || job == Job::Pull
    }

    fn command(&self, args: &[&str], place: &Place) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null()).env("BENCH_PLACE", place.directory());
        command.env_remove("DOCKER_HOST").env_remove("DHOW_HOST");
        match &self.kind {
            Kind::Floor => {}
            Kind::Dhow => {
                command.env("DHOW_ROOT", place.path("dhow"));
                command.env("DHOW_STATE", place.path("dhow-run"));
            }
            Kind::Docker(daemon) => {
                command.args(["-H", &daemon.socket]);
            }
            Kind::Podman => {
                command.arg("--root").arg(place.path("podman"));
                command.arg("--runroot").arg(place.path("podman-run"));
            }
        }
        command.args(args);
        if matches!(self.kind, Kind::Podman) && matches!(args, ["pull" | "push", ..]) {
            command.arg("--tls-verify=false");
        }
        command
    }

    /// Brings about what a job needs.
    pub(super) fn before(&self, job: Job, place: &Place) -> Result<(), String> {
        let [from, to] = FULL;
        let ask = |args: &[&str]| finish(self.command(args, place).output());
        match job {
            Job::Pull | Job::Load => self.empty(place),
            Job::FirstRun | Job::Save => Ok(()),
            Job::Push => {
                place.empty_registry()?;
                ask(&["tag", from, to])
            }
            Job::PullTop => {
                self.empty(place)?;
                ask(&["pull", "-q", BASE])
            }
        }
    }

    /// Does it once.
    pub(super) fn run(&self, job: Job, place: &Place) -> Result<Sample, String> {
        let [from, to] = FULL;
        let file = place.path(&format!("{}.tar", self.name()));
        let file = file.to_str().ok_or("a path that is not UTF-8")?;
        if job == Job::Save {
            let _old = std::fs::remove_file(file);
        }
        let mut command = match job {
            _ if matches!(self.kind, Kind::Floor) => floor(place)?,
            Job::Pull | Job::PullTop => self.command(&["pull", "-q", from], place),
            Job::FirstRun => {
                self.command(&["run", "--rm", "--network", "none", from, "true"], place)
            }
            Job::Push => self.command(&["push", "-q", to], place),
            Job::Save => self.command(&["save", "-o", file, from], place),
            Job::Load => self.command(&["load", "-q", "-i", file], place),
        };
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

    /// Leaves nothing in its store.
    pub(super) fn empty(&self, place: &Place) -> Result<(), String> {
        match &self.kind {
            Kind::Floor => remove(&place.path("floor")),
            // A new one is as empty as one can be, and costs the same.
            Kind::Dhow => remove(&place.path("dhow")),
            Kind::Docker(_) | Kind::Podman => {
                for name in FULL.into_iter().chain([BASE]) {
                    // It need not be there.
                    let _output = self.command(&["rmi", name], place).output();
                }
                let left = self.command(&["images", "-q"], place).output();
                let left = left.map_err(|error| error.to_string())?.stdout;
                if left.is_empty() {
                    Ok(())
                } else {
                    Err("images are left in its store".to_owned())
                }
            }
        }
    }
}

fn finish(output: std::io::Result<std::process::Output>) -> Result<(), String> {
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.trim().lines().last().unwrap_or("it fails").to_owned())
}

/// `curl | gzip -d | tar -x` for each layer at once.
fn floor(place: &Place) -> Result<Command, String> {
    let root = place.path("floor");
    std::fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    let script = "set -e; cd \"$0\"; url=http://127.0.0.1:5000/v2/big
        accept='Accept: application/vnd.oci.image.manifest.v1+json'
        n=0; for digest in $(curl -sf -H \"$accept\" $url/manifests/full | grep -o 'sha256:[0-9a-f]*'); do
            n=$((n + 1)); test $n = 1 && continue
            mkdir $n; curl -sfL $url/blobs/$digest | gzip -d | tar -x -C $n & pids=\"$pids $!\"
        done; for pid in $pids; do wait $pid; done";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(root).stdin(Stdio::null());
    Ok(command)
}
