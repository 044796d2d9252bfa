//! The privileged tests in a guest of their own: what a machine with other cgroups, another kernel
//! or no systemd cannot show.
//!
//! QEMU emulates the processor (`/dev/kvm` may open and still not boot a kernel, so it is never
//! tried). The kernel is Debian's for virtual machines, or an older one of Ubuntu's, unpacked and
//! not installed; the root is an archive in memory with busybox, a few programs of this machine and
//! the tests, which are static. The tests run one by one, each in a process of its own, and their
//! results come back by name over a second serial port. Nothing but `target/vm` is written, and
//! nothing outlives the command.

mod archive;
mod debian;
mod guest;
mod kernel;
mod machine;
mod results;
mod selinux;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::shell::{cargo, find, run};
use crate::unsteady::{self, Tries};
use crate::workspace::Workspace;

use results::Outcome;

pub(crate) const USAGE: &str = "\
usage: cargo xtask vm [--systemd | --selinux] [--v1 | --hybrid] [--kernel VERSION] [WORD...]

  --systemd         a Debian with systemd as its init: the tests of the runtime's program
  --selinux         SELinux with a small policy in place of AppArmor: the tests of labels
  --v1, --hybrid    cgroup v1 alone, or v1 with a v2 tree beside it, in place of v2 alone
  --kernel VERSION  4.18, 5.4, 5.10, 6.1 (as it is without) or 6.12 (which crashes in QEMU 7.2)
  WORD              only tests whose names have one of these words in them
";

/// Where the guest has its controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    V2,
    V1,
    Hybrid,
}

/// What the guest has for cgroups and for an init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) cgroups: Cgroups,
    /// systemd is its init, of a whole Debian; else a script is.
    pub(crate) systemd: bool,
    /// The kernel labels by `SELinux`.
    pub(crate) selinux: bool,
}

impl Lane {
    /// cgroup v2 alone, and no systemd.
    pub(crate) const V2: Self = Self { cgroups: Cgroups::V2, systemd: false, selinux: false };

    /// Its name: of the list of what may be skipped, too (`tests/skips/guest-NAME.txt`).
    fn name(self) -> String {
        let cgroups = match self.cgroups {
            Cgroups::V2 => "v2",
            Cgroups::V1 => "v1",
            Cgroups::Hybrid => "hybrid",
        };
        match self {
            Self { systemd: true, .. } => format!("systemd-{cgroups}"),
            Self { selinux: true, .. } => format!("selinux-{cgroups}"),
            _ => cgroups.to_owned(),
        }
    }
}

/// What a lane's guest has of its own.
#[derive(Clone, Copy, Debug)]
struct Own<'a> {
    /// The root of a Debian.
    debian: Option<&'a Path>,
    /// A policy of `SELinux`.
    policy: Option<&'a [u8]>,
}

/// A test to run in the guest.
#[derive(Clone, Debug)]
struct Test {
    /// The program's number, and what it is called.
    program: usize,
    /// Its crate and program, as nextest writes it.
    of: String,
    /// The test's own name.
    name: String,
}

/// A program that was built and has tests in it.
struct Program {
    name: String,
    path: PathBuf,
}

/// Runs the tests in a guest.
pub(crate) fn vm(args: &[String]) -> Result<(), String> {
    let (lane, version, words) = options(args)?;
    lane_run(lane, &version, &words, Tries::One)
}

fn options(args: &[String]) -> Result<(Lane, String, Vec<String>), String> {
    let (mut lane, mut version, mut words) = (Lane::V2, "6.1".to_owned(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--v2" => lane.cgroups = Cgroups::V2,
            "--v1" => lane.cgroups = Cgroups::V1,
            "--hybrid" => lane.cgroups = Cgroups::Hybrid,
            "--systemd" => lane.systemd = true,
            "--selinux" => lane.selinux = true,
            "--kernel" => version = args.next().cloned().ok_or("--kernel needs a version")?,
            other if other.starts_with('-') => return Err(format!("{other}?\n{USAGE}")),
            word => words.push(word.to_owned()),
        }
    }
    if lane.systemd && lane.selinux {
        return Err(format!("--systemd and --selinux are lanes of their own\n{USAGE}"));
    }
    if lane.systemd && words.is_empty() {
        words.push("dhow-runtime::runtime ".to_owned());
    }
    if lane.selinux && words.is_empty() {
        words.push("selinux::".to_owned());
    }
    Ok((lane, version, words))
}

