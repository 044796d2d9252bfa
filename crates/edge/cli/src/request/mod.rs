//! From the flags of `run` and `create` to the API's request: parsing and checks that need no
//! engine.

mod build;
mod changes;
pub(crate) mod csv;
mod devices;
mod mounts;
mod secrets;
mod values;

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::run_args::ContainerArgs;

pub(crate) use build::{build, restart, update};
pub(crate) use changes::changes;
pub(crate) use values::{environment, filters, key_values, ulimit};

/// Which of the container's streams are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attach {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Attach {
    /// Whether any is.
    pub(crate) fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

/// A request to create a container.
#[derive(Debug)]
pub(crate) struct Create {
    /// What is sent.
    pub(crate) body: docker::CreateRequest,
    /// The archive that takes the place of an image.
    pub(crate) rootfs: Option<PathBuf>,
}

/// Which streams are joined: those of `--attach`; without it output, and input with `-i`.
pub(crate) fn attached(args: &ContainerArgs, detach: bool) -> Result<Attach> {
    let interactive = args.interactive.unwrap_or(false);
    if args.attach.is_empty() {
        return Ok(if detach {
            Attach::default()
        } else {
            Attach { stdin: interactive, stdout: true, stderr: true }
        });
    }
    if detach {
        return Err(Error::Early(
            "conflicting options: cannot specify both --attach and --detach".to_owned(),
        ));
    }
    let mut attach = Attach::default();
    for stream in &args.attach {
        match stream.to_ascii_lowercase().as_str() {
            "stdin" => attach.stdin = true,
            "stdout" => attach.stdout = true,
            "stderr" => attach.stderr = true,
            _ => {
                return Err(Error::Flag(format!(
                    "invalid argument {stream:?} for --attach: valid streams are STDIN, STDOUT and STDERR"
                )));
            }
        }
    }
    Ok(attach)
}
