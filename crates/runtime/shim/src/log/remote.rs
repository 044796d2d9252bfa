//! Lines for somebody else: systemd's journal, a syslog server.
//!
//! Whoever takes lines slowly has them wait here, and then the container, unless it is not to. Who is
//! not there any more loses what is written meanwhile, as with Docker.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, SealFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;
use shim_protocol::{LogConfig, LogMode, SyslogAddress, SyslogFormat};

use crate::clock::Timestamp;
use crate::error::{Error, report};
use crate::log::{Piece, Stream, relay};
use crate::poll::{Interest, Poller, Token, Watched};

/// What may wait before the container does, bytes.
const LIMIT_BYTES: usize = 64 * 1024;
/// How long after a failure it is tried again to connect.
const RETRY: Duration = Duration::from_secs(1);
/// How long the last lines of a container may take.
const GRACE: Duration = Duration::from_secs(2);

/// Lines that wait for somebody, and the connection to them.
#[derive(Debug)]
pub(super) struct Remote {
    config: LogConfig,
    mode: LogMode,
    socket: Option<Socket>,
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How much of the first line has left, on a stream.
    sent: usize,
    /// Not before then is it tried to connect.
    retry_at: Option<Instant>,
    /// Processes that speak TLS for us, until their end was told.
    relays: Vec<Pid>,
}

#[derive(Debug)]
struct Socket {
    fd: Watched,
    is_stream: bool,
    /// It is not known yet whether somebody is there: nobody is waited for.
    is_connecting: bool,
    /// It leads to a process of ours, which says when somebody is there.
    relay: Option<Pid>,
}

impl Remote {
    /// Connects.
    pub(super) fn open(config: &LogConfig) -> io::Result<Self> {
        let (LogConfig::Journald { mode, .. } | LogConfig::Syslog { mode, .. }) = config else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let socket = connect(config, true)?;
        Ok(Self {
            config: config.clone(),
            mode: *mode,
            relays: socket.relay.into_iter().collect(),
            socket: Some(socket),
            lines: VecDeque::new(),
            bytes: 0,
            sent: 0,
            retry_at: None,
        })
    }

    /// Sends a line, or has it wait.
    pub(super) fn add(&mut self, piece: &Piece<'_>) {
        let line = match &self.config {
            LogConfig::Journald { fields, .. } => journal_entry(fields, piece),
            LogConfig::Syslog { format, facility, tag, hostname, .. } => {
                let pid = rustix::process::getpid().as_raw_nonzero().get();
                syslog_line(*format, *facility, tag, hostname, pid, piece)
            }
            LogConfig::JsonFile { .. } | LogConfig::Local { .. } | LogConfig::None => return,
        };
        self.bytes += line.len();
        self.lines.push_back(line);
        let max = match self.mode {
            LogMode::NonBlocking { max_buffer } => {
                usize::try_from(max_buffer).unwrap_or(usize::MAX)
            }
            LogMode::Blocking if self.is_connecting() => LIMIT_BYTES,
            LogMode::Blocking => usize::MAX,
        };
        let first = usize::from(self.sent > 0);
        while self.bytes > max && self.lines.len() > first + 1 {
            self.bytes -= self.lines.remove(first).unwrap_or_default().len();
        }
        self.flush();
    }

    /// Whether the container may go on.
    pub(super) fn has_room(&self) -> bool {
        self.mode != LogMode::Blocking || self.bytes < LIMIT_BYTES || self.is_connecting()
    }

