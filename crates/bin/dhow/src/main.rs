//! A container engine in one static binary.
//!
//! The name that the program is called by, or its first argument, picks the part that it plays:
//!
//! | called as | part |
//! |---|---|
//! | `dhow-runtime` | an OCI runtime with runc's command line |
//! | `docker-init PROGRAM` | the first process of a container of `--init` |
//! | `dhow-shim DIRECTORY` | the supervisor of one container |
//! | `dhow-shim compress FILE` | what it has do what would take it too long |
//! | `dhow internal-remove ID ROOT STATE` | what a supervisor becomes when a container of `--rm` has ended |
//! | anything else | the command line |
//!
//! The first five run in a process with one thread, before anything else is set up.
#![forbid(unsafe_code)]

mod collector;
mod embedded;
mod host;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let entered = SystemTime::now();
    let args: Vec<OsString> = env::args_os().collect();
    let code = match part(&args) {
        Part::Runtime => runtime_cli::main(args.into_iter().skip(1)),
        Part::Init => pid1::main(args.into_iter().skip(1)),
        Part::Shim(directory) => shim::main(&directory),
        Part::Compress(file) => shim::compress(&file),
        Part::Remove { root, state, id } => host::remove(root, state, &id),
        Part::CommandLine => command_line(args, entered),
    };
    // Without waiting for threads that read standard input.
    std::process::exit(code);
}

/// What this process is to be.
enum Part {
    Runtime,
    Init,
    Shim(PathBuf),
    Compress(PathBuf),
    Remove { root: PathBuf, state: PathBuf, id: String },
    CommandLine,
}

fn part(args: &[OsString]) -> Part {
    let name = args.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
    match (name.to_str(), args.get(1..).unwrap_or_default()) {
        (Some("dhow-runtime" | "runc"), _) => Part::Runtime,
        (Some(pid1::NAME), _) => Part::Init,
        (Some("dhow-shim"), [part, file]) if part == "compress" => Part::Compress(file.into()),
        (Some("dhow-shim"), [directory]) => Part::Shim(directory.into()),
        (_, [part, id, root, state]) if part == "internal-remove" => Part::Remove {
            root: root.into(),
            state: state.into(),
            id: id.to_string_lossy().into_owned(),
        },
        _ => Part::CommandLine,
    }
}

fn command_line(args: Vec<OsString>, entered: SystemTime) -> i32 {
    let entered_ns = entered.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    // One thread for what waits; the engine's own work goes to the pool.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(cli::main(args, &host::Host, entered_ns)),
        Err(err) => {
            eprintln!("dhow: start the event loop: {err}");
            125
        }
    }
}
