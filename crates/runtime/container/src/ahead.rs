//! A runtime that is started before it is known for what.
//!
//! ```text
//! who starts it                      `dhow-runtime ahead RUN`, one end of the pair its descriptor 0
//!     |                                  |  looks at the machine: `prime`
//!     | -- arguments, 3 descriptors -->  |  they become its command line, and 0, 1 and 2
//!     | -- or the end ---------------->  |  ends, and has made nothing
//!     | <--------- it is done ---------- |  and nothing is left to do for it but to end
//! ```
//!
//! The socket pair keeps messages apart (`SOCK_SEQPACKET`), and takes one each way. The arguments follow each
//! other, a NUL byte after each. Paths among them are absolute: it works in another directory than
//! who tells it.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use sys::{Call, Handle};

use crate::error::{Doing as _, Error};
use crate::{cgroups, facts};

/// The command's name.
pub const COMMAND: &str = "ahead";

/// What it says when it is done.
const DONE: &[u8] = b"done";

/// The most that all arguments may be, in bytes: a few paths.
const MOST_BYTES: usize = 32 * 1024;

/// What a runtime is told.
#[derive(Debug)]
pub struct Instructions {
    /// Its command line, without the program's name.
    pub args: Vec<OsString>,
    /// What its standard streams are to be.
    pub streams: [OwnedFd; 3],
}

/// Makes the two ends, both closed on exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd), sys::Error> {
    let (unix, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(unix, kind, SocketFlags::CLOEXEC, None)
        .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")
}

/// Whether `control` can be an end of a [`pair`].
pub fn is_end(control: BorrowedFd<'_>) -> bool {
    rustix::net::sockopt::socket_type(control).is_ok_and(|kind| kind == SocketType::SEQPACKET)
}

/// Tells a runtime what to do. It does so even if it has not come to listening yet. `EPIPE`: it has
/// ended. `EMSGSIZE`: that is more than 32 KiB.
pub fn instruct(
    control: BorrowedFd<'_>,
    args: &[CString],
    streams: [BorrowedFd<'_>; 3],
) -> Result<(), sys::Error> {
    let message: Vec<u8> = args.iter().flat_map(CString::as_bytes_with_nul).copied().collect();
    if message.len() > MOST_BYTES {
        return Err(sys::Error::new("sendmsg(arguments)", Errno::MSGSIZE));
    }
    sys::send_fds(control, &message, &streams)
}

/// Waits to be told. `None`: nobody needs this process.
pub fn await_instructions(control: BorrowedFd<'_>) -> Result<Option<Instructions>, Error> {
    let (message, fds) = sys::recv_fds(control, MOST_BYTES).doing(|| COMMAND)?;
    if message.is_empty() && fds.is_empty() {
        return Ok(None);
    }
    let streams: Result<[OwnedFd; 3], _> = fds.try_into();
    let (Some((0, words)), Ok(streams)) = (message.split_last(), streams) else {
        return Err(sys::Error::new("recvmsg(arguments)", Errno::PROTO)).doing(|| COMMAND);
    };
    let args = words.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).into()).collect();
    Ok(Some(Instructions { args, streams }))
}

/// Tells who started this process that it has done what it was told. Its end, at which its memory is taken
/// apart, need not be waited for. Whoever does not listen any more sees that end.
pub fn tell_done(control: BorrowedFd<'_>) {
    let _unheard = rustix::net::send(control, DONE, rustix::net::SendFlags::NOSIGNAL);
}

/// Waits until `runtime` has done what it was told, or has ended. Whether it said that it has done it; else its
/// end tells what became of that.
pub fn has_done(control: BorrowedFd<'_>, runtime: &Handle) -> Result<bool, sys::Error> {
    // Its end has to be seen by itself: what it has made may hold the other end of the connection as well.
    let Some(its_end) = runtime.poll_fd() else { return Ok(false) };
    let mut fds = [PollFd::from_borrowed_fd(control, PollFlags::IN), its_end];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).call(|| "poll(a runtime)")?;
    let mut said = [0; DONE.len() + 1];
    match rustix::net::recv(control, &mut said[..], RecvFlags::DONTWAIT) {
        Ok((n_bytes, _)) => Ok(&said[..n_bytes] == DONE),
        Err(Errno::AGAIN | Errno::CONNRESET) => Ok(false),
        Err(errno) => Err(sys::Error::new("recv(a runtime)", errno)),
    }
}

/// Looks at what of this machine and this process matters to every container, so that it is known
/// when one is made. What cannot be seen is told then.
pub fn prime() {
    let _told_later = cgroups::hierarchy(true);
    facts::prime();
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn is_null(fd: &OwnedFd) -> bool {
        let null = rustix::fs::stat("/dev/null").unwrap();
        rustix::fs::fstat(fd).unwrap().st_rdev == null.st_rdev
    }

    #[test]
    fn what_is_told_is_heard() {
        let (ours, theirs) = pair().unwrap();
        assert!(is_end(theirs.as_fd()));
        let null = std::fs::File::open("/dev/null").unwrap();
        let streams = [null.as_fd(), null.as_fd(), ours.as_fd()];
        let args: [CString; 4] = [c"--root".into(), c"/a b".into(), c"".into(), c"c".into()];
        instruct(ours.as_fd(), &args, streams).unwrap();
        let told = await_instructions(theirs.as_fd()).unwrap().unwrap();
        assert_eq!(told.args, ["--root", "/a b", "", "c"]);
        let [stdin, stdout, stderr] = &told.streams;
        assert!(is_null(stdin) && is_null(stdout) && is_end(stderr.as_fd()));
        drop((ours, told));
        assert!(await_instructions(theirs.as_fd()).unwrap().is_none());
    }

    #[test]
    fn what_is_done_is_told_before_the_end() {
        let (ours, theirs) = pair().unwrap();
        let mut runtime = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(runtime.id().cast_signed()).unwrap();
        let handle = Handle::open(pid).unwrap();
        tell_done(theirs.as_fd());
        assert!(has_done(ours.as_fd(), &handle).unwrap());
        // Its end is seen also while the other end is open, and is not what it says.
        runtime.kill().unwrap();
        assert!(!has_done(ours.as_fd(), &handle).unwrap());
        rustix::io::write(&theirs, b"do").unwrap();
        assert!(!has_done(ours.as_fd(), &handle).unwrap());
        drop(theirs);
        assert!(!has_done(ours.as_fd(), &handle).unwrap());
        runtime.wait().unwrap();
    }

    #[test]
    fn what_is_garbled_is_refused() {
        let (ours, theirs) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let three = [null.as_fd(); 3];
        let long = CString::new(vec![b'x'; MOST_BYTES]).unwrap();
        let refused = instruct(ours.as_fd(), &[long], three).unwrap_err();
        assert_eq!(refused.errno(), Errno::MSGSIZE);
        sys::send_fds(ours.as_fd(), b"create\0", &three[1..]).unwrap();
        assert!(await_instructions(theirs.as_fd()).unwrap_err().line().contains("recvmsg"));
        sys::send_fds(ours.as_fd(), b"create", &three).unwrap();
        assert!(await_instructions(theirs.as_fd()).is_err());
        rustix::io::write(&ours, b"create\0").unwrap();
        assert!(await_instructions(theirs.as_fd()).is_err());
        assert!(!is_end(null.as_fd()));
        let (stream, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!is_end(stream.as_fd()));
    }
}
