//! Calling the OCI runtime, and reading its errors.
//!
//! Another's runtime is a program. Our own is one as well where that matters: to create a container
//! and to join one take a process of their own, which for the first container may have been started
//! [ahead](crate::ahead). Its `start` and `delete` are calls: a process for each would cost more than
//! what they do.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use container::Store;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use shim_protocol::{Runtime, WireError};
use sys::Call;

use crate::ahead::{Ahead, Creating};
use crate::error::{Error, report};

/// What of a runtime's standard error is looked at, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How to call the runtime for one container.
#[derive(Debug)]
pub(crate) struct Caller {
    program: CString,
    /// `argv[0]` and the global options.
    prefix: Vec<CString>,
    env: Vec<CString>,
    id: String,
    null: OwnedFd,
    /// The state of containers, where the runtime is our own.
    own: Option<Store>,
}

impl Caller {
    /// Prepares calls of `runtime` for the container `id`.
    ///
    /// `own`, which must stay open, is our own program, where it is to be the runtime.
    pub(crate) fn new(runtime: &Runtime, id: &str, own: Option<&OwnedFd>) -> Result<Self, Error> {
        let own = own.map_or("/proc/self/exe".into(), path_of);
        let own = (OsStr::new(&own), OsStr::new("dhow-runtime"));
        let (program, name) =
            runtime.program.as_ref().map_or(own, |path| (path.as_os_str(), path.as_os_str()));
        let mut prefix = vec![c_string(name)?, c"--root".into(), c_string(&runtime.root)?];
        for arg in &runtime.args {
            prefix.push(c_string(arg)?);
        }
        let own = runtime.program.is_none().then(|| Store::new(runtime.root.clone()));
        let (program, env, null) = (c_string(program)?, environment()?, open_null()?);
        Ok(Self { program, prefix, env, id: id.to_owned(), null, own })
    }

