use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;

use rustix::net::RecvFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::RestartPolicy;

/// The longest line that either side accepts, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;

/// What a client asks of a shim. Attach and exec turn the connection into a raw stream once the
/// reply has been read: standard input one way (its end is a half-close), output the other way,
/// raw when there is a terminal, in frames otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Supervise the container whose `RUN` directory you were told of: to a supervisor that was started
    /// ahead, on the control connection only.
    Supervise,
    /// Mount the root of the container that you will be told to supervise: to a supervisor that was started ahead,
    /// on the control connection only. There is no answer: what fails is tried again, and told, when the
    /// container is made.
    Mount(Box<crate::Root>),
    /// Start the program; on the control connection only. It may come before the container is there: what was
    /// asked for on other connections by then is done first.
    Start,
    /// Join the container's own streams.
    Attach(Attach),
    /// Run another process inside.
    Exec(Box<Exec>),
    /// Set the size of the terminal of the container (`exec` is `None`) or of an exec.
    Resize {
        /// The exec's id.
        exec: Option<String>,
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Send a signal to the container's init. One that waits to be started again gets none.
    Kill {
        /// The signal's number.
        signal: i32,
        /// Somebody wants it to end: it is not started again.
        #[serde(default)]
        stop: bool,
        /// Whoever wants that starts it again: nothing follows its end ([`crate::OnExit`]).
        #[serde(default)]
        keep: bool,
    },
    /// Send a signal to the process of an exec that runs.
    KillExec {
        /// The exec's id.
        exec: String,
        /// The signal's number.
        signal: i32,
    },
    /// Take note of a change.
    Change(Change),
    /// Answer [`Reply::Exited`] when the container's program has ended, its output has been
    /// delivered, its status is written and its network is gone.
    Wait {
        /// Whoever waits can remove a container that is to go with its end: it has the engine open, and
        /// a program of its own for that ([`crate::OnExit`]) would open it once more.
        #[serde(default)]
        removes: bool,
    },
    /// Freeze every process.
    Pause,
    /// Thaw them.
    Resume,
    /// Give a socket of a container's way out: it comes with [`Reply::Ok`].
    Outlet(Outlet),
}

/// A socket of a container that has a proxy in the place of a network ([`crate::Config::proxied`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "socket", rename_all = "kebab-case")]
pub enum Outlet {
    /// The one at which the proxy listens, at [`PROXY`] of the container. Whoever asks first has it.
    Listener,
    /// One that is not connected yet, and reaches what the container's network does.
    Socket {
        /// For addresses of IPv6; else of IPv4.
        ipv6: bool,
    },
}

/// Where a container's programs find their proxy. Above what the kernel gives to those who want any port.
pub const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 61080);

/// What of a container can change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// Its restart policy.
    pub restart: Option<RestartPolicy>,
    /// Its name.
    pub name: Option<String>,
    /// Its network.
    pub network: Option<Box<NetworkChange>>,
    /// What it has mounted.
    pub mounts: Option<Box<MountChange>>,
    /// What is said of it with events, as [`crate::Events::attributes`].
    pub attributes: Option<BTreeMap<String, String>>,
}

/// Mounts that come and go. A failure leaves those that were there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MountChange {
    /// What comes: bind mounts without id maps, and tmpfs.
    pub add: Vec<oci::runtime::Mount>,
    /// What goes, by its destination.
    pub remove: Vec<String>,
    /// What the supervisor mounts for the container from now on, as [`crate::Config::supplies`].
    pub supplies: Vec<volume::Supply>,
}

/// The network that a container is to have from now on: what differs from the present one is made and
/// unmade, and a failure leaves that one as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkChange {
    /// As [`crate::Config::network`].
    pub plan: endpoint::Plan,
    /// As [`crate::Config::listeners`].
    pub listeners: Vec<crate::Listener>,
    /// As [`crate::Events::companions`].
    pub companions: Vec<crate::Companion>,
}

/// Which streams to join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Write to its standard input.
    pub stdin: bool,
    /// Read its standard output.
    pub stdout: bool,
    /// Read its standard error.
    pub stderr: bool,
}

/// A process to run in a running container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// The exec's id, under which its record knows it; letters and digits.
    pub id: String,
    /// What to run; `terminal` says whether it has one.
    pub process: oci::runtime::Process,
    /// What the connection carries; all false detaches: the connection ends with the reply.
    pub attach: Attach,
    /// The terminal's first size.
    pub console: Option<crate::Console>,
}

