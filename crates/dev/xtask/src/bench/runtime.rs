//! `cargo xtask bench runtime`: OCI runtimes beside each other and beside the kernel's floor.
//!
//! runc and crun are Debian's, unpacked beneath `target/peers` and not installed, unless `BENCH_RUNC`
//! and `BENCH_CRUN` say which ones to take. All run the same bundles, in turns. crun does so in a
//! mount namespace in which the v2 tree of a hybrid machine is not mounted: it refuses to work where
//! it is seen.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Seek as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::measure::{Pace, Samples};
use super::{docker_bundle, plot, report};

const UNIFIED: &str = "/sys/fs/cgroup/unified";
/// What is between these lines of the page is written anew, all else stays.
const MARKS: [&str; 2] = ["<!-- measured -->", "<!-- end of what was measured -->"];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Run,
    Cycle,
    Exec,
}

impl Job {
    const ALL: [Self; 3] = [Self::Run, Self::Cycle, Self::Exec];

    fn title(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Cycle => "create + start + delete",
            Self::Exec => "exec",
        }
    }
}

/// One of those who are compared.
struct Peer {
    name: &'static str,
    program: PathBuf,
    /// Where its shared libraries are.
    libraries: Option<PathBuf>,
    /// The mount namespace that it runs in, if not ours.
    world: Option<OwnedFd>,
    /// The process of the container that `exec` enters.
    server: Option<u32>,
}

/// Directories and files of one benchmark.
struct Place {
    directory: PathBuf,
    floor: PathBuf,
    /// The mounted cgroup trees, divided by `:`.
    trees: String,
    counter: std::cell::Cell<u32>,
}

