//! The command line of an OCI runtime, as runc's.
//!
//! Each command is one call of [`container`]; what is here is words: options, messages, tables, and
//! the loop of a command that stays in the foreground. There is no command line library, for that
//! would be most of the time that a container takes to start.
//!
//! Before a process of ours goes near a container it is executed again from a file that the
//! container cannot write (CVE-2019-5736), see [`sys::protected_exe`].
//!
//! A command line can also come later than the process: `ahead`.
#![forbid(unsafe_code)]

mod ahead;
mod args;
mod changes;
mod checkpoint;
mod events;
mod features;
mod foreground;
mod help;
mod log;
mod make;
mod rootless;
mod show;
mod template;

use std::ffi::{CString, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;

use args::{Opt, Order, Parsed, flag, value};
use container::Store;
use log::Log;

/// The exit status for a command that there is none of, as runc's.
const NO_SUCH_COMMAND: i32 = 3;

/// The options before the command.
const GLOBAL: &[Opt] = &[
    flag(&["debug"], "enable debug messages"),
    value(&["log"], "the file that messages go to, besides standard error"),
    value(&["log-format"], "the form of messages in that file: text or json"),
    value(&["root"], "the directory of the containers' state"),
    flag(&["systemd-cgroup"], "have systemd make the cgroup; cgroupsPath is SLICE:PREFIX:NAME"),
    value(&["rootless"], "do without a cgroup that cannot be had: true, false or auto"),
    value(&["criu"], "ignored, as in runc: criu is the one in PATH"),
    flag(&["help", "h"], "show this"),
    flag(&["version", "v"], "print the version"),
];

/// How a command ended.
pub(crate) enum Failure {
    /// It failed: the line to print, and runc's exit status for it.
    Failed(String, i32),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text, 1)
    }
}

impl From<container::Error> for Failure {
    fn from(error: container::Error) -> Self {
        Self::Failed(error.line(), 1)
    }
}

/// What a command gets.
pub(crate) struct Context {
    pub(crate) store: Store,
    /// A cgroup that cannot be had is done without.
    pub(crate) rootless: bool,
    /// systemd makes the cgroups.
    pub(crate) systemd_cgroup: bool,
    pub(crate) log: Log,
}

type Run = fn(&mut Context, &Parsed) -> Result<i32, Failure>;

/// A command.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    pub(crate) help: &'static str,
    pub(crate) options: &'static [Opt],
    pub(crate) order: Order,
    pub(crate) run: Run,
}

/// Runs the command line `args`, without the program's name, and returns the exit status.
pub fn main(args: impl Iterator<Item = OsString>) -> i32 {
    let mut log = Log::default();
    let args: Vec<OsString> = args.collect();
    let ran =
        if ahead::is_asked(&args) { run_ahead(&mut log) } else { run(args.into_iter(), &mut log) };
    match ran {
        Ok(status) => status,
        Err(Failure::Failed(text, status)) => {
            log.error(&text);
            status
        }
    }
}

/// Waits for a command line, and runs it.
fn run_ahead(log: &mut Log) -> Result<i32, Failure> {
    let Some((args, teller)) = ahead::arguments()? else { return Ok(0) };
    let status = run(args.into_iter(), log)?;
    if status == 0 {
        teller.tell_done();
    }
    Ok(status)
}

fn run(args: impl Iterator<Item = OsString>, log: &mut Log) -> Result<i32, Failure> {
    let args = args::texts(args)?;
    let global = Parsed::new(&args, GLOBAL, Order::OptionsFirst)?;
    *log = Log::open(global.get("log"), global.get("log-format"), global.is_set("debug"))?;
    if global.is_set("version") {
        help::print_version()?;
        return Ok(0);
    }
    let Some((name, rest)) = global.words.split_first() else {
        help::print_overview(GLOBAL, COMMANDS)?;
        return Ok(0);
    };
    if global.is_set("help") || name == "help" {
        help::print_overview(GLOBAL, COMMANDS)?;
        return Ok(0);
    }
    let command = COMMANDS
        .iter()
        .find(|command| command.name == name)
        .ok_or_else(|| Failure::Failed(format!("No help topic for '{name}'"), NO_SUCH_COMMAND))?;
    if rest.first().is_some_and(|word| matches!(word.as_str(), "-h" | "-help" | "--help")) {
        help::print_command(command)?;
        return Ok(0);
    }
    let rootless = rootless::cgroups(global.get("rootless"))?;
    let parsed = Parsed::new(rest, command.options, command.order)
        .map_err(|why| format!("{}: {why}", command.name))?;
    let store = match global.get("root") {
        Some(root) => {
            Store::new(std::path::absolute(root).map_err(|error| format!("--root: {error}"))?)
        }
        None => rootless::default_store(),
    };
    let systemd_cgroup = global.is_set("systemd-cgroup");
    let mut context = Context { store, rootless, systemd_cgroup, log: std::mem::take(log) };
    // Not again when it is executed again.
    if !is_protected() {
        context.log.debug(&format!("{} {}", command.name, parsed.words.join(" ")));
    }
    if global.get("criu").is_some() {
        context.log.warn("--criu is ignored: criu is the one in PATH");
    }
    let result = (command.run)(&mut context, &parsed);
    *log = context.log;
    result
}

