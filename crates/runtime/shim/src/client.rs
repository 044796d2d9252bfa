//! A connection to `RUN/shim.sock`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::Shutdown;
use shim_protocol::{Attach, FRAME_HEADER_BYTES, Reply};

use crate::log::Stream;
use crate::poll::{Interest, Poller, Token, Watched};
use crate::queue::Queue;
use crate::supervisor::Supervisor;

/// The longest request, in bytes: the protocol's.
pub(crate) const MAX_REQUEST_BYTES: usize = 1 << 20;
/// What of unread input is thrown away when hanging up, in bytes.
const MAX_DISCARD_BYTES: usize = 1 << 20;

/// Where a connection is.
#[derive(Debug)]
pub(crate) enum State {
    /// Its request has not come whole.
    Request(Vec<u8>),
    /// It asked for an exec of which the runtime has not said whether it runs.
    Starting,
    /// It waits for the end of the container, and perhaps removes it then.
    Waiting {
        /// As in [`shim_protocol::Request::Wait`].
        removes: bool,
    },
    /// It has become the streams of a process.
    Attached(Attachment),
    /// It is closed when what waits for it is written.
    Closing,
}

/// To what a client is attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment {
    /// The process.
    pub(crate) process: u32,
    /// Which streams.
    pub(crate) streams: Attach,
    /// Whether output comes without frames.
    pub(crate) raw: bool,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Watched,
    /// Where it is.
    pub(crate) state: State,
    pending: Queue,
    /// It has said that it will write no more.
    ended: bool,
}

impl Client {
    /// A new connection.
    pub(crate) fn new(socket: OwnedFd, key: u32) -> Self {
        Self {
            socket: Watched::new(socket, Token::Client(key)),
            state: State::Request(Vec::new()),
            pending: Queue::default(),
            ended: false,
        }
    }

    /// To what it is attached, if it is.
    pub(crate) fn attachment(&self) -> Option<Attachment> {
        match self.state {
            State::Attached(attachment) => Some(attachment),
            _ => None,
        }
    }

    /// Whether more output may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.has_room()
    }

    /// Whether everything that was sent has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it will write no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads what it wrote; nothing is its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let n_bytes = rustix::io::read(&self.socket, buffer)?;
        self.ended = n_bytes == 0;
        Ok(n_bytes)
    }

    /// Sends a reply.
    pub(crate) fn reply(&mut self, reply: &Reply) -> Result<(), Errno> {
        let mut line = serde_json::to_vec(reply).map_err(|_| Errno::INVAL)?;
        line.push(b'\n');
        self.pending.send(&self.socket, &line)
    }

    /// Sends a reply, and a descriptor with it. It has to be all that is sent.
    pub(crate) fn reply_with(
        &mut self,
        reply: &Reply,
        fd: BorrowedFd<'_>,
    ) -> Result<(), sys::Error> {
        let mut line = Vec::new();
        // Writing to memory does not fail.
        _ = shim_protocol::send(&mut line, reply);
        sys::send_fd(self.socket.as_fd(), &line, fd)
    }

    /// Sends a piece of output, if it wants that stream.
    pub(crate) fn output(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Errno> {
        let Some(Attachment { streams, raw, .. }) = self.attachment() else { return Ok(()) };
        let wanted = match stream {
            Stream::Stdout => streams.stdout,
            Stream::Stderr => streams.stderr,
        };
        // On a terminal the two are one.
        if !(wanted || raw && streams.stderr) {
            return Ok(());
        }
        if !raw {
            self.pending.push(&frame_header(stream, bytes.len()));
        }
        self.pending.send(&self.socket, bytes)
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        self.pending.flush(&self.socket)
    }

    /// Waits for what can be dealt with: for input only while `has_room` for it.
    pub(crate) fn watch(&mut self, on: &Poller, has_room: bool) -> Result<(), sys::Error> {
        let reads = match self.state {
            State::Attached(_) => has_room,
            // What comes after an exec's request is its input, and has to wait.
            State::Starting | State::Closing => false,
            State::Request(_) | State::Waiting { .. } => true,
        };
        let interest = Interest { read: reads && !self.ended, write: !self.pending.is_empty() };
        self.socket.watch(on, interest)
    }

    /// Makes the kernel take all that waits, if it can: it delivers it also when we are gone.
    pub(crate) fn hand_over(&mut self) -> Result<(), Errno> {
        const ENOUGH_BYTES: usize = 8 << 20;
        self.flush()?;
        if !self.is_flushed() {
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, ENOUGH_BYTES)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Waits until the other side closes the connection, for `patience` at most. What it still says is
    /// passed over.
    pub(crate) fn await_end(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut buffer = [0; 256];
        while let Some(left) = Supervisor::remaining(until) {
            let left = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(1..) | Err(Errno::INTR | Errno::AGAIN) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Closes the connection so that the other side reads the end, not a reset: that is what it
    /// would get if anything that it wrote were left unread.
    pub(crate) fn hang_up(self) {
        // It may have gone before us.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        let mut buffer = [0; 4096];
        let mut n_discarded = 0;
        while let Ok(n_bytes @ 1..) = rustix::io::read(&self.socket, &mut buffer) {
            n_discarded += n_bytes;
            if n_discarded > MAX_DISCARD_BYTES {
                break;
            }
        }
    }
}

/// What precedes each piece of output that is not raw.
fn frame_header(stream: Stream, n_bytes: usize) -> [u8; FRAME_HEADER_BYTES] {
    let kind = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    let [a, b, c, d] = (n_bytes as u32).to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn attached(streams: Attach, raw: bool) -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut client = Client::new(ours.into(), 1);
        client.state = State::Attached(Attachment { process: 0, streams, raw });
        (client, theirs)
    }

    #[track_caller]
    fn check(streams: Attach, raw: bool, want: &[u8]) {
        let (mut client, mut theirs) = attached(streams, raw);
        client.output(Stream::Stdout, b"out").unwrap();
        client.output(Stream::Stderr, b"err").unwrap();
        client.hang_up();
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn a_client_gets_the_streams_it_wants_in_dockers_frames() {
        let both = Attach { stdin: false, stdout: true, stderr: true };
        check(both, false, b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err");
        check(Attach { stderr: false, ..both }, false, b"\x01\0\0\0\0\0\0\x03out");
        check(Attach { stdout: false, ..both }, false, b"\x02\0\0\0\0\0\0\x03err");
        check(both, true, b"outerr");
    }

    #[test]
    fn what_was_handed_over_arrives_after_the_end() {
        let (mut client, mut theirs) = attached(Attach { stdout: true, ..Attach::default() }, true);
        let all = vec![b'x'; 1 << 20];
        client.output(Stream::Stdout, &all).unwrap();
        assert!(!client.is_flushed() && !client.has_room());
        client.hand_over().unwrap();
        assert!(client.is_flushed());
        client.hang_up();
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        assert_eq!(got, all);
    }

    #[test]
    fn unread_input_does_not_turn_the_end_into_a_reset() {
        let (client, mut theirs) = attached(Attach::default(), true);
        std::io::Write::write_all(&mut theirs, b"never read").unwrap();
        client.hang_up();
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    }
}
