//! An OCI runtime with runc's command line, as a small file of its own.
#![forbid(unsafe_code)]

fn main() {}
