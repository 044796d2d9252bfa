//! Those who are compared, and how each is asked to do a thing.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Scenario;
use super::bundle::config;

/// The image that all engines run.
const IMAGE: &str = "dhow-bench";
/// The container that `exec` enters.
const SERVER: &str = "dhow-bench-server";

/// What a contender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only the kernel's steps.
    Floor,
    /// Docker's command line.
    Engine,
    /// runc's command line.
    Runtime,
}

/// Directories for one benchmark.
pub(crate) struct Place {
    directory: PathBuf,
    programs: PathBuf,
    counter: Cell<u32>,
}

impl Place {
    /// A directory beneath `DHOW_BENCH_DIR` or the temporary one: a root file system as an archive
    /// and unpacked, and a bundle.
    pub(crate) fn new(programs: &Path) -> Result<Self, String> {
        let directory = super::directory();
        let place = Self { directory, programs: programs.to_owned(), counter: Cell::new(0) };
        place.fill().map_err(|error| format!("{}: {error}", place.directory.display()))?;
        Ok(place)
    }

    fn fill(&self) -> std::io::Result<()> {
        for name in ["floor/upper", "floor/work", "floor/root", "bundle/rootfs", "root", "state"] {
            std::fs::create_dir_all(self.path(name))?;
        }
        // As `/run` is on most machines; seen by this mount namespace alone.
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "mode=700", "tmpfs"]).arg(self.path("state")).status()?;
        testkit::busybox_rootfs(&self.path("rootfs.tar"));
        let rootfs = self.path("bundle/rootfs");
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(self.path("rootfs.tar")).arg("-C").arg(&rootfs).status()?;
        std::os::unix::fs::symlink(&rootfs, self.path("floor/lower"))?;
        std::fs::write(self.path("bundle/config.json"), config().to_string())
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A program that was built with this one.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A name that was not given before.
    fn fresh(&self, prefix: &str) -> String {
        self.counter.set(self.counter.get() + 1);
        format!("{prefix}{}", self.counter.get())
    }

    /// Removes it all.
    pub(crate) fn clean(&self) {
        // A supervisor that is still on its way out holds nothing there any more.
        let unmounted = Command::new("umount").arg(self.path("state")).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("umount {}", self.path("state").display());
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

/// One of those who are compared.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    program: PathBuf,
}

impl Contender {
    pub(crate) fn new(name: &str, kind: Kind, program: PathBuf) -> Self {
        Self { name: name.to_owned(), kind, program }
    }

    /// Whether this is one of its jobs.
    pub(crate) fn does(&self, scenario: Scenario) -> bool {
        match self.kind {
            Kind::Floor => scenario != Scenario::CreateAndStart,
            Kind::Runtime => scenario == Scenario::Runtime,
            Kind::Engine => scenario != Scenario::Runtime,
        }
    }

    fn command(&self, args: &[&str], place: &Place) -> Command {
        let mut command = Command::new(&self.program);
        if self.name == "podman" {
            command.arg("--root").arg(place.path("podman")).arg("--runroot");
            command.arg(place.path("podman-run"));
        }
        command.args(args).stdin(Stdio::null());
        command.env("DHOW_ROOT", place.path("root")).env("DHOW_STATE", place.path("state"));
        if self.name == "dhow" {
            // It, too, would go to Docker's daemon.
            command.env_remove("DOCKER_HOST").env_remove("DHOW_HOST");
        }
        command
    }

    /// Runs it to its end. The error is its last line.
    fn ask(&self, args: &[&str], place: &Place) -> Result<String, String> {
        let output = self.command(args, place).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(text.trim().lines().last().unwrap_or("it fails").to_owned())
    }

    /// Its image and a container to enter; or once the thing itself, to see that it works.
    pub(crate) fn prepare(&self, place: &Place) -> Result<(), String> {
        match self.kind {
            Kind::Engine => {
                let archive = place.path("rootfs.tar");
                let archive = archive.to_str().ok_or("a path that is not UTF-8")?;
                self.ask(&["import", archive, IMAGE], place)?;
                let _ = self.ask(&["rm", "-f", SERVER], place);
                self.ask(&["run", "-d", "--name", SERVER, IMAGE, "sleep", "100000"], place)?;
                Ok(())
            }
            Kind::Floor => Ok(()),
            Kind::Runtime => self.once(Scenario::Runtime, place).map(drop),
        }
    }

