//! Spawning a supervisor, and going with it from the creation of the container to its start.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use rustix::io::Errno;
use shim_protocol::{Reply, Request, WireError};

use crate::Error;
use crate::engine::Engine;
use crate::error::{At as _, Class, NOT_STARTED};
use crate::record::Container;
use crate::shim::{Begun, is_gone};

/// How long a supervisor may take to make a container, and to start it.
const PATIENCE: Duration = Duration::from_mins(2);

impl Engine {
    /// Starts the supervisor, and goes with it from creation to the start.
    pub(crate) fn launch(&self, container: &Container) -> Result<(), Error> {
        self.launch_with(container, None::<fn() -> _>).map(drop)
    }

    /// The same, with the connection by which a container that is tied to this process lives; and with
    /// something that is to be done when the container is there and nothing of it runs.
    pub(crate) fn launch_tied(
        &self,
        container: &Container,
        made: impl FnOnce() -> Result<(), Error>,
    ) -> Result<UnixStream, Error> {
        self.launch_with(container, Some(made))
    }

    fn launch_with(
        &self,
        container: &Container,
        made: Option<impl FnOnce() -> Result<(), Error>>,
    ) -> Result<UnixStream, Error> {
        let run = self.paths().run(&container.id);
        failpoint::hit("engine.spawn").at("spawn", &self.exe)?;
        let (mut child, control) = match self.take_ahead(&container.id) {
            Some(ahead) => ahead,
            None => self.spawn(&run)?,
        };
        let mut begun = Vec::new();
        let outcome = failpoint::hit("engine.spawned")
            .at("spawn", &self.exe)
            .and_then(|()| self.converse(container, &control, &mut begun, made));
        if let Err(err) = outcome {
            drop(control);
            // It takes down what it made, and ends; then nothing of it can get in the way.
            child.wait().at("wait", &self.exe)?;
            // They are told when the status says why.
            self.shared.pending.give_back(&container.id, begun);
            return Err(err);
        }
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        control.set_read_timeout(None).at("setsockopt", &run)?;
        Ok(control)
    }

    fn spawn(&self, run: &Path) -> Result<(Child, UnixStream), Error> {
        let (control, theirs) = UnixStream::pair().at("socketpair", run)?;
        let log = run.join("shim.log");
        let log =
            OpenOptions::new().create(true).append(true).mode(0o600).open(&log).at("open", &log)?;
        let mut command = supervisor(&self.exe);
        let child = command.arg(run).stdin(OwnedFd::from(theirs)).stderr(log).spawn();
        Ok((child.at("spawn", &self.exe)?, control))
    }

    fn converse(
        &self,
        container: &Container,
        control: &UnixStream,
        begun: &mut Vec<Begun>,
        made: Option<impl FnOnce() -> Result<(), Error>>,
    ) -> Result<(), Error> {
        control.set_read_timeout(Some(PATIENCE)).at("setsockopt", &self.exe)?;
        let hear = || match shim_protocol::receive(control) {
            Ok(Some(Reply::Error(err))) => Err(start_error(container, &err)),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.silent(container)),
            Err(err) if err.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {
                Err(Error::Shim(format!(
                    "the supervisor of container {} does not answer: see {}",
                    container.id,
                    self.paths().run(&container.id).join("shim.log").display()
                )))
            }
            Err(err) if err.kind() == io::ErrorKind::ConnectionReset => Err(self.silent(container)),
            Err(err) => Err(err).at("read", &self.exe),
        };
        let unexpected = |other: Reply| Err(Error::Shim(format!("unexpected answer: {other:?}")));
        match hear()? {
            Reply::Listening => {}
            other => return unexpected(other),
        }
        // Whoever is to see the first byte of output has asked for it before the word to start.
        let socket = self.paths().socket(&container.id);
        for entry in self.shared.pending.take(&container.id) {
            begun.extend(entry.begin(&socket)?);
        }
        let go = || {
            failpoint::hit("engine.go").at("write", &socket)?;
            match shim_protocol::send(control, &Request::Start) {
                // It has ended before it was told: why, it has said, and is heard next.
                Err(err) if is_gone(&err) => Ok(()),
                sent => sent.at("write", &socket),
            }
        };
        // With nothing left to be done here, the supervisor need not wait for another word.
        if made.is_none() {
            go()?;
        }
        match hear()? {
            Reply::Created { .. } => {}
            other => return unexpected(other),
        }
        if let Some(made) = made {
            made()?;
            go()?;
        }
        for one in begun.drain(..) {
            // It has been told to start, and does: that somebody gets no answer is no failure of that.
            let _unheard = one.finish(&socket);
        }
        match hear()? {
            Reply::Started { .. } => {}
            other => return unexpected(other),
        }
        // Who came since the first were taken, and before it was seen to run.
        for late in self.shared.pending.take(&container.id) {
            let _unheard = late
                .begin(&socket)
                .and_then(|begun| begun.map_or(Ok(()), |one| one.finish(&socket)));
        }
        Ok(())
    }

    /// A supervisor that ended without a word: what its log says last.
    fn silent(&self, container: &Container) -> Error {
        let log = self.paths().run(&container.id).join("shim.log");
        let text = fs::read_to_string(log).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        Error::Shim(match last {
            Some(line) => format!("the supervisor ended: {line}"),
            None => "the supervisor ended without a word".into(),
        })
    }
}