    fn is_connecting(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.is_connecting)
    }

    /// Waits for room, if something waits for it.
    pub(super) fn watch(&mut self, on: &Poller) -> Result<(), sys::Error> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        if self.lines.is_empty() {
            // Not even for its end, which the next line will find.
            return socket.fd.unwatch(on);
        }
        let waits = socket.waits_for_relay();
        socket.fd.watch(on, Interest { read: waits, write: !waits })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.lines.is_empty())
    }

    /// Sends what can be sent.
    pub(super) fn flush(&mut self) {
        if self.socket.is_none() && !self.reconnect() {
            return;
        }
        if let Some(socket) = self.socket.as_mut().filter(|socket| socket.waits_for_relay()) {
            match relay::answer(&socket.fd) {
                Ok(true) => socket.is_connecting = false,
                Ok(false) => return,
                Err(err) => {
                    self.socket = None;
                    return self.give_up(Instant::now(), err);
                }
            }
        }
        while let (Some(line), Some(socket)) = (self.lines.front(), &mut self.socket) {
            match send(socket, &line[self.sent..]) {
                Ok(n_bytes) => {
                    socket.is_connecting = false;
                    self.sent += n_bytes;
                    if !socket.is_stream || self.sent == line.len() {
                        self.drop_first();
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // It takes no line of this length, or none now; others it may.
                Err(Errno::MSGSIZE | Errno::NOBUFS) => self.drop_first(),
                Err(errno) => {
                    report("log", &sys::Error::new("send(log)", errno).into());
                    self.socket = None;
                    self.sent = 0;
                    if !self.reconnect() {
                        return;
                    }
                }
            }
        }
    }

    /// The container has ended: what waits has some time to be taken.
    pub(super) fn finish(&mut self) {
        let until = Instant::now() + GRACE;
        self.flush();
        while !self.lines.is_empty()
            && let Some(socket) = &self.socket
            && let Some(left) = until.checked_duration_since(Instant::now())
        {
            let what = if socket.waits_for_relay() { PollFlags::IN } else { PollFlags::OUT };
            let mut fds = [PollFd::new(&socket.fd, what)];
            if !matches!(poll(&mut fds, Timespec::try_from(left).ok().as_ref()), Ok(1..)) {
                break;
            }
            self.flush();
        }
        (self.bytes, self.sent) = (0, 0);
        self.lines.clear();
    }

    /// Connects anew, unless that has just failed. Where nobody is there, what waits is lost.
    fn reconnect(&mut self) -> bool {
        let now = Instant::now();
        if self.retry_at.is_none_or(|at| at <= now) {
            match connect(&self.config, false) {
                Ok(socket) => {
                    self.relays.extend(socket.relay);
                    (self.socket, self.retry_at) = (Some(socket), None);
                    return true;
                }
                Err(err) => {
                    self.give_up(now, err);
                    return false;
                }
            }
        }
        self.lose();
        false
    }

    /// Nobody is there: it is tried again later.
    fn give_up(&mut self, now: Instant, why: io::Error) {
        report("log", &Error::file("connect to", "whoever keeps it")(why));
        self.retry_at = Some(now + RETRY);
        self.lose();
    }

    /// What waits for nobody is lost, unless it may wait.
    fn lose(&mut self) {
        if self.mode == LogMode::Blocking {
            self.lines.clear();
            self.bytes = 0;
        }
    }

    /// A child of ours has ended. Whether it was one that speaks TLS.
    pub(super) fn forget_child(&mut self, pid: Pid) -> bool {
        let known = self.relays.len();
        self.relays.retain(|relay| *relay != pid);
        self.relays.len() < known
    }

    fn drop_first(&mut self) {
        self.bytes -= self.lines.pop_front().unwrap_or_default().len();
        self.sent = 0;
    }
}

impl Socket {
    /// Whether a process of ours is still to say that somebody is there.
    fn waits_for_relay(&self) -> bool {
        self.is_connecting && self.relay.is_some()
    }
}

fn send(socket: &Socket, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match rustix::net::send(&socket.fd, bytes, flags) {
        // The journal takes in a file what is too long for a datagram.
        Err(Errno::MSGSIZE) if !socket.is_stream => {
            let file = sealed(bytes).map_err(|err| {
                err.raw_os_error().map_or(Errno::MSGSIZE, Errno::from_raw_os_error)
            })?;
            sys::send_fd(socket.fd.as_fd(), b"", file.as_fd()).map_err(|err| err.errno())?;
            Ok(bytes.len())
        }
        sent => sent,
    }
}

/// A file in memory that nobody can change any more.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("dhow-log", flags)?);
    file.write_all(bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// Connects; `wait`: until it is known whether somebody is there.
fn connect(config: &LogConfig, wait: bool) -> io::Result<Socket> {
    match config {
        LogConfig::Journald { socket, .. } => connect_unix(socket, SocketType::DGRAM),
        LogConfig::Syslog { address: SyslogAddress::Unix(paths), .. } => {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for path in paths {
                for kind in [SocketType::DGRAM, SocketType::STREAM] {
                    match connect_unix(path, kind) {
                        Ok(socket) => return Ok(socket),
                        Err(err) if err.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
                        }
                        Err(err) => last = err,
                    }
                }
            }
            Err(last)
        }
        LogConfig::Syslog { address: SyslogAddress::Udp(to), .. } => {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = std::net::UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(Socket {
                fd: Watched::new(socket.into(), Token::Log),
                is_stream: false,
                is_connecting: false,
                relay: None,
            })
        }
        LogConfig::Syslog { address: SyslogAddress::Tls(to), .. } => {
            let (fd, pid) = relay::start(to, wait)?;
            let fd = Watched::new(fd, Token::Log);
            Ok(Socket { fd, is_stream: true, is_connecting: !wait, relay: Some(pid) })
        }
        LogConfig::Syslog { address: SyslogAddress::Tcp(to), .. } => {
            /// How long the start of the container may be held up by a machine that does not answer.
            const PATIENCE: Duration = Duration::from_secs(3);
            if !wait {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
                let is_connecting = match rustix::net::connect(&socket, to) {
                    Err(Errno::INPROGRESS) => true,
                    connected => connected.map(|()| false)?,
                };
                let fd = Watched::new(socket, Token::Log);
                return Ok(Socket { fd, is_stream: true, is_connecting, relay: None });
            }
            let socket = std::net::TcpStream::connect_timeout(to, PATIENCE)?;
            socket.set_nonblocking(true)?;
            Ok(Socket {
                fd: Watched::new(socket.into(), Token::Log),
                is_stream: true,
                is_connecting: false,
                relay: None,
            })
        }
        LogConfig::JsonFile { .. } | LogConfig::Local { .. } | LogConfig::None => {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }
}

fn connect_unix(path: &Path, kind: SocketType) -> io::Result<Socket> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    let is_stream = kind == SocketType::STREAM;
    let fd = Watched::new(socket, Token::Log);
    Ok(Socket { fd, is_stream, is_connecting: false, relay: None })
}

/// Severities (RFC 5424, 6.2.1): those that Docker gives to the two outputs.
fn severity(stream: Stream) -> u8 {
    const ERROR: u8 = 3;
    const INFORMATIONAL: u8 = 6;
    match stream {
        Stream::Stdout => INFORMATIONAL,
        Stream::Stderr => ERROR,
    }
}

/// One entry in the journal's native form: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
fn journal_entry(fields: &BTreeMap<String, String>, piece: &Piece<'_>) -> Vec<u8> {
    let mut entry = Vec::new();
    let mut field = |name: &str, value: &[u8]| {
        entry.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value);
        entry.push(b'\n');
    };
    field("MESSAGE", piece.text());
    field("PRIORITY", severity(piece.stream).to_string().as_bytes());
    field("SYSLOG_TIMESTAMP", piece.time.to_string().as_bytes());
    if piece.is_partial() {
        field("CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    for (name, value) in fields {
        field(name, value.as_bytes());
    }
    entry
}

/// One line, with its newline.
fn syslog_line(
    format: SyslogFormat,
    facility: u8,
    tag: &str,
    hostname: &str,
    pid: i32,
    piece: &Piece<'_>,
) -> Vec<u8> {
    let priority = u32::from(facility) << 3 | u32::from(severity(piece.stream));
    let time: Timestamp = piece.time;
    let mut head = String::new();
    // Writing to memory does not fail.
    let _ = match format {
        SyslogFormat::Unix => write!(head, "<{priority}>{} {tag}[{pid}]: ", time.stamp()),
        SyslogFormat::Rfc3164 => {
            write!(head, "<{priority}>{} {hostname} {tag}[{pid}]: ", time.stamp())
        }
        SyslogFormat::Rfc5424 => {
            let time = time.with_digits(0);
            write!(head, "<{priority}>1 {time} {hostname} {tag} {pid} {tag} - ")
        }
        SyslogFormat::Rfc5424Micro => {
            let time = time.with_digits(6);
            write!(head, "<{priority}>1 {time} {hostname} {tag} {pid} {tag} - ")
        }
    };
    let mut line = head.into_bytes();
    line.extend_from_slice(piece.text());
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8]) -> Piece<'_> {
        Piece {
            stream: Stream::Stderr,
            bytes,
            time: Timestamp::of_test(1_767_323_045, 678_000_000),
        }
    }

    #[test]
    fn a_line_is_as_the_server_wants_it() {
        let line = |format| {
            let line = syslog_line(format, 3, "web", "host", 7, &piece(b"hi there\n"));
            String::from_utf8(line).unwrap()
        };
        assert_eq!(line(SyslogFormat::Unix), "<27>Jan  2 03:04:05 web[7]: hi there\n");
        assert_eq!(line(SyslogFormat::Rfc3164), "<27>Jan  2 03:04:05 host web[7]: hi there\n");
        let rfc5424 = "<27>1 2026-01-02T03:04:05Z host web 7 web - hi there\n";
        assert_eq!(line(SyslogFormat::Rfc5424), rfc5424);
        let micro = "<27>1 2026-01-02T03:04:05.678000Z host web 7 web - hi there\n";
        assert_eq!(line(SyslogFormat::Rfc5424Micro), micro);
    }

    #[test]
    fn an_entry_is_as_the_journal_wants_it() {
        let fields = BTreeMap::from([
            ("CONTAINER_NAME".to_owned(), "web".to_owned()),
            ("X".to_owned(), "a\nb".to_owned()),
        ]);
        let entry = journal_entry(&fields, &piece(b"no end"));
        let mut want = b"MESSAGE=no end\nPRIORITY=3\nSYSLOG_TIMESTAMP=2026-01-02T03:04:05.678Z\n\
                         CONTAINER_PARTIAL_MESSAGE=true\nCONTAINER_NAME=web\nX\n"
            .to_vec();
        want.extend_from_slice(b"\x03\0\0\0\0\0\0\0a\nb\n");
        assert_eq!(entry, want);
    }
}
