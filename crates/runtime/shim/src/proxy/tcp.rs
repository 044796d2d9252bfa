//! One proxied connection.
//!
//! Each side is read only while the other takes what comes, and the end of one direction is handed
//! on without ending the other.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketType, sockopt};

use super::open_socket;
use crate::poll::{Interest, Poller, ProxyToken, Ready, Token, Watched};
use crate::queue::Queue;
use crate::supervisor::READ_BYTES;

/// How often a side is read before others have their turn.
const MAX_READS: usize = 8;

/// Two sockets and what is on its way between them.
#[derive(Debug)]
pub(super) struct Connection {
    front: Side,
    back: Side,
    /// Whether the container has taken the connection.
    connected: bool,
}

#[derive(Debug)]
struct Side {
    socket: Watched,
    /// What is to be written to it.
    pending: Queue,
    /// It will send no more.
    ended: bool,
    /// We will send no more.
    shut: bool,
}

impl Side {
    fn new(socket: OwnedFd, token: ProxyToken) -> Self {
        let socket = Watched::new(socket, Token::Proxy(token));
        Self { socket, pending: Queue::default(), ended: false, shut: false }
    }

    /// Waits for what makes sense: to read if `reads`, to write if there is something, or `writes`.
    fn watch(&mut self, on: &Poller, reads: bool, writes: bool) -> Result<(), sys::Error> {
        if self.ended && self.shut {
            // The kernel would report that again and again.
            return self.socket.unwatch(on);
        }
        let write = writes || !self.pending.is_empty();
        self.socket.watch(on, Interest { read: reads && !self.ended, write })
    }
}

impl Connection {
    /// Connects `front`, which was accepted, to the container.
    pub(super) fn open(
        on: &Poller,
        key: u32,
        front: OwnedFd,
        container: SocketAddr,
    ) -> Result<Self, sys::Error> {
        let failed = |errno| sys::Error::new(format!("connect({container})"), errno);
        let back = open_socket(container, SocketType::STREAM).map_err(failed)?;
        for socket in [&front, &back] {
            // We hand on what comes when it comes; to wait for more would only add to it.
            sockopt::set_tcp_nodelay(socket, true).map_err(failed)?;
        }
        match rustix::net::connect(&back, &container) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let mut connection = Self {
            front: Side::new(front, ProxyToken::Front(key)),
            back: Side::new(back, ProxyToken::Back(key)),
            connected: false,
        };
        connection.watch(on)?;
        Ok(connection)
    }

    /// Deals with a ready side. False once the connection is over.
    pub(super) fn on_ready(&mut self, on: &Poller, token: ProxyToken, ready: Ready) -> bool {
        let is_back = matches!(token, ProxyToken::Back(_));
        if is_back && !self.connected {
            if !matches!(sockopt::socket_error(&self.back.socket), Ok(Ok(()))) {
                return false;
            }
            self.connected = ready.writable();
        }
        let (this, other) = if is_back {
            (&mut self.back, &mut self.front)
        } else {
            (&mut self.front, &mut self.back)
        };
        let alive = flush(this, other).and_then(|()| {
            if ready.readable() && self.connected { forward(this, other) } else { Ok(()) }
        });
        let over = self.front.shut && self.back.shut;
        alive.is_ok() && !over && self.watch(on).is_ok()
    }

    fn watch(&mut self, on: &Poller) -> Result<(), sys::Error> {
        let front_reads = self.connected && self.back.pending.has_room();
        let back_reads = self.connected && self.front.pending.has_room();
        self.front.watch(on, front_reads, false)?;
        self.back.watch(on, back_reads, !self.connected)
    }
}

/// Writes what waits for `side`; when nothing does and `source` has ended, so does `side`.
fn flush(side: &mut Side, source: &Side) -> Result<(), Errno> {
    side.pending.flush(&side.socket)?;
    if source.ended && side.pending.is_empty() && !side.shut {
        side.shut = true;
        rustix::net::shutdown(&side.socket, Shutdown::Write)?;
    }
    Ok(())
}

/// Moves what `from` has to `to`, for as long as `to` takes it.
fn forward(from: &mut Side, to: &mut Side) -> Result<(), Errno> {
    let mut buffer = [0; READ_BYTES];
    for _ in 0..MAX_READS {
        if from.ended || !to.pending.has_room() {
            break;
        }
        match rustix::io::read(&from.socket, &mut buffer) {
            Ok(0) => from.ended = true,
            Ok(n_bytes) => to.pending.send(&to.socket, &buffer[..n_bytes])?,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno),
        }
    }
    flush(to, from)
}
