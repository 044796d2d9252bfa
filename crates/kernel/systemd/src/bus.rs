//! A connection: the way in, messages out, messages back.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use dbus::{HEADER, Kind, Message, Value};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::address::Address;
use crate::error::Error;

/// How long a call may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How many signals are kept that nobody asked for yet.
const MOST_SIGNALS: usize = 4096;

/// A connection on which this side has said who it is.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    serial: u32,
    patience: Duration,
    /// Signals that came before an answer.
    signals: Vec<Message>,
}

impl Bus {
    /// Connects to the first address that somebody listens at.
    pub(crate) fn connect(addresses: &[Address], patience: Duration) -> Result<Self, Error> {
        let mut failed = Error::NoBus("no address of a bus that can be reached".to_owned());
        for address in addresses {
            match open(address, Instant::now() + patience) {
                Ok(stream) => return Self::over(stream, patience),
                Err(source) => {
                    failed = Error::Call { doing: "connect to systemd".to_owned(), source };
                }
            }
        }
        Err(failed)
    }

    /// Over a socket that is connected.
    pub(crate) fn over(stream: UnixStream, patience: Duration) -> Result<Self, Error> {
        let mut bus = Self { stream, serial: 0, patience, signals: Vec::new() };
        bus.authenticate()?;
        Ok(bus)
    }

    /// Says who it is: whom the kernel says the socket's other end is. The name is left empty, for
    /// in a user namespace it is another than on the other side.
    ///
    /// All is said in one breath, as systemd's own clients do: its server looks at a first message
    /// that came together with `BEGIN` only when more comes.
    fn authenticate(&mut self) -> Result<(), Error> {
        const DOING: &str = "say to the bus who is calling";
        let deadline = Instant::now() + self.patience;
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", DOING, deadline)?;
        let first = self.line(DOING, deadline)?;
        if first != "DATA" {
            return Err(Error::Protocol { doing: DOING.to_owned(), answer: first });
        }
        let second = self.line(DOING, deadline)?;
        if second != "OK" && !second.starts_with("OK ") {
            return Err(Error::Protocol { doing: DOING.to_owned(), answer: second });
        }
        Ok(())
    }

    /// A line, byte by byte: what follows the last one is a message.
    fn line(&mut self, doing: &str, deadline: Instant) -> Result<String, Error> {
        const LONGEST: usize = 512;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte, doing, deadline)?;
            line.push(byte[0]);
            if line.len() > LONGEST {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls a method and waits for what it returns.
    pub(crate) fn call(&mut self, mut call: Message, doing: &str) -> Result<Vec<Value>, Error> {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        call.serial = self.serial;
        let wrong = |source| Error::Message { doing: doing.to_owned(), source };
        let deadline = Instant::now() + self.patience;
        self.write(&call.encode().map_err(wrong)?, doing, deadline)?;
        loop {
            let message = self.message(doing, deadline)?;
            match message.kind {
                Kind::Reply if message.reply_to == call.serial => return Ok(message.body),
                Kind::Error if message.reply_to == call.serial => {
                    let text = message.body.first().and_then(Value::as_str).unwrap_or_default();
                    // One line, whatever it holds.
                    let text = text.trim().replace('\n', " ");
                    return Err(Error::Refused {
                        doing: doing.to_owned(),
                        name: message.error,
                        text,
                    });
                }
                Kind::Signal if self.signals.len() < MOST_SIGNALS => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Waits for a signal that `answer` has an answer for; those that came meanwhile are asked
    /// first.
    pub(crate) fn signal<T>(
        &mut self,
        doing: &str,
        answer: impl Fn(&Message) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.patience;
        if let Some(found) = std::mem::take(&mut self.signals).iter().find_map(&answer) {
            return Ok(found);
        }
        loop {
            let message = self.message(doing, deadline)?;
            if message.kind == Kind::Signal
                && let Some(found) = answer(&message)
            {
                return Ok(found);
            }
        }
    }

    /// The next message.
    fn message(&mut self, doing: &str, deadline: Instant) -> Result<Message, Error> {
        let wrong = |source| Error::Message { doing: doing.to_owned(), source };
        let mut header = [0; HEADER];
        self.read(&mut header, doing, deadline)?;
        let length = Message::length(&header).map_err(wrong)?;
        let mut bytes = vec![0; length];
        bytes[..HEADER].copy_from_slice(&header);
        self.read(&mut bytes[HEADER..], doing, deadline)?;
        Message::decode(&bytes).map_err(wrong)
    }

    fn read(&mut self, mut to: &mut [u8], doing: &str, deadline: Instant) -> Result<(), Error> {
        while !to.is_empty() {
            let left = self.left(doing, deadline)?;
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(to));
            match read {
                Ok(0) => return Err(failed(doing, "read(bus)", Errno::CONNRESET)),
                Ok(count) => to = &mut to[count..],
                Err(error) => check(doing, "read(bus)", &error)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, mut from: &[u8], doing: &str, deadline: Instant) -> Result<(), Error> {
        while !from.is_empty() {
            let left = self.left(doing, deadline)?;
            let set = self.stream.set_write_timeout(Some(left));
            match set.and_then(|()| send(&self.stream, from)) {
                Ok(count) => from = &from[count..],
                Err(error) => check(doing, "write(bus)", &error)?,
            }
        }
        Ok(())
    }

    fn left(&self, doing: &str, deadline: Instant) -> Result<Duration, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout { doing: doing.to_owned(), patience: self.patience });
        }
        Ok(left)
    }
}

/// Passes over what is not the end: whether there is time left is asked before each call.
fn check(doing: &str, call: &str, error: &std::io::Error) -> Result<(), Error> {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(()),
        _ => {
            let source = sys::Error::from_io(call, error);
            Err(Error::Call { doing: doing.to_owned(), source })
        }
    }
}

/// Writes without the signal of a broken pipe.
fn send(stream: &UnixStream, bytes: &[u8]) -> std::io::Result<usize> {
    Ok(rustix::net::send(stream, bytes, rustix::net::SendFlags::NOSIGNAL)?)
}

fn failed(doing: &str, call: &str, errno: Errno) -> Error {
    Error::Call { doing: doing.to_owned(), source: sys::Error::new(call, errno) }
}

/// A connected socket. One whose queue is full is tried again, until `deadline`.
fn open(address: &Address, deadline: Instant) -> Result<UnixStream, sys::Error> {
    let text = || format!("connect({address:?})");
    let to = match address {
        Address::Path(path) => SocketAddrUnix::new(path),
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
    };
    let to = to.map_err(|errno| sys::Error::new(text(), errno))?;
    let mut pause = Duration::from_millis(1);
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| sys::Error::new("socket(AF_UNIX)", errno))?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                let blocking = stream.set_nonblocking(false);
                return blocking.map(|()| stream).map_err(|e| sys::Error::from_io(text(), &e));
            }
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Err(errno) => return Err(sys::Error::new(text(), errno)),
        }
    }
}
