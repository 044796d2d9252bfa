//! Further processes in a container that runs.
//!
//! One is made first (a record in `RUN/execs`), and started later by its id. The supervisor starts
//! it, and notes its end. The id begins with the container's, so that it leads there.

use std::io;
use std::os::unix::net::UnixStream;

use docker::exec::{CreateRequest, Inspect, ProcessConfig, StartRequest};
use oci::runtime::{ConsoleSize, Process};
use shim_protocol::{Attach, Console, Exec, ExecRecord, ExecStatus, Phase, Reply, Request};

use crate::engine::Engine;
use crate::error::{At as _, chain};
use crate::record::Container;
use crate::spec::security::Security;
use crate::spec::{self, caps, resources};
use crate::{Error, control, events, labelling, name, shim};

/// How many digits of its container's id an exec's begins with.
const OF_CONTAINER: usize = 16;

/// An exec that was started.
#[derive(Debug)]
pub struct ExecStream {
    /// Whether the stream is a terminal's, not framed.
    pub tty: bool,
    /// Whether what is sent goes to the process.
    pub stdin: bool,
    /// The keys that detach, as they were asked for; empty: the default.
    pub detach_keys: String,
    /// Output comes out of it, input goes in; `None` where nobody attaches.
    pub stream: Option<UnixStream>,
}

