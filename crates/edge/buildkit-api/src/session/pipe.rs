//! A stream of messages as a stream of bytes.

use buildkit::sshforward::BytesMessage;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tonic::Streaming;

/// What is on its way inside, in bytes.
const BUFFER: usize = 64 << 10;
/// The largest piece that is sent, in bytes: as BuildKit has it.
const PIECE: usize = 32 << 10;

/// A message that is bytes and nothing else.
pub(crate) trait Message: Send + 'static {
    fn from_bytes(bytes: Bytes) -> Self;
    fn into_bytes(self) -> Bytes;
}

macro_rules! messages {
    ($($message:ty),*) => {
        $(impl Message for $message {
            fn from_bytes(data: Bytes) -> Self {
                Self { data: data.into() }
            }
            fn into_bytes(self) -> Bytes {
                self.data.into()
            }
        })*
    };
}

messages!(
    BytesMessage,
    buildkit::filesync::BytesMessage,
    buildkit::upload::BytesMessage,
    buildkit::control::BytesMessage
);

/// Carries what is read to a stream of messages, until its end.
pub(crate) async fn carry_out<M: Message>(
    mut read: ReadHalf<DuplexStream>,
    outgoing: mpsc::Sender<M>,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(n @ 1..) = read.read(&mut piece).await {
        let message = M::from_bytes(Bytes::copy_from_slice(&piece[..n]));
        if outgoing.send(message).await.is_err() {
            return;
        }
    }
}

/// Carries messages to a stream, until there are no more.
pub(crate) async fn carry_in<M: Message>(
    mut write: WriteHalf<DuplexStream>,
    mut incoming: Streaming<M>,
) {
    while let Ok(Some(message)) = incoming.message().await {
        if write.write_all(&message.into_bytes()).await.is_err() {
            return;
        }
    }
    // Its reader may be gone; then there is nobody to tell of the end.
    _ = write.shutdown().await;
}

/// Both ends of a stream of bytes.
pub(crate) fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(BUFFER)
}