    /// `/dev/null`, for a stream that nobody wants.
    pub(crate) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// Starts `RUNTIME create ARGS ID` with these three streams: in the process that was started
    /// ahead for it, if there is one that can still be told so.
    pub(crate) fn create(
        &self,
        ahead: Option<Ahead>,
        args: &[&OsStr],
        streams: [BorrowedFd<'_>; 3],
    ) -> Result<Creating, Error> {
        let argv = self.argv(&[], "create", args)?;
        match ahead.and_then(|ahead| ahead.go(argv.get(1..)?, streams)) {
            Some(creating) => Ok(creating),
            None => Ok(Creating::executed(self.execute(&argv, streams)?)),
        }
    }

    /// Starts `RUNTIME COMMAND ARGS ID` with these three streams.
    pub(crate) fn spawn(
        &self,
        command: &str,
        args: &[&OsStr],
        streams: [BorrowedFd<'_>; 3],
    ) -> Result<Pid, Error> {
        self.execute(&self.argv(&[], command, args)?, streams)
    }

    /// The same; what our own runtime warns of is added to the file `log`, since its standard error is the
    /// program's that it makes way for.
    pub(crate) fn spawn_aside(
        &self,
        log: &Path,
        command: &str,
        args: &[&OsStr],
        streams: [BorrowedFd<'_>; 3],
    ) -> Result<Pid, Error> {
        let options = [OsStr::new("--log"), log.as_os_str()];
        // Another's might tell there, too, why it failed.
        let options: &[&OsStr] = if self.own.is_some() { &options[..] } else { &[] };
        self.execute(&self.argv(options, command, args)?, streams)
    }

    /// `RUNTIME OPTIONS COMMAND ARGS ID`.
    fn argv(
        &self,
        options: &[&OsStr],
        command: &str,
        args: &[&OsStr],
    ) -> Result<Vec<CString>, Error> {
        let mut argv = self.prefix.clone();
        for option in options {
            argv.push(c_string(option)?);
        }
        argv.push(c_string(command)?);
        for arg in args {
            argv.push(c_string(arg)?);
        }
        argv.push(c_string(&self.id)?);
        Ok(argv)
    }

    fn execute(&self, argv: &[CString], streams: [BorrowedFd<'_>; 3]) -> Result<Pid, Error> {
        let spawn = sys::Spawn {
            program: &self.program,
            argv,
            env: &self.env,
            fds: &[(streams[0], 0), (streams[1], 1), (streams[2], 2)],
            new_session: false,
        };
        Ok(spawn.spawn()?.pid)
    }

    /// Starts the program of the container, which was created.
    pub(crate) fn start(&self) -> Result<(), Error> {
        match &self.own {
            Some(store) => container::start(store, &self.id).map_err(|err| refusal(&err)),
            None => self.run("start", &[]),
        }
    }

    /// Takes the container away, whatever state it is in, if it is there.
    pub(crate) fn delete(&self) -> Result<(), Error> {
        let Some(store) = &self.own else { return self.run("delete", &["--force".as_ref()]) };
        for warning in container::delete(store, &self.id, true).map_err(|err| refusal(&err))? {
            report("delete", &Error::Request(warning));
        }
        Ok(())
    }

    /// Runs `RUNTIME COMMAND ARGS ID` to its end.
    fn run(&self, command: &str, args: &[&OsStr]) -> Result<(), Error> {
        let (errors, write) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).call(|| "pipe2()")?;
        let pid = self.spawn(command, args, [self.null(), self.null(), write.as_fd()])?;
        drop(write);
        match wait(pid)? {
            0 => Ok(()),
            code => Err(Error::Runtime(failure(command, code, &written_to(&errors)))),
        }
    }
}

/// What our own runtime refused, as if it were a program.
fn refusal(err: &container::Error) -> Error {
    let message = err.line();
    let exit_code = command_exit_code(&message);
    Error::Runtime(WireError { exit_code, ..WireError::new(in_gos_words(&message)) })
}

/// Waits for a child's end; its exit code, or 128 plus the signal that ended it.
pub(crate) fn wait(pid: Pid) -> Result<i32, Error> {
    let status = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()))
        .call(|| format!("waitpid({})", pid.as_raw_nonzero()))?;
    Ok(status.map_or(0, |(_, status)| exit_code(status)))
}

/// The exit code, or 128 plus the signal.
pub(crate) fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(0)
}

/// What lies in a pipe that does not block.
pub(crate) fn written_to(pipe: impl AsFd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while all.len() < MAX_ERROR_BYTES {
        match rustix::io::read(&pipe, &mut buffer) {
            Ok(n_bytes) if n_bytes > 0 => all.extend_from_slice(&buffer[..n_bytes]),
            Err(Errno::INTR) => {}
            _ => break,
        }
    }
    all
}

/// What a runtime that failed has to say: its last line, freed of what loggers put around it.
pub(crate) fn failure(command: &str, code: i32, stderr: &[u8]) -> WireError {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().rev().map(plain_line).find(|line| !line.is_empty());
    let message = last.unwrap_or_else(|| format!("runtime's `{command}` ended with code {code}"));
    let exit_code = command_exit_code(&message);
    WireError { exit_code, ..WireError::new(in_gos_words(&message)) }
}

/// What went wrong, in the words by which clients tell exit codes: Go's, where we and crun have the C
/// library's.
fn in_gos_words(message: &str) -> String {
    let mut message = message.to_owned();
    for (c, go) in [
        ("No such file or directory", "no such file or directory"),
        ("Permission denied", "permission denied"),
        ("Is a directory", "is a directory"),
        ("Not a directory", "not a directory"),
        ("Exec format error", "exec format error"),
        ("open executable: Operation not permitted", "open executable: permission denied"),
    ] {
        message = message.replace(c, go);
    }
    message
}

