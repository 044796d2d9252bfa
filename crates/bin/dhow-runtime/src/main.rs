//! An OCI runtime with runc's command line, as a small file of its own.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(runtime_cli::main(std::env::args_os().skip(1)));
}
