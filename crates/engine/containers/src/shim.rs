//! Talking to supervisors.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use shim_protocol::{Reply, Request, WireError};

use crate::Error;
use crate::error::At as _;

/// How long a supervisor may take to answer what it answers at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a supervisor said to a request that it did not refuse.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) stream: UnixStream,
}

/// Connects to the supervisor at `socket`. `None` where there is none.
///
/// The address is the socket's name below an open directory: the path itself may be longer than
/// the 107 bytes that an address holds.
pub(crate) fn connect(socket: &Path) -> Result<Option<UnixStream>, Error> {
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Ok(None);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(directory, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened.at("open", directory)?,
    };
    match UnixStream::connect(fsroot::fd_path(&directory).join(name)) {
        Ok(stream) => Ok(Some(stream)),
        Err(err)
            if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(err) => Err(err).at("connect", socket),
    }
}

/// Connects, and sends a request whose answer takes its time. `None` where there is no supervisor, or it
/// has ended in this moment.
pub(crate) fn begin(socket: &Path, request: &Request) -> Result<Option<UnixStream>, Error> {
    let Some(stream) = connect(socket)? else { return Ok(None) };
    match shim_protocol::send(&stream, request) {
        Err(err) if is_gone(&err) => Ok(None),
        sent => sent.at("write", socket).map(|()| Some(stream)),
    }
}

/// Sends a request and reads the reply. `None` where there is no supervisor, or it ended before it
/// answered.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Option<Answer>, Error> {
    match begin(socket, request)? {
        Some(stream) => hear(stream, socket),
        None => Ok(None),
    }
}

/// Reads the reply to a request that was begun. `None` where the supervisor ended before it answered.
fn hear(stream: UnixStream, socket: &Path) -> Result<Option<Answer>, Error> {
    stream.set_read_timeout(Some(PATIENCE)).at("setsockopt", socket)?;
    match shim_protocol::receive(&stream) {
        Ok(None) => Ok(None),
        Err(err) if is_gone(&err) => Ok(None),
        Ok(Some(Reply::Error(err))) => Err(refusal(err)),
        Ok(Some(reply)) => {
            stream.set_read_timeout(None).at("setsockopt", socket)?;
            Ok(Some(Answer { reply, stream }))
        }
        Err(err) if err.kind() == io::ErrorKind::InvalidData => Err(Error::Shim(format!(
            "the supervisor of this container is of another version, and answers what is not known here \
             (start the container anew): {err}"
        ))),
        Err(err) => Err(err).at("read", socket),
    }
}

/// Sends a request and takes the descriptor that comes with the reply, which is short. `None` as in [`ask`].
pub(crate) fn ask_for_fd(socket: &Path, request: &Request) -> Result<Option<OwnedFd>, Error> {
    let Some(stream) = begin(socket, request)? else { return Ok(None) };
    stream.set_read_timeout(Some(PATIENCE)).at("setsockopt", socket)?;
    let (line, fd) = match sys::recv_fd(stream.as_fd()) {
        Err(err) if err.errno() == Errno::CONNRESET => return Ok(None),
        received => received?,
    };
    if line.is_empty() {
        return Ok(None);
    }
    let reply = serde_json::from_slice(&line).map_err(io::Error::from).at("read", socket)?;
    match (reply, fd) {
        (Reply::Error(err), _) => Err(refusal(err)),
        (Reply::Ok, Some(fd)) => Ok(Some(fd)),
        (other, _) => Err(Error::Shim(format!("unexpected answer: {other:?}"))),
    }
}

/// Whether an error says that the other side has ended.
pub(crate) fn is_gone(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}

/// A supervisor's refusal of something other than a start.
pub(crate) fn refusal(err: WireError) -> Error {
    if err.not_running { Error::Conflict(err.message) } else { Error::Shim(err.message) }
}

/// Waits until one of `fds` can be read or has ended; which. `gone` only counts when its other
/// side has closed, and is `None` of them.
pub(crate) fn first_ready(
    fds: &[BorrowedFd<'_>],
    gone: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> Result<Ready, Error> {
    let mut list: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    list.extend(gone.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty())));
    let timeout = timeout.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    loop {
        match poll(&mut list, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            polled => {
                polled.at("poll", Path::new("supervisor"))?;
                break;
            }
        }
    }
    let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    if gone.is_some() && list.last().is_some_and(ready) {
        return Ok(Ready::Gone);
    }
    Ok(list.iter().take(fds.len()).position(ready).map_or(Ready::Timeout, Ready::At))
}

/// What [`first_ready`] waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The descriptor at this place.
    At(usize),
    /// Whoever wanted the answer has left.
    Gone,
    /// Nothing in time.
    Timeout,
}

/// Those in this process who want to be connected to a container's supervisor as soon as there is
/// one: before its program writes its first byte.
#[derive(Debug, Default)]
pub(crate) struct Pending(Arc<Mutex<Waiters>>);

#[derive(Debug, Default)]
struct Waiters {
    by_container: HashMap<String, Vec<Entry>>,
    /// For the next one's number.
    n_ever: u64,
}

#[derive(Debug)]
pub(crate) struct Entry {
    /// No two of a process have the same.
    number: u64,
    request: Request,
    give: Sender<UnixStream>,
    /// Its end tells the other side to look.
    _bell: UnixStream,
}

/// The other side of an [`Entry`], which goes with it: whoever gives up waiting leaves nothing.
#[derive(Debug)]
pub(crate) struct Ticket {
    streams: Receiver<UnixStream>,
    bell: UnixStream,
    waiters: Arc<Mutex<Waiters>>,
    id: String,
    number: u64,
}

