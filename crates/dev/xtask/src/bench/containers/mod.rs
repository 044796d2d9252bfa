//! `cargo xtask bench containers`: many containers, long logs, large trees.
//!
//! What is told apart is what grows: fifty containers started and removed, a list of five hundred, a
//! reading of two hundred that run, a gigabyte of output written and read, a hundred thousand files
//! copied in and out. Everyone has the same image of nothing but busybox, and no network. All lies in
//! a file system of its own, made for the run; Docker's daemon is found as in the benchmark of images.

mod jobs;

use std::fmt::Write as _;
use std::path::Path;

use super::disk::Disk;
use super::engine::{self as engines, Engine, Sample};
use super::measure::Samples;
use super::{plot, report};

/// How many containers are started, and removed at once.
const MANY: usize = 50;
/// How many containers there are to list.
const LISTED: usize = 500;
/// How many containers run that are read.
const READ: usize = 200;
/// What a container writes, bytes.
const OUTPUT: u64 = 1_000_000_000;
/// How many files are copied.
const FILES: usize = 100_000;

/// What is measured, in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Start,
    Remove,
    List,
    Stats,
    WriteLog,
    ReadLog,
    CopyIn,
    CopyOut,
}

impl Job {
    const ALL: [Self; 8] = [
        Self::Start,
        Self::Remove,
        Self::List,
        Self::Stats,
        Self::WriteLog,
        Self::ReadLog,
        Self::CopyIn,
        Self::CopyOut,
    ];

    fn title(self) -> String {
        match self {
            Self::Start => format!("{MANY} times run -d IMAGE, one after the other"),
            Self::Remove => format!("rm -f of {MANY} that run, in one command"),
            Self::List => format!("ps -a with {LISTED} containers"),
            Self::Stats => format!("stats --no-stream with {READ} that run"),
            Self::WriteLog => "run --log-driver json-file, 1 GB of lines of 100 bytes".to_owned(),
            Self::ReadLog => "logs, 1 GB".to_owned(),
            Self::CopyIn => format!("cp into a container that does not run, {FILES} files"),
            Self::CopyOut => format!("cp out of it, {FILES} files"),
        }
    }
}

/// What all needed.
struct Measured {
    names: Vec<(&'static str, String)>,
    samples: Vec<(Job, &'static str, Sample)>,
    left_out: Vec<String>,
}

/// Measures each job `times` times, and writes `docs/bench/containers.md` and `containers.svg`.
pub(crate) fn bench(root: &Path, programs: &Path, times: usize) -> Result<(), String> {
    let disk = Disk::new()?;
    let result = compare(&disk, programs, times);
    disk.clean();
    let measured = result?;
    let page = measured.page(times);
    for (name, text) in [("containers.md", &page), ("containers.svg", &measured.picture())] {
        let path = root.join("docs/bench").join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    println!("{page}\nwritten to docs/bench");
    Ok(())
}

fn compare(disk: &Disk, programs: &Path, times: usize) -> Result<Measured, String> {
    jobs::files(disk)?;
    let (mut engines, mut left_out) = engines::all(disk, programs);
    engines.retain(|engine| match engine.import(disk) {
        Ok(()) => true,
        Err(why) => {
            left_out.push(format!("{}: {why}", engine.name()));
            false
        }
    });
    let names = engines.iter().map(|engine| (engine.name(), engine.version())).collect();
    let mut measured = Measured { names, samples: Vec::new(), left_out };
    for job in Job::ALL {
        let mut present: Vec<&Engine> =
            engines.iter().filter(|engine| engine.has_part_in(job)).collect();
        present.retain(|engine| match engine.prepare(job, disk) {
            Ok(()) => true,
            Err(why) => measured.leave_out(engine, job, &why),
        });
        for _round in 0..times {
            present.retain(|engine| {
                let done = engine.before_each(job, disk).and_then(|()| {
                    disk.settle();
                    engine.once(job, disk)
                });
                match done {
                    Ok(sample) => {
                        let (seconds, peak) = (sample.seconds, sample.peak >> 10);
                        let name = engine.name();
                        eprintln!("{name}, {}: {seconds:.2} s, {peak} MiB", job.title());
                        measured.samples.push((job, name, sample));
                        true
                    }
                    Err(why) => measured.leave_out(engine, job, &why),
                }
            });
        }
        for engine in &engines {
            if let Err(why) = engine.tidy(job, disk) {
                eprintln!("{}, after {}: {why}", engine.name(), job.title());
            }
        }
    }
    Ok(measured)
}

impl Measured {
    /// Notes that somebody cannot do a job; false.
    fn leave_out(&mut self, engine: &Engine, job: Job, why: &str) -> bool {
        self.left_out.push(format!("{}, {}: {why}", engine.name(), job.title()));
        false
    }

    fn of(&self, job: Job, name: &str) -> impl Iterator<Item = Sample> {
        let those = self.samples.iter().filter(move |(one, who, _)| *one == job && *who == name);
        those.map(|(_, _, sample)| *sample)
    }

    /// The times of one job, of all who do it.
    fn times_of(&self, job: Job) -> Vec<(String, Samples)> {
        let of = |name: &str| {
            let seconds: Vec<f64> = self.of(job, name).map(|sample| sample.seconds).collect();
            (!seconds.is_empty()).then(|| (name.to_owned(), Samples::new(seconds)))
        };
        self.names.iter().filter_map(|(name, _)| of(name)).collect()
    }

    fn picture(&self) -> String {
        let all: Vec<_> = Job::ALL.iter().map(|job| (job.title(), self.times_of(*job))).collect();
        let groups: Vec<_> =
            all.iter().map(|(title, samples)| (title.clone(), samples.as_slice())).collect();
        plot::svg(&groups)
    }

    fn page(&self, times: usize) -> String {
        let mut page = format!(
            "# Containers\n\n\
             Written by `cargo xtask bench containers`. Milliseconds, medians of {times} times, in turns \
             and in one run. Ratios are what counts.\n\n\
             `floor` is `cat` of the lines, and `cp -r` of the tree.\n\n\
             ![Medians](containers.svg)\n\n{}\n\n",
            report::machine()
        );
        for (name, version) in self.names.iter().filter(|(name, _)| *name != "floor") {
            let _ = writeln!(page, "- {name}: {version}");
        }
        for job in Job::ALL {
            let samples = self.times_of(job);
            let _ = writeln!(page, "\n## {}\n\n{}", job.title(), report::rows(&samples, "dhow"));
        }
        page.push_str(
            "\n## Memory\n\nThe most that the command and the daemon had together (resident), MiB.\n\n",
        );
        let names: Vec<_> = self.names.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(page, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
        for job in Job::ALL {
            let peak = |name: &&str| {
                let most = self.of(job, name).map(|sample| sample.peak).max();
                most.map_or(String::new(), |kib| (kib >> 10).to_string())
            };
            let peaks: Vec<_> = names.iter().map(peak).collect();
            let _ = writeln!(page, "| {} | {} |", job.title(), peaks.join(" | "));
        }
        if !self.left_out.is_empty() {
            page.push_str("\n## Left out\n\n");
            for why in &self.left_out {
                let _ = writeln!(page, "- {why}");
            }
        }
        page
    }
}
