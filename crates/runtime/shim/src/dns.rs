//! The name server inside the container, at 127.0.0.11.
//!
//! Its sockets were opened in the container's network namespace; everything else happens in the
//! host's, but for questions to servers that the container names itself, which are asked from its own. It
//! answers for the names of the containers on the same networks, from files that they keep ([`names`]), and
//! relays all other questions ([`relay`]).

mod names;
mod relay;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use dnsmsg::{Code, Query, Reply};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use sys::{Call, CloneFlags};

use crate::dns::relay::{Outcome, Relay};
use crate::poll::{DnsToken, Interest, Poller, Ready, Token, Watched};
use crate::queue::Queue;

/// How many questions may wait for others' answers at once.
const MAX_RELAYS: usize = 128;
/// How many connections from inside there may be at once.
const MAX_ASKERS: usize = 32;
/// How long a connection from inside may be idle.
const ASKER_IDLE: Duration = Duration::from_secs(10);
/// The longest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 65_535;
/// The longest response that is sent over UDP, whatever the asker offers: what fits into a packet
/// on every link (RFC 9715 suggests 1400; loopback has no such limit, but askers have).
const MAX_UDP_BYTES: usize = 4096;
/// How many packets are taken before others have their turn.
const MAX_PACKETS: usize = 16;

/// The two sockets inside.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: OwnedFd,
    tcp: OwnedFd,
}

impl Sockets {
    /// Opens them in the network namespace of the calling thread.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, sys::Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = |kind| {
            let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)
                .call(|| "socket(AF_INET)")?;
            sockopt::set_socket_reuseaddr(&socket, true).call(|| "setsockopt(SO_REUSEADDR)")?;
            rustix::net::bind(&socket, &address).call(|| format!("bind({address})"))?;
            Ok(socket)
        };
        let (udp, tcp) = (open(SocketType::DGRAM)?, open(SocketType::STREAM)?);
        rustix::net::listen(&tcp, 16).call(|| format!("listen({address})"))?;
        Ok(Self { udp, tcp })
    }
}

/// Whose question it is.
#[derive(Clone, Copy, Debug)]
enum From {
    /// A UDP peer's.
    Udp(SocketAddr),
    /// A connection's.
    Tcp(u32),
}

/// A connection from inside.
#[derive(Debug)]
struct Asker {
    socket: Watched,
    /// What of the next message has come.
    partial: Vec<u8>,
    pending: Queue,
    until: Instant,
}

/// The name server.
#[derive(Debug)]
pub(crate) struct Server {
    udp: Watched,
    accept: Watched,
    config: endpoint::Dns,
    /// The container's network namespace, where others are to be asked from there.
    inside: Option<OwnedFd>,
    askers: BTreeMap<u32, Asker>,
    relays: BTreeMap<u32, Relay>,
    next_key: u32,
}

impl Server {
    /// Serves on these sockets from now on, which are in the network namespace `inside`.
    pub(crate) fn new(
        on: &Poller,
        sockets: Sockets,
        config: endpoint::Dns,
        inside: &OwnedFd,
    ) -> Result<Self, sys::Error> {
        let mut udp = Watched::new(sockets.udp, Token::Dns(DnsToken::Udp));
        let mut accept = Watched::new(sockets.tcp, Token::Dns(DnsToken::Accept));
        udp.watch(on, Interest::READ)?;
        accept.watch(on, Interest::READ)?;
        let (askers, relays) = (BTreeMap::new(), BTreeMap::new());
        let inside = config.inside.then(|| inside.try_clone()).transpose();
        let inside = inside.map_err(|err| sys::Error::from_io("dup", &err))?;
        Ok(Self { udp, accept, config, inside, askers, relays, next_key: 0 })
    }

    /// Answers by another configuration from now on.
    pub(crate) fn set_config(&mut self, config: endpoint::Dns) {
        self.config = config;
    }

