//! How each engine is asked to do each job.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::{FILES, Job, LISTED, MANY, OUTPUT, READ};
use crate::bench::disk::{Disk, remove};
use crate::bench::engine::{Engine, Kind, Sample, finish};
use crate::shell::{find, run};

pub(in crate::bench) const IMAGE: &str = "bench:latest";
/// The container that has written, and the one that is copied to.
const ONE: &str = "bench-one";
/// A line of the output, 100 bytes with its end.
const LINE: &str = "All work and no play makes Jack a dull boy, says a line that is as long as a hundred bytes are.....";

/// An image of nothing but busybox, as an archive.
pub(in crate::bench) fn small_image(disk: &Disk) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", disk.path(".").display());
    let bin = disk.path("image/bin");
    std::fs::create_dir_all(&bin).map_err(failed)?;
    let shell = find("busybox").ok_or("no busybox in PATH")?;
    std::fs::copy(shell, bin.join("busybox")).map_err(failed)?;
    for name in ["sh", "sleep", "true", "yes", "head", "mkdir", "echo"] {
        symlink("busybox", bin.join(name)).map_err(failed)?;
    }
    let mut tar = Command::new("tar");
    run(tar.arg("-cf").arg(disk.path("image.tar")).arg("-C").arg(disk.path("image")).arg("."))
}

/// The files that all need: the image, the tree, the lines.
pub(super) fn files(disk: &Disk) -> Result<(), String> {
    small_image(disk)?;
    let failed = |error: std::io::Error| format!("{}: {error}", disk.path(".").display());
    for index in 0..FILES {
        let folder = disk.path(&format!("tree/{}", index / 1000));
        if index % 1000 == 0 {
            std::fs::create_dir_all(&folder).map_err(failed)?;
        }
        let text = format!("{index}\n").repeat(index % 300);
        std::fs::write(folder.join(index.to_string()), text).map_err(failed)?;
    }
    let lines = std::fs::File::create(disk.path("lines")).map_err(failed)?;
    let mut lines = std::io::BufWriter::with_capacity(1 << 20, lines);
    for _ in 0..OUTPUT / (LINE.len() as u64 + 1) {
        writeln!(lines, "{LINE}").map_err(failed)?;
    }
    lines.flush().map_err(failed)
}

impl Engine {
    /// Has the image.
    pub(in crate::bench) fn import(&self, disk: &Disk) -> Result<(), String> {
        if matches!(self.kind, Kind::Floor) {
            return Ok(());
        }
        let archive = disk.path("image.tar").display().to_string();
        self.ask(&["import", &archive, IMAGE], disk)
    }

    pub(super) fn has_part_in(&self, job: Job) -> bool {
        let plain = matches!(job, Job::ReadLog | Job::CopyIn | Job::CopyOut);
        plain || !matches!(self.kind, Kind::Floor)
    }

    fn ask(&self, args: &[&str], disk: &Disk) -> Result<(), String> {
        finish(self.command(args, disk).stdout(Stdio::null()).output())
    }

