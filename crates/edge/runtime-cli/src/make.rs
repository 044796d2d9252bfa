//! `create`, `run` and `exec`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use container::{Announce, CreateOptions, ExecOptions, Record, Waits};
use oci::runtime::{Capabilities, Process};
use sys::SingleThreaded;

use crate::args::{Opt, Parsed, flag, value};
use crate::foreground::{Console, Foreground};
use crate::{Context, Failure, protect};

pub(crate) const BUNDLE: Opt =
    value(&["bundle", "b"], "the bundle's directory (default: this one)");
pub(crate) const CONSOLE_SOCKET: Opt =
    value(&["console-socket"], "the unix socket that gets the terminal");
pub(crate) const PID_FILE: Opt = value(&["pid-file"], "the file that gets the process id");
pub(crate) const PIDFD_SOCKET: Opt =
    value(&["pidfd-socket"], "the unix socket that gets a pidfd of the process");
const PRESERVE_FDS: Opt = value(&["preserve-fds"], "how many more descriptors to pass on");
const NO_PIVOT: Opt = flag(&["no-pivot"], "move the root instead of pivot_root");
const NO_NEW_KEYRING: Opt = flag(&["no-new-keyring"], "keep the session keyring");
pub(crate) const DETACH: Opt = flag(&["detach", "d"], "do not wait for the process to end");

pub(crate) const CREATE: &[Opt] =
    &[BUNDLE, CONSOLE_SOCKET, PID_FILE, PIDFD_SOCKET, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS];

pub(crate) const RUN: &[Opt] = &[
    BUNDLE,
    CONSOLE_SOCKET,
    PID_FILE,
    PIDFD_SOCKET,
    NO_PIVOT,
    NO_NEW_KEYRING,
    PRESERVE_FDS,
    DETACH,
    flag(&["no-subreaper"], "do not become the parent of orphans"),
    flag(&["keep"], "do not delete the container when it ends"),
];

pub(crate) const EXEC: &[Opt] = &[
    CONSOLE_SOCKET,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    DETACH,
    value(&["process", "p"], "a file that describes the process"),
    value(&["cwd"], "the working directory"),
    value(&["env", "e"], "a variable, NAME=VALUE; can be repeated"),
    flag(&["tty", "t"], "allocate a terminal"),
    value(&["user", "u"], "UID[:GID]"),
    value(&["additional-gids", "g"], "a supplementary group; can be repeated"),
    value(&["process-label"], "the SELinux label"),
    value(&["apparmor"], "the AppArmor profile"),
    flag(&["no-new-privs"], "set no_new_privs"),
    value(&["cap", "c"], "a capability to add; can be repeated"),
    value(&["cgroup"], "a cgroup below the container's, [CONTROLLER[,...]:]PATH; can be repeated"),
    flag(&["ignore-paused"], "also when the container is paused"),
];

pub(crate) fn proof() -> Result<SingleThreaded, Failure> {
    SingleThreaded::check().map_err(|error| Failure::from(error.to_string()))
}

fn absolute(path: &str) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|error| Failure::from(format!("bundle {path:?}: {error}")))
}

pub(crate) fn create_options(context: &Context, parsed: &Parsed) -> Result<CreateOptions, Failure> {
    let bundle = parsed.get("bundle").filter(|bundle| !bundle.is_empty()).unwrap_or(".");
    let path = |name: &str| -> Result<Option<PathBuf>, Failure> {
        let absolute = |path: &str| {
            std::path::absolute(path).map_err(|error| format!("--{name} {path:?}: {error}"))
        };
        Ok(parsed.get(name).map(absolute).transpose()?)
    };
    Ok(CreateOptions {
        bundle: absolute(bundle)?,
        announce: Announce { pid_file: path("pid-file")?, pidfd_socket: path("pidfd-socket")? },
        console_socket: path("console-socket")?,
        console: None,
        plan: plan::Options {
            systemd_cgroup: context.systemd_cgroup,
            no_pivot: parsed.is_set("no-pivot"),
            no_new_keyring: parsed.is_set("no-new-keyring"),
            preserve_fds: parsed.number("preserve-fds")?.unwrap_or(0),
            listen_fds: listen_fds(),
            rootless: false,
        },
    })
}

/// How many sockets this process was started with that are for the container's program, by
/// `sd_listen_fds(3)`: what is meant for another process is not passed on.
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_meant = std::env::var_os("LISTEN_PID").is_none()
        || number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| is_meant).unwrap_or(0)
}

/// The last of the messages of `--debug`, whose words are runc's: people look for them.
const CLOSED: &str = "init: closing the pipe to signal completion";

