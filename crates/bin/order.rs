//! Of the programs' build scripts: has the linker put next to each other what the everyday commands execute
//! (`cargo xtask order`).

use std::env::{self, VarError};
use std::path::Path;

/// Where rustc brings its linker, lld, it is told so; that takes it some seconds. GNU ld matches thousands of
/// patterns so slowly that it had not linked the smaller program after ten minutes.
pub(crate) fn tell_linker() -> Result<(), VarError> {
    let script = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../order.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    println!("cargo::rerun-if-changed=../order.rs");
    let is_release = env::var("PROFILE")? == "release";
    if is_release && env::var("TARGET")? == "x86_64-unknown-linux-gnu" && !is_chosen() {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
    Ok(())
}

/// Whether somebody has chosen the linker.
fn is_chosen() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let chosen = ["fuse-ld", "linker-features", "linker-flavor", "linker=", "link-self-contained"];
    env::var_os("RUSTC_LINKER").is_some() || chosen.iter().any(|flag| flags.contains(flag))
}
