//! Further processes in a step that runs, and what can be done to it meanwhile.

use std::os::unix::net::UnixStream;

use docker::exec::CreateRequest;
use shim_protocol::{Attach, Exec, ExecStatus, Reply, Request};

use crate::engine::Engine;
use crate::exec::exec_error;
use crate::record::Container;
use crate::{Error, control, name, shim};

/// What a process comes to that was killed with its container, as the kernel's SIGKILL has it.
const KILLED: i32 = 128 + 9;

/// A step that runs, or did.
#[derive(Clone, Debug)]
pub struct RunningStep {
    pub(super) container: Container,
}

/// A further process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepProcess {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`, all of it; PATH and HOME get their usual values where they are missing.
    pub env: Vec<String>,
    /// Where it starts; empty: where the step did.
    pub cwd: String,
    /// `USER[:GROUP]`; empty: as the step.
    pub user: String,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input is written to; else it is empty.
    pub stdin: bool,
    /// All rights. Whether it may have them is the caller's to know.
    pub privileged: bool,
}

/// A further process that runs.
#[derive(Debug)]
pub struct StepExec {
    /// Its id.
    pub id: String,
    /// Output comes out of it, in frames ([`super::StepFrames`]) where there is no terminal, and input goes in.
    /// It ends when the process has.
    pub stream: UnixStream,
}

impl Engine {
    /// Runs a further process in a step.
    ///
    /// # Errors
    ///
    /// The step has ended, or the program cannot be run ([`Error::Start`]).
    pub fn exec_in_step(
        &self,
        step: &RunningStep,
        process: &StepProcess,
    ) -> Result<StepExec, Error> {
        // It has the variables that it is given, and none of the step's.
        let mut container = step.container.clone();
        container.record.config.env = process.env.clone().into();
        container.record.host.privileged |= process.privileged;
        let asked = CreateRequest {
            cmd: process.args.clone().into(),
            working_dir: process.cwd.clone(),
            user: process.user.clone(),
            tty: process.tty,
            privileged: process.privileged,
            ..CreateRequest::default()
        };
        let (wanted, refused) = self.exec_process(&container, &asked)?;
        if let Some(why) = refused {
            return Err(Error::Invalid(why));
        }
        let id = name::hex::<32>()?;
        let attach = Attach { stdin: process.stdin, stdout: true, stderr: true };
        let exec = Exec { id: id.clone(), process: wanted, attach, console: None };
        let socket = self.paths().socket(&container.id);
        let answer = match shim::ask(&socket, &Request::Exec(Box::new(exec))) {
            Err(Error::Shim(message)) => {
                let execs = self.paths().execs(&container.id);
                return Err(exec_error(&execs, &id, &message));
            }
            answer => answer?,
        };
        let Some(answer) = answer else { return control::not_running(&container) };
        match answer.reply {
            Reply::Started { .. } => Ok(StepExec { id, stream: answer.stream }),
            other => Err(Error::Shim(format!("unexpected answer: {other:?}"))),
        }
    }

    /// The exit code of a process whose stream has ended. One whose step has ended was killed with it.
    pub fn step_exec_code(&self, step: &RunningStep, exec: &str) -> i32 {
        let execs = self.paths().execs(&step.container.id);
        let status = ExecStatus::load(&execs, exec).unwrap_or_default();
        status.exit_code.unwrap_or(KILLED)
    }

    /// Sets the size of the terminal of a step, or of a further process in it. Nothing where that has ended.
    pub fn resize_step(
        &self,
        step: &RunningStep,
        exec: Option<&str>,
        width: u16,
        height: u16,
    ) -> Result<(), Error> {
        let exec = exec.map(str::to_owned);
        self.tell_step(step, &Request::Resize { exec, width, height })
    }

    /// Sends a signal to the first process of a step, or to a further one. Nothing where that has ended.
    pub fn signal_step(
        &self,
        step: &RunningStep,
        exec: Option<&str>,
        signal: i32,
    ) -> Result<(), Error> {
        let request = match exec {
            Some(exec) => Request::KillExec { exec: exec.to_owned(), signal },
            None => Request::Kill { signal, stop: false, keep: false },
        };
        self.tell_step(step, &request)
    }

    fn tell_step(&self, step: &RunningStep, request: &Request) -> Result<(), Error> {
        match shim::ask(&self.paths().socket(&step.container.id), request) {
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