    fn start(&self, name: &str, disk: &Disk) -> Result<(), String> {
        self.ask(
            &["run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "100000"],
            disk,
        )
    }

    /// Brings about what a job needs, once for all its times.
    pub(super) fn prepare(&self, job: Job, disk: &Disk) -> Result<(), String> {
        if matches!(self.kind, Kind::Floor) {
            return Ok(());
        }
        match job {
            Job::List => (0..LISTED).try_for_each(|index| {
                let name = name(index);
                self.ask(&["create", "--name", &name, "--network", "none", IMAGE, "true"], disk)
            }),
            Job::Stats => (0..READ).try_for_each(|index| self.start(&name(index), disk)),
            Job::ReadLog => finish(self.writer(disk).stdout(Stdio::null()).output()),
            Job::CopyOut => {
                self.ask(&["create", "--name", ONE, IMAGE, "true"], disk)?;
                let tree = disk.path("tree").display().to_string();
                self.ask(&["cp", &tree, &format!("{ONE}:/")], disk)
            }
            Job::Start | Job::Remove | Job::WriteLog | Job::CopyIn => Ok(()),
        }
    }

    /// A container that writes all lines.
    fn writer(&self, disk: &Disk) -> Command {
        let script = format!("yes '{LINE}' | head -c {OUTPUT}");
        let log = [
            "--log-driver",
            "json-file",
            "--log-opt",
            "max-size=100g",
            "--name",
            ONE,
            "--network",
            "none",
        ];
        let args = [&["run"][..], &log, &[IMAGE, "sh", "-c", &script]].concat();
        self.command(&args, disk)
    }

    /// Brings about what each time of a job needs.
    pub(super) fn before_each(&self, job: Job, disk: &Disk) -> Result<(), String> {
        let floor = matches!(self.kind, Kind::Floor);
        match job {
            Job::Start => self.remove_many(disk),
            Job::Remove => (0..MANY).try_for_each(|index| self.start(&name(index), disk)),
            Job::WriteLog => self.remove_one(disk),
            Job::CopyIn if floor => remove(&disk.path("floor")),
            Job::CopyIn => {
                self.remove_one(disk)?;
                self.ask(&["create", "--name", ONE, IMAGE, "true"], disk)
            }
            Job::CopyOut => remove(&disk.path("out")),
            Job::List | Job::Stats | Job::ReadLog => Ok(()),
        }
    }

    /// Does it once.
    pub(super) fn once(&self, job: Job, disk: &Disk) -> Result<Sample, String> {
        let path = |name: &str| disk.path(name).display().to_string();
        if matches!(self.kind, Kind::Floor) {
            let (program, args) = match job {
                Job::ReadLog => ("cat", vec![path("lines")]),
                Job::CopyOut => ("cp", vec!["-r".to_owned(), path("tree"), path("out")]),
                _ => ("cp", vec!["-r".to_owned(), path("tree"), path("floor")]),
            };
            let mut command = Command::new(program);
            command.args(args);
            return self.timed(command);
        }
        match job {
            Job::Start => self.start_many(disk),
            Job::Remove => {
                let names: Vec<String> = (0..MANY).map(name).collect();
                let names = names.iter().map(String::as_str);
                let args: Vec<&str> = ["rm", "-f"].into_iter().chain(names).collect();
                self.timed(self.command(&args, disk))
            }
            Job::List => self.timed(self.command(&["ps", "-a"], disk)),
            Job::Stats => self.timed(self.command(&["stats", "--no-stream"], disk)),
            Job::WriteLog => self.timed(self.writer(disk)),
            Job::ReadLog => self.timed(self.command(&["logs", ONE], disk)),
            Job::CopyIn => {
                self.timed(self.command(&["cp", &path("tree"), &format!("{ONE}:/")], disk))
            }
            Job::CopyOut => {
                self.timed(self.command(&["cp", &format!("{ONE}:/tree"), &path("out")], disk))
            }
        }
    }

    /// All of them, one after the other; the memory is the most that any of the commands had.
    fn start_many(&self, disk: &Disk) -> Result<Sample, String> {
        let start = Instant::now();
        let mut peak = 0;
        for index in 0..MANY {
            let name = name(index);
            let args =
                ["run", "-d", "--name", &name, "--network", "none", IMAGE, "sleep", "100000"];
            peak = peak.max(self.timed(self.command(&args, disk))?.peak);
        }
        Ok(Sample { seconds: start.elapsed().as_secs_f64(), peak })
    }

    fn remove_many(&self, disk: &Disk) -> Result<(), String> {
        self.remove_all((0..MANY).map(name), disk)
    }

    fn remove_one(&self, disk: &Disk) -> Result<(), String> {
        self.remove_all(std::iter::once(ONE.to_owned()), disk)
    }

    /// Removes what is there of these.
    fn remove_all(&self, names: impl Iterator<Item = String>, disk: &Disk) -> Result<(), String> {
        let mut command = self.command(&["rm", "-f"], disk);
        // That none is there is as well; what is left is seen by who wants the name.
        let asked = command.args(names).stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.map_or_else(|error| Err(error.to_string()), |_status| Ok(()))
    }

    /// Takes away what a job has left.
    pub(super) fn tidy(&self, job: Job, disk: &Disk) -> Result<(), String> {
        if matches!(self.kind, Kind::Floor) {
            return remove(&disk.path("floor")).and_then(|()| remove(&disk.path("out")));
        }
        match job {
            Job::Start | Job::Remove => self.remove_many(disk),
            Job::List => self.remove_all((0..LISTED).map(name), disk),
            Job::Stats => self.remove_all((0..READ).map(name), disk),
            Job::WriteLog | Job::ReadLog | Job::CopyIn | Job::CopyOut => self.remove_one(disk),
        }
    }
}

fn name(index: usize) -> String {
    format!("bench-{index}")
}