/// Measures, and writes `docs/bench/runtime.md` and `runtime.svg`.
pub(crate) fn bench(
    root: &Path,
    programs: &Path,
    burst: usize,
    paused: usize,
) -> Result<(), String> {
    let place = Place::new(programs)?;
    let result = compare(root, programs, &place, burst, paused);
    place.clean();
    let (text, picture) = result?;
    let directory = root.join("docs/bench");
    let page = directory.join("runtime.md");
    let whole = insert(&std::fs::read_to_string(&page).unwrap_or_default(), &text);
    for (path, text) in [(page, &whole), (directory.join("runtime.svg"), &picture)] {
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    println!("{text}\nwritten to docs/bench");
    Ok(())
}

/// `page` with `text` between the marks.
fn insert(page: &str, text: &str) -> String {
    let [start, end] = MARKS;
    let (before, rest) = page.split_once(start).unwrap_or((page, ""));
    let after = rest.split_once(end).map_or("", |(_, after)| after);
    format!("{before}{start}\n\n{text}\n{end}{}", if after.is_empty() { "\n" } else { after })
}

impl Place {
    fn new(programs: &Path) -> Result<Self, String> {
        let directory = super::directory();
        let trees = cgroup_trees();
        let place = Self {
            directory,
            floor: programs.join("dhow-floor"),
            trees,
            counter: std::cell::Cell::new(0),
        };
        place.fill().map_err(|error| format!("{}: {error}", place.directory.display()))?;
        Ok(place)
    }

    fn fill(&self) -> std::io::Result<()> {
        let other = std::io::Error::other;
        std::fs::create_dir_all(self.path("run"))?;
        // As `/run` is on most machines; seen by this mount namespace and those made from it.
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "mode=700", "tmpfs"]).arg(self.path("run")).status()?;
        testkit::busybox_rootfs(&self.path("rootfs.tar"));
        std::fs::create_dir(self.path("rootfs"))?;
        let mut unpack = Command::new("tar");
        unpack
            .arg("-xf")
            .arg(self.path("rootfs.tar"))
            .arg("-C")
            .arg(self.path("rootfs"))
            .status()?;
        for (name, args) in [("true", ["/bin/true"].as_slice()), ("sleep", &["sleep", "100000"])] {
            let bundle = self.path(name);
            std::fs::create_dir(&bundle)?;
            let mut config = docker_bundle::config(args).map_err(other)?;
            config["root"]["path"] = self.path("rootfs").to_string_lossy().into();
            std::fs::write(bundle.join("config.json"), config.to_string())?;
        }
        std::fs::write(self.path("filter"), docker_bundle::filter().map_err(other)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn fresh(&self) -> String {
        self.counter.set(self.counter.get() + 1);
        format!("dhow-bench-{}-{}", std::process::id(), self.counter.get())
    }

    fn clean(&self) {
        let unmounted = Command::new("umount").arg(self.path("run")).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("umount {}", self.path("run").display());
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

/// The container that `exec` enters; each runtime has its own.
fn server_name(of: &str) -> String {
    format!("dhow-bench-{}-{of}", std::process::id())
}

/// The mount points of all cgroup trees.
fn cgroup_trees() -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let trees = words.filter(|words| matches!(words.get(2), Some(&("cgroup" | "cgroup2"))));
    let mut points: Vec<String> =
        trees.filter_map(|words| words.get(1).map(|point| (*point).to_owned())).collect();
    points.dedup();
    points.join(":")
}

/// Debian's packages of the peers, unpacked: while there is a network.
pub(super) fn peers(root: &Path) -> PathBuf {
    let directory = root.join("target/peers");
    let script = "for package in runc crun libyajl2; do
            apt-get -qq download $package 2>/dev/null && dpkg-deb -x $package*.deb . && rm $package*.deb
        done; true";
    let have = |name: &str| directory.join("usr/bin").join(name).exists();
    if !(have("runc") && have("crun")) && std::fs::create_dir_all(&directory).is_ok() {
        _ = Command::new("sh").args(["-c", script]).current_dir(&directory).status();
        // Debian has it among the programs for root.
        _ = std::os::unix::fs::symlink("../sbin/runc", directory.join("usr/bin/runc"));
    }
    directory
}

/// A mount namespace without the v2 tree, where there are v1 trees too.
fn world_without_v2() -> Result<Option<OwnedFd>, String> {
    if !Path::new(UNIFIED).join("cgroup.procs").exists() {
        return Ok(None);
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!("umount {UNIFIED} && echo ready && read end"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("unshare: {error}"))?;
    let mut line = String::new();
    let told = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    let opened = std::fs::File::open(format!("/proc/{}/ns/mnt", child.id()));
    drop(child.stdin.take());
    let _ended = child.wait();
    match (told, line.trim(), opened) {
        (Some(Ok(_)), "ready", Ok(file)) => Ok(Some(file.into())),
        _ => Err("no mount namespace without the v2 tree could be made".to_owned()),
    }
}

impl Peer {
    /// `--root STATE ARGS...`, for a runtime.
    fn command(&self, args: &[&str], place: &Place) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(place.path(&format!("run/{}", self.name))).args(args);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    fn is_floor(&self) -> bool {
        self.name == "floor"
    }

    fn floor(&self, job: Job, place: &Place) -> Command {
        let mut command = Command::new(&place.floor);
        match (job, self.server) {
            (Job::Exec, Some(pid)) => command.arg("enter").arg(pid.to_string()),
            _ => command.arg("container").arg(place.path("rootfs")),
        };
        let group = match job {
            Job::Exec => server_name("dhow-runtime"),
            _ => place.fresh(),
        };
        command.arg(place.path("filter")).arg(&place.trees).arg(group).arg("/bin/true");
        command
    }

    /// Runs a command in this one's world. Answers how long it took, in seconds.
    fn timed(&self, mut command: Command, ours: &OwnedFd) -> Result<f64, String> {
        // Not a pipe: a container that stays would keep it open.
        let mut said = tempfile()?;
        let stderr = said.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let enter = |world: &OwnedFd| {
            move_into_link_name_space(world.as_fd(), Some(LinkNameSpaceType::Mount))
                .map_err(|errno| format!("setns: {errno}"))
        };
        self.world.as_ref().map(enter).transpose()?;
        let start = Instant::now();
        let status = command.status();
        let took = start.elapsed().as_secs_f64();
        self.world.as_ref().map(|_| enter(ours)).transpose()?;
        let status = status.map_err(|error| format!("{command:?}: {error}"))?;
        if status.success() {
            return Ok(took);
        }
        let mut text = String::new();
        _ = said.rewind().and_then(|()| said.read_to_string(&mut text));
        Err(text.trim().lines().last().unwrap_or("it fails").to_owned())
    }

    /// Does a job once. Answers in how many seconds.
    fn once(&self, job: Job, place: &Place, ours: &OwnedFd) -> Result<f64, String> {
        if self.is_floor() {
            return self.timed(self.floor(job, place), ours);
        }
        let bundle = place.path("true").to_string_lossy().into_owned();
        let id = place.fresh();
        let ask = |args: &[&str]| self.timed(self.command(args, place), ours);
        match job {
            Job::Run => ask(&["run", "--bundle", &bundle, &id]),
            Job::Exec => ask(&["exec", &server_name(self.name), "/bin/true"]),
            Job::Cycle => {
                let file = place.path("run/pid").to_string_lossy().into_owned();
                let created = ask(&["create", "--bundle", &bundle, "--pid-file", &file, &id])?;
                let started = ask(&["start", &id])?;
                wait_for_end(&file)?;
                Ok(created + started + ask(&["delete", &id])?)
            }
        }
    }

    /// The container that `exec` enters.
    fn serve(&mut self, place: &Place, ours: &OwnedFd) -> Result<(), String> {
        let bundle = place.path("sleep").to_string_lossy().into_owned();
        let file = place.path(&format!("run/pid-{}", self.name)).to_string_lossy().into_owned();
        let name = server_name(self.name);
        let args = ["run", "--detach", "--bundle", &bundle, "--pid-file", &file, &name];
        self.timed(self.command(&args, place), ours)?;
        self.server = pid(&file);
        Ok(())
    }

    fn stop(&self, place: &Place, ours: &OwnedFd) {
        if !self.is_floor() && self.server.is_some() {
            let command = self.command(&["delete", "--force", &server_name(self.name)], place);
            if let Err(why) = self.timed(command, ours) {
                eprintln!("{}: delete: {why}", self.name);
            }
        }
    }

    /// The largest process of a job, in KiB.
    fn peak(&self, job: Job, place: &Place, ours: &OwnedFd) -> Result<u64, String> {
        let bundle = place.path("true").to_string_lossy().into_owned();
        let id = place.fresh();
        let inner = match job {
            Job::Exec => self.command(&["exec", &server_name(self.name), "/bin/true"], place),
            _ => self.command(&["run", "--bundle", &bundle, &id], place),
        };
        let inner = if self.is_floor() { self.floor(job, place) } else { inner };
        let file = place.path("run/peak");
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" >\"$0\""]).arg(&file).arg(&place.floor).arg("peak");
        command.arg(inner.get_program()).args(inner.get_args());
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        self.timed(command, ours)?;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.trim().parse().map_err(|_| format!("no peak in {text:?}"))
    }

    fn version(&self) -> String {
        let mut command = Command::new(&self.program);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let text = command.arg("--version").output().map(|output| output.stdout);
        let text = text.unwrap_or_default();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    }
}

/// A file without a name.
fn tempfile() -> Result<std::fs::File, String> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let fd = rustix::fs::memfd_create("stderr", flags).map_err(|errno| errno.to_string())?;
    Ok(fd.into())
}

