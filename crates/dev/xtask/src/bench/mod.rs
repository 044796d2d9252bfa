//! How long things take, beside others who do the same, and beside the kernel's own steps.
//!
//! Everything is measured in one run, in turns, so that a machine's moods meet all alike; what
//! counts are the ratios. Twice: in bursts, several of one program at once after each other, so that
//! none pays for what another leaves to be cleaned up; and with a second of pause before each, which is
//! what a person feels and shows what waits for the kernel's grace periods.
//!
//! It runs in a network and a mount namespace of its own. The programs are those in `PATH`: docker
//! (also through `DOCKER_HOST`), podman, runc, crun, or where `BENCH_DOCKER` and so on say. Those
//! that are not there, or fail, are left out and told of.

mod builds;
mod bundle;
mod containers;
mod contender;
mod disk;
mod docker_bundle;
mod engine;
mod images;
mod measure;
mod measured;
mod memory;
mod plot;
mod report;
mod runtime;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{cargo, find, run};
use crate::workspace::Workspace;

pub(crate) use contender::Place;
use contender::{Contender, Kind};
use measure::{Pace, Samples, measure};

/// Tells that the namespaces are there already.
pub(crate) const INSIDE: &str = "DHOW_BENCH_INSIDE";

/// What is measured, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// `run --rm IMAGE true` on a network of its own.
    Run,
    /// The same with `--network none`.
    RunWithoutNetwork,
    /// `run` of an OCI runtime on a bundle.
    Runtime,
    /// `exec CONTAINER true`.
    Exec,
    /// `create`, then `start`.
    CreateAndStart,
}

impl Scenario {
    const ALL: [Self; 5] =
        [Self::Run, Self::RunWithoutNetwork, Self::Runtime, Self::Exec, Self::CreateAndStart];

    /// As a person would type it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Run => "run --rm IMAGE true",
            Self::RunWithoutNetwork => "run --rm --network none IMAGE true",
            Self::Runtime => "RUNTIME run BUNDLE (true)",
            Self::Exec => "exec CONTAINER true",
            Self::CreateAndStart => "create + start",
        }
    }
}

/// One row of the report.
pub(crate) struct Row {
    pub(crate) scenario: Scenario,
    pub(crate) pace: Pace,
    pub(crate) samples: Vec<(String, Samples)>,
}

/// All that was found out.
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    /// Proportional memory of a container's supervisor, in KiB.
    pub(crate) memory: Vec<(String, u64)>,
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) left_out: Vec<String>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Engines,
    Runtimes,
    Images,
    Containers,
    Builds,
}

/// `cargo xtask bench [runtime] [BURST [PAUSED]]`, `cargo xtask bench images|containers|builds [TIMES]`: how
/// many times each is run.
pub(crate) fn bench(all: &[String]) -> Result<(), String> {
    let (subject, args) = match all {
        [first, rest @ ..] if first == "runtime" => (Subject::Runtimes, rest),
        [first, rest @ ..] if first == "images" => (Subject::Images, rest),
        [first, rest @ ..] if first == "containers" => (Subject::Containers, rest),
        [first, rest @ ..] if first == "builds" => (Subject::Builds, rest),
        all => (Subject::Engines, all),
    };
    let number = |nth: usize, default: usize| {
        args.get(nth).map_or(Ok(default), |arg| arg.parse().map_err(|e| format!("{arg}: {e}")))
    };
    let (burst, paused) = (number(0, 30)?, number(1, 10)?);
    if std::env::var_os(INSIDE).is_none() {
        return enter(all, subject);
    }
    let workspace = Workspace::load()?;
    let programs = programs(&workspace.root)?;
    match subject {
        Subject::Engines => {}
        Subject::Runtimes => return runtime::bench(&workspace.root, &programs, burst, paused),
        Subject::Images => return images::bench(&workspace.root, &programs, number(0, 5)?),
        Subject::Containers => return containers::bench(&workspace.root, &programs, number(0, 3)?),
        Subject::Builds => return builds::bench(&workspace.root, &programs, number(0, 5)?),
    }
    let place = Place::new(&programs)?;
    let results = compare(&place, burst, paused);
    place.clean();
    let results = results?;
    let directory = workspace.root.join("docs/bench");
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let text = report::markdown(&results, burst, paused);
    write("latency.md", &text)?;
    let title = |row: &Row| format!("{}, {}", row.scenario.title(), row.pace.words());
    let groups: Vec<_> =
        results.rows.iter().map(|row| (title(row), row.samples.as_slice())).collect();
    write("latency.svg", &plot::svg(&groups))?;
    println!("{text}");
    println!("written to docs/bench");
    Ok(())
}

/// Builds, and runs this again in namespaces of its own.
fn enter(args: &[String], subject: Subject) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("containers are measured by root".to_owned());
    }
    let workspace = Workspace::load()?;
    let mut packages = vec!["build", "--release", "-p", "dhow-runtime", "-p", "dhow-floor"];
    if subject == Subject::Runtimes {
        runtime::peers(&workspace.root);
    } else {
        packages.extend(["-p", "dhow"]);
    }
    run(&mut cargo(&workspace.root, &packages))?;
    let own = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("ip link set lo up; exec \"$0\" bench \"$@\"").arg(own).args(args);
    run(command.env(INSIDE, "1"))
}

