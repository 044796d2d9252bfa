//! What testcontainers (Python) does with an engine: the library as it comes from the Python package index, and
//! tests of ours that use it as people do. The engine is made as for docker-py's tests.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::docker_py::{END, ENGINE, ROOTFS, build, tidy_up, watch};
use super::outcome::Known;
use super::suite::{self, shell};
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask conformance testcontainers [--dhow PATH] [FILTER]

  --dhow PATH    the program to test (default: dhow, built now)
  FILTER         as pytest's -k";

/// The library, and the client below it.
const VERSIONS: &str = "'testcontainers==4.15.0' 'docker==7.2.0'";

const PACKAGES: &[&str] =
    &["busybox-static", "iproute2", "python3", "python3-venv", "tar", "util-linux"];

const FETCH: &str = r"
rm -rf venv && python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install VERSIONS pytest pytest-timeout
";

/// Ryuk is an image of Docker Hub's.
const TESTS: &str = r#"
export TESTCONTAINERS_RYUK_DISABLED=true PYTHONDONTWRITEBYTECODE=1
"$WORK/venv/bin/python" -m pytest -v --color=no --timeout 120 -p no:cacheprovider \
    ${FILTER:+-k "$FILTER"} testcontainers_test.py 2>&1
"#;

/// Fetches what is missing, and runs the tests.
pub(super) fn testcontainers(args: &[String]) -> Result<(), String> {
    let (mut dhow, mut filter) = (None, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--dhow" => dhow = Some(suite::path(arg, &mut args, USAGE)?),
            other if !other.starts_with('-') && filter.is_none() => filter = Some(other.to_owned()),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Err("the tests make containers as root".to_owned());
    }
    let root = Workspace::load()?.root;
    let work = root.join("target/conformance/testcontainers");
    suite::make(&work)?;
    suite::install(PACKAGES)?;
    if !work.join("venv/bin/pytest").is_file() {
        println!("fetching testcontainers");
        shell(&work, &FETCH.replace("VERSIONS", VERSIONS))?;
    }
    if !work.join("rootfs.tar").is_file() {
        shell(&work, ROOTFS)?;
    }
    let engine = work.join("engine");
    let _absent = std::fs::remove_dir_all(&engine);
    suite::make(&engine)?;
    let dhow: PathBuf = dhow.map_or_else(|| build(&root), Ok)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command
        .args(["sh", "-c", &format!("{ENGINE}{TESTS}{END}")])
        .env("DHOW", dhow)
        .env("WORK", &work)
        .env("FILTER", filter.as_deref().unwrap_or_default())
        .current_dir(root.join("tests/conformance"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let outcome = watch(command);
    tidy_up(&engine.join("root"))?;
    let outcome = outcome?;
    let _kept = std::fs::remove_dir_all(&engine);
    outcome.report(&Known::default(), filter.is_none())
}
