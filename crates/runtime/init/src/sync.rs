//! What the runtime and the new process say to each other, over a socket pair that keeps messages
//! apart (`SOCK_SEQPACKET`).
//!
//! ```text
//! new process                      runtime
//!     |  <------------- Mapped ------- |  wrote uid_map and gid_map (new user namespace only)
//!     |  -- Pid ----------------->     |  (the intermediate process only, which then ends)
//!     |  <------------- Attached ----- |  wrote down that it is there (it joined its cgroup itself)
//!     |  -- Hooks --------------->     |  (where there are hooks of the runtime's)
//!     |  <------------- Done --------- |
//!     |  -- Pivoted + 2 descr. --->    |  (where the runtime detaches the host's root)
//!     |  <------------- Detached ----- |  (while the new process goes on)
//!     |  -- Limits -------------->     |  (limits that only the runtime may raise)
//!     |  <------------- Done --------- |
//!     |  -- ListenerAt ----------->    |  (seccomp with SCMP_ACT_NOTIFY: the descriptor's number)
//!     |  <------------- HandOver ----- |  (only where the runtime may not take it)
//!     |  -- Listener + descriptor ->   |
//!     |  <------------- Done --------- |
//!     |  -- Ready --------------->     |  all is made; it waits to be started
//!     |  <------------- Start -------- |  (`run` only; after `create` the fifo says it)
//! ```
//!
//! `Failed` and `Warning` can come at any time from the new process. Either end closing means that
//! the other side is gone: the new process then ends, the runtime undoes what it did. Nothing but
//! read(2) and write(2) is needed on the child's side, which may be under a seccomp filter already
//! (after `HandOver`, also sendmsg(2)).

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sys::{Call, Error};

use crate::error::Class;

/// What the new process says.
#[derive(Debug)]
pub enum FromInit {
    /// The init's process id, as the runtime sees it.
    Pid(i32),
    /// Call the hooks of the runtime.
    Hooks,
    /// Detach the root that I have left.
    Pivoted(Pivoted),
    /// Raise my limits.
    Limits,
    /// The listener of my seccomp filter is my descriptor of this number.
    ListenerAt(i32),
    /// Here is the listener of my seccomp filter.
    Listener(OwnedFd),
    /// Something that was asked for is not done.
    Warning(String),
    /// All is made.
    Ready,
    /// It cannot be made.
    Failed(Class, String),
    /// It ended, or executed its program, whose start closes the socket.
    Closed,
}

/// Where a process is that has changed its root and left the old one on the new one.
#[derive(Debug)]
pub struct Pivoted {
    /// Its mount namespace.
    pub namespace: OwnedFd,
    /// The old root, a mount in that.
    pub old_root: OwnedFd,
}

/// What the runtime says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToInit {
    /// The user namespace has its ids.
    Mapped,
    /// It is in the runtime's records.
    Attached,
    /// The old root is not in the mount namespace any more.
    Detached,
    /// The listener cannot be taken: send it.
    HandOver,
    /// What was asked for is done.
    Done,
    /// Execute the program.
    Start,
}

impl ToInit {
    fn byte(self) -> u8 {
        match self {
            Self::Mapped => b'm',
            Self::Attached => b'a',
            Self::Detached => b'o',
            Self::HandOver => b'h',
            Self::Done => b'd',
            Self::Start => b's',
        }
    }
}

/// The longest message. What is longer is cut.
const LONGEST: usize = 4096;

/// The runtime's end.
#[derive(Debug)]
pub struct RuntimeEnd(OwnedFd);

/// The new process's end.
#[derive(Debug)]
pub struct InitEnd {
    socket: OwnedFd,
    /// The runtime was asked to detach the old root, and has not said yet that it has.
    detaching: Cell<bool>,
}

/// Makes the two ends.
pub fn pair() -> Result<(RuntimeEnd, InitEnd), Error> {
    let (a, b) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")?;
    Ok((RuntimeEnd(a), InitEnd { socket: b, detaching: Cell::new(false) }))
}

