//! Bytes on their way between processes, clients and the log.
//!
//! Output is read only while every attached client has room for more: a slow client slows the
//! container down, as a slow reader of any pipe does, and nobody loses anything. A client that is
//! gone is dropped at once, and holds nobody up.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;

use crate::client::{Attachment, Client, State};
use crate::error::{Error, report};
use crate::log::Stream;
use crate::poll::Ready;
use crate::streams::{Read, Streams};
use crate::supervisor::{CONTAINER, IDLE, READ_BYTES, Supervisor};

/// How often a source is read before others have their turn.
const MAX_READS: usize = 4;

impl Supervisor {
    /// An output of a process has something, or has ended.
    pub(crate) fn on_output(&mut self, key: u32, stream: Stream) {
        for _ in 0..MAX_READS {
            if !self.clients_have_room(key) || self.move_output(key, stream) != Moved::Some {
                break;
            }
        }
        self.refresh(key);
        self.finish_exec_if_over(key);
    }

    /// A terminal can be read or written.
    pub(crate) fn on_console(&mut self, key: u32, ready: Ready) {
        if ready.writable()
            && let Some(streams) = self.streams.get_mut(&key)
        {
            streams.flush_input();
        }
        if ready.readable() {
            self.on_output(key, Stream::Stdout);
        } else {
            self.refresh(key);
        }
    }

    /// A standard input can be written, or its reader is gone.
    pub(crate) fn on_input(&mut self, key: u32, ready: Ready) {
        if let Some(streams) = self.streams.get_mut(&key) {
            if ready.gone() {
                streams.lose_input();
            } else {
                streams.flush_input();
            }
        }
        self.refresh(key);
    }

