//! Waiting for containers: to start, to end, to be gone.
//!
//! The supervisor tells of the end itself, on a connection, so that no exit code is lost even if
//! the container is removed at once. Before there is a supervisor, this process is told by its own
//! start ([`crate::shim::Pending`]), and by the container's folder if another process starts it.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shim_protocol::{Attach, Phase, Reply, Request, Status};

use crate::engine::{Engine, Shared};
use crate::record::Container;
use crate::shim::{self, Ready, Ticket, first_ready};
use crate::watch::Watch;
use crate::{Error, control};

/// How long a folder may be gone before its record is.
const RECORD_GRACE: Duration = Duration::from_secs(10);

/// How long a supervisor may take to remove its container before it is looked after.
const SHIM_GRACE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does not run; true at once for one that does not.
    NotRunning,
    /// The next end of its program.
    NextExit,
    /// It is gone.
    Removed,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, or 128 plus the signal that ended it.
    pub code: i64,
    /// Why it could not be started, or what went wrong.
    pub error: Option<String>,
}

/// A wait that has begun: from here on, nothing is missed.
#[derive(Debug)]
pub struct Waiting {
    shared: Arc<Shared>,
    id: String,
    condition: Condition,
    state: State,
    watch: Watch,
    /// What is known so far.
    exit: Exit,
    /// The container is to go with its end, and this process is offered as the one that removes it.
    removes: bool,
    /// The supervisor's connection, where it has taken that offer, and its number, where it deletes the files: it
    /// looks after the container when this is closed.
    removal: Option<(UnixStream, Option<u32>)>,
    /// When the last run began, to tell the next from it.
    started_at: String,
}

#[derive(Debug)]
enum State {
    /// It runs; this connection tells of its end.
    Running(UnixStream),
    /// It does not run yet.
    Pending(Ticket),
    /// It has ended.
    Ended,
}

/// An attachment to a container that may not run yet.
#[derive(Debug)]
pub struct Attaching {
    /// Whether the stream is a terminal's, not framed.
    pub tty: bool,
    /// Whether what is sent goes to the program.
    pub stdin: bool,
    shared: Arc<Shared>,
    id: String,
    request: Request,
    state: AttachState,
    watch: Watch,
}

#[derive(Debug)]
enum AttachState {
    Connected(UnixStream),
    Pending(Ticket),
}

impl Engine {
    /// Begins to wait for a container.
    pub fn wait(&self, wanted: &str, condition: Condition) -> Result<Waiting, Error> {
        // Watched and registered first, looked at second: a change in between is seen.
        let (container, watch) = self.find_watched(wanted)?;
        let id = container.id;
        let host = &container.record.host;
        let removes = condition == Condition::Removed && host.auto_remove;
        let request = Request::Wait { removes };
        let ticket = self.shared.pending.register(&id, request.clone())?;
        let status = self.status(&id)?;
        let state = match status.phase {
            Phase::Running | Phase::Paused | Phase::Restarting => {
                match shim::begin(&self.paths().socket(&id), &request)? {
                    Some(stream) => State::Running(stream),
                    // It ended in this moment.
                    None => State::Ended,
                }
            }
            Phase::Created | Phase::Exited if condition == Condition::NotRunning => State::Ended,
            Phase::Exited if condition == Condition::Removed => State::Ended,
            Phase::Created | Phase::Exited => State::Pending(ticket),
        };
        let status = match state {
            State::Ended => self.shared.status(&id)?,
            State::Running(_) | State::Pending(_) => status,
        };
        Ok(Waiting {
            shared: Arc::clone(&self.shared),
            id,
            condition,
            state,
            watch,
            exit: exit_of(&status),
            removes,
            removal: None,
            started_at: status.started_at,
        })
    }

