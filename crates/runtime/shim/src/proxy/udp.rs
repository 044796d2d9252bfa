//! Proxied packets: one socket into the container for each peer, so that answers find their way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType};

use super::{Proxy, open_socket};
use crate::poll::{Interest, Poller, ProxyToken, Token, Watched};

/// How long a peer is remembered after its last packet: Docker's.
const IDLE: Duration = Duration::from_secs(90);
/// How many peers are remembered at once.
const MAX_FLOWS: usize = 256;
/// The longest packet, in bytes.
const MAX_PACKET_BYTES: usize = 65_535;
/// How many packets are forwarded before others have their turn.
const MAX_PACKETS: usize = 32;

/// One peer.
#[derive(Debug)]
pub(super) struct Flow {
    socket: Watched,
    listener: u32,
    peer: SocketAddr,
    pub(super) until: Instant,
}

impl Proxy {
    /// Hands on packets that came to a published port. What cannot be sent is lost, as packets are.
    pub(super) fn forward_packets(&mut self, on: &Poller, key: u32) {
        let mut buffer = vec![0; MAX_PACKET_BYTES];
        for _ in 0..MAX_PACKETS {
            let Some(listener) = self.listeners.get(&key) else { return };
            let container = listener.container;
            match rustix::net::recvfrom(&listener.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((n_bytes, _, Some(peer))) => {
                    if let Ok(peer) = SocketAddr::try_from(peer)
                        && let Ok(flow) = self.flow(on, key, peer, container)
                    {
                        flow.until = Instant::now() + IDLE;
                        let _ =
                            rustix::net::send(&flow.socket, &buffer[..n_bytes], SendFlags::empty());
                    }
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// The flow of `peer`, made if there is none.
    fn flow(
        &mut self,
        on: &Poller,
        listener: u32,
        peer: SocketAddr,
        container: SocketAddr,
    ) -> Result<&mut Flow, sys::Error> {
        let is = |flow: &Flow| flow.listener == listener && flow.peer == peer;
        let known = self.flows.iter().find(|(_, flow)| is(flow)).map(|(key, _)| *key);
        let key = if let Some(key) = known {
            key
        } else {
            if self.flows.len() >= MAX_FLOWS
                && let Some(oldest) =
                    self.flows.iter().min_by_key(|(_, f)| f.until).map(|(k, _)| *k)
            {
                self.flows.remove(&oldest);
            }
            let failed = |errno| sys::Error::new(format!("connect({container})"), errno);
            let socket = open_socket(container, SocketType::DGRAM).map_err(failed)?;
            rustix::net::connect(&socket, &container).map_err(failed)?;
            let key = self.new_key();
            let mut socket = Watched::new(socket, Token::Proxy(ProxyToken::Flow(key)));
            socket.watch(on, Interest::READ)?;
            self.flows.insert(key, Flow { socket, listener, peer, until: Instant::now() + IDLE });
            key
        };
        self.flows.get_mut(&key).ok_or_else(|| sys::Error::new("find a flow", Errno::NOENT))
    }

    /// Hands answers back to a peer.
    pub(super) fn return_packets(&mut self, key: u32) {
        let Some(flow) = self.flows.get_mut(&key) else { return };
        let Some(listener) = self.listeners.get(&flow.listener) else { return };
        let mut buffer = vec![0; MAX_PACKET_BYTES];
        for _ in 0..MAX_PACKETS {
            match rustix::net::recv(&flow.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((n_bytes, _)) => {
                    flow.until = Instant::now() + IDLE;
                    let packet = &buffer[..n_bytes];
                    let _ = rustix::net::sendto(
                        &listener.socket,
                        packet,
                        SendFlags::empty(),
                        &flow.peer,
                    );
                }
                // The container does not listen (yet); the peer finds that out by itself.
                Err(Errno::INTR | Errno::CONNREFUSED) => {}
                Err(_) => return,
            }
        }
    }
}
