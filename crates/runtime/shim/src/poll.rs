//! What the loop waits for: epoll(7), with a closed set of tokens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::Timespec;
use rustix::io::Errno;
use sys::Call;

use crate::log::Stream;

/// Whose descriptor is ready. Numbers are never given twice, so that an event that was already
/// fetched for something now gone finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The signalfd: a child ended.
    Signals,
    /// The connection to the engine that started us.
    Control,
    /// The socket on which clients connect.
    Accept,
    /// A client.
    Client(u32),
    /// A process's standard input.
    Input(u32),
    /// A process's standard output or error.
    Output(u32, Stream),
    /// A process's terminal.
    Console(u32),
    /// The name server's sockets.
    Dns(DnsToken),
    /// The proxy's sockets.
    Proxy(ProxyToken),
    /// The watch over the container's memory.
    Memory,
    /// The connection to who keeps the log.
    Log,
}

/// A socket of the name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DnsToken {
    /// Where queries arrive over UDP.
    Udp,
    /// Where connections arrive.
    Accept,
    /// A connection from inside.
    Asker(u32),
    /// The socket of one relayed query.
    Relay(u32),
}

/// A socket of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyToken {
    /// A published port.
    Listener(u32),
    /// The side of a connection that came to us.
    Front(u32),
    /// The side that leads into the container.
    Back(u32),
    /// The socket of one UDP peer that leads into the container.
    Flow(u32),
}

impl Token {
    /// As epoll carries it: the kind above, the number below.
    fn pack(self) -> u64 {
        let (kind, number) = match self {
            Self::Signals => (0, 0),
            Self::Control => (1, 0),
            Self::Accept => (2, 0),
            Self::Client(n) => (3, n),
            Self::Input(n) => (4, n),
            Self::Output(n, Stream::Stdout) => (5, n),
            Self::Output(n, Stream::Stderr) => (6, n),
            Self::Console(n) => (7, n),
            Self::Dns(DnsToken::Udp) => (8, 0),
            Self::Dns(DnsToken::Accept) => (9, 0),
            Self::Dns(DnsToken::Asker(n)) => (10, n),
            Self::Dns(DnsToken::Relay(n)) => (11, n),
            Self::Proxy(ProxyToken::Listener(n)) => (12, n),
            Self::Proxy(ProxyToken::Front(n)) => (13, n),
            Self::Proxy(ProxyToken::Back(n)) => (14, n),
            Self::Proxy(ProxyToken::Flow(n)) => (15, n),
            Self::Memory => (16, 0),
            Self::Log => (17, 0),
        };
        kind << 32 | u64::from(number)
    }

    fn unpack(data: u64) -> Option<Self> {
        let number = data as u32;
        Some(match data >> 32 {
            0 => Self::Signals,
            1 => Self::Control,
            2 => Self::Accept,
            3 => Self::Client(number),
            4 => Self::Input(number),
            5 => Self::Output(number, Stream::Stdout),
            6 => Self::Output(number, Stream::Stderr),
            7 => Self::Console(number),
            8 => Self::Dns(DnsToken::Udp),
            9 => Self::Dns(DnsToken::Accept),
            10 => Self::Dns(DnsToken::Asker(number)),
            11 => Self::Dns(DnsToken::Relay(number)),
            12 => Self::Proxy(ProxyToken::Listener(number)),
            13 => Self::Proxy(ProxyToken::Front(number)),
            14 => Self::Proxy(ProxyToken::Back(number)),
            15 => Self::Proxy(ProxyToken::Flow(number)),
            16 => Self::Memory,
            17 => Self::Log,
            _ => return None,
        })
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready(EventFlags);

impl Ready {
    /// There is something to read, be it the end.
    pub(crate) fn readable(self) -> bool {
        self.0.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
    }

    /// There is room to write, or writing would say why there never will be.
    pub(crate) fn writable(self) -> bool {
        self.0.intersects(EventFlags::OUT | EventFlags::ERR)
    }

    /// The other side is gone for good.
    pub(crate) fn gone(self) -> bool {
        self.0.intersects(EventFlags::HUP | EventFlags::ERR)
    }
}

/// What to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    /// When there is something to read.
    pub(crate) read: bool,
    /// When there is room to write.
    pub(crate) write: bool,
}

impl Interest {
    /// When there is something to read.
    pub(crate) const READ: Self = Self { read: true, write: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        if self.read {
            flags |= EventFlags::IN | EventFlags::RDHUP;
        }
        if self.write {
            flags |= EventFlags::OUT;
        }
        flags
    }
}

/// The epoll instance.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    /// One that waits for nothing yet.
    pub(crate) fn new() -> Result<Self, sys::Error> {
        epoll::create(CreateFlags::CLOEXEC).call(|| "epoll_create1(EPOLL_CLOEXEC)").map(Self)
    }