/// Runs the tests of one lane.
pub(crate) fn lane_run(
    lane: Lane,
    version: &str,
    words: &[String],
    tries: Tries,
) -> Result<(), String> {
    let workspace = Workspace::load()?;
    let root = &workspace.root;
    crate::test::install_programs()?;
    if find("qemu-system-x86_64").is_none() {
        crate::test::install_packages(&["qemu-system-x86"])?;
    }
    let place = root.join("target/vm");
    std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    remove_old(&place);
    let kernel = kernel::get(&place, version)?;
    let programs = build(&workspace, version)?;
    let tests = list(&programs, words)?;
    println!(
        "{} tests of {} programs, Linux {version}, cgroup {}",
        tests.len(),
        programs.len(),
        lane.name()
    );
    let debian = if lane.systemd { Some(debian::get(&place)?) } else { None };
    let policy = if lane.selinux { Some(selinux::policy(root, &place)?) } else { None };
    let own = Own { debian: debian.as_deref(), policy: policy.as_deref() };
    let run = |tests: &[Test]| -> Result<Outcome, String> {
        let initrd = place.join(format!("initrd-{}", std::process::id()));
        let made = guest::pack(&initrd, lane, own, &kernel, &programs, tests);
        let append = guest::append(lane);
        let outcome = made.and_then(|()| machine::boot(&kernel.image, &initrd, &append, tests));
        _ = std::fs::remove_file(&initrd);
        outcome
    };
    let mut outcome = run(&tests)?;
    let failed = outcome.failed(&tests);
    if tries == Tries::Two && (1..=unsteady::MOST).contains(&failed.len()) {
        println!("in the guest: {} failed, and are run again", failed.len());
        outcome.replace(run(&failed)?);
    }
    outcome.summarise(&tests, &root.join(format!("tests/skips/guest-{}.txt", lane.name())))
}

/// Removes what a run has left that was killed: it is named by its process.
fn remove_old(place: &Path) {
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("initrd-") else { continue };
        let pid = rest.split('.').next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Others whose tests need what a guest's kernel has and not every machine's: quotas of projects, links of several
/// kinds; with the version of Linux from which on they are run.
const MORE: [(&str, u32); 2] = [("dhow-snapshot-overlay", 4), ("dhow-network", 6)];

/// Builds the tests of `kernel` and `runtime`, a few others, and those of the runtime's program, and
/// it.
fn build(workspace: &Workspace, version: &str) -> Result<Vec<Program>, String> {
    let major: u32 = version.split('.').next().and_then(|it| it.parse().ok()).unwrap_or(0);
    let is_more = |name: &str| MORE.iter().any(|(more, least)| *more == name && major >= *least);
    let mut args = vec!["test", "--no-run", "--message-format", "json"];
    args.extend(["--features", "dhow-runtime/failpoints", "-p", "dhow-runtime"]);
    let members = workspace
        .packages
        .iter()
        .filter(|p| ["kernel", "runtime"].contains(&p.layer.as_str()) || is_more(&p.name));
    args.extend(members.flat_map(|member| ["-p", member.name.as_str()]));
    let output = cargo(&workspace.root, &args).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo test --no-run: {error}"))?;
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let Some(path) = message["executable"].as_str() else { continue };
        let of = Path::new(message["manifest_path"].as_str().unwrap_or_default());
        let package = of.parent().and_then(Path::file_name).unwrap_or_default();
        let target = message["target"]["name"].as_str().unwrap_or_default();
        let name = format!("{}::{target}", package.to_string_lossy());
        if message["profile"]["test"].as_bool() == Some(true) {
            programs.push(Program { name, path: PathBuf::from(path) });
        }
    }
    if output.status.success() && !programs.is_empty() {
        return Ok(programs);
    }
    Err("the tests were not built".to_owned())
}

/// The tests that the programs have: they tell.
fn list(programs: &[Program], words: &[String]) -> Result<Vec<Test>, String> {
    let mut tests = Vec::new();
    for (program, one) in programs.iter().enumerate() {
        let output = std::process::Command::new(&one.path)
            .args(["--list", "--format", "terse"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", one.path.display()))?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some(name) = line.strip_suffix(": test") else { continue };
            if wanted(&format!("{} {name}", one.name), words) {
                tests.push(Test { program, of: one.name.clone(), name: name.to_owned() });
            }
        }
    }
    if tests.is_empty() { Err("no such test".to_owned()) } else { Ok(tests) }
}

/// Whether a test is to run in the guest, where one word names it or none is given.
fn wanted(test: &str, words: &[String]) -> bool {
    /// Those that hide the newer system calls behind a filter. That the guest's kernel has them too
    /// makes it no other test than on this machine, and an emulated processor is slow at it.
    const OLDER: &str = "older::";
    let has = |word: &str| test.contains(word);
    if words.iter().any(|word| word.contains(OLDER)) || !has(OLDER) {
        return words.is_empty() || words.iter().any(|word| has(word));
    }
    false
}

/// Runs a script of the shell in `directory`.
fn shell(directory: &Path, script: &str) -> Result<(), String> {
    run(std::process::Command::new("sh").args(["-ec", script]).current_dir(directory))
}
