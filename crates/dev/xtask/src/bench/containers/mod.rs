//! `cargo xtask bench containers`: many containers, long logs, large trees.
//!
//! What is told apart is what grows: fifty containers started and removed, a list of five hundred, a
//! reading of two hundred that run, a gigabyte of output written and read, a hundred thousand files
//! copied in and out. Everyone has the same image of nothing but busybox, and no network. All lies in
//! a file system of its own, made for the run; Docker's daemon is found as in the benchmark of images.

mod jobs;

pub(super) use jobs::{IMAGE, small_image};

use std::path::Path;

use super::disk::Disk;
use super::engine::{self as engines, Engine};
use super::measured::Measured;

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

/// Measures each job `times` times, and writes `docs/bench/containers.md` and `containers.svg`.
pub(crate) fn bench(root: &Path, programs: &Path, times: usize) -> Result<(), String> {
    let disk = Disk::new()?;
    let result = compare(&disk, programs, times);
    disk.clean();
    let intro = "`floor` is `cat` of the lines, and `cp -r` of the tree.";
    result?.write(root, "containers", "Containers", intro, times)
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
    let titles = Job::ALL.iter().map(|job| job.title()).collect();
    let mut measured = Measured::new(titles, &engines, left_out);
    for (nth, job) in Job::ALL.into_iter().enumerate() {
        let mut present: Vec<&Engine> =
            engines.iter().filter(|engine| engine.has_part_in(job)).collect();
        present.retain(|engine| match engine.prepare(job, disk) {
            Ok(()) => true,
            Err(why) => measured.leave_out(engine, nth, &why),
        });
        for _round in 0..times {
            present.retain(|engine| {
                let done = engine.before_each(job, disk).and_then(|()| {
                    disk.settle();
                    engine.once(job, disk)
                });
                measured.note(engine, nth, done)
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