fn pid(file: &str) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Waits until the process has ended: what a runtime deletes has stopped.
fn wait_for_end(file: &str) -> Result<(), String> {
    let pid = pid(file).ok_or("no pid file")?;
    for _ in 0..5000 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        if matches!(state, None | Some('Z' | 'X')) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("process {pid} does not end"))
}

/// One table: who took how long.
type Row = (Job, Pace, Vec<(String, Samples)>);

fn compare(
    root: &Path,
    programs: &Path,
    place: &Place,
    burst: usize,
    paused: usize,
) -> Result<(String, String), String> {
    let ours: OwnedFd =
        std::fs::File::open("/proc/self/ns/mnt").map_err(|error| error.to_string())?.into();
    let unpacked = peers(root);
    let named = |variable: &str, name: &str| {
        std::env::var_os(variable).map_or(unpacked.join("usr/bin").join(name), PathBuf::from)
    };
    let peer = |name, program| Peer { name, program, libraries: None, world: None, server: None };
    let multiarch = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut all = vec![
        peer("floor", place.floor.clone()),
        peer("dhow-runtime", programs.join("dhow-runtime")),
        peer("runc", named("BENCH_RUNC", "runc")),
        Peer {
            libraries: Some(unpacked.join(multiarch)),
            world: world_without_v2()?,
            ..peer("crun", named("BENCH_CRUN", "crun"))
        },
    ];
    let mut left_out = Vec::new();
    all.retain_mut(|one| {
        let usable = if one.is_floor() { Ok(()) } else { one.serve(place, &ours) };
        usable.map_err(|why| left_out.push(format!("{}: {why}", one.name))).is_ok()
    });
    // The floor enters our own server, in the server's cgroup.
    let server = all.iter().find_map(|one| one.server);
    all[0].server = server;
    let measured = measure_all(&all, place, &ours, burst, paused, &mut left_out);
    let peaks: Vec<(String, [Result<u64, String>; 2])> = all
        .iter()
        .map(|one| {
            (one.name.to_owned(), [Job::Run, Job::Exec].map(|job| one.peak(job, place, &ours)))
        })
        .collect();
    let versions: Vec<String> =
        all.iter().skip(1).map(|one| format!("- {}: {}", one.name, one.version())).collect();
    for one in &all {
        one.stop(place, &ours);
    }
    let page = markdown(&measured, &peaks, &versions, &left_out, (burst, paused));
    let groups: Vec<(String, &[(String, Samples)])> = measured
        .iter()
        .map(|(job, pace, rows)| (format!("{}, {}", job.title(), pace.words()), rows.as_slice()))
        .collect();
    Ok((page, plot::svg(&groups)))
}

