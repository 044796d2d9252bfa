//! Everything that must hold before a change is taken.

use crate::shell::{cargo, find, run, step};
use crate::unsteady::Tries;
use crate::workspace::Workspace;
use crate::{
    clocks, failpoints, fuzz, layers, licences, report, security, test, tidy, unsafe_code, vm,
};

/// All checks, those that take seconds first; then the tests.
pub(crate) fn ci() -> Result<(), String> {
    let workspace = Workspace::load()?;
    let root = &workspace.root;
    step("format", || run(&mut cargo(root, &["fmt", "--all", "--check"])))?;
    step("layers", || report(&layers::check(&workspace)))?;
    step("unsafe", || report(&unsafe_code::check(&workspace)))?;
    step("failpoints", || report(&failpoints::check(&workspace)))?;
    step("security", || report(&security::check(&workspace)))?;
    step("clocks", || report(&clocks::check(&workspace)))?;
    step("tidy", || report(&tidy::check(&workspace)))?;
    step("licences", || report(&licences::check(&workspace)?))?;
    if find("cargo-deny").is_some() {
        step("deny", || run(&mut cargo(root, &["deny", "check", "bans", "licenses", "sources"])))?;
    }
    step("clippy", || {
        let args = ["clippy", "--workspace", "--all-targets", "--features", test::FEATURES];
        run(cargo(root, &args).args(["--", "-D", "warnings"]))
    })?;
    if root.join("fuzz/Cargo.toml").exists() {
        step("fuzz targets", || fuzz::fuzz_once(root))?;
    }
    step("test", || test::test(&[], Tries::Two))?;
    step("guest", || vm::lane_run(vm::Lane::V2, "6.1", &[], Tries::Two))
}
