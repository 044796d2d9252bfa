//! Clients that have gone.

use std::os::{fd::OwnedFd, unix::net::UnixStream};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{Interest, unix::AsyncFd};

use crate::error::Error;

/// Waits until the other side of a socket has closed both directions. For ever where that cannot be
/// told: then the next write to the client tells.
pub(crate) async fn gone(socket: Option<OwnedFd>) {
    let watch = socket.and_then(|fd| AsyncFd::register_with_interest(fd, Interest::WRITABLE).ok());
    let Some(watch) = watch else { return std::future::pending().await };
    while let Ok(mut ready) = watch.writable().await {
        let mut fds = [PollFd::new(&watch, PollFlags::OUT)];
        let polled = poll(&mut fds, Some(&Timespec::default()));
        if polled.is_err() || fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        ready.clear_ready();
    }
    // The runtime is shutting down.
    std::future::pending().await
}

/// What a blocking thread looks at to see whether its answer is still wanted: the other end of it
/// hangs up when the leash is dropped.
#[derive(Debug)]
pub(crate) struct Leash(#[expect(dead_code, reason = "held for its end only")] UnixStream);

/// A leash and the end that a thread looks at.
pub(crate) fn leash() -> Result<(Leash, UnixStream), Error> {
    let (ours, theirs) =
        UnixStream::pair().map_err(|err| Error::internal(format!("socketpair: {err}")))?;
    Ok((Leash(ours), theirs))
}
