//! A container engine in one static binary.
//!
//! The name that the program is called by, or its first argument, picks the part that it plays:
//!
//! | called as | part |
//! |---|---|
//! | `dhow-runtime` | an OCI runtime with runc's command line |
//! | `dhow-runtime ahead DIRECTORY` | the same, before it is known what that line is |
//! | `docker-init PROGRAM` | the first process of a container of `--init` |
//! | `dhow-shim DIRECTORY` | the supervisor of one container |
//! | `dhow-shim ahead DIRECTORY` | the same, before there is anything to supervise |
//! | `dhow-shim compress FILE` | what it has do what would take it too long |
//! | `dhow-shim relay SERVER` | what speaks TLS for it |
//! | `dhow-network STATE` | what keeps the network of an ordinary user's engine |
//! | `dhow-network launch` | what it has become the way to the outside |
//! | `dhow internal-remove ID ROOT STATE` | what a supervisor becomes when a container of `--rm` has ended |
//! | anything else | the command line |
//!
//! All but the last run in a process with one thread, before anything else is set up.
#![forbid(unsafe_code)]

mod builder;
mod collector;
mod embedded;
mod host;
mod listening;
mod places;
mod validate;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use places::Places;

fn main() {
    let entered = SystemTime::now();
    let args: Vec<OsString> = env::args_os().collect();
    let code = match part(&args) {
        Part::Runtime => runtime_cli::main(args.into_iter().skip(1)),
        Part::Init => pid1::main(args.into_iter().skip(1)),
        Part::Shim(directory) => shim::main(&directory),
        Part::ShimAhead(directory) => shim::main_ahead(&directory),
        Part::Compress(file) => shim::compress(&file),
        Part::Relay(server) => logrelay::main(&server),
        Part::Network(state) => rootless::hold(&state),
        Part::Launch => rootless::launch(),
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
    ShimAhead(PathBuf),
    Compress(PathBuf),
    Relay(OsString),
    Network(PathBuf),
    Launch,
    Remove { root: PathBuf, state: PathBuf, id: String },
    CommandLine,
}

fn part(args: &[OsString]) -> Part {
    let name = args.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
    match (name.to_str(), args.get(1..).unwrap_or_default()) {
        (Some("dhow-runtime" | "runc"), _) => Part::Runtime,
        (Some(pid1::NAME), _) => Part::Init,
        (Some("dhow-shim"), [part, file]) if part == "compress" => Part::Compress(file.into()),
        (Some("dhow-shim"), [part, server]) if part == shim_protocol::RELAY => {
            Part::Relay(server.clone())
        }
        (Some("dhow-shim"), [part, directory]) if part == "ahead" => {
            Part::ShimAhead(directory.into())
        }
        (Some("dhow-shim"), [directory]) => Part::Shim(directory.into()),
        (Some(rootless::HOLDER_NAME), [part]) if part == rootless::LAUNCH => Part::Launch,
        (Some(rootless::HOLDER_NAME), [state]) => Part::Network(state.into()),
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
    let host = match host(&args) {
        Ok(host) => host,
        Err(err) => {
            eprintln!("dhow: {err}");
            return if args.iter().any(|arg| arg == "run") { 125 } else { 1 };
        }
    };
    if cli::is_short(&args) {
        sys::share_one_heap();
    }
    // One thread for what waits, and for what is over in a moment; the rest of the engine's work goes to the pool.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(cli::main(args, &host, entered_ns));
            if ended.is_simple && !docker_api::is_at_work() {
                // Without waiting for threads that only wait for work.
                std::process::exit(ended.code);
            }
            ended.code
        }
        Err(err) => {
            eprintln!("dhow: start the event loop: {err}");
            125
        }
    }
}

/// The host for a command line. An ordinary user whose command needs an engine in this process is
/// brought into the engine's namespaces, which a process with threads could not be.
fn host(args: &[OsString]) -> Result<host::Host, String> {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return Ok(host::Host { places: Places::of_system() });
    }
    let places = Places::of_user(uid.as_raw());
    if let Some(global) = cli::own_engine(args) {
        // Inside of the namespaces the user has another number.
        let state = places.state(&global);
        places::make_state(&state, uid.as_raw())?;
        rootless::enter(&state).map_err(|err| host::chain(&err))?;
    }
    Ok(host::Host { places })
}
