//! What clients ask for.

use rustix::io::Errno;
use rustix::process::Signal;
use shim_protocol::{Attach, Phase, Reply, Request};

use crate::client::{Attachment, MAX_REQUEST_BYTES, State};
use crate::error::{Error, report};
use crate::stdio;
use crate::streams::Streams;
use crate::supervisor::{CONTAINER, Supervisor};

impl Supervisor {
    /// More of a request came; what follows its end belongs to the stream that it asks for.
    pub(crate) fn request_bytes(&mut self, key: u32, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let State::Request(line) = &mut client.state else { return };
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            line.extend_from_slice(bytes);
            if line.len() > MAX_REQUEST_BYTES {
                self.answer(key, Err(Error::Request("request is too long".into())));
            }
            return;
        };
        line.extend_from_slice(&bytes[..end]);
        let line = std::mem::take(line);
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => self.handle(key, request, &bytes[end + 1..]),
            Err(err) => self.answer(key, Err(Error::Request(misunderstood(&err)))),
        }
    }

    fn handle(&mut self, key: u32, request: Request, rest: &[u8]) {
        match request {
            Request::Attach(_) if self.restart_at.is_some() => {
                self.answer(key, Err(Error::Restarting));
            }
            // It has ended: what a client of such a connection read next would not be output.
            Request::Attach(_) if !self.streams.contains_key(&CONTAINER) => {
                self.answer(key, Err(Error::NotRunning));
            }
            Request::Attach(streams) => {
                self.send(key, &Reply::Ok);
                self.attach(key, CONTAINER, streams);
                if !rest.is_empty() {
                    self.client_wrote(key, rest);
                }
            }
            Request::Exec(exec) => {
                if let Err(err) = self.start_exec(Some(key), *exec, rest) {
                    self.answer(key, Err(err));
                }
            }
            Request::Wait { removes } => {
                if let Some(client) = self.clients.get_mut(&key) {
                    client.state = State::Waiting { removes };
                }
            }
            Request::Start | Request::Supervise | Request::Mount(_) => {
                let refusal = "a start is taken on the control connection only";
                self.answer(key, Err(Error::Request(refusal.into())));
            }
            Request::Resize { exec, width, height } => {
                let result = self.resize(exec.as_deref(), width, height);
                self.answer(key, result);
            }
            Request::Kill { signal, stop, keep } => {
                let result = self.kill(signal, stop, keep);
                self.answer(key, result);
            }
            Request::KillExec { exec, signal } => {
                let result = self.signal_exec(&exec, signal);
                self.answer(key, result);
            }
            Request::Change(change) => {
                let result = self.change(change);
                self.answer(key, result);
            }
            Request::Pause => {
                let result = self.set_paused(Phase::Running, Phase::Paused);
                self.answer(key, result);
            }
            Request::Resume => {
                let result = self.set_paused(Phase::Paused, Phase::Running);
                self.answer(key, result);
            }
            Request::Outlet(wanted) => self.give_outlet(key, wanted),
        }
    }

    /// Sends a reply; a client that does not take it is dropped.
    pub(crate) fn send(&mut self, key: u32, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&key)
            && client.reply(reply).is_err()
        {
            self.drop_client(key);
        }
    }

    /// Sends the last reply of a connection.
    pub(crate) fn answer(&mut self, key: u32, result: Result<(), Error>) {
        let reply = result.map_or_else(|err| Reply::Error(err.wire()), |()| Reply::Ok);
        self.send(key, &reply);
        self.close_client(key);
    }

    /// Closes a connection once all that waits for it is written.
    pub(crate) fn close_client(&mut self, key: u32) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.state = State::Closing;
        if client.is_flushed() {
            self.drop_client(key);
        } else if let Err(err) = client.watch(&self.poller, false) {
            report("watch", &err.into());
        }
    }

    /// Makes a connection the streams of a process.
    pub(crate) fn attach(&mut self, key: u32, process: u32, streams: Attach) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(joined) = self.streams.get_mut(&process) else { return };
        client.state = State::Attached(Attachment { process, streams, raw: joined.is_raw() });
        joined.clients.push(key);
        self.refresh(process);
    }

    fn resize(&mut self, exec: Option<&str>, width: u16, height: u16) -> Result<(), Error> {
        let process = match exec {
            None => CONTAINER,
            Some(id) => self.exec_key(id).ok_or_else(|| Error::NoExec(id.to_owned()))?,
        };
        // Clients resize what has no terminal as well; as in containerd, that is nothing.
        let terminal = self.streams.get(&process).and_then(Streams::console);
        terminal.map_or(Ok(()), |terminal| stdio::resize(terminal, width, height))
    }

    fn kill(&mut self, signal: i32, stop: bool, keep: bool) -> Result<(), Error> {
        if stop {
            self.note_stop(keep)?;
        }
        if self.restart_at.is_some() {
            return Ok(());
        }
        let Some((_, handle)) = &self.init else { return Err(Error::NotRunning) };
        match handle.signal(signal) {
            // It has been waited for, and its end is told next: as with any signal that comes too late.
            Err(err) if err.errno() == Errno::SRCH => return Ok(()),
            sent => sent?,
        }
        self.emit("kill", &[("signal", &signal.to_string())]);
        // What is frozen does not even die.
        if self.status.phase == Phase::Paused && signal == Signal::KILL.as_raw() {
            self.set_paused(Phase::Paused, Phase::Running)?;
        }
        Ok(())
    }

    /// Kills the container: whoever it was for has gone.
    pub(crate) fn end_for_owner(&mut self) {
        const KEEP: bool = false;
        match self.kill(Signal::KILL.as_raw(), true, KEEP) {
            // It has ended by itself.
            Ok(()) | Err(Error::NotRunning) => {}
            Err(err) => report("kill what nobody waits for", &err),
        }
    }

    /// Freezes or thaws: from phase `from` to phase `to`.
    fn set_paused(&mut self, from: Phase, to: Phase) -> Result<(), Error> {
        if self.status.phase != from {
            return Err(match self.status.phase {
                Phase::Paused => Error::Request("container is already paused".into()),
                Phase::Running => Error::Request("container is not paused".into()),
                Phase::Restarting => Error::Restarting,
                Phase::Created | Phase::Exited => Error::NotRunning,
            });
        }
        let cgroup = self.cgroup()?;
        failpoint::hit("shim.freeze")?;
        if to != Phase::Paused {
            cgroup.thaw()?;
            return self.note_paused(to);
        }
        cgroup.freeze()?;
        let noted = self.note_paused(to);
        if noted.is_err() {
            // One that is said to run must not stand still: who wants it to end would wait for long.
            self.status.phase = from;
            self.pause_checks(false);
            cgroup
                .thaw()
                .unwrap_or_else(|err| report("thaw what is not noted as frozen", &err.into()));
            // It may have been written as frozen before that failed.
            self.save_status().unwrap_or_else(|err| report("save the status", &err));
        }
        noted
    }

    fn note_paused(&mut self, phase: Phase) -> Result<(), Error> {
        failpoint::hit("shim.frozen")?;
        self.status.phase = phase;
        self.pause_checks(phase == Phase::Paused);
        self.save_status()
    }
}

/// Why a request means nothing here. Who asks may be of a version that has come since this process was started.
fn misunderstood(err: &serde_json::Error) -> String {
    if err.is_data() {
        format!(
            "the supervisor of this container is of another version, and does not know what it is asked \
             (start the container anew): {err}"
        )
    } else {
        format!("request: {err}")
    }
}