impl AsFd for RuntimeEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl RuntimeEnd {
    /// Tells the new process something. That it is gone is no error here: reading shows why.
    pub fn send(&self, message: ToInit) -> Result<(), Error> {
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.0, &[message.byte()])) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno).call(|| format!("write to the new process: {message:?}")),
        }
    }

    /// Waits for what the new process says.
    pub fn receive(&self) -> Result<FromInit, Error> {
        let (data, mut fds) = match sys::recv_fds(self.0.as_fd(), LONGEST) {
            // The process ended without reading all that was said to it. This is told once; what it
            // had said itself is still there.
            Err(err) if err.errno() == Errno::CONNRESET => sys::recv_fds(self.0.as_fd(), LONGEST)?,
            other => other?,
        };
        let Some((kind, rest)) = data.split_first() else { return Ok(FromInit::Closed) };
        let text = || String::from_utf8_lossy(rest).into_owned();
        match (kind, fds.len()) {
            (b'P', 0) => {
                let bytes = rest.try_into().map_err(|_| garbled())?;
                Ok(FromInit::Pid(i32::from_ne_bytes(bytes)))
            }
            (b'N', 0) => {
                let bytes = rest.try_into().map_err(|_| garbled())?;
                Ok(FromInit::ListenerAt(i32::from_ne_bytes(bytes)))
            }
            (b'H', 0) => Ok(FromInit::Hooks),
            (b'L', 0) => Ok(FromInit::Limits),
            (b'V', 2) => {
                let [namespace, old_root]: [OwnedFd; 2] = fds.try_into().map_err(|_| garbled())?;
                Ok(FromInit::Pivoted(Pivoted { namespace, old_root }))
            }
            (b'F', 1) => Ok(FromInit::Listener(fds.remove(0))),
            (b'W', 0) => Ok(FromInit::Warning(text())),
            (b'R', 0) => Ok(FromInit::Ready),
            (b'E', 0) if !rest.is_empty() => {
                let text = String::from_utf8_lossy(&rest[1..]).into_owned();
                Ok(FromInit::Failed(Class::from_byte(rest[0]), text))
            }
            _ => Err(garbled()),
        }
    }
}

fn garbled() -> Error {
    Error::new("read what the new process says", Errno::PROTO)
}