    /// Joins the streams of a container. One that does not run yet is joined when it starts,
    /// before its program does anything.
    pub fn attach(&self, wanted: &str, streams: Attach) -> Result<Attaching, Error> {
        let (container, watch) = self.find_watched(wanted)?;
        let config = &container.record.config;
        // A terminal has one stream for all that a program says.
        let request = Request::Attach(Attach {
            stdin: streams.stdin && config.open_stdin,
            stderr: streams.stderr && !config.tty,
            ..streams
        });
        let id = container.id.clone();
        let state = match self.status(&id)?.phase {
            Phase::Paused => {
                return Err(Error::Conflict(format!(
                    "container {id} is paused, unpause the container before attach"
                )));
            }
            Phase::Restarting => return control::restarting(&container),
            Phase::Running => {
                let answer = shim::ask(&self.paths().socket(&id), &request)?;
                let answer = answer
                    .ok_or_else(|| Error::Conflict(format!("container {id} is not running")))?;
                AttachState::Connected(answer.stream)
            }
            Phase::Created | Phase::Exited => {
                AttachState::Pending(self.shared.pending.register(&id, request.clone())?)
            }
        };
        Ok(Attaching {
            tty: config.tty,
            stdin: streams.stdin && config.open_stdin,
            shared: Arc::clone(&self.shared),
            id,
            request,
            state,
            watch,
        })
    }

