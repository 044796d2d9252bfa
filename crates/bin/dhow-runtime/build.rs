//! Has the linker put next to each other what is executed together.

#[path = "../order.rs"]
mod order;

fn main() -> Result<(), std::env::VarError> {
    println!("cargo::rerun-if-changed=build.rs");
    order::tell_linker()
}
