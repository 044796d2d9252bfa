//! Other projects' integration tests: runc's, run against our runtime or another; docker-py's, and
//! what testcontainers does, in modules of their own.
//!
//! Nothing of them is kept here: they come from Debian's source package when they are to be run (or
//! from a directory), with the Go libraries that their helper programs are built from. They run in a
//! PID, mount and network namespace of their own, and on a terminal, for they ask for one.

mod build;
mod docker_py;
mod moby;
mod outcome;
mod suite;
mod testcontainers;
mod tidy_up;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::shell::{cargo, run};
use crate::workspace::Workspace;

use outcome::{Known, Outcome};
use suite::Suite;

const USAGE: &str = "\
usage: cargo xtask conformance docker-py ...
       cargo xtask conformance testcontainers ...
       cargo xtask conformance build ...
       cargo xtask conformance moby ...
       cargo xtask conformance [--runtime PATH] [--source DIRECTORY] [FILTER]

  --runtime PATH      the runtime to test, such as runc itself (default: dhow-runtime, built now)
  --criu              with criu, from Debian's sid (default: tests that need one are skipped)
  --source DIRECTORY  runc's source code, of another version, with its vendor directory
                      (default: that of Debian's package)
  FILTER              a regular expression: only tests whose names it matches";

/// After how much silence the run is given up. (bats has a limit for a test, but counts it down in a
/// child of the test, for which those that wait for all their children then wait.)
const PATIENCE: Duration = Duration::from_mins(5);

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    runtime: Option<PathBuf>,
    source: Option<PathBuf>,
    criu: bool,
    filter: Option<String>,
}

impl Options {
    fn new(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut path = || suite::path(arg, &mut args, USAGE);
            match arg.as_str() {
                "--runtime" => options.runtime = Some(path()?),
                "--criu" => options.criu = true,
                "--source" => options.source = Some(path()?),
                filter if !filter.starts_with('-') && options.filter.is_none() => {
                    options.filter = Some(filter.to_owned());
                }
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Fetches and builds what is missing, runs the tests, and compares with the list of what is known
/// to fail.
pub(crate) fn conformance(args: &[String]) -> Result<(), String> {
    if let [first, rest @ ..] = args
        && first == "docker-py"
    {
        return docker_py::docker_py(rest);
    }
    if let [first, rest @ ..] = args
        && first == "testcontainers"
    {
        return testcontainers::testcontainers(rest);
    }
    if let [first, rest @ ..] = args
        && first == "build"
    {
        return build::build(rest);
    }
    if let [first, rest @ ..] = args
        && first == "moby"
    {
        return moby::moby(rest);
    }
    let options = Options::new(args)?;
    if !rustix::process::geteuid().is_root() {
        return Err("the tests make containers as root".to_owned());
    }
    let root = Workspace::load()?.root;
    let mut suite = Suite::get(&root, options.source.as_deref())?;
    if options.criu {
        crate::engines::fetch_criu(&root);
        suite.programs = Some(root.join("target/unpacked/usr/bin")).filter(|bin| bin.is_dir());
    }
    let ours = options.runtime.is_none();
    let runtime = options.runtime.map_or_else(|| build_runtime(&root), Ok)?;
    println!("testing {} with the tests of runc {}", runtime.display(), suite.version);
    let before = tidy_up::Before::now();
    let outcome = watch(&root, &suite, &runtime, options.filter.as_deref());
    let tidied = before.restore();
    let outcome = outcome?;
    tidied?;
    let list = root.join(format!("tests/conformance/runc-{}.txt", suite.version));
    let known = Known::read(&list, ours)?;
    outcome.report(&known, options.filter.is_none())
}

fn build_runtime(root: &Path) -> Result<PathBuf, String> {
    run(&mut cargo(root, &["build", "-p", "dhow-runtime"]))?;
    crate::test::built(root, "dhow-runtime")
}

/// Runs the tests and shows how each went.
fn watch(
    root: &Path,
    suite: &Suite,
    runtime: &Path,
    filter: Option<&str>,
) -> Result<Outcome, String> {
    let temporary = root.join("target/conformance/tmp");
    let _absent = std::fs::remove_dir_all(&temporary);
    // In user namespaces, too, the way to the bundles must be open.
    std::fs::create_dir_all(&temporary).map_err(|error| format!("{temporary:?}: {error}"))?;
    let open = reachable(&temporary)?;
    let mut child = start(suite, runtime, filter, &open)?;
    let lines = lines(&mut child);
    let outcome = follow(&lines);
    // The first process of the PID namespace takes all others along: helpers that a test left
    // behind hold the terminal open.
    let _ended = child.kill();
    let _status = child.wait();
    let _kept = std::fs::remove_dir_all(&open);
    outcome
}

/// A directory for bundles that every user can go to: the checkout may be in one's home directory.
fn reachable(temporary: &Path) -> Result<PathBuf, String> {
    use std::os::unix::fs::PermissionsExt;
    let closed = temporary.ancestors().any(|directory| {
        let mode = std::fs::metadata(directory).map_or(0, |meta| meta.permissions().mode());
        mode & 0o001 == 0
    });
    if !closed {
        return Ok(temporary.to_owned());
    }
    let other = std::env::temp_dir().join(format!("dhow-conformance-{}", std::process::id()));
    std::fs::create_dir(&other).map_err(|error| format!("{other:?}: {error}"))?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&other, mode).map_err(|error| format!("{other:?}: {error}"))?;
    Ok(other)
}

fn start(
    suite: &Suite,
    runtime: &Path,
    filter: Option<&str>,
    temporary: &Path,
) -> Result<Child, String> {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
    ]);
    // The pattern is a variable: nothing in it means anything to a shell. As the first process of
    // the namespace, script would stop for good when one of its children is stopped.
    command.arg(
        "ip link set lo up && \
         script -qefc 'exec bats --tap --timing --filter \"$FILTER\" .' /dev/null; exit $?",
    );
    command.env("FILTER", filter.unwrap_or("."));
    command.current_dir(suite.source.join("tests/integration"));
    command.env("RUNC", runtime).env("TMPDIR", temporary);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = suite.programs.iter().cloned().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(all).map_err(|error| format!("PATH: {error}"))?);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().map_err(|error| format!("unshare: {error}"))
}

/// What the child prints, line by line.
fn lines(child: &mut Child) -> Receiver<String> {
    use std::io::BufRead;
    let (sender, receiver) = std::sync::mpsc::channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        let lines =
            stdout.map(std::io::BufReader::new).into_iter().flat_map(|out| out.split(b'\n'));
        for line in lines.map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn follow(lines: &Receiver<String>) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                if outcome.take(&line) {
                    println!("{line}");
                }
            }
            Err(RecvTimeoutError::Timeout) if !outcome.is_complete() => {
                let last = outcome.last().unwrap_or("the beginning");
                return Err(format!("nothing was heard for {PATIENCE:?} after: {last}"));
            }
            Err(_) => break,
        }
        // Whatever a test left behind may hold the other end for ever.
        if outcome.is_complete() {
            break;
        }
    }
    // The words about the last test, if it failed, come after its result.
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(3)) {
        if outcome.take(&line) {
            println!("{line}");
        }
    }
    if outcome.is_complete() { Ok(outcome) } else { Err("bats ended before its tests".to_owned()) }
}