/// Makes a container, and says so where `--debug` asks for it.
fn make(
    context: &mut Context,
    proof: &SingleThreaded,
    id: &str,
    options: &CreateOptions,
    waits: Waits,
) -> Result<container::Created, Failure> {
    context.log.debug("nsexec container setup");
    let mut warnings = Vec::new();
    let created = container::create(proof, &context.store, id, options, waits, &mut warnings);
    context.log.warn_all(&warnings);
    let created = created?;
    context.log.debug(&format!("child process in init(): pid {}", created.pid));
    Ok(created)
}

/// Goes to the bundle: hooks begin there, as runc's do.
fn enter(bundle: &Path) -> Result<(), Failure> {
    std::env::set_current_dir(bundle)
        .map_err(|error| Failure::from(format!("bundle {bundle:?}: {error}")))
}

pub(crate) fn create(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let id = parsed.id()?;
    let mut options = create_options(context, parsed)?;
    options.plan.rootless = context.rootless;
    protect()?;
    enter(&options.bundle)?;
    let proof = proof()?;
    make(context, &proof, id, &options, Waits::AtFifo)?;
    context.log.debug(CLOSED);
    Ok(0)
}

pub(crate) fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let id = parsed.id()?;
    let mut options = create_options(context, parsed)?;
    options.plan.rootless = context.rootless;
    let detach = parsed.is_set("detach");
    protect()?;
    enter(&options.bundle)?;
    let proof = proof()?;
    // In the foreground this process itself plays the terminal, if there is one.
    let console = (!detach).then(Console::new).transpose()?;
    options.console = console.as_ref().map(Console::container_end);
    let foreground = (!detach).then(|| Foreground::start(!parsed.is_set("no-subreaper")));
    let foreground = foreground.transpose()?;
    let created = make(context, &proof, id, &options, Waits::Here)?;
    drop(options);
    let delete = |context: &mut Context| -> Result<(), Failure> {
        let warnings = container::delete(&context.store, id, true)?;
        context.log.warn_all(&warnings);
        Ok(())
    };
    let console = console.filter(|_| created.terminal);
    let relay = console.map(Console::receive).transpose();
    let relay = match relay.and_then(|relay| Ok(created.start().map(|()| relay)?)) {
        Ok(relay) => {
            context.log.debug(CLOSED);
            relay
        }
        Err(failure) => {
            delete(context)?;
            return Err(failure);
        }
    };
    let Some(foreground) = foreground else { return Ok(0) };
    let status = foreground.wait(created.pid, &created.handle, relay);
    if !parsed.is_set("keep") {
        delete(context)?;
    }
    status
}

pub(crate) fn exec(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    // As runc's: a failure to execute is told apart from the process's own status.
    execute(context, parsed).map_err(|Failure::Failed(text, _)| Failure::Failed(text, 255))
}

fn execute(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let Some((id, command)) = parsed.words.split_first() else {
        return Err(Failure::from("a container id is needed".to_owned()));
    };
    // Before the process is read: from a pipe that can be done only once.
    protect()?;
    let record = container::record(&context.store, id)?;
    let process = process(&record, parsed, command)?;
    let detach = parsed.is_set("detach");
    let proof = proof()?;
    let console = (!detach && process.terminal).then(Console::new).transpose()?;
    let options = ExecOptions {
        announce: Announce {
            pid_file: parsed.get("pid-file").map(PathBuf::from),
            pidfd_socket: parsed.get("pidfd-socket").map(PathBuf::from),
        },
        console_socket: parsed.get("console-socket").map(PathBuf::from),
        console: console.as_ref().map(Console::container_end),
        plan: plan::Options {
            systemd_cgroup: false,
            no_pivot: false,
            no_new_keyring: record.no_new_keyring,
            preserve_fds: parsed.number("preserve-fds")?.unwrap_or(0),
            listen_fds: 0,
            rootless: context.rootless,
        },
        ignore_paused: parsed.is_set("ignore-paused"),
        cgroup: parsed.all("cgroup").map(str::to_owned).collect(),
    };
    let foreground = (!detach).then(|| Foreground::start(true)).transpose()?;
    context.log.debug("nsexec container setup");
    let mut warnings = Vec::new();
    let executed = container::exec(&proof, &context.store, id, &process, &options, &mut warnings);
    context.log.warn_all(&warnings);
    let executed = executed?;
    if let Some(cpus) = &executed.affinity {
        context.log.debug(&format!("nsexec: affinity: 0x{}", hexadecimal(cpus)));
    }
    context.log.debug(&format!("child process in init(): pid {}", executed.pid));
    context.log.debug(&format!("setns_init: about to exec {:?}", process.args.first()));
    drop(options);
    let relay = console.map(Console::receive).transpose()?;
    match foreground {
        Some(foreground) => foreground.wait(executed.pid, &executed.handle, relay),
        None => Ok(0),
    }
}