    /// Waits until something is ready, or `timeout` has passed.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        mut each: impl FnMut(Token, Ready),
    ) -> Result<(), sys::Error> {
        const EMPTY: Event = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = [EMPTY; 32];
        let n_events = match epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            Err(Errno::INTR) => 0,
            other => other.call(|| "epoll_wait()")?,
        };
        for event in &events[..n_events] {
            let (data, flags) = (event.data, event.flags);
            if let Some(token) = Token::unpack(data.u64()) {
                each(token, Ready(flags));
            }
        }
        Ok(())
    }
}

/// A descriptor of ours, and what we wait for on it. Closing it ends the waiting.
#[derive(Debug)]
pub(crate) struct Watched {
    fd: OwnedFd,
    token: Token,
    interest: Option<Interest>,
}

impl Watched {
    /// Takes the descriptor, which does not block; nothing is waited for yet.
    pub(crate) fn new(fd: OwnedFd, token: Token) -> Self {
        Self { fd, token, interest: None }
    }

    /// Waits for what `interest` says from now on; also, without being asked, for errors and for
    /// the other side to go.
    pub(crate) fn watch(&mut self, on: &Poller, interest: Interest) -> Result<(), sys::Error> {
        if self.interest == Some(interest) {
            return Ok(());
        }
        let data = EventData::new_u64(self.token.pack());
        match self.interest {
            None => epoll::add(&on.0, &self.fd, data, interest.flags()),
            Some(_) => epoll::modify(&on.0, &self.fd, data, interest.flags()),
        }
        .call(|| format!("epoll_ctl({:?})", self.token))?;
        self.interest = Some(interest);
        Ok(())
    }

    /// Waits for nothing at all, not even for the end, which would be reported again and again.
    pub(crate) fn unwatch(&mut self, on: &Poller) -> Result<(), sys::Error> {
        if self.interest.take().is_some() {
            epoll::delete(&on.0, &self.fd).call(|| format!("epoll_ctl({:?})", self.token))?;
        }
        Ok(())
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_epoll() {
        for kind in 0..18 {
            let token = Token::unpack(kind << 32).unwrap();
            assert_eq!(token.pack(), kind << 32, "{token:?}");
        }
        assert_eq!(Token::Client(u32::MAX).pack(), 3 << 32 | u64::from(u32::MAX));
        assert_eq!(Token::unpack(18 << 32), None);
    }

    #[test]
    fn what_is_not_watched_is_not_reported() {
        let poller = Poller::new().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut end = Watched::new(read, Token::Input(7));
        let ready = |poller: &Poller| {
            let mut all = Vec::new();
            poller.wait(Some(Duration::ZERO), |token, ready| all.push((token, ready))).unwrap();
            all
        };
        end.watch(&poller, Interest::READ).unwrap();
        assert_eq!(ready(&poller), []);
        drop(write);
        let events = ready(&poller);
        assert!(events[0].0 == Token::Input(7) && events[0].1.gone() && events[0].1.readable());
        end.unwatch(&poller).unwrap();
        assert_eq!(ready(&poller), []);
    }
}
