//! A container engine in one static binary.
#![forbid(unsafe_code)]

fn main() {}
