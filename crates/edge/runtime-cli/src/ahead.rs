//! `ahead RUN`: for a supervisor that will have something to be created in a few milliseconds.
//!
//! It stands in no help, since nobody else has a use for it. `RUN` is the directory of the container
//! that it will be: by it, in its command line, the engine's recovery finds a runtime whose supervisor
//! was killed.

use std::ffi::OsString;

use container::ahead::{COMMAND, Instructions, await_instructions, is_end, prime};
use sys::Call;

use crate::{Failure, protect};

/// Whether that is the command.
pub(crate) fn is_asked(args: &[OsString]) -> bool {
    matches!(args, [command, _] if command == COMMAND)
}

/// Does what can be done before it is known for what, and waits for the command line that this process
/// is to go on with as its own, in a file that no container can write. `None`: nobody needs it.
pub(crate) fn arguments() -> Result<Option<Vec<OsString>>, Failure> {
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
    let [stdin, stdout, stderr] = &streams;
    // The connection goes with the first.
    rustix::stdio::dup2_stdin(stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(stderr))
        .call(|| "dup2()")
        .map_err(|error| format!("ahead: {error}: {}", error.errno()))?;
    Ok(Some(args))
}
