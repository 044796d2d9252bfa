//! `ahead RUN`: for a supervisor that will have something to be created in a few milliseconds.
//!
//! It stands in no help, since nobody else has a use for it. `RUN` is the directory of the container
//! that it will be: by it, in its command line, the engine's recovery finds a runtime whose supervisor
//! was killed.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};

use container::ahead::{COMMAND, Instructions, await_instructions, is_end, prime, tell_done};
use sys::Call;

use crate::{Failure, protect};

/// Whether that is the command.
pub(crate) fn is_asked(args: &[OsString]) -> bool {
    matches!(args, [command, _] if command == COMMAND)
}

/// Who is to be told that it is done.
#[derive(Debug)]
pub(crate) struct Teller(OwnedFd);

impl Teller {
    /// Tells it. Nothing may be left to be done, nor to be said: the standard streams, which the container's
    /// program has as well, are let go of before, so that they end with that.
    pub(crate) fn tell_done(self) {
        let _kept = rustix::stdio::dup2_stdin(&self.0)
            .and_then(|()| rustix::stdio::dup2_stdout(&self.0))
            .and_then(|()| rustix::stdio::dup2_stderr(&self.0));
        tell_done(self.0.as_fd());
    }
}

/// Does what can be done before it is known for what, and waits for the command line that this process
/// is to go on with as its own, in a file that no container can write. `None`: nobody needs it.
pub(crate) fn arguments() -> Result<Option<(Vec<OsString>, Teller)>, Failure> {
    let control = rustix::stdio::stdin();
    if !is_end(control) {
        let why = "ahead: standard input is not a supervisor's connection";
        return Err(Failure::from(why.to_owned()));
    }
    protect()?;
    prime();
    let Some(Instructions { args, streams }) = await_instructions(control)? else {
        return Ok(None);
    };
    // What is made now inherits it.
    sys::run_anywhere();
    let [stdin, stdout, stderr] = &streams;
    let failed = |error: sys::Error| format!("ahead: {error}: {}", error.errno());
    // Out of the way of what becomes standard input, and closed by whatever the container executes.
    let teller = rustix::io::fcntl_dupfd_cloexec(control, 3).call(|| "fcntl(F_DUPFD_CLOEXEC)");
    let teller = Teller(teller.map_err(failed)?);
    rustix::stdio::dup2_stdin(stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(stderr))
        .call(|| "dup2()")
        .map_err(failed)?;
    Ok(Some((args, teller)))
}
