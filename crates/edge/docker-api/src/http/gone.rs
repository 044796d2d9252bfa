//! Clients that have gone.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use tokio::io::Interest;

use crate::error::Error;

/// Waits until the other side of a socket has closed both directions. For ever where that cannot be
/// told: then the next write to the client tells.
pub(crate) async fn gone(socket: Option<OwnedFd>) {
    // A registration of its own: the events taken here are nobody else's.
    let watch =
        socket.map(UnixStream::from).and_then(|own| tokio::net::UnixStream::from_std(own).ok());
    let Some(watch) = watch else { return std::future::pending().await };
    while let Ok(ready) = watch.ready(Interest::WRITABLE).await {
        if ready.is_write_closed() {
            return;
        }
        // There is room to write, which says nothing: wait for the next event.
        let again = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        _ = watch.try_io(Interest::WRITABLE, again).is_err();
    }
    // The runtime is shutting down.
    std::future::pending::<()>().await;
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
