//! Lines of a container's log for a server that wants TLS, in a process of their own.
//!
//! A supervisor is small and knows nothing of TLS. For a container that logs this way it starts the program once
//! more, with one end of a socket pair ([`RELAY_FD`]): what comes from there goes to the server. First of all one answer goes
//! back: [`RELAY_READY`], or why not, and the end. A server that takes lines slowly has them wait in the socket pair, and so
//! with the supervisor. When the supervisor has closed its end, what is left has a moment to be taken.
//!
//! ```text
//! supervisor ── socket pair ── this process ── TLS ── server
//! ```
#![forbid(unsafe_code)]

mod tls;

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustls::ClientConnection;
use shim_protocol::{RELAY_FD, RELAY_READY, SyslogTls};

/// How long a machine that does not answer is waited for, and one that does not finish its handshake.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the last lines may take.
const GRACE: Duration = Duration::from_secs(5);
/// What is passed on at once, in bytes.
const PIECE: usize = 16 << 10;

/// Why lines cannot be passed on.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// A file of certificates, or what is in it.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The way there.
    #[error("connect to {host}")]
    Connect {
        /// The server.
        host: String,
        /// Why.
        source: io::Error,
    },
}

/// Passes on what comes until its end. `target` is where to, as JSON ([`SyslogTls`]). Returns the code to exit with.
pub fn main(target: &OsStr) -> i32 {
    // Whoever was not started by a supervisor has nobody to tell.
    let Ok(supervisor) = sys::take_fd(RELAY_FD) else { return 1 };
    let target = serde_json::from_slice::<SyslogTls>(target.as_encoded_bytes());
    let opened = target
        .map_err(|err| err.to_string())
        .and_then(|target| connect(&target).map_err(|err| docker::error::chain(&err)));
    let (connection, server) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            // The supervisor may have gone.
            _ = rustix::io::write(&supervisor, why.as_bytes());
            return 1;
        }
    };
    if rustix::io::write(&supervisor, &[RELAY_READY]).is_err() {
        return 1;
    }
    let mut relay = Relay { supervisor, server, connection, until: None };
    i32::from(relay.run().is_err())
}

/// Connects, and makes sure of the server.
fn connect(target: &SyslogTls) -> Result<(ClientConnection, TcpStream), Error> {
    let failed = |source| Error::Connect { host: target.host.clone(), source };
    let address = target.address.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let mut connection = tls::connection(target)?;
    let to = (address, target.port).into();
    let mut server = TcpStream::connect_timeout(&to, PATIENCE).map_err(failed)?;
    server.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    server.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut server).map_err(failed)?;
    }
    server.set_nonblocking(true).map_err(failed)?;
    Ok((connection, server))
}

/// Both sides.
struct Relay {
    supervisor: OwnedFd,
    server: TcpStream,
    connection: ClientConnection,
    /// The supervisor has gone: then the rest may take until then.
    until: Option<Instant>,
}

impl Relay {
    /// Until the end of either side.
    fn run(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        self.drain()?;
        loop {
            let (has_lines, has_answer) = {
                let mut fds = [
                    PollFd::new(&self.supervisor, PollFlags::IN),
                    PollFd::new(&self.server, PollFlags::IN),
                ];
                poll(&mut fds, None)?;
                (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
            };
            if has_answer {
                self.listen()?;
            }
            if !has_lines {
                continue;
            }
            match rustix::io::read(&self.supervisor, &mut piece) {
                Ok(0) => break,
                Ok(n_bytes) => self.connection.writer().write_all(&piece[..n_bytes])?,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.drain()?;
        }
        self.until.get_or_insert_with(|| Instant::now() + GRACE);
        self.connection.send_close_notify();
        self.drain()?;
        self.server.shutdown(std::net::Shutdown::Write)
    }

    /// Takes what the server says: keys, alerts, its end. Anything else is of no interest.
    fn listen(&mut self) -> io::Result<()> {
        match self.connection.read_tls(&mut self.server) {
            Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(err) => return Err(err),
        }
        let state = self.connection.process_new_packets().map_err(io::Error::other)?;
        let mut left = state.plaintext_bytes_to_read();
        let mut nothing = [0; 512];
        while left > 0 {
            left -= self.connection.reader().read(&mut nothing)?.min(left).max(1);
        }
        if state.peer_has_closed() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.drain()
    }

    /// Sends what is to be sent.
    fn drain(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.server) {
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Waits until the server takes more; for ever, while there is a supervisor that waits, too.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = match self.until {
            None => None,
            Some(until) => {
                let left = until.checked_duration_since(Instant::now());
                Some(left.ok_or(io::ErrorKind::TimedOut)?)
            }
        };
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        // One that has gone is always ready, and told once.
        let is_alone = self.until.is_some();
        let mut fds = [
            PollFd::new(&self.server, PollFlags::OUT),
            PollFd::new(&self.supervisor, PollFlags::empty()),
        ];
        let watched = if is_alone { &mut fds[..1] } else { &mut fds[..] };
        poll(watched, timeout.as_ref())?;
        if !is_alone && fds[1].revents().contains(PollFlags::HUP) {
            self.until = Some(Instant::now() + GRACE);
        }
        Ok(())
    }
}