fn lock(waiters: &Mutex<Waiters>) -> MutexGuard<'_, Waiters> {
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pending {
    /// Registers a request for the next supervisor of a container.
    pub(crate) fn register(&self, id: &str, request: Request) -> Result<Ticket, Error> {
        let (give, streams) = channel();
        let (bell, rung) = UnixStream::pair().at("socketpair", Path::new(id))?;
        let mut waiters = lock(&self.0);
        waiters.n_ever += 1;
        let number = waiters.n_ever;
        let entry = Entry { number, request, give, _bell: rung };
        waiters.by_container.entry(id.to_owned()).or_default().push(entry);
        let id = id.to_owned();
        Ok(Ticket { streams, bell, waiters: Arc::clone(&self.0), id, number })
    }

    /// Takes those who wait for a container. Dropped, they are told that nothing will come.
    pub(crate) fn take(&self, id: &str) -> Vec<Entry> {
        lock(&self.0).by_container.remove(id).unwrap_or_default()
    }

    /// Gives back whom a start has taken that has failed: they wait as before.
    pub(crate) fn give_back(&self, id: &str, begun: Vec<Begun>) {
        if begun.is_empty() {
            return;
        }
        let mut waiters = lock(&self.0);
        let list = waiters.by_container.entry(id.to_owned()).or_default();
        list.extend(begun.into_iter().map(|one| one.entry));
    }
}

impl Entry {
    /// Sends the request to the supervisor, which answers when the container is there. `None` where it has ended
    /// in this moment.
    pub(crate) fn begin(self, socket: &Path) -> Result<Option<Begun>, Error> {
        Ok(begin(socket, &self.request)?.map(|stream| Begun { entry: self, stream }))
    }
}

/// An [`Entry`] whose request the supervisor has.
#[derive(Debug)]
pub(crate) struct Begun {
    entry: Entry,
    stream: UnixStream,
}

impl Begun {
    /// Takes the answer, and gives the connection to whoever waits for it.
    pub(crate) fn finish(self, socket: &Path) -> Result<(), Error> {
        let Self { entry, stream } = self;
        let stream = match entry.request {
            // Its answer is the end of the container.
            Request::Wait { .. } => stream,
            _ => match hear(stream, socket)? {
                Some(answer) => answer.stream,
                None => return Ok(()),
            },
        };
        // Whoever waited may have left meanwhile.
        let _left = entry.give.send(stream);
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiters = lock(&self.waiters);
        if let Some(list) = waiters.by_container.get_mut(&self.id) {
            list.retain(|entry| entry.number != self.number);
            if list.is_empty() {
                waiters.by_container.remove(&self.id);
            }
        }
    }
}

impl Ticket {
    /// Ends when there is something to take, or never will be.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The connection; `None` where there will be none.
    pub(crate) fn take(&self) -> Option<UnixStream> {
        self.streams.try_recv().ok()
    }

    /// Whether a start of this process has taken the request, and has asked the supervisor or is about to. Then its
    /// bell rings, whatever becomes of that, and who looks at the container instead would ask twice.
    pub(crate) fn is_taken(&self) -> bool {
        let waiters = lock(&self.waiters);
        let list = waiters.by_container.get(&self.id);
        !list.is_some_and(|list| list.iter().any(|entry| entry.number == self.number))
    }

    /// What to wait for of `fds`, the bell first: nothing but that once a start of this process has taken the request.
    pub(crate) fn awaited<'a, 'fd>(&self, fds: &'a [BorrowedFd<'fd>]) -> &'a [BorrowedFd<'fd>] {
        if self.is_taken() { &fds[..1] } else { fds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_start_has_taken_is_told_from_what_still_waits() {
        let pending = Pending::default();
        let wait = || pending.register("one", Request::Wait { removes: false }).unwrap();
        let rings = |ticket: &Ticket| {
            first_ready(&[ticket.bell()], None, Some(Duration::ZERO)).unwrap() == Ready::At(0)
        };
        let ticket = wait();
        assert!(!ticket.is_taken());
        let taken = pending.take("one");
        let late = wait();
        assert!(ticket.is_taken() && !rings(&ticket) && !late.is_taken());
        drop(taken);
        assert!(ticket.is_taken() && rings(&ticket) && ticket.take().is_none() && !rings(&late));
        drop(late);
        assert!(pending.take("one").is_empty());
    }

    #[test]
    fn an_answer_of_another_version_is_told_from_none() {
        use std::io::Write as _;
        let answered = |line: &str| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(line.as_bytes()).unwrap();
            drop(theirs);
            hear(ours, Path::new("shim.sock"))
        };
        let told = answered("{\"reply\":\"of-a-later-version\"}\n").unwrap_err().to_string();
        assert!(
            told.contains("is of another version") && told.contains("of-a-later-version"),
            "{told}"
        );
        assert!(answered("").unwrap().is_none());
        assert_eq!(answered("{\"reply\":\"ok\"}\n").unwrap().unwrap().reply, Reply::Ok);
    }

    #[test]
    fn whom_a_failed_start_gives_back_waits_again() {
        let pending = Pending::default();
        let ticket = pending.register("one", Request::Wait { removes: false }).unwrap();
        let (stream, _supervisor) = UnixStream::pair().unwrap();
        let begun = pending
            .take("one")
            .into_iter()
            .map(|entry| Begun { entry, stream: stream.try_clone().unwrap() });
        let begun: Vec<Begun> = begun.collect();
        assert!(ticket.is_taken());
        pending.give_back("one", begun);
        assert!(!ticket.is_taken());
        let silent = first_ready(&[ticket.bell()], None, Some(Duration::ZERO)).unwrap();
        assert_eq!(silent, Ready::Timeout);
        assert_eq!(pending.take("one").len(), 1);
    }
}