/// A call of our own program as a supervisor, which knows nothing of who calls.
///
/// It goes where it is to be by itself: for a working directory of its own the standard library would copy
/// this process instead of borrowing its memory, which takes several times as long.
pub(crate) fn supervisor(exe: &Path) -> Command {
    let mut command = Command::new(exe);
    command.arg0("dhow-shim").env_clear().stdout(Stdio::null());
    // Nothing of who started it reaches the container: not even what the engine was told.
    if let Some(failpoints) = std::env::var_os("DHOW_FAILPOINTS") {
        command.env("DHOW_FAILPOINTS", failpoints);
    }
    command
}

/// How a part of a volume begins that is not there.
const NO_PATH: &str = "cannot access path ";
/// Go's words for ENOENT and ENOTDIR, and what Docker's daemon makes of the second.
const NOT_FOUND: &str = "no such file or directory";
const NOT_A_DIRECTORY: &str = "not a directory";
const HINT: &str = ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host \
    path exists and is the expected type";

/// A supervisor's refusal, in the words by which clients tell what happened.
fn start_error(container: &Container, err: &WireError) -> Error {
    if err.port_taken {
        return port_taken(container, &err.message);
    }
    let said = in_gos_words(&err.message);
    if said.starts_with(NO_PATH) && said.contains(NOT_FOUND) {
        return Error::not_started(said, Class::NotFound);
    }
    let exit_code = err.exit_code.or_else(|| exit_code_by(&said)).unwrap_or(NOT_STARTED);
    let hint = if err.exit_code.is_none() && said.contains(NOT_A_DIRECTORY) { HINT } else { "" };
    let message = format!(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: dhow-runtime create failed: {said}{hint}"
    );
    Error::start(message, exit_code)
}

/// A start for which another one has the port.
pub(crate) fn port_taken(container: &Container, why: &str) -> Error {
    let message = format!(
        "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({}): {why}",
        container.name, container.id
    );
    Error::not_started(message, Class::Internal)
}

/// What Docker's daemon takes for a program that is not there, or that cannot be run, by the words of whatever failed.
fn exit_code_by(said: &str) -> Option<i32> {
    if said.contains("permission denied") {
        return Some(126);
    }
    let words = [NOT_A_DIRECTORY, NOT_FOUND, "executable file not found"];
    words.iter().any(|words| said.contains(words)).then_some(127)
}

/// What the kernel answered, as Go writes it: clients tell exit codes by these words.
pub(crate) fn in_gos_words(message: &str) -> String {
    const OF_C: [&str; 8] = [
        "No such file or directory",
        "Permission denied",
        "Is a directory",
        "Not a directory",
        "Operation not permitted",
        "Device or resource busy",
        "Invalid argument",
        "File exists",
    ];
    OF_C.iter().fold(message.to_owned(), |said, words| {
        if said.contains(words) { said.replace(words, &words.to_ascii_lowercase()) } else { said }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_answered_is_in_gos_words() {
        let said = "cannot access path a/b: openat2(\"a/b\", O_PATH): No such file or directory";
        let want = "cannot access path a/b: openat2(\"a/b\", O_PATH): no such file or directory";
        assert_eq!(in_gos_words(said), want);
        assert_eq!(in_gos_words("Read the manual"), "Read the manual");
    }

    #[test]
    fn words_tell_an_exit_code() {
        for (said, code) in [
            ("mounts[3] on \"/x\": a file cannot cover a directory: not a directory", Some(127)),
            ("linux.sysctl: sys/net/x: no such file or directory", Some(127)),
            ("mounts[3] on \"/x\": permission denied", Some(126)),
            ("sethostname: invalid argument", None),
        ] {
            assert_eq!(exit_code_by(said), code, "{said}");
        }
    }
}