/// The exit code that says of a container's own command that it is not there (127) or cannot be
/// run (126), as a shell would. Of other things that are not there it says nothing.
fn command_exit_code(message: &str) -> Option<i32> {
    /// How runc, we and crun begin to speak of a command.
    const COMMAND: [&str; 5] =
        ["exec: \"", "exec /", "exec user process", "executable file", "open executable"];
    const NOT_FOUND: [&str; 2] = ["executable file not found", "no such file or directory"];
    const CANNOT_RUN: [&str; 4] = [
        "permission denied",
        "is a directory",
        "exec format error",
        // crun, of a directory.
        "operation not permitted",
    ];
    let lower = message.to_ascii_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    if !has(&COMMAND) {
        None
    } else if has(&NOT_FOUND) {
        Some(127)
    } else if has(&CANNOT_RUN) {
        Some(126)
    } else {
        None
    }
}

/// The message inside of a log line in logrus's two text forms; other lines as they are.
fn plain_line(line: &str) -> String {
    let line = line.trim();
    if let Some((_, quoted)) = line.split_once(" msg=\"")
        && line.starts_with("time=")
    {
        let mut message = String::new();
        let mut chars = quoted.chars();
        while let Some(char) = chars.next() {
            match char {
                '"' => break,
                '\\' => message.extend(chars.next()),
                other => message.push(other),
            }
        }
        return message;
    }
    let logged = line.strip_prefix("ERRO[").and_then(|rest| rest.split_once("] "));
    let message = logged.map_or(line, |(_, message)| message.trim());
    message.strip_prefix("dhow-runtime: error: ").unwrap_or(message).to_owned()
}

/// How our own program is executed that is open as `program`.
pub(crate) fn path_of(program: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", program.as_raw_fd())
}

/// A runtime's environment, which is its own: where its hooks find programs, and a test's failpoints.
pub(crate) fn environment() -> Result<Vec<CString>, Error> {
    let mut env = vec![c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()];
    if let Some(failpoints) = std::env::var_os("DHOW_FAILPOINTS") {
        let mut entry = std::ffi::OsString::from("DHOW_FAILPOINTS=");
        entry.push(failpoints);
        env.push(c_string(entry)?);
    }
    Ok(env)
}

pub(crate) fn open_null() -> Result<OwnedFd, sys::Error> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .call(|| "open(\"/dev/null\")")
}

pub(crate) fn c_string(text: impl AsRef<OsStr>) -> Result<CString, Error> {
    let text = text.as_ref();
    let refused = |_| Error::Request(format!("argument {} contains a NUL byte", text.display()));
    CString::new(text.as_bytes()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stderr: &str, message: &str, exit_code: Option<i32>) {
        let wire = failure("create", 1, stderr.as_bytes());
        assert_eq!((wire.message.as_str(), wire.exit_code), (message, exit_code));
    }

    #[test]
    fn the_last_line_is_the_error() {
        check("", "runtime's `create` ended with code 1", None);
        check(
            "dhow-runtime: error: mount /x: no such file or directory",
            "mount /x: no such file or directory",
            None,
        );
        check("warning: x\nmount proc: EPERM\n\n", "mount proc: EPERM", None);
        check("ERRO[0000] runc create failed: oops \n", "runc create failed: oops", None);
        check(
            r#"time="2026-01-02T03:04:05Z" level=error msg="exec: \"x\": is a directory""#,
            r#"exec: "x": is a directory"#,
            Some(126),
        );
    }

    #[test]
    fn a_missing_and_an_unusable_command_have_codes_of_their_own() {
        let not_found = "exec: \"nosuch\": executable file not found in $PATH";
        check(not_found, not_found, Some(127));
        check(
            "exec /bin/x: No such file or directory",
            "exec /bin/x: no such file or directory",
            Some(127),
        );
        check("exec /etc: permission denied", "exec /etc: permission denied", Some(126));
        check("exec /x: Exec format error", "exec /x: exec format error", Some(126));
        check(
            "open executable: Operation not permitted",
            "open executable: permission denied",
            Some(126),
        );
    }
}