/// Where the programs that were built are, copied as an installation does.
///
/// A linker writes its file through a mapping, one page at a time, and so it lies in the page cache; a copy
/// lies there in larger pieces, of which the kernel maps a dozen pages as fast as one. Measured in turns,
/// medians of 80 times each: `dhow run --rm --network none` takes 17.4 ms from the linker's file and 16.0
/// from the copy, `dhow exec` 8.0 and 7.6.
fn programs(root: &Path) -> Result<PathBuf, String> {
    let built = built(root, "dhow-runtime")?;
    let installed = built.join("installed");
    let error = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&installed).map_err(|e| error(&installed, e))?;
    for name in ["dhow", "dhow-runtime", "dhow-floor"] {
        let (from, to) = (built.join(name), installed.join(name));
        // A file that is executed cannot be written to, and one of an earlier build may be of another's.
        if to.exists() {
            std::fs::remove_file(&to).map_err(|e| error(&to, e))?;
        }
        if from.exists() {
            std::fs::copy(&from, &to).map_err(|e| error(&to, e))?;
        }
    }
    Ok(installed)
}

/// The folder that holds a program's release build.
pub(crate) fn built(root: &Path, program: &str) -> Result<PathBuf, String> {
    let host = format!("target/{}-unknown-linux-gnu/release", std::env::consts::ARCH);
    let mut places = [root.join(host), root.join("target/release")].into_iter();
    let place = places.find(|place| place.join(program).is_file());
    place.ok_or_else(|| format!("no release build of {program}"))
}

/// A folder of this run's own, beneath `DHOW_BENCH_DIR` or the temporary one.
fn directory() -> PathBuf {
    let above = std::env::var_os("DHOW_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    above.join(format!("dhow-bench-{}", std::process::id()))
}

/// Somebody else's program: the one that `BENCH_NAME` says, or that of the name in `PATH`.
fn peer(name: &str) -> Option<PathBuf> {
    let variable = format!("BENCH_{}", name.to_uppercase());
    std::env::var_os(variable).map(PathBuf::from).or_else(|| find(name))
}

/// Everyone that can be measured here.
fn contenders(place: &Place) -> (Vec<Contender>, Vec<String>) {
    let mut present = vec![
        Contender::new("floor", Kind::Floor, place.program("dhow-floor")),
        Contender::new("dhow", Kind::Engine, place.program("dhow")),
        Contender::new("dhow-runtime", Kind::Runtime, place.program("dhow-runtime")),
    ];
    let mut left_out = Vec::new();
    let others = [
        ("docker", Kind::Engine),
        ("podman", Kind::Engine),
        ("runc", Kind::Runtime),
        ("crun", Kind::Runtime),
    ];
    for (name, kind) in others {
        match peer(name) {
            Some(program) => present.push(Contender::new(name, kind, program)),
            None => left_out.push(format!("{name}: not in PATH")),
        }
    }
    let usable = |one: Contender| match in_its_world(one.kind, || one.prepare(place)) {
        Ok(()) => Some(one),
        Err(why) => {
            left_out.push(format!("{}: {why}", one.name));
            None
        }
    };
    (present.into_iter().filter_map(usable).collect(), left_out)
}

/// Runs something; runtimes without the v2 tree of a hybrid machine, since crun refuses to work
/// where it is seen. This is a mount namespace of our own.
fn in_its_world<T>(kind: Kind, work: impl FnOnce() -> T) -> T {
    const UNIFIED: &str = "/sys/fs/cgroup/unified";
    let hybrid = kind == Kind::Runtime && Path::new(UNIFIED).join("cgroup.procs").exists();
    let call = |program: &str, args: &[&str]| {
        if let Err(why) = run(Command::new(program).args(args)) {
            eprintln!("{why}");
        }
    };
    if hybrid {
        call("umount", &[UNIFIED]);
    }
    let result = work();
    if hybrid {
        call("mount", &["-t", "cgroup2", "cgroup2", UNIFIED]);
    }
    result
}

fn compare(place: &Place, burst: usize, paused: usize) -> Result<Results, String> {
    let (contenders, mut left_out) = contenders(place);
    let mut rows = Vec::new();
    for scenario in Scenario::ALL {
        for (pace, times) in [(Pace::Burst, burst), (Pace::Paused, paused)] {
            eprintln!("{} ({})", scenario.title(), pace.words());
            let able: Vec<&Contender> =
                contenders.iter().filter(|one| one.does(scenario)).collect();
            let kind = if scenario == Scenario::Runtime { Kind::Runtime } else { Kind::Engine };
            let (samples, failures) =
                in_its_world(kind, || measure(&able, scenario, pace, times, place));
            left_out.extend(failures);
            rows.push(Row { scenario, pace, samples });
        }
    }
    let memory = contenders.iter().filter(|one| one.kind == Kind::Engine);
    let memory = memory.filter_map(|one| Some((one.name.clone(), one.supervisor_memory(place)?)));
    let memory = memory.collect();
    let versions = contenders.iter().map(|one| (one.name.clone(), one.version())).collect();
    for one in &contenders {
        one.finish(place);
    }
    if rows.iter().all(|row| row.samples.is_empty()) {
        return Err(format!("nothing could be measured: {}", left_out.join("; ")));
    }
    Ok(Results { rows, memory, versions, left_out })
}
