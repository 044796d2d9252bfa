//! Clients that have gone.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use tokio::io::Interest;

use crate::error::Error;

/// Waits until the other side of a socket has closed both directions, or, `by_input`, its writing side. For ever
/// where that cannot be told: then the next write to the client tells.
pub(crate) async fn gone(socket: Option<OwnedFd>, by_input: bool) {
    // A registration of its own: the events taken here are nobody else's.
    let watch =
        socket.map(UnixStream::from).and_then(|own| tokio::net::UnixStream::from_std(own).ok());
    let Some(watch) = watch else { return std::future::pending().await };
    let interest = if by_input { Interest::READABLE } else { Interest::WRITABLE };
    while let Ok(ready) = watch.ready(interest).await {
        if ready.is_write_closed() || (by_input && ready.is_read_closed()) {
            return;
        }
        // There is something to read, or room to write, which says nothing: wait for the next event.
        let again = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        _ = watch.try_io(interest, again).is_err();
    }
    // The runtime is shutting down.
    std::future::pending::<()>().await;
}

/// How long a client may take to read the head of an answer.
const HEAD_PATIENCE: Duration = Duration::from_millis(50);

/// Waits until the other side of a socket has read all that was sent, for a moment at most.
///
/// A client that reads the head of an answer through a buffer, and then from the socket itself
/// (docker-py does), loses what comes in one piece with the head. `dockerd` is slow enough that it
/// does not happen; we look.
pub(crate) async fn head_taken(socket: Option<OwnedFd>) {
    let Some(socket) = socket else { return };
    let until = Instant::now() + HEAD_PATIENCE;
    while sys::unread_by_peer(socket.as_fd()).is_ok_and(|unread| unread > 0)
        && Instant::now() < until
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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
