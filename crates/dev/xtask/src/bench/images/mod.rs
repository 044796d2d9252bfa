//! `cargo xtask bench images`: a large image, pulled, started, pushed, saved and loaded.
//!
//! The image has about 600 MB in four layers, half of that when packed, and comes from a registry on
//! loopback (`docker-registry` of Debian's). All lies in a file system of its own, made for the run.
//! What is taken besides the time is the memory of the engine's processes together, looked at every
//! few milliseconds.
//!
//! Docker needs its daemon in the network namespace of the benchmark: `BENCH_DOCKERD` names it, or a
//! script around it, which finds the folder of the benchmark in `BENCH_PLACE`.

mod image;
mod jobs;
mod place;

use std::fmt::Write as _;
use std::path::Path;

use super::measure::Samples;
use super::{plot, report};

use crate::bench::engine::{self as engines, Engine, Sample};
use place::Place;

/// What is measured, in the order in which each engine does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// The whole image, into an empty store.
    Pull,
    /// The first container of an image that was just pulled.
    FirstRun,
    /// To an empty registry.
    Push,
    /// Into a file.
    Save,
    /// From that file, into a store without it.
    Load,
    /// The image, when all but its top layer is there.
    PullTop,
}

impl Job {
    const ALL: [Self; 6] =
        [Self::Pull, Self::FirstRun, Self::Push, Self::Save, Self::Load, Self::PullTop];

    fn title(self) -> &'static str {
        match self {
            Self::Pull => "pull, empty store",
            Self::FirstRun => "run --rm --network none IMAGE true, after the pull",
            Self::Push => "push, empty registry",
            Self::Save => "save -o FILE",
            Self::Load => "load -i FILE",
            Self::PullTop => "pull, all but the top layer there",
        }
    }
}

/// What one engine needed.
struct Measured {
    name: String,
    version: String,
    samples: Vec<(Job, Sample)>,
}

impl Measured {
    fn of(&self, job: Job) -> impl Iterator<Item = Sample> {
        self.samples.iter().filter(move |(one, _)| *one == job).map(|(_, sample)| *sample)
    }
}

/// Measures each job `times` times, and writes `docs/bench/images.md` and `images.svg`.
pub(crate) fn bench(root: &Path, programs: &Path, times: usize) -> Result<(), String> {
    let place = Place::new(root)?;
    let result = compare(&place, programs, times);
    place.clean();
    let (measured, left_out) = result?;
    let page = page(&measured, &left_out, times);
    let picture = picture(&measured);
    for (name, text) in [("images.md", &page), ("images.svg", &picture)] {
        let path = root.join("docs/bench").join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    println!("{page}\nwritten to docs/bench");
    Ok(())
}

fn compare(
    place: &Place,
    programs: &Path,
    times: usize,
) -> Result<(Vec<Measured>, Vec<String>), String> {
    eprintln!("an image is made");
    image::make(place)?;
    let (engines, mut left_out) = engines::all(place.disk(), programs);
    let mut measured: Vec<_> = engines
        .iter()
        .map(|one| Measured {
            name: one.name().to_owned(),
            version: one.version(),
            samples: Vec::new(),
        })
        .collect();
    for round in 0..times {
        eprintln!("round {} of {times}", round + 1);
        for (engine, measured) in engines.iter().zip(&mut measured) {
            match once(engine, place, &mut left_out) {
                Ok(samples) => measured.samples.extend(samples),
                Err(why) => left_out.push(format!("{}: {why}", engine.name())),
            }
        }
    }
    measured.retain(|one| !one.samples.is_empty());
    if measured.is_empty() {
        return Err(left_out.join("; "));
    }
    Ok((measured, left_out))
}

/// One engine does everything once, on a store that is empty at first. What it cannot do is told.
fn once(
    engine: &Engine,
    place: &Place,
    left_out: &mut Vec<String>,
) -> Result<Vec<(Job, Sample)>, String> {
    let mut samples = Vec::new();
    for job in Job::ALL.into_iter().filter(|job| engine.does(*job)) {
        engine.before(job, place)?;
        place.disk().settle();
        match engine.run(job, place) {
            Ok(sample) => {
                let (seconds, peak) = (sample.seconds, sample.peak >> 10);
                eprintln!("  {}, {}: {seconds:.2} s, {peak} MiB", engine.name(), job.title());
                samples.push((job, sample));
            }
            Err(why) => {
                let why = format!("{}, {}: {why}", engine.name(), job.title());
                if !left_out.contains(&why) {
                    left_out.push(why);
                }
            }
        }
    }
    engine.empty(place)?;
    Ok(samples)
}

/// The times of one job, of all who do it.
fn times_of(measured: &[Measured], job: Job) -> Vec<(String, Samples)> {
    let of = |one: &Measured| {
        let seconds: Vec<f64> = one.of(job).map(|sample| sample.seconds).collect();
        (!seconds.is_empty()).then(|| (one.name.clone(), Samples::new(seconds)))
    };
    measured.iter().filter_map(of).collect()
}

fn picture(measured: &[Measured]) -> String {
    let all: Vec<_> =
        Job::ALL.iter().map(|job| (job.title().to_owned(), times_of(measured, *job))).collect();
    let groups: Vec<_> =
        all.iter().map(|(title, samples)| (title.clone(), samples.as_slice())).collect();
    plot::svg(&groups)
}

fn page(measured: &[Measured], left_out: &[String], times: usize) -> String {
    let mut page = format!(
        "# Images\n\n\
         Written by `cargo xtask bench images`. Milliseconds, medians of {times} times, in turns and in \
         one run. Ratios are what counts.\n\n\
         {}\n\n\
         `floor` is what takes every layer at once and alone: `curl | gzip -d | tar -x`, with no digest \
         looked at and nothing synced.\n\n\
         ![Medians](images.svg)\n\n{}\n\n",
        image::WORDS,
        report::machine()
    );
    for one in measured.iter().filter(|one| one.name != "floor") {
        let _ = writeln!(page, "- {}: {}", one.name, one.version);
    }
    for job in Job::ALL {
        let samples = times_of(measured, job);
        let _ = writeln!(page, "\n## {}\n\n{}", job.title(), report::rows(&samples, "dhow"));
    }
    page.push_str(
        "\n## Memory\n\nThe most that the processes of an engine had together (resident), MiB.\n\n",
    );
    let names: Vec<_> = measured.iter().map(|one| one.name.as_str()).collect();
    let _ = writeln!(page, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
    for job in Job::ALL {
        let peak = |one: &Measured| {
            let most = one.of(job).map(|sample| sample.peak).max();
            most.map_or(String::new(), |kib| format!("{}", kib >> 10))
        };
        let peaks: Vec<_> = measured.iter().map(peak).collect();
        let _ = writeln!(page, "| {} | {} |", job.title(), peaks.join(" | "));
    }
    if !left_out.is_empty() {
        page.push_str("\n## Left out\n\n");
        for why in left_out {
            let _ = writeln!(page, "- {why}");
        }
    }
    page
}
