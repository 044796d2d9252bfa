//! Every test, with what it needs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::shell::{cargo, find, run};
use crate::unsteady::{self, Tries};
use crate::workspace::Workspace;

/// Failpoints are compiled into what the tests run.
pub(crate) const FEATURES: &str = "dhow/failpoints,dhow-runtime/failpoints";

/// Programs that tests use, and Debian's packages that have them.
const PROGRAMS: [(&str, &str); 28] = [
    ("apparmor_parser", "apparmor"),
    ("bsdtar", "libarchive-tools"),
    ("busybox", "busybox-static"),
    ("bzip2", "bzip2"),
    ("crun", "crun"),
    ("curl", "curl"),
    ("git", "git"),
    ("gpg", "gpg"),
    ("gpg-agent", "gpg-agent"),
    ("gpgv", "gpgv"),
    ("ip", "iproute2"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mmdebstrap", "mmdebstrap"),
    ("newuidmap", "uidmap"),
    ("nft", "nftables"),
    ("openssl", "openssl"),
    ("ps", "procps"),
    ("python3", "python3"),
    ("runc", "runc"),
    ("script", "bsdextrautils"),
    ("setfattr", "attr"),
    ("skopeo", "skopeo"),
    ("slirp4netns", "slirp4netns"),
    ("ssh-agent", "openssh-client"),
    ("tmux", "tmux"),
    ("unshare", "util-linux"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// Installs what is missing, builds, and runs the tests, of which `filter` may name some. Without
/// nextest there is no second try.
pub(crate) fn test(filter: &[String], tries: Tries) -> Result<(), String> {
    let workspace = Workspace::load()?;
    let root = &workspace.root;
    let tools = install(root)?;
    let build = ["build", "--workspace", "--bins", "--features", FEATURES];
    run(&mut cargo(root, &build))?;
    let mut command = tests(root, tries);
    command.args(filter).env("DHOW_BIN", program(root)?);
    command.env("PATH", tools.path());
    let allowed = allowed_skips(root);
    if let Some(list) = &allowed {
        command.env("DHOW_SKIPS_ALLOWED", list);
    }
    let outcome = watch(&mut command)?;
    outcome.summarise(allowed.as_deref())
}

/// nextest where it is, else cargo's own.
fn tests(root: &Path, tries: Tries) -> Command {
    if find("cargo-nextest").is_some() {
        let mut command = cargo(root, &["nextest", "run", "--workspace", "--features", FEATURES]);
        command.args(["--no-fail-fast", "--success-output", "immediate", "--color", "never"]);
        if tries == Tries::Two {
            command.args(["--retries", "1"]);
        }
        return command;
    }
    let mut command = cargo(root, &["test", "--workspace", "--features", FEATURES]);
    command.args(["--no-fail-fast", "--", "--show-output"]);
    command
}

/// The program that the tests run.
pub(crate) fn program(root: &Path) -> Result<PathBuf, String> {
    built(root, "dhow")
}

/// A program of the workspace that was built.
pub(crate) fn built(root: &Path, name: &str) -> Result<PathBuf, String> {
    let metadata = crate::workspace::metadata(&["--no-deps"])?;
    let target = PathBuf::from(crate::workspace::text(&metadata, "target_directory"));
    // With a `build.target`, as .cargo/config.toml sets it, its name is one more folder.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let places = [target.join(host).join("debug").join(name), target.join("debug").join(name)];
    let found = places.iter().find(|path| path.is_file());
    found.cloned().ok_or(format!("no {name} was built beneath {}", root.join("target").display()))
}

/// The list of what may be skipped on a machine of this kind: `tests/skips/KIND.txt`.
fn allowed_skips(root: &Path) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has = |kind: &str| mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    let kind = match (has("cgroup"), has("cgroup2")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        _ => "v2",
    };
    Some(root.join(format!("tests/skips/{kind}.txt"))).filter(|path| path.is_file())
}

/// Programs that are unpacked for the tests alone.
struct Tools {
    bin: Option<PathBuf>,
}

impl Tools {
    fn path(&self) -> std::ffi::OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let Some(bin) = &self.bin else { return path };
        let all = std::env::split_paths(&path).chain([bin.clone()]);
        std::env::join_paths(all).unwrap_or(path)
    }
}

/// Installs the packages of programs that are missing: on Debian, as root.
fn install(root: &Path) -> Result<Tools, String> {
    if !install_programs()? {
        return Ok(Tools { bin: None });
    }
    crate::engines::fetch(root);
    crate::engines::fetch_criu(root);
    crate::engines::fetch_clients(root);
    crate::engines::fetch_package_managers(root);
    crate::engines::fetch_foreign(root);
    Ok(Tools { bin: unpack(root) })
}

/// Installs the packages of programs that are missing. Answers whether it can.
pub(crate) fn install_programs() -> Result<bool, String> {
    let missing = PROGRAMS.iter().filter(|(program, _)| find(program).is_none());
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    let can = rustix::process::geteuid().is_root() && find("apt-get").is_some();
    match (can, packages.is_empty()) {
        (_, true) => {}
        (true, false) => install_packages(&packages)?,
        (false, false) => {
            println!("not installed (not root, or no apt): {}", packages.join(" "));
        }
    }
    Ok(can)
}

/// Installs packages of Debian's.
pub(crate) fn install_packages(packages: &[&str]) -> Result<(), String> {
    println!("installing {}", packages.join(" "));
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-y", "--no-install-recommends"]).args(args);
        command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        run(&mut command)
    };
    apt(&["update"])?;
    apt(&[&["install"], packages].concat())
}

