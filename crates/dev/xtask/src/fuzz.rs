//! Fuzz targets: built, and run over their seeds, among which is every input that was ever wrong.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::shell::{cargo, find, run};

/// Debian's packages that the targets are linked with: libFuzzer is C++, libseccomp and libarchive
/// are oracles.
const PACKAGES: [&str; 3] = ["g++", "libseccomp-dev", "libarchive-dev"];
/// What they bring.
const HEADERS: [&str; 2] = ["/usr/include/seccomp.h", "/usr/include/archive.h"];

/// Where they are built, beneath the root of the workspace.
const TARGET: &str = "target/fuzz";

/// As [`fuzz`]; then what was built for it, which is gigabytes, is removed: nothing else uses it.
pub(crate) fn fuzz_once(root: &Path) -> Result<(), String> {
    fuzz(root)?;
    let target = root.join(TARGET);
    std::fs::remove_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))
}

/// Builds the targets with the nightly compiler and runs them over `fuzz/seeds`. Where that is not
/// possible they are checked with the stable one, and why is said.
pub(crate) fn fuzz(root: &Path) -> Result<(), String> {
    let target = root.join(TARGET);
    if let Err(why) = prepare() {
        println!("fuzz targets are checked only, not built: {why}");
        let mut check = cargo(root, &["check", "--manifest-path", "fuzz/Cargo.toml"]);
        check.env("CARGO_TARGET_DIR", &target);
        // So the fuzzer's run time (C++) need not be compiled.
        return run(check.env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libFuzzer.a"));
    }
    let mut build = nightly("cargo");
    build.args(["build", "--manifest-path", "fuzz/Cargo.toml"]).current_dir(root);
    // Neither static nor with sanitizers: what is wanted is that they build, and run once.
    build.env("RUSTFLAGS", "--cfg fuzzing").env("CARGO_TARGET_DIR", &target);
    run(&mut build)?;
    let directory = target.join(format!("{}-unknown-linux-gnu/debug", std::env::consts::ARCH));
    for name in targets(root)? {
        let seeds = root.join("fuzz/seeds").join(&name);
        let mut command = Command::new(directory.join(&name));
        command.arg("-runs=0").args(seeds.is_dir().then_some(&seeds));
        let output = command.output().map_err(|error| format!("{name}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        println!("{name}: {} seeds", seeds.read_dir().map_or(0, Iterator::count));
    }
    Ok(())
}

fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    command
}

/// Whether all is there that the build needs. Installs what is missing, on Debian, as root.
fn prepare() -> Result<(), String> {
    let mut version = nightly("rustc");
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        return Err("no nightly compiler (rustup toolchain install nightly)".to_owned());
    }
    let missing =
        || find("g++").is_none() || HEADERS.iter().any(|header| !Path::new(header).exists());
    if missing() && rustix::process::geteuid().is_root() && find("apt-get").is_some() {
        let mut install = Command::new("apt-get");
        install.args(["-qq", "-y", "--no-install-recommends", "install"]).args(PACKAGES);
        // What comes of it is looked at below.
        _ = install.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()).status();
    }
    if missing() {
        return Err(format!("not all of {} are installed", PACKAGES.join(", ")));
    }
    Ok(())
}

/// The names of the targets.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let directory = root.join("fuzz/fuzz_targets");
    let entries =
        directory.read_dir().map_err(|error| format!("{}: {error}", directory.display()))?;
    let name = |entry: std::fs::DirEntry| {
        entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned)
    };
    let mut names: Vec<String> = entries.filter_map(Result::ok).filter_map(name).collect();
    names.sort();
    Ok(names)
}