    /// Finds a container, and watches its folder. One that has a record and no folder is being made, or taken
    /// away: that is waited for.
    fn find_watched(&self, wanted: &str) -> Result<(Container, Watch), Error> {
        let until = Instant::now() + RECORD_GRACE;
        loop {
            let container = self.find(wanted)?;
            if let Some(watch) = Watch::folder_later(&self.paths().data(&container.id))? {
                return Ok((container, watch));
            }
            if Instant::now() > until {
                return Err(Error::NoContainer(wanted.to_owned()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a container has ended, for `patience` at most. Whether it has.
    pub(crate) fn ends_within(
        &self,
        container: &Container,
        patience: Option<Duration>,
    ) -> Result<bool, Error> {
        let socket = self.paths().socket(&container.id);
        let Some(stream) = shim::begin(&socket, &Request::Wait { removes: false })? else {
            return Ok(true);
        };
        Ok(first_ready(&[stream.as_fd()], None, patience)? != Ready::Timeout)
    }
}

impl Waiting {
    /// Waits. `gone` is a descriptor that hangs up when whoever wanted to know has left: then the
    /// answer is `None`. `engine` removes a container that was to go when it ends, where the supervisor
    /// leaves that to us, or was killed.
    pub fn join(
        mut self,
        engine: &Engine,
        gone: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Exit>, Error> {
        loop {
            match &mut self.state {
                State::Ended => break,
                State::Running(stream) => {
                    let mut removes = None;
                    if first_ready(&[stream.as_fd()], gone, None)? == Ready::Gone {
                        return Ok(None);
                    }
                    match shim_protocol::receive::<Reply>(&*stream) {
                        Ok(Some(Reply::Exited { code, removes: ours, heir })) => {
                            self.exit = Exit { code: code.into(), error: None };
                            removes = ours.then_some(heir);
                        }
                        // The supervisor was killed: the status will say.
                        _ => self.await_status(gone)?,
                    }
                    if let State::Running(stream) = std::mem::replace(&mut self.state, State::Ended)
                        && let Some(heir) = removes
                    {
                        self.removal = Some((stream, heir));
                    }
                }
                State::Pending(_) => {
                    if !self.next_event(gone)? {
                        return Ok(None);
                    }
                }
            }
        }
        if let Some((supervisor, heir)) = self.removal.take() {
            // What fails here is tried again, by the supervisor first, and then told below.
            let _failure = engine.remove_for(&self.id, heir);
            drop(supervisor);
        }
        if self.condition == Condition::Removed && !self.await_removal(engine, gone)? {
            return Ok(None);
        }
        Ok(Some(self.exit))
    }

    /// Waits for a start, or for the end of the hope for one. False where nobody wants to know.
    fn next_event(&mut self, gone: Option<BorrowedFd<'_>>) -> Result<bool, Error> {
        let State::Pending(ticket) = &self.state else { return Ok(true) };
        let fds = [ticket.bell(), self.watch.as_fd()];
        let ready = first_ready(ticket.awaited(&fds), gone, None)?;
        match ready {
            Ready::Gone | Ready::Timeout => return Ok(false),
            Ready::At(0) => {
                // Our own start: with a connection, or without one where it failed.
                self.state = match ticket.take() {
                    Some(stream) => State::Running(stream),
                    None => State::Ended,
                };
                if matches!(self.state, State::Ended) && self.shared.paths.data(&self.id).exists() {
                    self.exit = exit_of(&self.shared.status(&self.id)?);
                }
                return Ok(true);
            }
            Ready::At(_) => {}
        }
        self.watch.drain();
        let is_there = self.shared.paths.data(&self.id).exists();
        let status = self.shared.status(&self.id);
        // Asked last: what was seen may have come of a start of this process, which tells of it.
        if ticket.is_taken() {
            return Ok(true);
        }
        if !is_there {
            self.state = State::Ended;
            return Ok(true);
        }
        // Another process started it.
        let status = status?;
        let is_new = status.started_at != self.started_at;
        match status.phase {
            Phase::Running | Phase::Paused => {
                let socket = self.shared.paths.socket(&self.id);
                let request = Request::Wait { removes: self.removes };
                if let Some(stream) = shim::begin(&socket, &request)? {
                    // Our own start may be the one that wrote it: both connections tell the same.
                    self.state = State::Running(stream);
                }
            }
            Phase::Restarting | Phase::Exited if is_new => {
                self.exit = exit_of(&status);
                self.state = State::Ended;
            }
            Phase::Created | Phase::Restarting | Phase::Exited => {}
        }
        Ok(true)
    }

    /// The supervisor went without a word: looks at what recovery makes of it.
    fn await_status(&mut self, gone: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let until = Instant::now() + RECORD_GRACE;
        while Instant::now() < until && self.shared.paths.data(&self.id).exists() {
            let status = self.shared.status(&self.id)?;
            if !status.phase.is_alive() {
                self.exit = exit_of(&status);
                return Ok(());
            }
            if self.shared.lost_its_shim(&self.id, &status)? {
                // Whoever looks at it next cleans up; the code is known already.
                self.exit = Exit { code: 137, error: Some("its supervisor was killed".into()) };
                return Ok(());
            }
            if first_ready(&[self.watch.as_fd()], gone, Some(LOOK_AGAIN))? == Ready::Gone {
                return Ok(());
            }
            self.watch.drain();
        }
        Ok(())
    }

    /// Waits until there is no record any more. False where nobody wants to know.
    fn await_removal(&self, engine: &Engine, gone: Option<BorrowedFd<'_>>) -> Result<bool, Error> {
        let data = self.shared.paths.data(&self.id);
        let mut watch = if data.exists() { Watch::folder(&data)? } else { None };
        while let Some(watch) = &mut watch
            && data.exists()
        {
            match first_ready(&[watch.as_fd()], gone, Some(SHIM_GRACE))? {
                Ready::Gone => return Ok(false),
                Ready::Timeout => engine.remove_if_forsaken(&self.id)?,
                Ready::At(_) => watch.drain(),
            }
        }
        // The folder goes before the record.
        let until = Instant::now() + RECORD_GRACE;
        while self.shared.db.read(|tx| tx.container(&self.id))?.is_some() && Instant::now() < until
        {
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(true)
    }
}

impl Attaching {
    /// Whether it is connected already: the container ran.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, AttachState::Connected(_))
    }

    /// Waits until the container runs, and gives the stream: output comes out of it (in frames,
    /// without a terminal), input goes in, and shutting down its writing half ends the input.
    /// `None` where the container does not start, or `gone` hung up.
    pub fn connect(mut self, gone: Option<BorrowedFd<'_>>) -> Result<Option<UnixStream>, Error> {
        let ticket = match self.state {
            AttachState::Connected(stream) => return Ok(Some(stream)),
            AttachState::Pending(ticket) => ticket,
        };
        loop {
            let fds = [ticket.bell(), self.watch.as_fd()];
            match first_ready(ticket.awaited(&fds), gone, None)? {
                Ready::Gone | Ready::Timeout => return Ok(None),
                Ready::At(0) => return Ok(ticket.take()),
                Ready::At(_) => {}
            }
            self.watch.drain();
            let is_there = self.shared.paths.data(&self.id).exists();
            let status = self.shared.status(&self.id);
            // Asked last, as above: who asks the supervisor anew gets no more than what is still to come.
            if ticket.is_taken() {
                continue;
            }
            if !is_there {
                return Ok(None);
            }
            // Another process started it: as much of the output as is still to come.
            if status?.phase == Phase::Running {
                let answer = shim::ask(&self.shared.paths.socket(&self.id), &self.request)?;
                return Ok(answer.map(|answer| answer.stream));
            }
        }
    }
}

fn exit_of(status: &Status) -> Exit {
    let error = Some(status.error.clone()).filter(|text| !text.is_empty());
    Exit { code: status.exit_code.into(), error }
}