impl Engine {
    /// Makes an exec in a container that runs. Its id.
    pub fn exec_create(&self, wanted: &str, request: &CreateRequest) -> Result<String, Error> {
        let container = self.find(wanted)?;
        self.may_exec(&container, wanted)?;
        if request.cmd.is_empty() {
            return Err(Error::Invalid("No exec command specified".into()));
        }
        let (process, refused) = self.exec_process(&container, request)?;
        let id = format!("{}{}", &container.id[..OF_CONTAINER], &name::hex::<24>()?);
        let record = ExecRecord {
            id: id.clone(),
            container: container.id.clone(),
            process,
            attach: Attach {
                stdin: request.attach_stdin,
                stdout: request.attach_stdout,
                stderr: request.attach_stderr,
            },
            user: request.user.clone(),
            detach_keys: request.detach_keys.clone(),
            privileged: request.privileged,
            refused,
        };
        let execs = self.paths().execs(&container.id);
        let path = execs.join(format!("{id}.json"));
        let bytes = serde_json::to_vec(&record).map_err(io::Error::from).at("serialize", &path)?;
        failpoint::hit("engine.exec").at("write", &path)?;
        match std::fs::write(&path, bytes) {
            // The folder goes with the run.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return control::not_running(&container);
            }
            written => written.at("write", &path)?,
        }
        failpoint::hit("engine.exec-made").at("write", &path)?;
        let (program, rest) = request.cmd.split_first().map_or(("", &[][..]), |(p, r)| (p, r));
        let action = format!("exec_create: {program} {}", rest.join(" "));
        self.emit(&events::with(events::container(&action, &container), "execID", &id));
        Ok(id)
    }

    /// Whether something can be executed in a container, which `called` means.
    fn may_exec(&self, container: &Container, called: &str) -> Result<(), Error> {
        match self.status(&container.id)?.phase {
            Phase::Running => Ok(()),
            Phase::Paused => Err(Error::Conflict(format!(
                "Container {called} is paused, unpause the container before exec"
            ))),
            Phase::Restarting => control::restarting(container),
            Phase::Created | Phase::Exited => control::not_running(container),
        }
    }

    /// The process of an exec: the container's own, but for what was asked; and why it cannot start.
    pub(crate) fn exec_process(
        &self,
        container: &Container,
        request: &CreateRequest,
    ) -> Result<(Process, Option<String>), Error> {
        let record = &container.record;
        let (config, host) = (&record.config, &record.host);
        let mounts = self.layers(container)?;
        let user = if request.user.is_empty() { &config.user } else { &request.user };
        let identity = crate::accounts::look_up_user(user, &host.group_add, mounts.as_ref())?;
        let all = ::caps::CapSet::available()?;
        let security = Security::parse(&host.security_opt)?;
        let privileged = host.privileged || request.privileged;
        let set = caps::tweak(privileged, &host.cap_add, &host.cap_drop, all)?;
        let links = self.link_words(container, false)?.env;
        // A terminal's variables are not for who has none.
        let of_exec = docker::ContainerConfig { tty: request.tty, ..config.clone() };
        let own = spec::process_env(&of_exec, &identity.home, &links);
        let cwd = [request.working_dir.as_str(), config.working_dir.as_str(), "/"]
            .into_iter()
            .find(|path| !path.is_empty())
            .unwrap_or("/");
        // As in Docker, this is told of when the process is to start.
        let refused = (!cwd.starts_with('/')).then(|| {
            "OCI runtime exec failed: exec failed: Cwd must be an absolute path".to_owned()
        });
        let words = request.cmd.iter().chain(request.env.iter());
        if words.clone().any(|word| word.contains('\0')) {
            return Err(Error::Invalid("an argument or variable holds a NUL byte".into()));
        }
        let process = Process {
            terminal: request.tty,
            console_size: request
                .console_size
                .filter(|size| request.tty && *size != [0, 0])
                .map(|[height, width]| ConsoleSize { height: height.into(), width: width.into() }),
            user: identity.user,
            args: request.cmd.to_vec(),
            env: spec::exec_env(&own, request.tty, &request.env),
            cwd: cwd.into(),
            capabilities: Some(spec::capabilities(caps::names(set))),
            rlimits: host
                .resources
                .ulimits
                .iter()
                .map(resources::rlimit)
                .collect::<Result<_, _>>()?,
            no_new_privileges: security.no_new_privileges,
            apparmor_profile: security.loaded_apparmor(host.privileged)?.to_owned(),
            selinux_label: labelling::labels(record).process,
            oom_score_adj: i32::try_from(host.oom_score_adj).ok().filter(|&score| score != 0),
            ..Process::default()
        };
        Ok((process, refused))
    }

    /// Whether an exec can be started now: an error if not. Whether it has a terminal, and the keys
    /// that detach from it.
    pub fn exec_ready(&self, exec: &str) -> Result<(bool, String), Error> {
        let (container, record) = self.exec_record(exec)?;
        self.may_exec(&container, &container.id)?;
        Ok((record.process.terminal, record.detach_keys))
    }

    /// Starts an exec, and joins its streams unless it is to be left alone.
    pub fn exec_start(&self, exec: &str, request: &StartRequest) -> Result<ExecStream, Error> {
        let (container, record) = self.exec_record(exec)?;
        let execs = self.paths().execs(&container.id);
        let status = ExecStatus::load(&execs, exec).at("read", &execs)?;
        if status.running {
            return Err(Error::Conflict(format!("exec command {exec} is already running")));
        }
        if status.exit_code.is_some() {
            return Err(Error::Conflict(format!("exec command {exec} has already run")));
        }
        self.may_exec(&container, &container.id)?;
        if let Some(message) = record.refused {
            let exit_code = 128;
            let status = ExecStatus { exit_code: Some(exit_code), ..ExecStatus::default() };
            status.save(&execs, exec).at("write", &execs)?;
            return Err(Error::start(message, exit_code));
        }
        let attach = if request.detach { Attach::default() } else { record.attach };
        let size = request.console_size.filter(|_| record.process.terminal);
        let console = size.map(|[rows, columns]| {
            let number = |n| u16::try_from(n).unwrap_or(u16::MAX);
            Console { width: number(columns), height: number(rows) }
        });
        let ask = Request::Exec(Box::new(Exec {
            id: exec.to_owned(),
            process: record.process.clone(),
            attach,
            console,
        }));
        let answer = match shim::ask(&self.paths().socket(&container.id), &ask) {
            Err(Error::Shim(message)) => return Err(exec_error(&execs, exec, &message)),
            answer => answer?,
        };
        let Some(answer) = answer else { return control::not_running(&container) };
        if !matches!(answer.reply, Reply::Started { .. }) {
            return Err(Error::Shim(format!("unexpected answer: {:?}", answer.reply)));
        }
        Ok(ExecStream {
            tty: record.process.terminal,
            stdin: attach.stdin,
            detach_keys: record.detach_keys,
            stream: (attach != Attach::default()).then_some(answer.stream),
        })
    }

    /// All that is known of an exec.
    pub fn exec_inspect(&self, exec: &str) -> Result<Inspect, Error> {
        let (container, record) = self.exec_record(exec)?;
        let execs = self.paths().execs(&container.id);
        let status = ExecStatus::load(&execs, exec).at("read", &execs)?;
        let mut words = record.process.args.into_iter();
        Ok(Inspect {
            id: record.id,
            running: status.running,
            exit_code: status.exit_code.map(Into::into),
            process_config: ProcessConfig {
                tty: record.process.terminal,
                entrypoint: words.next().unwrap_or_default(),
                arguments: words.collect(),
                privileged: Some(record.privileged),
                user: record.user,
            },
            open_stdin: record.attach.stdin,
            open_stderr: record.attach.stderr,
            open_stdout: record.attach.stdout,
            can_remove: false,
            container_id: container.id,
            detach_keys: record.detach_keys,
            pid: status.pid.into(),
        })
    }

    /// Sets the size of an exec's terminal.
    pub fn exec_resize(&self, exec: &str, width: u16, height: u16) -> Result<(), Error> {
        let container = match self.exec_record(exec) {
            Ok((container, _)) => container,
            // It went with its container's life.
            Err(Error::NoExec(_)) if is_exec_id(exec) => match self.find(&exec[..OF_CONTAINER]) {
                Ok(of) if !self.is_alive(&of)? => return control::not_running(&of),
                _ => return Err(Error::NoExec(exec.to_owned())),
            },
            Err(err) => return Err(err),
        };
        let request = Request::Resize { exec: Some(exec.to_owned()), width, height };
        match shim::ask(&self.paths().socket(&container.id), &request) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => control::not_running(&container),
            Err(err) => Err(self.why_not_running(&container, exec).unwrap_or(err)),
        }
    }

    /// Why an exec has no terminal, in Docker's words: it has not begun, or has ended.
    fn why_not_running(&self, container: &Container, exec: &str) -> Option<Error> {
        let status = ExecStatus::load(&self.paths().execs(&container.id), exec).ok()?;
        match (status.running, status.pid) {
            (true, _) => None,
            (false, 0) => Some(Error::Invalid("exec process is not started".into())),
            (false, _) => Some(Error::NotFound(format!("NotFound: process does not exist {exec}"))),
        }
    }

    /// Tells of what was done with an exec.
    pub fn tell_of_exec(&self, exec: &str, action: &str) {
        // One that is gone in this moment is told of as that.
        if let Ok((container, _)) = self.exec_record(exec) {
            self.emit(&events::with(events::container(action, &container), "execID", exec));
        }
    }

    /// The record of an exec, and its container. An id becomes a file's name, so it is digits only.
    fn exec_record(&self, exec: &str) -> Result<(Container, ExecRecord), Error> {
        let unknown = || Error::NoExec(exec.to_owned());
        if !is_exec_id(exec) {
            return Err(unknown());
        }
        let container = self.find(&exec[..OF_CONTAINER]).map_err(|_| unknown())?;
        let path = self.paths().execs(&container.id).join(format!("{exec}.json"));
        let bytes = std::fs::read(&path).map_err(|_| unknown())?;
        let record = serde_json::from_slice(&bytes).map_err(io::Error::from).at("parse", &path)?;
        Ok((container, record))
    }
}

/// Whether this could be the id of an exec: digits only.
fn is_exec_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Why an exec did not start, in the words by which clients tell an exit code; it is noted for
/// those who ask later.
pub(crate) fn exec_error(execs: &std::path::Path, exec: &str, message: &str) -> Error {
    let noted = ExecStatus::load(execs, exec).ok().and_then(|status| status.exit_code);
    let exit_code = noted.unwrap_or_else(|| {
        let words = message.to_ascii_lowercase();
        let has = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
        if has(&["executable file not found", "no such file or directory"]) { 127 } else { 126 }
    });
    let status = ExecStatus { exit_code: Some(exit_code), ..ExecStatus::default() };
    let mut message = format!(
        "OCI runtime exec failed: exec failed: unable to start container process: {message}"
    );
    if noted.is_none()
        && let Err(err) = status.save(execs, exec)
    {
        message = format!("{message} (and its exit code could not be noted: {})", chain(&err));
    }
    Error::start(message, exit_code)
}
