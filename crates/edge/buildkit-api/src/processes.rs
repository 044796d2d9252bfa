//! Programs in a front end's containers (`ExecProcess`): one stream of messages for all that it has running.

use std::collections::HashMap;
use std::sync::Arc;

use build::{Control, Process, Program};
use buildgraph::{SecretVariable, Security};
use buildkit::gateway::exec_message::Input;
use buildkit::gateway::{
    DoneMessage, ExecMessage, ExitMessage, FdMessage, InitMessage, StartedMessage,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use crate::builds::Job;
use crate::failure;
use crate::gateway::Asking;

/// No more programs on one stream.
const MAX_PROCESSES: usize = 256;
/// Pieces of input on their way to a program.
const AHEAD: usize = 64;
/// The exit code of what was not run, and of what has none.
const UNKNOWN: u32 = 255;
const SIGKILL: i32 = 9;

type Outgoing = mpsc::Sender<Result<ExecMessage, Status>>;

/// A program, as long as it is spoken of.
struct Running {
    control: Option<Control>,
    /// Its standard input, until the end of that was said.
    stdin: Option<mpsc::Sender<Vec<u8>>>,
}

/// Serves a stream until its end, or its build's. What still runs then is killed.
pub(crate) async fn serve(asking: Asking, incoming: Streaming<ExecMessage>, outgoing: Outgoing) {
    let mut running = HashMap::new();
    let served = tokio::select! {
        served = take(&asking, incoming, &outgoing, &mut running) => served,
        () = asking.job.over() => Err(Status::cancelled("context canceled")),
        () = outgoing.closed() => Ok(()),
    };
    for one in running.into_values() {
        if let Some(control) = one.control {
            // It has ended, or ends with its container.
            _ = control.signal(SIGKILL).await;
        }
    }
    if let Err(status) = served {
        _ = outgoing.send(Err(status)).await;
    }
}

async fn take(
    asking: &Asking,
    mut incoming: Streaming<ExecMessage>,
    outgoing: &Outgoing,
    running: &mut HashMap<String, Running>,
) -> Result<(), Status> {
    while let Some(message) = incoming.message().await? {
        let id = message.process_id;
        if id.is_empty() {
            return Err(Status::invalid_argument("ProcessID required"));
        }
        let Some(input) = message.input else { continue };
        if let Input::Init(init) = input {
            if running.contains_key(&id) {
                return Err(Status::already_exists(format!("Process {id:.100} already exists")));
            }
            if running.len() >= MAX_PROCESSES {
                let text = format!("more than {MAX_PROCESSES} programs on one stream");
                return Err(Status::resource_exhausted(text));
            }
            let begun = begin(asking, &id, init, outgoing).await?;
            running.insert(id, begun);
            continue;
        }
        let Some(one) = running.get_mut(&id) else {
            return Err(Status::not_found(format!("IO for process {id:.100} not found")));
        };
        one.take(&asking.job, input).await?;
    }
    Ok(())
}

impl Running {
    async fn take(&mut self, job: &Job, input: Input) -> Result<(), Status> {
        let failed = |error: build::Error| job.failed(&error);
        match (input, &self.control) {
            (Input::File(file), _) => {
                if let (0, Some(stdin)) = (file.fd, &self.stdin)
                    && !file.data.is_empty()
                {
                    // It may have ended; then nobody wants it.
                    _ = stdin.send(file.data).await;
                }
                if file.fd == 0 && file.eof {
                    self.stdin = None;
                }
                Ok(())
            }
            (Input::Resize(size), Some(control)) => {
                let number = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
                // One without a terminal has no size.
                _ = control.resize(number(size.cols), number(size.rows)).await;
                Ok(())
            }
            (Input::Signal(signal), Some(control)) => {
                let number = oci::signal::parse(&signal.name);
                let number = number.map_err(|error| Status::invalid_argument(error.to_string()))?;
                control.signal(number).await.map_err(failed)
            }
            _ => Ok(()),
        }
    }
}

/// Starts a program, and sends what comes of it.
async fn begin(
    asking: &Asking,
    id: &str,
    init: InitMessage,
    outgoing: &Outgoing,
) -> Result<Running, Status> {
    let container = asking.by.container(&init.container_id)?;
    let fds = init.fds.clone();
    let started = match program(init) {
        Ok(program) => container.container.start(program).await,
        Err(error) => Err(error),
    };
    let teller = Teller { id: id.to_owned(), fds, outgoing: outgoing.clone() };
    let job = Arc::clone(&asking.job);
    let mut process = match started {
        Ok(process) => process,
        // It has begun and ended, as in BuildKit: other programs go on.
        Err(error) => {
            tokio::spawn(async move {
                teller.send(Input::Started(StartedMessage {})).await;
                teller.end(&job, Err(error)).await;
            });
            return Ok(Running { control: None, stdin: None });
        }
    };
    let stdin = process.stdin.take().map(|stdin| {
        let (sender, pieces) = mpsc::channel(AHEAD);
        tokio::spawn(feed(stdin, pieces));
        sender
    });
    let control = Some(process.control.clone());
    tokio::spawn(teller.follow(job, process));
    Ok(Running { control, stdin })
}

/// What is to be run. What makes no sense is told as the end of that program: others go on, and a client whose stream
/// ended would wait for it for ever.
fn program(init: InitMessage) -> Result<Program, build::Error> {
    let meta = init.meta.unwrap_or_default();
    if meta.args.is_empty() {
        return Err(build::Error::Invalid("a program without arguments".into()));
    }
    let security = match init.security {
        0 => Security::Sandbox,
        1 => Security::Insecure,
        other => return Err(build::Error::Invalid(format!("invalid security mode {other}"))),
    };
    let mut secrets = Vec::new();
    for one in init.secretenv {
        if one.id.is_empty() {
            let text = format!("secret ID missing for {:?} environment variable", one.name);
            return Err(build::Error::Invalid(text));
        }
        let name = if one.name.is_empty() { one.id.clone() } else { one.name };
        secrets.push(SecretVariable { id: one.id, name, optional: one.optional });
    }
    Ok(Program {
        args: meta.args,
        env: meta.env,
        secrets,
        cwd: meta.cwd,
        user: meta.user,
        security,
        tty: init.tty,
        stdin: init.fds.contains(&0),
    })
}

/// Writes a program's standard input until its end.
async fn feed(mut stdin: OwnedWriteHalf, mut pieces: mpsc::Receiver<Vec<u8>>) {
    while let Some(piece) = pieces.recv().await {
        if stdin.write_all(&piece).await.is_err() {
            return;
        }
    }
    _ = stdin.shutdown().await;
}

/// Tells of one program.
struct Teller {
    id: String,
    /// The streams that are wanted.
    fds: Vec<u32>,
    outgoing: Outgoing,
}

impl Teller {
    /// Sends something; whether anybody takes it.
    async fn send(&self, input: Input) -> bool {
        let message = ExecMessage { process_id: self.id.clone(), input: Some(input) };
        self.outgoing.send(Ok(message)).await.is_ok()
    }

    async fn follow(self, job: Arc<Job>, mut process: Process) {
        self.send(Input::Started(StartedMessage {})).await;
        while let Some((fd, piece)) = process.output.recv().await {
            let fd = u32::from(fd);
            if self.fds.contains(&fd) {
                let file = FdMessage { fd, eof: false, data: piece.into() };
                // Nobody may listen any more; it goes on for its end.
                self.send(Input::File(file)).await;
            }
        }
        let ended = process.exit.await.unwrap_or(Err(build::Error::Lost("a program")));
        self.end(&job, ended).await;
    }

    async fn end(&self, job: &Job, ended: Result<i32, build::Error>) {
        for fd in self.fds.iter().copied().filter(|fd| *fd != 0) {
            self.send(Input::File(FdMessage { fd, eof: true, data: Vec::new() })).await;
        }
        let (code, error) = match ended {
            Ok(0) => (0, None),
            Ok(code) => {
                let status = Status::new(Code::Unknown, format!("exit code: {code}"));
                (u32::try_from(code).unwrap_or(UNKNOWN), Some(failure::record(&status)))
            }
            Err(error) => (UNKNOWN, Some(failure::record(&job.failed(&error)))),
        };
        self.send(Input::Exit(ExitMessage { code, error })).await;
        self.send(Input::Done(DoneMessage {})).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_told_of_the_program() {
        let said = |security, args: &[&str]| {
            let args = args.iter().map(|&arg| arg.to_owned()).collect();
            let meta = Some(buildkit::pb::Meta { args, ..Default::default() });
            let asked = InitMessage { meta, security, ..InitMessage::default() };
            program(asked).err().map(|error| error.to_string())
        };
        assert_eq!(said(1, &["true"]), None);
        assert_eq!(said(2, &["true"]).as_deref(), Some("invalid security mode 2"));
        assert_eq!(said(0, &[]).as_deref(), Some("a program without arguments"));
    }
}
