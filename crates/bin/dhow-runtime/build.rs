//! Has the linker put next to each other what is executed together (`cargo xtask order`).

use std::error::Error;
use std::{env, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let script = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../order.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("PROFILE")? == "release" && env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
    Ok(())
}
