//! The host's side of published ports.
//!
//! Packets from elsewhere are led into the container by the firewall and never get here. What is
//! bound here reserves the port, and serves connections that come over the loopback interface.

mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use endpoint::Protocol;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, getrlimit};

use crate::error::{Error, report};
use crate::poll::{Interest, Poller, ProxyToken, Ready, Token, Watched};
use crate::proxy::tcp::Connection;
use crate::proxy::udp::Flow;

/// How many connections there may be at once, where descriptors suffice.
const MAX_CONNECTIONS: usize = 4096;
/// How many descriptors are kept for everything else.
const OTHER_DESCRIPTORS: u64 = 256;
/// How long no connection is taken after there was no descriptor left for one.
const PAUSE: Duration = Duration::from_millis(100);

/// A published port.
#[derive(Debug)]
struct Listener {
    socket: Watched,
    host: SocketAddr,
    container: SocketAddr,
    protocol: Protocol,
}

impl Listener {
    /// Whether it is the host's side of this port.
    fn is(&self, wanted: &shim_protocol::Listener) -> bool {
        (self.host, self.protocol) == (wanted.host, wanted.protocol)
    }
}

/// All published ports of a container, and who is connected to them.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    listeners: BTreeMap<u32, Listener>,
    connections: BTreeMap<u32, Connection>,
    flows: BTreeMap<u32, Flow>,
    next_key: u32,
    max_connections: usize,
    /// Until when no connection is taken.
    paused: Option<Instant>,
}

impl Proxy {
    /// Takes the host's side of every port.
    pub(crate) fn listen(
        &mut self,
        on: &Poller,
        wanted: &[shim_protocol::Listener],
    ) -> Result<(), Error> {
        // They are kept from one life of the container to the next.
        if self.listeners.is_empty() { self.listen_also(on, wanted) } else { Ok(()) }
    }

    /// Takes the host's side of those ports that it does not have yet. A failure leaves it to
    /// [`Proxy::keep_only`] to let go of some of them.
    pub(crate) fn listen_also(
        &mut self,
        on: &Poller,
        wanted: &[shim_protocol::Listener],
    ) -> Result<(), Error> {
        if wanted.is_empty() {
            return Ok(());
        }
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let pairs = descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2;
        self.max_connections =
            usize::try_from(pairs).unwrap_or(usize::MAX).clamp(16, MAX_CONNECTIONS);
        for listener in wanted {
            if self.listeners.values().any(|one| one.is(listener)) {
                continue;
            }
            let socket = match bind(listener.host, listener.protocol) {
                Ok(socket) => socket,
                Err(errno) if has_twin(listener, wanted) && is_without_ipv6(errno) => continue,
                Err(Errno::ADDRINUSE) => {
                    return Err(Error::PortTaken(docker_address(listener.host)));
                }
                Err(Errno::ACCESS | Errno::PERM) => {
                    return Err(Error::PrivilegedPort(listener.host.port()));
                }
                Err(source) => return Err(Error::Listen { address: listener.host, source }),
            };
            let key = self.new_key();
            let mut socket = Watched::new(socket, Token::Proxy(ProxyToken::Listener(key)));
            socket.watch(on, Interest::READ)?;
            let shim_protocol::Listener { host, container, protocol } = *listener;
            self.listeners.insert(key, Listener { socket, host, container, protocol });
        }
        Ok(())
    }

    /// Lets go of all ports but these, which lead where they say from now on. Connections that are
    /// there stay.
    pub(crate) fn keep_only(&mut self, wanted: &[shim_protocol::Listener]) {
        self.listeners.retain(|_, listener| {
            let found = wanted.iter().find(|one| listener.is(one));
            if let Some(found) = found {
                listener.container = found.container;
            }
            found.is_some()
        });
    }

    /// Closes everything.
    pub(crate) fn close(&mut self) {
        *self = Self { next_key: self.next_key, ..Self::default() };
    }

    /// Deals with a ready socket.
    pub(crate) fn on_event(&mut self, on: &Poller, token: ProxyToken, ready: Ready) {
        match token {
            ProxyToken::Listener(key) => match self.listeners.get(&key).map(|l| l.protocol) {
                Some(Protocol::Tcp) => self.accept(on, key),
                Some(Protocol::Udp) => self.forward_packets(on, key),
                // Nobody listens for it: its ports are led into the container by rules alone.
                Some(Protocol::Sctp) | None => {}
            },
            ProxyToken::Front(key) | ProxyToken::Back(key) => {
                let Some(connection) = self.connections.get_mut(&key) else { return };
                if !connection.on_ready(on, token, ready) {
                    self.connections.remove(&key);
                    self.resume(on);
                }
            }
            ProxyToken::Flow(key) => self.return_packets(key),
        }
    }

    /// When something times out.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.flows.values().map(|flow| flow.until).chain(self.paused).min()
    }

    /// Does what is due.
    pub(crate) fn pass_time(&mut self, on: &Poller, now: Instant) {
        self.flows.retain(|_, flow| flow.until > now);
        if self.paused.is_some_and(|until| until <= now) {
            self.resume(on);
        }
    }

    /// Takes the connections that wait.
    fn accept(&mut self, on: &Poller, key: u32) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            let Some(listener) = self.listeners.get(&key) else { return };
            if self.connections.len() >= self.max_connections {
                return self.pause(on);
            }
            match rustix::net::accept_with(&listener.socket, flags) {
                Ok(front) => {
                    let container = listener.container;
                    let key = self.new_key();
                    // The container does not listen: the peer sees its connection end.
                    if let Ok(connection) = Connection::open(on, key, front, container) {
                        self.connections.insert(key, connection);
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    return self.pause(on);
                }
                // Errors of the connection that was to be taken: accept(2).
                Err(_) => {}
            }
        }
    }

    /// Takes no connection for a while: those that exist need the descriptors.
    fn pause(&mut self, on: &Poller) {
        self.paused = Some(Instant::now() + PAUSE);
        for listener in self.listeners.values_mut().filter(|l| l.protocol == Protocol::Tcp) {
            if let Err(err) = listener.socket.unwatch(on) {
                report("pause a listener", &err.into());
            }
        }
    }

    fn resume(&mut self, on: &Poller) {
        if self.paused.take().is_none() {
            return;
        }
        for listener in self.listeners.values_mut() {
            if let Err(err) = listener.socket.watch(on, Interest::READ) {
                report("resume a listener", &err.into());
            }
        }
    }

    fn new_key(&mut self) -> u32 {
        self.next_key += 1;
        self.next_key
    }
}

/// Whether an error says that the machine has no IPv6, or not at this address.
fn is_without_ipv6(errno: Errno) -> bool {
    matches!(errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
}

/// Whether `one` is the IPv6 side of a port that is also published on IPv4.
fn has_twin(one: &shim_protocol::Listener, all: &[shim_protocol::Listener]) -> bool {
    one.host.is_ipv6()
        && all.iter().any(|other| {
            other.host.is_ipv4()
                && other.host.port() == one.host.port()
                && other.protocol == one.protocol
        })
}

/// As Docker writes it, IPv6 addresses without brackets.
fn docker_address(address: SocketAddr) -> String {
    format!("{}:{}", address.ip(), address.port())
}

fn bind(address: SocketAddr, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
        Protocol::Sctp => return Err(Errno::PROTONOSUPPORT),
    };
    let socket = open_socket(address, kind)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // The last container's connections may still be in TIME_WAIT.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, 1024)?;
    }
    Ok(socket)
}

/// A socket that does not block, of the family of `address`.
fn open_socket(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, kind, flags, None)
}

#[cfg(test)]
mod tests;