/// Programs whose packages would start a daemon (one of them changes the machine's firewall), or register
/// something with the kernel, and the packages that have them. Some releases have only links in the first.
const UNPACKED: &[(&str, &str)] = &[
    ("docker", "docker-cli docker.io"),
    ("docker-registry", "docker-registry"),
    ("qemu-aarch64-static", "qemu-user-static qemu-user"),
];

/// Gets them where there are none, unpacked and not installed. Without them the tests that need
/// them are skipped.
fn unpack(root: &Path) -> Option<PathBuf> {
    let directory = root.join("target/unpacked");
    let bin = directory.join("usr/bin");
    let is_there = |program: &str| find(program).is_some() || bin.join(program).is_file();
    for (program, packages) in UNPACKED.iter().filter(|(program, _)| !is_there(program)) {
        std::fs::create_dir_all(&directory).ok()?;
        let script = format!(
            "for package in {packages}; do
                apt-get -qq download $package 2>/dev/null || continue
                dpkg-deb -x $package*.deb . && rm $package*.deb && test -x usr/bin/{program} && exit 0
            done
            exit 1"
        );
        // One that cannot be had is skipped by its tests.
        _ = Command::new("sh").args(["-c", &script]).current_dir(&directory).status();
    }
    bin.is_dir().then_some(bin)
}

/// What came of the tests.
struct Outcome {
    passed: bool,
    said: Said,
}

/// What the tests print, as far as it is looked at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// `NAME: WHY`, and how often.
    skips: BTreeMap<String, usize>,
    /// Those that failed first and passed then.
    unsteady: Vec<String>,
}

impl Outcome {
    fn summarise(&self, allowed: Option<&Path>) -> Result<(), String> {
        let list = allowed.and_then(|path| std::fs::read_to_string(path).ok());
        let words = |text: &str| -> Vec<String> {
            let line = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
            text.lines().map(line).collect()
        };
        let list = list.as_deref().map(words);
        let mut surprises = 0;
        for (skip, count) in &self.said.skips {
            let name = skip.split(": ").next().unwrap_or_default();
            let expected = list.as_ref().is_none_or(|list| list.iter().any(|one| one == name));
            surprises += usize::from(!expected);
            let mark = if expected { "" } else { "  <- may not be skipped on this machine" };
            println!("skipped ({count}): {skip}{mark}");
        }
        let steady = unsteady::judge(&self.said.unsteady);
        match (self.passed, surprises) {
            (true, 0) => steady,
            (true, n) => Err(format!("{n} tests were skipped that can run here")),
            (false, _) => Err("tests failed".to_owned()),
        }
    }
}

/// Runs the tests. Shows their progress, all that the failed ones print, and of the others nothing
/// but what they skipped.
fn watch(command: &mut Command) -> Result<Outcome, String> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    // nextest prints to stderr, cargo's own to stdout.
    let stdout = child.stdout.take().map(BufReader::new);
    let stderr = child.stderr.take().map(BufReader::new);
    let reader = std::thread::spawn(move || stdout.map(shown).unwrap_or_default());
    let mut said = stderr.map(shown).unwrap_or_default();
    let more = reader.join().unwrap_or_default();
    for (skip, count) in more.skips {
        *said.skips.entry(skip).or_default() += count;
    }
    said.unsteady.extend(more.unsteady);
    let status = child.wait().map_err(|error| format!("{command:?}: {error}"))?;
    Ok(Outcome { passed: status.success(), said })
}

/// Looks at what the tests print, and prints it.
fn shown(lines: impl BufRead) -> Said {
    filter(lines, |line| println!("{line}"))
}

/// The skips and the second tries in what the tests print. A block of output follows the line that says
/// how its test went. All but the output of tests that passed goes to `show`.
fn filter(lines: impl BufRead, show: impl Fn(&str)) -> Said {
    let mut said = Said::default();
    let mut shown = true;
    for line in lines.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let words: Vec<&str> = line.split_whitespace().take(3).collect();
        let mut is_pass = false;
        match words.as_slice() {
            ["PASS", ..] | ["TRY", _, "PASS"] => (shown, is_pass) = (false, true),
            [
                "FAIL" | "TIMEOUT" | "SIGKILL" | "SIGSEGV" | "SIGABRT" | "SLOW" | "Summary" | "TRY",
                ..,
            ] => {
                shown = true;
            }
            // `FLAKY 2/2 [   0.011s] (3/3) dhow-cp tests::name`, after the summary.
            ["FLAKY", ..] => {
                let name = line.split_once(") ").map_or(line, |(_, name)| name);
                said.unsteady.push(name.to_owned());
            }
            _ => {}
        }
        if let Some(skip) = line.trim_start().strip_prefix("skipped: ") {
            *said.skips.entry(skip.to_owned()).or_default() += 1;
        }
        if shown || is_pass {
            show(line);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_counted() {
        let text =
            "  PASS [0.1s] a b\n skipped: Nft: no nft\n  PASS [0.1s] a c\nskipped: Nft: no nft\n";
        let said = filter(text.as_bytes(), |_| ());
        assert_eq!(said.skips, BTreeMap::from([("Nft: no nft".to_owned(), 2)]));
        let outcome = Outcome { passed: true, said };
        assert!(outcome.summarise(None).is_ok());
    }

    #[test]
    fn a_second_try_is_told_of() {
        let text = "  TRY 1 FAIL [   0.2s] (---) a-b t::c\n  stdout\n  TRY 2 PASS [   0.1s] (3/3) a-b t::c\n\
             Summary [   0.2s] 3 tests run: 3 passed (1 flaky), 0 skipped\n   FLAKY 2/2 [   0.1s] (3/3) a-b t::c\n";
        let said = filter(text.as_bytes(), |_| ());
        assert_eq!(said.unsteady, ["a-b t::c"]);
        assert_eq!(said.skips, BTreeMap::new());
    }
}
