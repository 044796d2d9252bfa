//! `cargo xtask bench builds`: small steps, a large context, a graph, a large layer.
//!
//! Everyone builds on the same image of nothing but busybox, without a network: `dhow build` without a
//! daemon, Docker's client with Buildx and its daemon, `podman build`, which is Buildah.

use std::fmt::Write as _;
use std::path::Path;

use super::disk::Disk;
use super::engine::{self as engines, Engine, Kind, Sample};
use super::measured::Measured;
use crate::bench::containers::{IMAGE, small_image};

/// How many files a large context has.
const FILES: usize = 100_000;
/// How many stages there are that do not need each other, each of which sleeps half a second.
const STAGES: usize = 8;
/// The size of a large layer.
const LARGE: usize = 500_000_000;

/// What is measured, in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Small,
    Cached,
    Changed,
    Graph,
    Large,
}

impl Job {
    const ALL: [Self; 5] = [Self::Small, Self::Cached, Self::Changed, Self::Graph, Self::Large];

    fn title(self) -> String {
        match self {
            Self::Small => "build of 6 small steps, no cache".to_owned(),
            Self::Cached => "the same, all cached".to_owned(),
            Self::Changed => {
                format!("COPY of a context of {FILES} files, of which one has changed")
            }
            Self::Graph => {
                format!("{STAGES} stages that sleep for half a second, and one that needs them")
            }
            Self::Large => "COPY of 500 MB into an image, no cache".to_owned(),
        }
    }

    /// The folder that is built.
    const fn folder(self) -> &'static str {
        match self {
            Self::Small | Self::Cached => "small",
            Self::Changed => "changed",
            Self::Graph => "graph",
            Self::Large => "large",
        }
    }

    const fn is_cached(self) -> bool {
        matches!(self, Self::Cached | Self::Changed)
    }
}

/// Measures each job `times` times, and writes `docs/bench/builds.md` and `builds.svg`.
pub(crate) fn bench(root: &Path, programs: &Path, times: usize) -> Result<(), String> {
    let disk = Disk::new()?;
    let result = compare(&disk, programs, times);
    disk.clean();
    let intro = "`docker` builds by Buildx, `podman` by Buildah. There is no floor: none of the kernel's own \
                 steps is a build.";
    result?.write(root, "builds", "Builds", intro, times)
}

fn compare(disk: &Disk, programs: &Path, times: usize) -> Result<Measured, String> {
    small_image(disk)?;
    contexts(disk)?;
    let (mut engines, mut left_out) = engines::all(disk, programs);
    engines.retain(|engine| match engine.import(disk) {
        Ok(()) => !matches!(engine.kind, Kind::Floor),
        Err(why) => {
            left_out.push(format!("{}: {why}", engine.name()));
            false
        }
    });
    let titles = Job::ALL.iter().map(|job| job.title()).collect();
    let mut measured = Measured::new(titles, &engines, left_out);
    for (nth, job) in Job::ALL.into_iter().enumerate() {
        let mut present: Vec<&Engine> = engines.iter().collect();
        present.retain(|engine| match engine.build(job, disk) {
            // What is measured is not the first time.
            Ok(_) => true,
            Err(why) => measured.leave_out(engine, nth, &why),
        });
        for round in 0..times {
            if job == Job::Changed {
                let file = disk.path("changed/tree/7/7007");
                let at = |error| format!("{}: {error}", file.display());
                std::fs::write(&file, format!("changed {round}")).map_err(at)?;
            }
            present.retain(|engine| {
                disk.settle();
                measured.note(engine, nth, engine.build(job, disk))
            });
        }
    }
    Ok(measured)
}

impl Engine {
    fn build(&self, job: Job, disk: &Disk) -> Result<Sample, String> {
        let folder = disk.path(job.folder()).display().to_string();
        let mut args = vec!["build", "--network", "none", "-t", "bench-built"];
        if !job.is_cached() {
            args.push("--no-cache");
        }
        if matches!(self.kind, Kind::Podman) {
            args.push("--layers");
        }
        args.push(&folder);
        self.timed(self.command(&args, disk))
    }
}

/// The folders that are built.
fn contexts(disk: &Disk) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", disk.path(".").display());
    let context = |name: &str, dockerfile: &str| {
        std::fs::create_dir_all(disk.path(name))?;
        std::fs::write(disk.path(name).join("Dockerfile"), dockerfile)
    };
    let mut small = format!("FROM {IMAGE}\n");
    for step in 0..6 {
        let _ = writeln!(small, "RUN echo {step} > /step-{step}");
    }
    context("small", &small).map_err(failed)?;
    let mut graph = String::new();
    let mut last = format!("FROM {IMAGE}\n");
    for stage in 0..STAGES {
        let _ = writeln!(graph, "FROM {IMAGE} AS s{stage}\nRUN sleep 0.5; echo {stage} > /made");
        let _ = writeln!(last, "COPY --from=s{stage} /made /made-{stage}");
    }
    context("graph", &(graph + &last)).map_err(failed)?;
    context("large", &format!("FROM {IMAGE}\nCOPY large /\n")).map_err(failed)?;
    // What cannot be packed any smaller.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(LARGE / 8)
    .flatten()
    .collect();
    std::fs::write(disk.path("large/large"), noise).map_err(failed)?;
    context("changed", &format!("FROM {IMAGE}\nCOPY tree /tree\n")).map_err(failed)?;
    for index in 0..FILES {
        let folder = disk.path(&format!("changed/tree/{}", index / 1000));
        if index % 1000 == 0 {
            std::fs::create_dir_all(&folder).map_err(failed)?;
        }
        let text = format!("{index}\n").repeat(index % 300);
        std::fs::write(folder.join(index.to_string()), text).map_err(failed)?;
    }
    Ok(())
}
