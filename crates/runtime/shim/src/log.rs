//! Where the container's output is kept besides those attached.
//!
//! Output is cut into lines ([`Line`]), and each goes into files ([`file`]) or to somebody else
//! ([`remote`]). Files are written at once; where somebody else takes no more, lines wait, and then
//! the container does, unless it is not to: then the oldest lines are lost.

mod file;
mod form;
mod relay;
mod remote;

use std::io;
use std::path::Path;
use std::time::Instant;

use rustix::process::Pid;
use shim_protocol::LogConfig;

use crate::clock::Timestamp;
use crate::error::{Error, report};
use crate::log::file::FileSink;
use crate::log::form::Form;
use crate::log::remote::Remote;
use crate::poll::Poller;
use crate::supervisor::{CONTAINER, Supervisor};

pub(crate) use crate::log::file::compress;

/// The longest piece of a line that is kept as one, in bytes: Docker's.
const MAX_PIECE_BYTES: usize = 16 * 1024;

/// Which of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line of output, or a piece of one.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    stream: Stream,
    /// With its newline, if it is the end of a line.
    bytes: &'a [u8],
    time: Timestamp,
}

impl<'a> Piece<'a> {
    /// Without the newline.
    fn text(&self) -> &'a [u8] {
        self.bytes.strip_suffix(b"\n").unwrap_or(self.bytes)
    }

    /// Whether the rest of the line is still to come.
    fn is_partial(&self) -> bool {
        !self.bytes.ends_with(b"\n")
    }
}

/// Cuts output into lines and keeps them.
#[derive(Debug)]
pub(crate) struct Log {
    sink: Sink,
    stdout: Line,
    stderr: Line,
}

#[derive(Debug)]
enum Sink {
    File(FileSink),
    Remote(Box<Remote>),
}

impl Log {
    /// Opens the log of container `id`; `None` if none is wanted.
    pub(crate) fn open(config: &LogConfig, data_dir: &Path, id: &str) -> io::Result<Option<Self>> {
        let sink = match config {
            LogConfig::None => return Ok(None),
            LogConfig::JsonFile { rotation, attrs, mode } => {
                let path = data_dir.join(format!("{id}-json.log"));
                Sink::File(FileSink::open(path, *rotation, Form::json(attrs)?, *mode)?)
            }
            LogConfig::Local { rotation, mode } => {
                let dir = data_dir.join("local-logs");
                match std::fs::create_dir(&dir) {
                    Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                    made => made?,
                }
                let path = dir.join("container.log");
                Sink::File(FileSink::open(path, *rotation, Form::Local, *mode)?)
            }
            LogConfig::Journald { .. } | LogConfig::Syslog { .. } => {
                Sink::Remote(Box::new(Remote::open(config)?))
            }
        };
        Ok(Some(Self { sink, stdout: Line::default(), stderr: Line::default() }))
    }

    /// Keeps what was written to `stream`, as of now.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let Self { sink, stdout, stderr } = self;
        let line = if stream == Stream::Stdout { stdout } else { stderr };
        line.push(bytes, Timestamp::now(), |bytes, time| {
            let piece = Piece { stream, bytes, time };
            match sink {
                Sink::File(file) => file.add(&piece),
                Sink::Remote(remote) => {
                    remote.add(&piece);
                    Ok(())
                }
            }
        })?;
        match sink {
            Sink::File(file) => file.flush(),
            Sink::Remote(_) => Ok(()),
        }
    }

    /// Keeps what is left of a last line without its newline. Somebody else has some time to take what
    /// waits for them.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr };
            let rest = std::mem::take(&mut line.rest);
            if rest.is_empty() {
                continue;
            }
            let piece = Piece { stream, bytes: &rest, time: line.time(Timestamp::now()) };
            line.begun = None;
            match &mut self.sink {
                Sink::File(file) => file.add(&piece)?,
                Sink::Remote(remote) => remote.add(&piece),
            }
        }
        match &mut self.sink {
            Sink::File(file) => file.finish(),
            Sink::Remote(remote) => {
                remote.finish();
                Ok(())
            }
        }
    }

    /// Whether the container may go on.
    pub(crate) fn has_room(&self) -> bool {
        match &self.sink {
            Sink::File(_) => true,
            Sink::Remote(remote) => remote.has_room(),
        }
    }

    /// Waits for what can be dealt with.
    pub(crate) fn watch(&mut self, on: &Poller) -> Result<(), sys::Error> {
        match &mut self.sink {
            Sink::File(_) => Ok(()),
            Sink::Remote(remote) => remote.watch(on),
        }
    }

    /// When it is to be tried again to write what waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.sink {
            Sink::File(file) => file.deadline(),
            Sink::Remote(remote) => remote.deadline(),
        }
    }

    /// Does what is due.
    fn pass_time(&mut self, now: Instant) -> io::Result<()> {
        match &mut self.sink {
            Sink::File(file) if file.deadline().is_some_and(|at| at <= now) => file.flush(),
            Sink::Remote(remote) if remote.deadline().is_some_and(|at| at <= now) => {
                remote.flush();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A child of ours has ended. Whether it was the log's.
    pub(crate) fn forget_child(&mut self, pid: Pid) -> bool {
        match &mut self.sink {
            Sink::File(file) => file.forget_child(pid),
            Sink::Remote(remote) => remote.forget_child(pid),
        }
    }
}

impl Supervisor {
    /// Whoever keeps the log can take more, or is gone.
    pub(crate) fn on_log(&mut self) {
        if let Some(Log { sink: Sink::Remote(remote), .. }) = &mut self.log {
            remote.flush();
        }
        self.refresh(CONTAINER);
    }

    /// Tries again what could not be written.
    pub(crate) fn pass_log(&mut self, now: Instant) {
        let Some(log) = &mut self.log else { return };
        if log.deadline().is_none_or(|at| at > now) {
            return;
        }
        if let Err(err) = log.pass_time(now) {
            report("log", &Error::file("write", "log")(err));
        }
        self.refresh(CONTAINER);
    }
}

/// A line of which the end has not come yet.
#[derive(Debug, Default)]
struct Line {
    /// What has come and is in no object yet.
    rest: Vec<u8>,
    /// When the first object of this line was made, if there is one already.
    begun: Option<Timestamp>,
}

impl Line {
    fn time(&self, now: Timestamp) -> Timestamp {
        self.begun.unwrap_or(now)
    }

    /// Hands on each piece that is complete: up to a newline, or as much as an object holds.
    fn push(
        &mut self,
        mut bytes: &[u8],
        now: Timestamp,
        mut piece: impl FnMut(&[u8], Timestamp) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = MAX_PIECE_BYTES - self.rest.len();
            let within = &bytes[..bytes.len().min(room)];
            let newline = within.iter().position(|&byte| byte == b'\n');
            let (end, complete) = match newline {
                Some(at) => (at + 1, true),
                None if bytes.len() >= room => (room, true),
                None => (bytes.len(), false),
            };
            let (now_in, later) = bytes.split_at(end);
            bytes = later;
            if !complete {
                self.rest.extend_from_slice(now_in);
                return Ok(());
            }
            let time = self.time(now);
            if self.rest.is_empty() {
                piece(now_in, time)?;
            } else {
                self.rest.extend_from_slice(now_in);
                piece(&self.rest, time)?;
                self.rest.clear();
            }
            self.begun = newline.is_none().then_some(time);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