/// What of the environment the runtime itself uses. Everything else is its caller's, and may be
/// secret: a process on its way into a container still has it in its memory.
const ENVIRONMENT: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "DHOW_FAILPOINTS",
    "DHOW_FAKE_RESCTRL",
];

fn is_ours(name: &std::ffi::OsStr) -> bool {
    ENVIRONMENT.iter().any(|own| name == *own)
}

/// Whether nothing in a container can write the file that this process runs from, which is the same
/// from its beginning to its end.
fn is_protected() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(sys::is_protected)
}

/// Executes this very command line again from a file that nothing in a container can write, and with
/// no more of the environment than it needs. Does nothing when that is what runs already.
pub(crate) fn protect() -> Result<(), Failure> {
    if is_protected() && std::env::vars_os().all(|(name, _)| is_ours(&name)) {
        return Ok(());
    }
    let line = |error: &sys::Error| {
        let errno = error.errno();
        Failure::from(format!("run from a file out of the container's reach: {error}: {errno}"))
    };
    let exe = sys::protected_exe().map_err(|error| line(&error))?;
    let c_string = |word: OsString| CString::new(word.into_vec()).unwrap_or_default();
    let argv: Vec<CString> = std::env::args_os().map(c_string).collect();
    let env: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| is_ours(name))
        .map(|(name, value)| {
            let mut word = name;
            word.push("=");
            word.push(value);
            c_string(word)
        })
        .collect();
    Err(line(&sys::execveat(exe.as_fd(), &argv, &env)))
}

const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        words: "<container-id>",
        help: "create a container from a bundle",
        options: make::CREATE,
        order: Order::Mixed,
        run: make::create,
    },
    Command {
        name: "start",
        words: "<container-id>",
        help: "start a container that was created",
        options: &[],
        order: Order::Mixed,
        run: changes::start,
    },
    Command {
        name: "run",
        words: "<container-id>",
        help: "create and start a container",
        options: make::RUN,
        order: Order::Mixed,
        run: make::run,
    },
    Command {
        name: "exec",
        words: "<container-id> <command> [command options]  || -p process.json <container-id>",
        help: "execute another process in a container",
        options: make::EXEC,
        order: Order::OptionsFirst,
        run: make::exec,
    },
    Command {
        name: "kill",
        words: "<container-id> [signal]",
        help: "send a signal (default SIGTERM) to a container's first process",
        options: changes::KILL,
        order: Order::Mixed,
        run: changes::kill,
    },
    Command {
        name: "delete",
        words: "<container-id>",
        help: "remove all that was made for a container",
        options: changes::DELETE,
        order: Order::Mixed,
        run: changes::delete,
    },
    Command {
        name: "state",
        words: "<container-id>",
        help: "print the state of a container",
        options: &[],
        order: Order::Mixed,
        run: show::state,
    },
    Command {
        name: "list",
        words: "",
        help: "list the containers",
        options: show::LIST,
        order: Order::Mixed,
        run: show::list,
    },
    Command {
        name: "ps",
        words: "<container-id> [ps options]",
        help: "list the processes in a container",
        options: show::PS,
        order: Order::OptionsFirst,
        run: show::ps,
    },
    Command {
        name: "events",
        words: "<container-id>",
        help: "print what a container uses and when it has no memory left",
        options: events::EVENTS,
        order: Order::Mixed,
        run: events::events,
    },
    Command {
        name: "pause",
        words: "<container-id>",
        help: "freeze all processes of a container",
        options: &[],
        order: Order::Mixed,
        run: changes::pause,
    },
    Command {
        name: "resume",
        words: "<container-id>",
        help: "let the processes of a paused container go on",
        options: &[],
        order: Order::Mixed,
        run: changes::resume,
    },
    Command {
        name: "update",
        words: "<container-id>",
        help: "change the limits of a container",
        options: changes::UPDATE,
        order: Order::Mixed,
        run: changes::update,
    },
    Command {
        name: "spec",
        words: "",
        help: "write a configuration to start from",
        options: template::SPEC,
        order: Order::Mixed,
        run: template::spec,
    },
    Command {
        name: "features",
        words: "",
        help: "print what this runtime can do",
        options: &[],
        order: Order::Mixed,
        run: features::features,
    },
    Command {
        name: "checkpoint",
        words: "<container-id>",
        help: "save a running container with criu",
        options: checkpoint::CHECKPOINT,
        order: Order::Mixed,
        run: checkpoint::checkpoint,
    },
    Command {
        name: "restore",
        words: "<container-id>",
        help: "restore a container that checkpoint has saved",
        options: checkpoint::RESTORE,
        order: Order::Mixed,
        run: checkpoint::restore,
    },
];