/// What a shim answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The container is about to be made, and requests are heard: they are answered when it is there.
    Listening,
    /// The container exists and waits.
    Created {
        /// Its init process.
        pid: i32,
    },
    /// The container's program, or the exec's, runs.
    Started {
        /// The process.
        pid: i32,
    },
    /// Done.
    Ok,
    /// The container has ended.
    Exited {
        /// As in [`crate::Status::exit_code`].
        code: i32,
        /// It is for who reads this to remove the container. When this connection ends, the supervisor
        /// looks whether that has been done.
        #[serde(default)]
        removes: bool,
        /// Its own number, where it deletes what who removes the container leaves in the trash for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heir: Option<u32>,
    },
    /// It could not be done.
    Error(WireError),
}

/// An error, as it crosses from process to process: one line for people, and its class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// One line that a person can act on.
    pub message: String,
    /// 127 where the program was not found, 126 where it cannot be run, else `None`.
    pub exit_code: Option<i32>,
    /// The program's container (or the exec) is not running.
    pub not_running: bool,
    /// A host port that is already taken.
    pub port_taken: bool,
}

impl WireError {
    /// An error of no particular class.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: None, not_running: false, port_taken: false }
    }
}

/// Writes one message as one line.
pub fn send<M: Serialize>(mut to: impl Write, message: &M) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads one message from a socket, and not a byte more: what follows may be a raw stream.
///
/// `None` is the end of the connection. A line that is too long or no message is an error of the
/// kind `InvalidData`.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<M>> {
    let mut line = Vec::new();
    let mut piece = [0; 1024];
    loop {
        // Looked at before it is taken: to read byte by byte is a hundred calls for each reply.
        let n_there = recv(&socket, &mut piece, RecvFlags::PEEK)?;
        let end = piece[..n_there].iter().position(|&byte| byte == b'\n');
        let n_wanted = end.map_or(n_there, |at| at + 1);
        if n_wanted == 0 && line.is_empty() {
            return Ok(None);
        }
        if n_wanted == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let n_taken = recv(&socket, &mut piece[..n_wanted], RecvFlags::empty())?;
        line.extend_from_slice(&piece[..n_taken]);
        if end.is_some() && n_taken == n_wanted {
            return Ok(Some(serde_json::from_slice(&line)?));
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message is too long"));
        }
    }
}

fn recv(socket: impl AsFd, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut *into, flags))?.0)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// What is written to a socket before its end, and the other side of it.
    fn wire(bytes: &[u8]) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        ours
    }

    #[test]
    fn a_message_leaves_the_stream_after_it_untouched() {
        let kill = Request::Kill { signal: 9, stop: true, keep: false };
        let mut bytes = Vec::new();
        send(&mut bytes, &kill).unwrap();
        bytes.extend_from_slice(b"raw");
        let mut from = wire(&bytes);
        assert_eq!(receive(&from).unwrap(), Some(kill));
        let mut rest = String::new();
        from.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "raw");
    }

    #[test]
    fn a_message_may_come_in_pieces_and_be_longer_than_one() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reply = Reply::Error(WireError::new("x".repeat(5000)));
        let mut bytes = Vec::new();
        send(&mut bytes, &reply).unwrap();
        let writer = std::thread::spawn(move || {
            for piece in bytes.chunks(700) {
                theirs.write_all(piece).unwrap();
                std::thread::yield_now();
            }
        });
        assert_eq!(receive(&ours).unwrap(), Some(reply));
        writer.join().unwrap();
        assert_eq!(receive::<Reply>(&ours).unwrap(), None);
    }

    #[test]
    fn engines_and_supervisors_of_two_versions_understand_each_other() {
        let plain: Request = serde_json::from_str(r#"{"op":"wait"}"#).unwrap();
        assert_eq!(plain, Request::Wait { removes: false });
        let plain: Reply = serde_json::from_str(r#"{"reply":"exited","code":3}"#).unwrap();
        assert_eq!(plain, Reply::Exited { code: 3, removes: false, heir: None });
    }

    #[test]
    fn the_end_of_a_connection_is_no_error_but_half_a_line_is() {
        assert_eq!(receive::<Request>(wire(b"")).unwrap(), None);
        let err = receive::<Request>(wire(b"{\"op\"")).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_memory() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || while theirs.write_all(&[b'x'; 4096]).is_ok() {});
        let err = receive::<Request>(&ours).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidData);
        drop(ours);
        writer.join().unwrap();
    }
}