    /// Deals with a ready socket.
    pub(crate) fn on_event(&mut self, on: &Poller, token: DnsToken, ready: Ready) {
        match token {
            DnsToken::Udp => self.on_packets(on),
            DnsToken::Accept => self.on_accept(on),
            DnsToken::Asker(key) => self.on_asker(on, key, ready),
            DnsToken::Relay(key) => {
                let Some(relay) = self.relays.get_mut(&key) else { return };
                let outcome = relay.on_ready(on);
                self.settle(on, key, outcome);
            }
        }
    }

    /// When something times out.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let relays = self.relays.values().map(Relay::deadline);
        let askers = self.askers.values().map(|asker| asker.until);
        relays.chain(askers).min()
    }

    /// Gives up what has timed out.
    pub(crate) fn pass_time(&mut self, on: &Poller, now: Instant) {
        self.askers.retain(|_, asker| asker.until > now);
        let due: Vec<u32> = self
            .relays
            .iter()
            .filter(|(_, relay)| relay.deadline() <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let Some(relay) = self.relays.get_mut(&key) else { continue };
            let outcome = relay.ask_next(on, key, &self.config.upstream, self.inside.as_ref());
            self.settle(on, key, outcome);
        }
    }

    fn on_packets(&mut self, on: &Poller) {
        let mut buffer = [0; MAX_UDP_BYTES];
        for _ in 0..MAX_PACKETS {
            match rustix::net::recvfrom(&self.udp, &mut buffer, RecvFlags::empty()) {
                Ok((n_bytes, _, Some(peer))) => {
                    if let Ok(peer) = SocketAddr::try_from(peer) {
                        self.on_query(on, From::Udp(peer), &buffer[..n_bytes]);
                    }
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn on_accept(&mut self, on: &Poller) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&self.accept, flags) {
            // Who has been idle for longest makes room: it may be one who never asks.
            if self.askers.len() >= MAX_ASKERS
                && let Some(idle) = self.askers.iter().min_by_key(|(_, a)| a.until).map(|(k, _)| *k)
            {
                self.askers.remove(&idle);
            }
            let key = self.new_key();
            let mut socket = Watched::new(socket, Token::Dns(DnsToken::Asker(key)));
            if socket.watch(on, Interest::READ).is_ok() {
                let until = Instant::now() + ASKER_IDLE;
                let (partial, pending) = (Vec::new(), Queue::default());
                self.askers.insert(key, Asker { socket, partial, pending, until });
            }
        }
    }

    fn on_asker(&mut self, on: &Poller, key: u32, ready: Ready) {
        let Some(asker) = self.askers.get_mut(&key) else { return };
        let mut gone = ready.gone() || asker.pending.flush(&asker.socket).is_err();
        let mut buffer = [0; 2048];
        if !gone && asker.pending.has_room() {
            match rustix::io::read(&asker.socket, &mut buffer) {
                Ok(0) => gone = true,
                Ok(n_bytes) => {
                    asker.partial.extend_from_slice(&buffer[..n_bytes]);
                    asker.until = Instant::now() + ASKER_IDLE;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => gone = true,
            }
        }
        if gone {
            self.askers.remove(&key);
            return;
        }
        let mut partial = std::mem::take(&mut asker.partial);
        while let Some(message) = take_framed(&mut partial) {
            self.on_query(on, From::Tcp(key), &message);
        }
        if let Some(asker) = self.askers.get_mut(&key) {
            asker.partial = partial;
            let interest =
                Interest { read: asker.pending.has_room(), write: !asker.pending.is_empty() };
            if asker.socket.watch(on, interest).is_err() {
                self.askers.remove(&key);
            }
        }
    }

    /// Answers a question, or asks others.
    fn on_query(&mut self, on: &Poller, from: From, message: &[u8]) {
        let query = match dnsmsg::parse(message) {
            Ok(query) => query,
            // To answer responses is how two servers talk for ever.
            Err(dnsmsg::Error::Response) => return,
            Err(_) => {
                if let Some(failure) = dnsmsg::failure(message, Code::FormatError) {
                    self.respond(on, from, &failure);
                }
                return;
            }
        };
        if !query.standard {
            return self.answer(on, from, &query, &Reply::Failure(Code::NotImplemented));
        }
        if let Some(reply) = names::look_up(&self.config, &query) {
            return self.answer(on, from, &query, &reply);
        }
        if self.config.upstream.is_empty() {
            // One word could only be a name of this network. Of others nobody was asked: that they are none is
            // nothing to be remembered, for one.
            let is_word = query.name.labels().count() == 1;
            let code = if is_word { Code::NoSuchName } else { Code::ServerFailure };
            return self.answer(on, from, &query, &Reply::Failure(code));
        }
        if self.relays.len() >= MAX_RELAYS {
            return self.answer(on, from, &query, &Reply::Failure(Code::ServerFailure));
        }
        let key = self.new_key();
        let mut relay = Relay::new(message, query, from);
        let outcome = relay.ask_next(on, key, &self.config.upstream, self.inside.as_ref());
        self.relays.insert(key, relay);
        self.settle(on, key, outcome);
    }

    /// Goes on with a relayed question after something happened to it.
    fn settle(&mut self, on: &Poller, key: u32, mut outcome: Outcome) {
        while matches!(outcome, Outcome::Unanswered) {
            let Some(relay) = self.relays.get_mut(&key) else { return };
            outcome = relay.ask_next(on, key, &self.config.upstream, self.inside.as_ref());
        }
        if matches!(outcome, Outcome::Pending) {
            return;
        }
        let Some(relay) = self.relays.remove(&key) else { return };
        match outcome {
            Outcome::Answer(response) => self.respond(on, relay.from, &response),
            _ => self.answer(on, relay.from, &relay.query, &Reply::Failure(Code::ServerFailure)),
        }
    }

    fn answer(&mut self, on: &Poller, from: From, query: &Query, reply: &Reply) {
        let limit = match from {
            From::Udp(_) => query.udp_bytes.min(MAX_UDP_BYTES),
            From::Tcp(_) => MAX_MESSAGE_BYTES,
        };
        self.respond(on, from, &dnsmsg::reply(query, reply, limit));
    }

    fn respond(&mut self, on: &Poller, from: From, message: &[u8]) {
        match from {
            From::Udp(peer) => {
                // Who gets no answer asks again: that is how UDP is.
                let _ = rustix::net::sendto(&self.udp, message, SendFlags::empty(), &peer);
            }
            From::Tcp(key) => {
                let Some(asker) = self.askers.get_mut(&key) else { return };
                asker.pending.push(&(message.len() as u16).to_be_bytes());
                let sent = asker.pending.send(&asker.socket, message);
                let interest = Interest { read: true, write: !asker.pending.is_empty() };
                if sent.is_err() || asker.socket.watch(on, interest).is_err() {
                    self.askers.remove(&key);
                }
            }
        }
    }

    fn new_key(&mut self) -> u32 {
        self.next_key += 1;
        self.next_key
    }
}

/// Takes the first whole message of a stream, in which each has its length before it.
fn take_framed(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*stream.first_chunk()?));
    let message = stream.get(2..2 + length)?.to_vec();
    stream.drain(..2 + length);
    Some(message)
}

/// Opens a socket of the host that is connected to `peer`, or about to be.
/// A connection to `peer` from another network namespace, or from this one.
fn connect_from(
    inside: Option<&OwnedFd>,
    kind: SocketType,
    peer: SocketAddr,
) -> Result<OwnedFd, Errno> {
    let Some(inside) = inside else { return connect(kind, peer) };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let host = rustix::fs::open("/proc/self/ns/net", flags, Mode::empty())?;
    sys::setns(inside.as_fd(), CloneFlags::NEWNET).map_err(|err| err.errno())?;
    let connected = connect(kind, peer);
    sys::setns(host.as_fd(), CloneFlags::NEWNET).map_err(|err| err.errno())?;
    connected
}

fn connect(kind: SocketType, peer: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = if kind == SocketType::DGRAM { ipproto::UDP } else { ipproto::TCP };
    let socket = rustix::net::socket_with(family, kind, flags, Some(protocol))?;
    match rustix::net::connect(&socket, &peer) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests;