    /// A client wrote something, can be written to, or is gone.
    pub(crate) fn on_client(&mut self, key: u32, ready: Ready) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if ready.writable() && client.flush().is_err() {
            return self.drop_client(key);
        }
        if ready.readable() {
            self.read_client(key);
        }
        let Some(client) = self.clients.get(&key) else { return };
        let done = matches!(client.state, State::Closing) && client.is_flushed();
        if done || ready.gone() {
            self.drop_client(key);
        } else {
            self.refresh_client(key);
        }
    }

    pub(crate) fn read_client(&mut self, key: u32) {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..MAX_READS {
            let Some(client) = self.clients.get_mut(&key) else { break };
            let room = match &client.state {
                State::Attached(attachment) => {
                    self.streams.get(&attachment.process).is_none_or(Streams::input_has_room)
                }
                State::Request(_) | State::Waiting { .. } => true,
                State::Starting | State::Closing => false,
            };
            if !room || client.has_ended() {
                break;
            }
            match client.read(&mut buffer) {
                Ok(n_bytes) => self.client_wrote(key, &buffer[..n_bytes]),
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(_) => {
                    self.drop_client(key);
                    break;
                }
            }
        }
    }

    /// A client wrote `bytes`; nothing is its end.
    pub(crate) fn client_wrote(&mut self, key: u32, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        match &mut client.state {
            State::Request(_) if bytes.is_empty() => self.drop_client(key),
            State::Request(_) => self.request_bytes(key, bytes),
            State::Attached(attachment) => {
                let attachment = *attachment;
                if bytes.is_empty() {
                    self.end_input(attachment);
                } else if attachment.streams.stdin
                    && let Some(streams) = self.streams.get_mut(&attachment.process)
                {
                    streams.write_input(bytes);
                }
                self.refresh(attachment.process);
            }
            State::Starting | State::Waiting { .. } | State::Closing => {}
        }
    }

    /// One who wrote to a process will write no more.
    fn end_input(&mut self, from: Attachment) {
        let closes = from.process != CONTAINER || self.config.stdin_once;
        if from.streams.stdin
            && closes
            && let Some(streams) = self.streams.get_mut(&from.process)
        {
            streams.end_input();
        }
    }

    /// Lets go of a client.
    pub(crate) fn drop_client(&mut self, key: u32) {
        let Some(client) = self.clients.remove(&key) else { return };
        self.shrink_at = Some(Instant::now() + IDLE);
        let attachment = client.attachment();
        if let Some(attachment) = attachment
            && !client.has_ended()
        {
            self.end_input(attachment);
        }
        client.hang_up();
        for exec in self.execs.values_mut() {
            exec.forget_client(key);
        }
        if let Some(Attachment { process, .. }) = attachment {
            if let Some(streams) = self.streams.get_mut(&process) {
                streams.clients.retain(|client| *client != key);
            }
            self.refresh(process);
        }
    }

    /// Reads one output once and hands on what came.
    fn move_output(&mut self, key: u32, stream: Stream) -> Moved {
        let mut buffer = [0; READ_BYTES];
        let read = match self.streams.get_mut(&key) {
            Some(streams) => streams.read(stream, &self.poller, &mut buffer),
            None => Read::End,
        };
        if let Read::Bytes(n_bytes) = read {
            self.deliver(key, stream, &buffer[..n_bytes]);
        }
        match read {
            Read::Bytes(_) => Moved::Some,
            Read::Later | Read::End => Moved::Nothing,
        }
    }

    fn deliver(&mut self, key: u32, stream: Stream, bytes: &[u8]) {
        if key == CONTAINER
            && let Some(log) = &mut self.log
            && let Err(err) = log.write(stream, bytes)
        {
            // A full disk must not stop the container; the output still reaches those attached.
            report("log", &Error::file("write", "log")(err));
        }
        if let Some(checks) = &mut self.checks
            && checks.is(key)
        {
            checks.write(bytes);
        }
        let Some(streams) = self.streams.get(&key) else { return };
        for client_key in streams.clients.clone() {
            let Some(client) = self.clients.get_mut(&client_key) else { continue };
            if client.output(stream, bytes).is_err() {
                self.drop_client(client_key);
            }
        }
    }

    fn clients_have_room(&self, key: u32) -> bool {
        if key == CONTAINER && self.log.as_ref().is_some_and(|log| !log.has_room()) {
            return false;
        }
        let Some(streams) = self.streams.get(&key) else { return true };
        streams.clients.iter().filter_map(|client| self.clients.get(client)).all(Client::has_room)
    }

    /// Waits for what a process and its clients can now do.
    pub(crate) fn refresh(&mut self, key: u32) {
        if key == CONTAINER
            && let Some(log) = &mut self.log
            && let Err(err) = log.watch(&self.poller)
        {
            report("watch", &err.into());
        }
        let has_room = self.clients_have_room(key);
        let Some(streams) = self.streams.get_mut(&key) else { return };
        if let Err(err) = streams.watch(&self.poller, has_room) {
            report("watch", &err.into());
        }
        let input_has_room = streams.input_has_room();
        for client_key in &streams.clients {
            if let Some(client) = self.clients.get_mut(client_key)
                && let Err(err) = client.watch(&self.poller, input_has_room)
            {
                report("watch", &err.into());
            }
        }
    }

    fn refresh_client(&mut self, key: u32) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        match client.attachment() {
            Some(attachment) if self.streams.contains_key(&attachment.process) => {
                self.refresh(attachment.process);
            }
            _ => {
                if let Err(err) = client.watch(&self.poller, true) {
                    report("watch", &err.into());
                }
            }
        }
    }

    /// Takes all output that a process has left, whether or not clients have room: it is no more
    /// than what fits into its pipes. Waits at most `grace` where others still hold them open.
    pub(crate) fn drain(&mut self, key: u32, grace: Duration) {
        let until = Instant::now() + grace;
        loop {
            for stream in [Stream::Stdout, Stream::Stderr] {
                for _ in 0..MAX_DRAIN_READS {
                    if self.move_output(key, stream) == Moved::Nothing {
                        break;
                    }
                }
            }
            let Some(streams) = self.streams.get(&key) else { return };
            let Some(left) = Self::remaining(until).filter(|_| !streams.ended()) else { return };
            let mut waiting: Vec<PollFd<'_>> = streams
                .open_outputs()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            let timeout = Timespec::try_from(left).ok();
            if !matches!(poll(&mut waiting, timeout.as_ref()), Ok(1..)) {
                return;
            }
        }
    }
}

/// How many reads empty the largest pipe there can be without privileges (1 MiB).
const MAX_DRAIN_READS: usize = 128;

/// What [`Supervisor::move_output`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    /// Something was handed on.
    Some,
    /// There was nothing.
    Nothing,
}
