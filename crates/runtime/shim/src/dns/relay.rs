//! One question on its way to others and back.
//!
//! Each has a socket of its own, so a port of its own that the kernel picks at random, connected,
//! so that nobody else's packet is read; and a random number instead of the asker's. A response
//! counts only if it bears that number and repeats the question.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use dnsmsg::Query;
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{From, MAX_MESSAGE_BYTES, connect_from, take_framed};
use crate::poll::{DnsToken, Interest, Poller, Token, Watched};
use crate::queue::Queue;

/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many packets are looked at before others have their turn.
const MAX_PACKETS: usize = 16;
/// The response codes of a server that cannot say anything about a name (RFC 1035, 4.1.1).
const SERVER_FAILURE: u8 = 2;
const REFUSED: u8 = 5;

/// What became of asking.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing yet.
    Pending,
    /// This, with the asker's own number.
    Answer(Vec<u8>),
    /// This server has no answer.
    Unanswered,
    /// No server has one.
    Exhausted,
}

/// One relayed question.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) query: Query,
    pub(super) from: From,
    /// As it is sent: with our number.
    message: Vec<u8>,
    /// The index of the server to ask next.
    next_upstream: usize,
    socket: Option<Watched>,
    /// Over TCP: what is still to be sent, and what has come.
    sending: Queue,
    partial: Vec<u8>,
    until: Instant,
}

impl Relay {
    /// For the question in `message`.
    pub(super) fn new(message: &[u8], query: Query, from: From) -> Self {
        Self {
            query,
            from,
            message: message.to_vec(),
            next_upstream: 0,
            socket: None,
            sending: Queue::default(),
            partial: Vec::new(),
            until: Instant::now(),
        }
    }

    /// Until when the present server is waited for.
    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    #[cfg(test)]
    pub(super) fn is_sending(&self) -> bool {
        !self.sending.is_empty()
    }

    fn is_tcp(&self) -> bool {
        matches!(self.from, From::Tcp(_))
    }

    /// Asks the next server, with a new number from a new port.
    pub(super) fn ask_next(
        &mut self,
        on: &Poller,
        key: u32,
        upstream: &[SocketAddr],
        inside: Option<&OwnedFd>,
    ) -> Outcome {
        self.socket = None;
        self.partial.clear();
        self.sending.clear();
        let Some(&server) = upstream.get(self.next_upstream) else { return Outcome::Exhausted };
        self.next_upstream += 1;
        self.until = Instant::now() + PATIENCE;
        dnsmsg::set_id(&mut self.message, random_u16());
        match self.ask(on, key, server, inside) {
            Ok(()) => Outcome::Pending,
            Err(_) => Outcome::Unanswered,
        }
    }

    fn ask(
        &mut self,
        on: &Poller,
        key: u32,
        server: SocketAddr,
        inside: Option<&OwnedFd>,
    ) -> Result<(), Errno> {
        let kind = if self.is_tcp() { SocketType::STREAM } else { SocketType::DGRAM };
        let mut socket =
            Watched::new(connect_from(inside, kind, server)?, Token::Dns(DnsToken::Relay(key)));
        if self.is_tcp() {
            self.sending.push(&(self.message.len() as u16).to_be_bytes());
            self.sending.push(&self.message);
            socket.watch(on, Interest { read: true, write: true }).map_err(|err| err.errno())?;
        } else {
            rustix::io::write(&socket, &self.message)?;
            socket.watch(on, Interest::READ).map_err(|err| err.errno())?;
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// Deals with a ready socket.
    pub(super) fn on_ready(&mut self, on: &Poller) -> Outcome {
        let Some(socket) = &mut self.socket else { return Outcome::Pending };
        match self.from {
            From::Udp(_) => self.read_packets(),
            From::Tcp(_) => {
                if self.sending.flush(&*socket).is_err() {
                    return Outcome::Unanswered;
                }
                let interest = Interest { read: true, write: !self.sending.is_empty() };
                if socket.watch(on, interest).is_err() {
                    return Outcome::Unanswered;
                }
                self.read_stream()
            }
        }
    }

    fn read_packets(&self) -> Outcome {
        let Some(socket) = &self.socket else { return Outcome::Pending };
        let mut buffer = [0; 4096];
        for _ in 0..MAX_PACKETS {
            match rustix::io::read(socket, &mut buffer) {
                Ok(n_bytes) if dnsmsg::answers(&self.message, &buffer[..n_bytes]) => {
                    return self.judge(buffer[..n_bytes].to_vec());
                }
                // Not an answer to this: the right one may still come.
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Outcome::Pending,
                Err(_) => return Outcome::Unanswered,
            }
        }
        Outcome::Pending
    }

    fn read_stream(&mut self) -> Outcome {
        let Some(socket) = &self.socket else { return Outcome::Pending };
        let mut buffer = [0; 4096];
        match rustix::io::read(socket, &mut buffer) {
            Ok(0) => return Outcome::Unanswered,
            Ok(n_bytes) => self.partial.extend_from_slice(&buffer[..n_bytes]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return Outcome::Unanswered,
        }
        match take_framed(&mut self.partial) {
            Some(response) if dnsmsg::answers(&self.message, &response) => self.judge(response),
            Some(_) => Outcome::Unanswered,
            None if self.partial.len() > MAX_MESSAGE_BYTES + 2 => Outcome::Unanswered,
            None => Outcome::Pending,
        }
    }

    /// A response, unless it says that its server cannot help.
    fn judge(&self, mut response: Vec<u8>) -> Outcome {
        if response.get(3).is_some_and(|flags| matches!(flags & 15, SERVER_FAILURE | REFUSED)) {
            return Outcome::Unanswered;
        }
        dnsmsg::set_id(&mut response, self.query.id);
        Outcome::Answer(response)
    }
}

/// A number that nobody can guess; 0 in the one case that the kernel has none yet.
pub(super) fn random_u16() -> u16 {
    let mut bytes = [0; 2];
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    u16::from_ne_bytes(bytes)
}
