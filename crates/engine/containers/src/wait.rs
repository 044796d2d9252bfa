//! Waiting for containers: to start, to end, to be gone.
//!
//! The supervisor tells of the end itself, on a connection, so that no exit code is lost even if
//! the container is removed at once. Before there is a supervisor, this process is told by its own
//! start ([`crate::shim::Pending`]), and by the container's folder if another process starts it.
//! Who comes to neither in time finds the exit code in the status or, where the container is gone with that,
//! among the events ([`crate::told`]).

use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shim_protocol::{Attach, Phase, Reply, Request, Status};

use crate::engine::{Engine, Shared};
use crate::error::At as _;
use crate::record::Container;
use crate::shim::{self, Ready, Ticket, first_ready};
use crate::told::Told;
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
    /// It was seen to run.
    ran: bool,
    /// What is told of it from then on.
    told: Told,
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
    /// It ran, and its supervisor has gone without a word to us.
    Left,
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
        let told = Told::from_now_on(self.paths().events())?;
        let status = self.status(&id)?;
        // What is being taken away does not say any more that it has run.
        if status.phase == Phase::Created && self.has_no_status_left(&id, condition)? {
            return Err(Error::NoContainer(wanted.to_owned()));
        }
        let state = match status.phase {
            Phase::Running | Phase::Paused | Phase::Restarting => {
                match shim::begin(&self.paths().socket(&id), &request)? {
                    Some(stream) => State::Running(stream),
                    // It ended in this moment.
                    None => State::Left,
                }
            }
            Phase::Created | Phase::Exited if condition == Condition::NotRunning => State::Ended,
            Phase::Exited if condition == Condition::Removed => State::Ended,
            Phase::Created | Phase::Exited => State::Pending(ticket),
        };
        Ok(Waiting {
            shared: Arc::clone(&self.shared),
            id,
            condition,
            state,
            watch,
            exit: exit_of(&status),
            ran: status.phase.is_alive(),
            told,
            removes,
            removal: None,
            started_at: status.started_at,
        })
    }

    /// Whether a container whose folder has no status is being removed, and may have had one.
    fn has_no_status_left(&self, id: &str, condition: Condition) -> Result<bool, Error> {
        if !self.paths().data(id).exists() {
            return Ok(true);
        }
        // Who waits for more than to hear that it does not run sees the folder go.
        Ok(condition == Condition::NotRunning && self.is_going(id)?)
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
                    if first_ready(&[stream.as_fd()], gone, None)? == Ready::Gone {
                        return Ok(None);
                    }
                    let told = shim_protocol::receive::<Reply>(&*stream);
                    let Ok(Some(Reply::Exited { code, removes, heir })) = told else {
                        // It was killed, or has not heard us: the status will say.
                        self.state = State::Left;
                        continue;
                    };
                    self.exit = Exit { code: code.into(), error: None };
                    if let State::Running(stream) = std::mem::replace(&mut self.state, State::Ended)
                        && removes
                    {
                        self.removal = Some((stream, heir));
                    }
                }
                State::Left => {
                    if !self.await_status(gone)? {
                        return Ok(None);
                    }
                    self.state = State::Ended;
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
                // Our own start: with a connection, or without one where it failed, or the supervisor was
                // gone already. Or somebody has removed it.
                self.state = match ticket.take() {
                    Some(stream) => State::Running(stream),
                    None => self.look_after_start()?,
                };
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
            self.exit = self.told()?;
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
                // Also where its supervisor has gone since: then it does not end as if it had never run.
                self.ran = true;
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

    /// After a start of this process that has no connection for us: asks for another one, where it runs.
    fn look_after_start(&mut self) -> Result<State, Error> {
        let path = self.shared.paths.data(&self.id);
        failpoint::hit("engine.unheard").at("read", &path)?;
        let status = self.shared.status(&self.id)?;
        if says_how(&status) {
            self.exit = exit_of(&status);
            return Ok(State::Ended);
        }
        if !status.phase.is_alive() {
            self.exit = self.told()?;
            return Ok(State::Ended);
        }
        let request = Request::Wait { removes: self.removes };
        let stream = shim::begin(&self.shared.paths.socket(&self.id), &request)?;
        self.ran = true;
        Ok(stream.map_or(State::Left, State::Running))
    }

    /// The supervisor went without a word: looks at what it has written, or at what recovery makes of it. False
    /// where nobody wants to know.
    fn await_status(&mut self, gone: Option<BorrowedFd<'_>>) -> Result<bool, Error> {
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let until = Instant::now() + RECORD_GRACE;
        while Instant::now() < until && self.shared.paths.data(&self.id).exists() {
            let status = self.shared.status(&self.id)?;
            if says_how(&status) {
                self.exit = exit_of(&status);
                return Ok(true);
            }
            if self.shared.lost_its_shim(&self.id, &status)? {
                // Whoever looks at it next cleans up; the code is known already.
                self.exit = Exit { code: 137, error: Some("its supervisor was killed".into()) };
                return Ok(true);
            }
            // It may run again by now: who found that its supervisor was killed has told of that end before.
            if status.phase.is_alive() && self.condition != Condition::Removed {
                let ended = self.told.lives(&self.id)?.codes.first().copied();
                if let Some(code) = ended {
                    self.exit = Exit { code, error: None };
                    return Ok(true);
                }
            }
            if first_ready(&[self.watch.as_fd()], gone, Some(LOOK_AGAIN))? == Ready::Gone {
                return Ok(false);
            }
            self.watch.drain();
        }
        self.exit = self.told()?;
        Ok(true)
    }

    /// How it has ended since this began, by what was told of it: no status says so, or not any more.
    fn told(&self) -> Result<Exit, Error> {
        let lives = self.told.lives(&self.id)?;
        let code = match self.condition {
            Condition::NotRunning | Condition::NextExit => lives.codes.first(),
            Condition::Removed => lives.codes.last(),
        };
        match code {
            Some(&code) => Ok(Exit { code, error: None }),
            // It has not run meanwhile: what was known stays true.
            None if !self.ran && !lives.goes_on => Ok(self.exit.clone()),
            None => Err(Error::Shim(format!("how container {} ended was told nowhere", self.id))),
        }
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

/// Whether a status says how a container has ended, or why it could not be started.
fn says_how(status: &Status) -> bool {
    match status.phase {
        Phase::Exited => true,
        Phase::Created => status.exit_code != 0 || !status.error.is_empty(),
        Phase::Running | Phase::Paused | Phase::Restarting => false,
    }
}

fn exit_of(status: &Status) -> Exit {
    let error = Some(status.error.clone()).filter(|text| !text.is_empty());
    Exit { code: status.exit_code.into(), error }
}