impl AsFd for InitEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl InitEnd {
    fn write(&self, kind: u8, rest: &[u8]) -> Result<(), crate::Error> {
        let mut message = Vec::with_capacity(1 + rest.len());
        message.push(kind);
        message.extend_from_slice(rest);
        message.truncate(LONGEST);
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.socket, &message)) {
            Ok(_) => Ok(()),
            // Whoever would read an error is not there any more.
            Err(_) => Err(crate::Error::Abandoned),
        }
    }

    /// Tells the init's process id.
    pub(crate) fn pid(&self, pid: i32) -> Result<(), crate::Error> {
        self.write(b'P', &pid.to_ne_bytes())
    }

    /// Asks for the runtime's hooks.
    pub(crate) fn hooks(&self) -> Result<(), crate::Error> {
        self.write(b'H', b"")?;
        self.wait(ToInit::Done)
    }

    /// Asks for the old root to be detached, and does not wait for it.
    pub(crate) fn pivoted(
        &self,
        namespace: BorrowedFd<'_>,
        old_root: BorrowedFd<'_>,
    ) -> Result<(), crate::Error> {
        sys::send_fds(self.socket.as_fd(), b"V", &[namespace, old_root]).map_err(|source| {
            crate::Error::Call { doing: "hand over the old root".into(), source }
        })?;
        self.detaching.set(true);
        Ok(())
    }

    /// Waits until the old root is detached, if that was asked for. Before this, no path may be
    /// resolved that the container has chosen, see [`mount::pivot_root_beneath`].
    pub(crate) fn until_detached(&self) -> Result<(), crate::Error> {
        if self.detaching.get() {
            self.wait(ToInit::Detached)?;
            self.detaching.set(false);
        }
        Ok(())
    }

    /// Asks for limits to be raised.
    pub(crate) fn limits(&self) -> Result<(), crate::Error> {
        self.write(b'L', b"")?;
        self.wait(ToInit::Done)
    }

    /// Hands over the listener of the seccomp filter.
    pub(crate) fn listener(&self, fd: BorrowedFd<'_>) -> Result<(), crate::Error> {
        self.write(b'N', &fd.as_raw_fd().to_ne_bytes())?;
        match self.hear()? {
            byte if byte == ToInit::Done.byte() => return Ok(()),
            byte if byte == ToInit::HandOver.byte() => {}
            _ => return Err(crate::Error::Abandoned),
        }
        sys::send_fd(self.socket.as_fd(), b"F", fd).map_err(|source| crate::Error::Call {
            doing: "hand over the seccomp listener".into(),
            source,
        })?;
        self.wait(ToInit::Done)
    }

    /// Tells what is not done.
    pub(crate) fn warn(&self, text: &str) -> Result<(), crate::Error> {
        self.write(b'W', text.as_bytes())
    }

    /// Tells that all is made: also that nothing of the host is in the mount namespace any more.
    pub(crate) fn ready(&self) -> Result<(), crate::Error> {
        self.until_detached()?;
        self.write(b'R', b"")
    }

    /// Tells that it cannot be made.
    pub(crate) fn failed(&self, class: Class, line: &str) -> Result<(), crate::Error> {
        let mut rest = vec![class.to_byte()];
        rest.extend_from_slice(line.as_bytes());
        self.write(b'E', &rest)
    }

    /// Waits until the runtime closes its end.
    pub fn wait_closed(&self) {
        let mut byte = [0];
        while let Ok(1) | Err(Errno::INTR) = rustix::io::read(&self.socket, &mut byte) {}
    }

    /// Waits for one message of the runtime.
    pub(crate) fn wait(&self, wanted: ToInit) -> Result<(), crate::Error> {
        if self.hear()? == wanted.byte() { Ok(()) } else { Err(crate::Error::Abandoned) }
    }

    fn hear(&self) -> Result<u8, crate::Error> {
        let mut byte = [0];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut byte)) {
            Ok(1) => Ok(byte[0]),
            _ => Err(crate::Error::Abandoned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (runtime, init) = pair().unwrap();
        init.pid(4711).unwrap();
        init.warn("w").unwrap();
        init.failed(Class::NotFound, "exec: \"x\"").unwrap();
        assert!(matches!(runtime.receive().unwrap(), FromInit::Pid(4711)));
        assert!(matches!(runtime.receive().unwrap(), FromInit::Warning(w) if w == "w"));
        let failed = runtime.receive().unwrap();
        assert!(
            matches!(&failed, FromInit::Failed(Class::NotFound, text) if text == "exec: \"x\""),
            "{failed:?}"
        );
        runtime.send(ToInit::Attached).unwrap();
        init.wait(ToInit::Attached).unwrap();
        drop(runtime);
        assert!(matches!(init.wait(ToInit::Done), Err(crate::Error::Abandoned)));
        assert!(matches!(init.ready(), Err(crate::Error::Abandoned)));
    }

    #[test]
    fn what_was_said_last_is_heard_though_not_all_was_read() {
        let (runtime, init) = pair().unwrap();
        runtime.send(ToInit::Attached).unwrap();
        init.failed(Class::Other, "why").unwrap();
        drop(init);
        assert!(matches!(runtime.receive().unwrap(), FromInit::Failed(_, text) if text == "why"));
        assert!(matches!(runtime.receive().unwrap(), FromInit::Closed));
    }

    #[test]
    fn it_is_not_ready_before_the_old_root_is_detached() {
        let (runtime, init) = pair().unwrap();
        init.until_detached().unwrap();
        init.pivoted(rustix::stdio::stdin(), rustix::stdio::stdout()).unwrap();
        assert!(matches!(runtime.receive().unwrap(), FromInit::Pivoted(_)));
        runtime.send(ToInit::Detached).unwrap();
        init.until_detached().unwrap();
        init.ready().unwrap();
        assert!(matches!(runtime.receive().unwrap(), FromInit::Ready));
        init.pivoted(rustix::stdio::stdin(), rustix::stdio::stdout()).unwrap();
        drop(runtime);
        assert!(matches!(init.ready(), Err(crate::Error::Abandoned)));
    }

    #[test]
    fn the_end_of_the_new_process_is_seen() {
        let (runtime, init) = pair().unwrap();
        drop(init);
        assert!(matches!(runtime.receive().unwrap(), FromInit::Closed));
        runtime.send(ToInit::Start).unwrap();
    }
}
