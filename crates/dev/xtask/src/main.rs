//! Tests, benchmarks and checks of this repository: `cargo xtask COMMAND`.
#![forbid(unsafe_code)]

mod bench;
mod ci;
mod clocks;
mod conformance;
mod engines;
mod failpoints;
mod fuzz;
mod layers;
mod licences;
mod order;
mod security;
mod shell;
mod source;
mod test;
mod tidy;
mod unsafe_code;
mod unsteady;
mod vm;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test        install what the tests need (apt, as root), build, run every test
  bench       latency and memory beside docker, podman, runc and crun; writes docs/bench
  bench runtime
              OCI runtimes: ours, Debian's runc and crun, and the kernel's floor
  bench images
              a large image, pulled, pushed, saved and loaded, beside docker and podman
  bench containers
              many containers, a long log, a large tree, beside docker and podman
  bench builds
              small steps, a large context, a graph, a large layer, beside Buildx and Buildah
  vm          the runtime's tests in an emulated guest with other cgroups or another kernel
  fuzz        builds the fuzz targets and runs them over their seeds
  conformance runc's own integration tests, fetched from Debian, against dhow-runtime
  conformance docker-py
              docker-py's integration tests, fetched from PyPI, against dhow's socket
  conformance moby
              Docker's own integration tests, from its sources, against dhow's socket
  conformance build
              the same Dockerfiles built by dhow and by Docker's daemon, and compared
  order       which functions common commands execute, for the linker; writes crates/bin/order.ld
  ci          all checks, then all tests
  layers      imports follow the layers
  unsafe      unsafe code is in kernel/sys only
  failpoints  the names in the sources and in the list agree
  security    the table of attacks in docs/security.md and their tests agree
  clocks      what waits does not look at the wall clock
  tidy        sizes of files, names of modules
  licences    licences of all dependencies are in deny.toml
";

/// What a check finds wrong, one line each.
type Findings = Vec<String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("test") => test::test(&args[1..], unsteady::Tries::One),
        Some("bench") => bench::bench(&args[1..]),
        Some("fuzz") => Workspace::load().and_then(|w| fuzz::fuzz(&w.root)),
        Some("vm") => vm::vm(&args[1..]),
        Some("conformance") => conformance::conformance(&args[1..]),
        Some("order") => order::order(),
        Some("ci") => ci::ci(),
        Some("layers") => Workspace::load().and_then(|w| report(&layers::check(&w))),
        Some("unsafe") => Workspace::load().and_then(|w| report(&unsafe_code::check(&w))),
        Some("failpoints") => Workspace::load().and_then(|w| report(&failpoints::check(&w))),
        Some("security") => Workspace::load().and_then(|w| report(&security::check(&w))),
        Some("clocks") => Workspace::load().and_then(|w| report(&clocks::check(&w))),
        Some("tidy") => Workspace::load().and_then(|w| report(&tidy::check(&w))),
        Some("licences") => Workspace::load().and_then(|w| report(&licences::check(&w)?)),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn report(findings: &Findings) -> Result<(), String> {
    if findings.is_empty() {
        return Ok(());
    }
    for finding in findings {
        eprintln!("{finding}");
    }
    Err(format!("{} found", findings.len()))
}
