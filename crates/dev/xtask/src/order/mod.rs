//! `cargo xtask order`: which functions the commands that people give most often execute, so that the
//! linker puts those next to each other.
//!
//! The kernel maps a program's file in windows of sixteen pages, as they are touched, and takes all of
//! it apart when the process ends, while its caller waits. With the functions in the order of the crates,
//! a command touched some 170 windows, of which it needed a few bytes each.
//!
//! The commands are run by the release build, in a place of their own, with a breakpoint in every
//! function ([`breakpoints`]); what was hit is grouped by which process needs it and written as a linker
//! script ([`script`]), which the build scripts of the programs pass on to lld. Names that are not there (any
//! more) do no harm, so that the list needs to be made again only when much has changed.

#[cfg(target_arch = "x86_64")]
mod breakpoints;
mod script;
mod symbols;

use std::process::Command;

use crate::bench::{INSIDE, Place, built};
use crate::shell::{cargo, run};
use crate::workspace::Workspace;

/// The linker script.
const SCRIPT: &str = "crates/bin/order.ld";

/// What is run: most of what people and scripts do all day.
const COMMANDS: &str = r#"
kill -STOP $$
set -e
dhow() { "$DHOW" "$@" </dev/null >/dev/null; }
dhow run --rm IMAGE true
dhow run --rm --network none IMAGE true
dhow run -d --name one IMAGE sleep 1000
dhow exec one true
dhow ps
dhow logs one
dhow inspect one
dhow stop -t 0 one
dhow start one
dhow rm -f one
dhow images
"#;

/// Runs the commands and writes the script.
pub(crate) fn order() -> Result<(), String> {
    if std::env::var_os(INSIDE).is_none() {
        return enter();
    }
    let workspace = Workspace::load()?;
    let place = Place::new(&built(&workspace.root, "dhow")?)?;
    let written = record(&place).and_then(|text| {
        let path = workspace.root.join(SCRIPT);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    });
    place.clean();
    written
}

/// Builds with symbols, and comes back in a network and a mount namespace of our own.
fn enter() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("containers are traced by root".to_owned());
    }
    let root = Workspace::load()?.root;
    let build = ["rustc", "--release", "-p", "dhow", "--bin", "dhow", "--", "-C", "strip=none"];
    run(&mut cargo(&root, &build))?;
    let own = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("ip link set lo up; exec \"$0\" order").arg(own);
    run(command.env(INSIDE, "1"))
}

#[cfg(target_arch = "x86_64")]
fn record(place: &Place) -> Result<String, String> {
    let program = place.program("dhow");
    let functions = symbols::functions(&program)?;
    run(Command::new(&program)
        .arg("import")
        .arg(place.path("rootfs.tar"))
        .arg("order")
        .envs(environment(place)))?;
    let mut shell = Command::new("sh");
    shell.args(["-c", &COMMANDS.replace("IMAGE", "order")]).env("DHOW", &program);
    shell.envs(environment(place));
    let hits = breakpoints::run(shell, &program, &functions)?;
    println!("{} of {} functions are executed", hits.len(), functions.len());
    Ok(script::write(&functions, &hits))
}

#[cfg(not(target_arch = "x86_64"))]
fn record(_: &Place) -> Result<String, String> {
    Err("breakpoints are written for x86_64 alone; the list serves others too".to_owned())
}

fn environment(place: &Place) -> [(&'static str, std::path::PathBuf); 2] {
    [("DHOW_ROOT", place.path("root")), ("DHOW_STATE", place.path("state"))]
}