    /// Takes back what `prepare` made.
    pub(crate) fn finish(&self, place: &Place) {
        if self.kind == Kind::Engine {
            let _ = self.ask(&["rm", "-f", SERVER], place);
            let _ = self.ask(&["rmi", IMAGE], place);
        }
    }

    /// Its own words for which version it is. A program that was named in the environment may be a
    /// script around the real one, whose time counts: that is told.
    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        let is_script = std::fs::read(&self.program).is_ok_and(|bytes| bytes.starts_with(b"#!"));
        if is_script { format!("{line} (through a script)") } else { line }
    }

    /// Does it once. Answers in how many seconds.
    pub(crate) fn once(&self, scenario: Scenario, place: &Place) -> Result<f64, String> {
        let commands = self.commands(scenario, place)?;
        let start = std::time::Instant::now();
        for mut command in commands {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let output = command.output().map_err(|error| error.to_string())?;
            if !output.status.success() {
                let text = String::from_utf8_lossy(&output.stderr);
                return Err(text.trim().lines().last().unwrap_or("it fails").to_owned());
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Clears away what one time left, outside of what is measured.
    pub(crate) fn after(&self, scenario: Scenario, place: &Place) {
        if scenario == Scenario::CreateAndStart {
            let name = format!("bench{}", place.counter.get());
            let _ = self.ask(&["rm", "-f", &name], place);
        }
    }

    fn commands(&self, scenario: Scenario, place: &Place) -> Result<Vec<Command>, String> {
        if self.kind == Kind::Floor {
            return self.floor(scenario, place).map(|command| vec![command]);
        }
        let ask = |args: &[&str]| self.command(args, place);
        Ok(match scenario {
            Scenario::Run => vec![ask(&["run", "--rm", IMAGE, "true"])],
            Scenario::RunWithoutNetwork => {
                vec![ask(&["run", "--rm", "--network", "none", IMAGE, "true"])]
            }
            Scenario::Runtime => {
                let name = place.fresh("bench");
                let bundle = place.path("bundle");
                let bundle = bundle.to_str().ok_or("a path that is not UTF-8")?;
                let state = place.path(&format!("state-{}", self.name));
                let state = state.to_str().ok_or("a path that is not UTF-8")?;
                vec![ask(&["--root", state, "run", "--bundle", bundle, &name])]
            }
            Scenario::Exec => vec![ask(&["exec", SERVER, "true"])],
            Scenario::CreateAndStart => {
                let name = place.fresh("bench");
                vec![
                    ask(&["create", "--name", &name, IMAGE, "sleep", "100000"]),
                    ask(&["start", &name]),
                ]
            }
        })
    }

    /// The kernel's steps alone; for `exec`, util-linux's way into namespaces.
    fn floor(&self, scenario: Scenario, place: &Place) -> Result<Command, String> {
        if scenario == Scenario::Exec {
            let dhow = Self::new("dhow", Kind::Engine, place.program("dhow"));
            let pid = dhow.server_pid(place).ok_or("no container to enter")?;
            let mut command = Command::new("nsenter");
            command.args(["--target", &pid.to_string(), "--all", "/bin/true"]);
            return Ok(command);
        }
        // Names of links go some time after their namespace, so each has its own.
        let link = if scenario == Scenario::Run { place.fresh("floor") } else { "-".to_owned() };
        let mut command = Command::new(&self.program);
        command.arg(place.path("floor")).args([&link, "/bin/true"]).stdin(Stdio::null());
        Ok(command)
    }

    fn server_pid(&self, place: &Place) -> Option<u32> {
        self.ask(&["inspect", "--format", "{{.State.Pid}}", SERVER], place).ok()?.parse().ok()
    }

    /// The proportional memory of the process above the container's first one, in KiB.
    pub(crate) fn supervisor_memory(&self, place: &Place) -> Option<u64> {
        let pid = self.server_pid(place)?;
        let field = |file: String, key: &str| {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let parent = field(format!("/proc/{pid}/status"), "PPid:")?;
        field(format!("/proc/{parent}/smaps_rollup"), "Pss:")
    }
}
