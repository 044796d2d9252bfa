//! A process of our own that speaks TLS for us, so that this one need not.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::Pid;
use shim_protocol::{RELAY, RELAY_FD, RELAY_READY, SyslogTls};

/// How long the start of the container may be held up by a server: it is connected to, and then there is a handshake.
const PATIENCE: Duration = Duration::from_secs(8);
/// An explanation is not longer, in bytes.
const MAX_WORDS: usize = 1024;

/// Starts one, and returns our end of what leads to it; `wait`: once somebody is there.
pub(super) fn start(to: &SyslogTls, wait: bool) -> io::Result<(OwnedFd, Pid)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let target = CString::new(serde_json::to_vec(to)?).map_err(io::Error::other)?;
    let part = CString::new(RELAY).map_err(io::Error::other)?;
    // Where the machine's authorities are, if somebody has said so.
    let env: Vec<CString> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .filter_map(|name| CString::new(format!("{name}={}", std::env::var(name).ok()?)).ok())
        .collect();
    let spawn = sys::Spawn {
        program: c"/proc/self/exe",
        argv: &[c"dhow-shim".into(), part, target],
        env: &env,
        fds: &[(theirs.as_fd(), RELAY_FD)],
        new_session: false,
    };
    let pid = spawn.spawn().map_err(io::Error::other)?.pid;
    drop(theirs);
    rustix::io::ioctl_fionbio(&ours, true)?;
    let until = Instant::now() + PATIENCE;
    while wait && !answer(&ours)? {
        let left = until.checked_duration_since(Instant::now()).ok_or(io::ErrorKind::TimedOut)?;
        let mut fds = [PollFd::new(&ours, PollFlags::IN)];
        poll(&mut fds, Timespec::try_from(left).ok().as_ref())?;
    }
    Ok((ours, pid))
}

/// Whether it has said that somebody is there. An error: that nobody is, and why.
pub(super) fn answer(from: &impl AsFd) -> io::Result<bool> {
    let mut words = [0; MAX_WORDS];
    match rustix::net::recv(from, &mut words, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Err(io::ErrorKind::ConnectionRefused.into()),
        Ok(_) if words[0] == RELAY_READY => Ok(true),
        Ok((length, _)) => {
            Err(io::Error::other(String::from_utf8_lossy(&words[..length]).into_owned()))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