fn measure_all(
    all: &[Peer],
    place: &Place,
    ours: &OwnedFd,
    burst: usize,
    paused: usize,
    left_out: &mut Vec<String>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for job in Job::ALL {
        for (pace, times) in [(Pace::Burst, burst), (Pace::Paused, paused)] {
            eprintln!("{} ({})", job.title(), pace.words());
            let mut samples: Vec<Vec<f64>> = all.iter().map(|_| Vec::new()).collect();
            // The first round warms caches up, and does not count.
            for round in 0..=times {
                for (one, seconds) in all.iter().zip(&mut samples) {
                    if pace == Pace::Paused {
                        std::thread::sleep(Duration::from_secs(1));
                    }
                    match one.once(job, place, ours) {
                        Ok(took) if round > 0 => seconds.push(took),
                        Ok(_) => {}
                        Err(why) => left_out.push(format!("{}: {}: {why}", one.name, job.title())),
                    }
                }
            }
            let named = all.iter().zip(samples).filter(|(_, seconds)| !seconds.is_empty());
            let named = named.map(|(one, seconds)| (one.name.to_owned(), Samples::new(seconds)));
            rows.push((job, pace, named.collect()));
        }
    }
    rows
}

fn markdown(
    rows: &[Row],
    peaks: &[(String, [Result<u64, String>; 2])],
    versions: &[String],
    left_out: &[String],
    (burst, paused): (usize, usize),
) -> String {
    let mut page = format!(
        "Milliseconds, medians of {burst} (in a burst) and {paused} (after a second of pause) times, \
         all in turns and in one run. {} The ratios are what counts.\n\n{}\n\n![Medians](runtime.svg)\n",
        report::machine(),
        versions.join("\n"),
    );
    for (job, pace, samples) in rows {
        let _ = writeln!(page, "\n### `{}`, {}\n", job.title(), pace.words());
        page.push_str(&report::rows(samples, "dhow-runtime"));
    }
    page.push_str("\n### Memory\n\nThe largest process (peak resident set), in KiB.\n\n");
    page.push_str("| | `run` | `exec` |\n|---|---:|---:|\n");
    for (name, both) in peaks {
        let shown = both.each_ref().map(|peak| match peak {
            Ok(kib) => kib.to_string(),
            Err(why) => why.clone(),
        });
        let _ = writeln!(page, "| {name} | {} | {} |", shown[0], shown[1]);
    }
    let mut told = left_out.to_vec();
    told.sort();
    told.dedup();
    for why in told {
        let _ = writeln!(page, "\nLeft out: {why}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_measured_is_written_anew() {
        let first = insert("# Title\n\ntext\n\n", "one\n");
        let second = insert(&(first + "\nmore\n"), "two\n");
        assert!(second.starts_with("# Title\n\ntext\n\n<!-- measured -->\n\ntwo\n"));
        assert!(second.ends_with("\nmore\n") && !second.contains("one"));
    }
}