/// The process to execute: what `--process` describes, or the container's own with what the options
/// change.
fn process(record: &Record, parsed: &Parsed, command: &[String]) -> Result<Process, Failure> {
    if let Some(path) = parsed.get("process") {
        if !command.is_empty() {
            return Err(Failure::from("--process and a command exclude each other".to_owned()));
        }
        let mut process = container::read_process(Path::new(path))?;
        if process.exec_cpu_affinity.is_none() {
            process.exec_cpu_affinity.clone_from(&record.process.exec_cpu_affinity);
        }
        return Ok(process);
    }
    if command.is_empty() {
        return Err(Failure::from("process args cannot be empty".to_owned()));
    }
    let mut process = record.process.clone();
    process.args = command.to_vec();
    process.terminal = parsed.is_set("tty");
    process.console_size = None;
    process.env.extend(parsed.all("env").map(str::to_owned));
    if let Some(cwd) = parsed.get("cwd") {
        cwd.clone_into(&mut process.cwd);
    }
    if let Some(profile) = parsed.get("apparmor") {
        profile.clone_into(&mut process.apparmor_profile);
    }
    if let Some(label) = parsed.get("process-label") {
        label.clone_into(&mut process.selinux_label);
    }
    if parsed.get("no-new-privs").is_some() {
        process.no_new_privileges = parsed.is_set("no-new-privs");
    }
    if let Some(user) = parsed.get("user") {
        (process.user.uid, process.user.gid) = parse_user(user, process.user.gid)?;
        // A process whose primary group is not among the others can lose it through a set-group-id
        // program, and with it what that group is forbidden (CVE-2022-36109). Whoever writes a
        // configuration sees to that there; here nobody else does.
        let gid = process.user.gid;
        if !process.user.additional_gids.contains(&gid) {
            process.user.additional_gids.insert(0, gid);
        }
    }
    for gid in parsed.all("additional-gids") {
        let gid = gid.parse().map_err(|_| format!("additional-gids: {gid:?} is not an id"))?;
        process.user.additional_gids.push(gid);
    }
    add_capabilities(&mut process, parsed);
    Ok(process)
}

/// A set of processors as one number, as runc writes it.
fn hexadecimal(cpus: &[u64]) -> String {
    let words: String = cpus.iter().rev().map(|word| format!("{word:016x}")).collect();
    words.trim_start_matches('0').to_owned()
}

/// `UID[:GID]`, decimal: a single digit is an id like any other (CVE-2026-30892).
fn parse_user(text: &str, gid: u32) -> Result<(u32, u32), Failure> {
    let id = |part: &str| {
        let decimal = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let number = decimal.then(|| part.parse::<u32>().ok()).flatten();
        number.ok_or_else(|| Failure::from(format!("--user: {part:?} is not an id in {text:?}")))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, id(gid)?)),
        None => Ok((id(text)?, gid)),
    }
}

/// `--cap` adds to what the program may have; never to what a file with inheritable capabilities
/// would keep (CVE-2022-29162).
fn add_capabilities(process: &mut Process, parsed: &Parsed) {
    for cap in parsed.all("cap") {
        let caps = process.capabilities.get_or_insert_with(Capabilities::default);
        for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
            add(set, cap);
        }
        // As runc: only where the configuration has inheritable ones. It can be raised only if it is
        // among them.
        if caps.inheritable.iter().any(|have| have == cap) {
            add(&mut caps.ambient, cap);
        }
    }
}

fn add(set: &mut Vec<String>, cap: &str) {
    if !set.iter().any(|have| have == cap) {
        set.push(cap.to_owned());
    }
}

/// Shared so that it can be dropped here when the container has it.
pub(crate) type Shared = Arc<std::os::fd::OwnedFd>;

#[cfg(test)]
mod tests {
    use super::parse_user;

    #[test]
    fn a_user_is_its_number_or_an_error() {
        for (text, want) in [
            ("1", Some((1, 5))),
            ("7", Some((7, 5))),
            ("00", Some((0, 5))),
            ("65534", Some((65534, 5))),
            ("1:2", Some((1, 2))),
            ("+1", None),
            ("0x1", None),
            ("", None),
            (":5", None),
            ("1:", None),
            ("-1", None),
            ("4294967296", None),
        ] {
            assert_eq!(parse_user(text, 5).ok(), want, "{text:?}");
        }
    }
}
