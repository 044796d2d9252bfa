//! Docker's own integration tests, run against dhow's socket.
//!
//! They come from a tree of moby's sources, which has the Go libraries that they need, and are compiled with a
//! Go that is given, for Debian 12's is too old. What they expect of a machine is made in namespaces: images that
//! stand in for the frozen ones, and a program `dockerd` that starts `dhow daemon` for those that want a daemon
//! of their own. The scripts are in `tests/conformance/moby`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::docker_py::build;
use super::outcome::{Known, Outcome};
use super::suite;
use crate::shell::{find, run};
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask conformance moby --source DIRECTORY [--go PATH] [--dhow PATH] [SUITE ...]

  --source DIRECTORY  moby's sources, with their vendor directory: tag v28.5.2
  --go PATH           a Go of 1.24 or later (default: that in PATH)
  --dhow PATH         the program to test (default: dhow, built now)
  SUITE               a package of `integration` (container, network-bridge) or a suite of `integration-cli`
                      (DockerCLIRunSuite); default: all that the list of what is known is about";

/// What the list in `tests/conformance` is about.
const VERSION: &str = "28.5.2";

const SUITES: &[&str] = &[
    "container",
    "image",
    "volume",
    "network",
    "network-bridge",
    "network-ipvlan",
    "network-macvlan",
    "networking",
    "system",
    "session",
    "build",
    "DockerAPISuite",
    "DockerCLIAttachSuite",
    "DockerCLIBuildSuite",
    "DockerCLICommitSuite",
    "DockerCLICpSuite",
    "DockerCLICreateSuite",
    "DockerCLIEventSuite",
    "DockerCLIExecSuite",
    "DockerCLIHealthSuite",
    "DockerCLIHistorySuite",
    "DockerCLIImagesSuite",
    "DockerCLIImportSuite",
    "DockerCLIInfoSuite",
    "DockerCLIInspectSuite",
    "DockerCLILinksSuite",
    "DockerCLILogsSuite",
    "DockerCLINetmodeSuite",
    "DockerCLINetworkSuite",
    "DockerCLIPortSuite",
    "DockerCLIPruneSuite",
    "DockerCLIPsSuite",
    "DockerCLIRestartSuite",
    "DockerCLIRmiSuite",
    "DockerCLIRunSuite",
    "DockerCLISaveLoadSuite",
    "DockerCLIStartSuite",
    "DockerCLIStatsSuite",
    "DockerCLITopSuite",
    "DockerCLIUpdateSuite",
    "DockerCLIVolumeSuite",
    "DockerNetworkSuite",
];

const PACKAGES: &[&str] = &[
    "busybox-static",
    "gcc",
    "iproute2",
    "iputils-ping",
    "libc6-dev",
    "mmdebstrap",
    "netcat-openbsd",
    "python3",
    "util-linux",
];

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    source: Option<PathBuf>,
    go: Option<PathBuf>,
    dhow: Option<PathBuf>,
    suites: Vec<String>,
}

impl Options {
    fn new(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut path = || suite::path(arg, &mut args, USAGE);
            match arg.as_str() {
                "--source" => options.source = Some(path()?),
                "--go" => options.go = Some(path()?),
                "--dhow" => options.dhow = Some(path()?),
                suite if !suite.starts_with('-') => options.suites.push(suite.to_owned()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Compiles the tests, makes what they need, runs them, and compares with the list of what is known to fail.
pub(super) fn moby(args: &[String]) -> Result<(), String> {
    let options = Options::new(args)?;
    let source = options.source.ok_or_else(|| USAGE.to_owned())?;
    if !source.join("integration-cli").is_dir() {
        return Err(format!("{}: no sources of moby's", source.display()));
    }
    if !rustix::process::geteuid().is_root() {
        return Err("the tests make containers as root".to_owned());
    }
    let root = Workspace::load()?.root;
    let kit = root.join("tests/conformance/moby");
    let work = root.join("target/conformance/moby");
    suite::make(&work)?;
    suite::install(PACKAGES)?;
    let dhow = options.dhow.map_or_else(|| build(&root), Ok)?;
    let go = options.go.or_else(|| find("go")).ok_or("no Go in PATH: give one with --go")?;
    let [tests, images, results, tools] =
        ["tests", "images", "results", "tools"].map(|name| work.join(name));
    link_tools(&root, &kit, &tools)?;
    run(Command::new(kit.join("build.sh")).args([&source, &tests]).env("GO", go))?;
    let mut make_images = Command::new(kit.join("images.sh"));
    make_images.arg(&images).envs(find("nc.openbsd").map(|program| ("NC", program)));
    run(&mut make_images)?;
    let _absent = std::fs::remove_dir_all(&results);
    suite::make(&results)?;
    let whole = options.suites.is_empty();
    let suites: Vec<&str> =
        if whole { SUITES.to_vec() } else { options.suites.iter().map(String::as_str).collect() };
    let mut command = Command::new(kit.join("tests.py"));
    command.args(&suites).env("DHOW", dhow).env("SOURCE", &source).env("BIN", &tests);
    command.env("IMAGES", images).env("RESULTS", &results).env("TOOLS", tools);
    run(&mut command)?;
    let mut outcome = Outcome::default();
    for suite in suites {
        let table = results.join(format!("{suite}.tsv"));
        let text = std::fs::read_to_string(&table);
        let text = text.map_err(|error| format!("{}: {error}", table.display()))?;
        text.lines().for_each(|line| outcome.take_table(suite, line));
    }
    let list = root.join(format!("tests/conformance/moby-{VERSION}.txt"));
    outcome.report(&Known::read(&list, true)?, whole)
}

/// The programs that the tests look for: Docker's client, a registry, and the one that stands in for its daemon.
fn link_tools(root: &Path, kit: &Path, tools: &Path) -> Result<(), String> {
    crate::engines::fetch_clients(root);
    let _absent = std::fs::remove_dir_all(tools);
    suite::make(tools)?;
    let clients = root.join("target/unpacked/clients");
    let all = [
        (
            "docker",
            Some(clients.join("usr/bin/docker")).filter(|path| path.exists()).or(find("docker")),
        ),
        ("docker-buildx", Some(clients.join("usr/libexec/docker/cli-plugins/docker-buildx"))),
        ("registry", find("docker-registry")),
        ("dockerd", Some(kit.join("dockerd"))),
    ];
    for (name, program) in all {
        let Some(program) = program.filter(|path| path.exists()) else { continue };
        let link = tools.join(name);
        std::os::unix::fs::symlink(program, &link)
            .map_err(|error| format!("{}: {error}", link.display()))?;
    }
    Ok(())
}
