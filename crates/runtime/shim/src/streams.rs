//! The streams of one process that the shim holds, and who is attached to them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::log::Stream;
use crate::poll::{Interest, Poller, Token, Watched};
use crate::queue::Queue;
use crate::stdio::Pipes;

/// What reading an output came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing at present.
    Later,
    /// Nothing any more: every writer is gone, and the descriptor is closed.
    End,
}

/// The shim's ends.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    input: Option<Watched>,
    stdout: Option<Watched>,
    stderr: Option<Watched>,
    /// Instead of all three. `hung_up` once no process has it open.
    console: Option<Watched>,
    hung_up: bool,
    /// What waits for the process to read it.
    pending: Queue,
    /// Close the input when nothing waits any more.
    input_ends: bool,
    /// The clients that are attached.
    pub(crate) clients: Vec<u32>,
}

impl Streams {
    /// Those of process `key` with pipes.
    pub(crate) fn with_pipes(key: u32, pipes: Pipes) -> Self {
        let output = |fd, stream| Watched::new(fd, Token::Output(key, stream));
        Self {
            input: pipes.stdin.map(|fd| Watched::new(fd, Token::Input(key))),
            stdout: pipes.stdout.map(|fd| output(fd, Stream::Stdout)),
            stderr: Some(output(pipes.stderr, Stream::Stderr)),
            ..Self::default()
        }
    }

    /// Those of process `key` with a terminal.
    pub(crate) fn with_console(key: u32, master: OwnedFd) -> Self {
        Self { console: Some(Watched::new(master, Token::Console(key))), ..Self::default() }
    }

    /// The terminal.
    pub(crate) fn console(&self) -> Option<BorrowedFd<'_>> {
        self.console.as_ref().map(AsFd::as_fd)
    }

    /// Whether output goes to clients as it is, not in frames.
    pub(crate) fn is_raw(&self) -> bool {
        self.console.is_some()
    }

    /// Whether all output has come.
    pub(crate) fn ended(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none() && (self.console.is_none() || self.hung_up)
    }

    /// The descriptors from which output may still come.
    pub(crate) fn open_outputs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let console = self.console.as_ref().filter(|_| !self.hung_up);
        [self.stdout.as_ref(), self.stderr.as_ref(), console].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Reads what one output has. A terminal's output counts as standard output.
    pub(crate) fn read(&mut self, stream: Stream, on: &Poller, buffer: &mut [u8]) -> Read {
        let terminal = self.console.is_some();
        let slot = match stream {
            _ if terminal => &mut self.console,
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(fd) = slot else { return Read::End };
        match rustix::io::read(&fd, buffer) {
            Ok(n_bytes) if n_bytes > 0 => Read::Bytes(n_bytes),
            Err(Errno::AGAIN | Errno::INTR) => Read::Later,
            // A terminal that no process has open says EIO. It is kept for its size.
            _ if terminal => {
                self.hung_up = true;
                // Deleting what is not there is all that could fail.
                let _ = fd.unwatch(on);
                Read::End
            }
            _ => {
                *slot = None;
                Read::End
            }
        }
    }

    /// Whether the process still takes input, and nothing keeps it from taking more.
    pub(crate) fn input_has_room(&self) -> bool {
        !self.takes_input() || self.pending.has_room()
    }

    fn takes_input(&self) -> bool {
        !self.input_ends && (self.input.is_some() || self.console.is_some() && !self.hung_up)
    }

    /// Gives input to the process; without any effect if it takes none.
    pub(crate) fn write_input(&mut self, bytes: &[u8]) {
        if self.takes_input() {
            self.pending.push(bytes);
            self.flush_input();
        }
    }

    /// Writes what waits, and closes the input if that was all there ever will be, or if the
    /// process closed its side.
    pub(crate) fn flush_input(&mut self) {
        let Some(fd) = self.console.as_ref().or(self.input.as_ref()) else { return };
        let broken = self.pending.flush(fd).is_err();
        if broken {
            self.pending.clear();
        }
        if broken || self.input_ends && self.pending.is_empty() {
            self.input = None;
        }
    }

    /// The process will read no more of its standard input.
    pub(crate) fn lose_input(&mut self) {
        self.pending.clear();
        self.input = None;
    }

    /// No more input will come. A terminal has no end.
    pub(crate) fn end_input(&mut self) {
        if self.input.is_some() {
            self.input_ends = true;
            self.flush_input();
        }
    }

    /// Waits for what can be dealt with: for output only while every client `has_room` for it.
    pub(crate) fn watch(&mut self, on: &Poller, has_room: bool) -> Result<(), sys::Error> {
        for output in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            if has_room { output.watch(on, Interest::READ)? } else { output.unwatch(on)? }
        }
        let write = !self.pending.is_empty();
        if let Some(input) = &mut self.input {
            input.watch(on, Interest { read: false, write })?;
        }
        if let Some(console) = self.console.as_mut().filter(|_| !self.hung_up) {
            if has_room || write {
                console.watch(on, Interest { read: has_room, write })?;
            } else {
                console.unwatch(on)?;
            }
        }
        Ok(())
    }
}
