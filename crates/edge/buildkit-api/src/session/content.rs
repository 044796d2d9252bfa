//! Content stores of a client's, over its session (containerd's content service): each has a name,
//! `local:DIRECTORY` of a build cache, `oci:NAME` of a layout.

use build::{Asked, Output};
use buildkit::content::content_client::ContentClient;
use buildkit::content::{InfoRequest, ReadContentRequest, WriteAction, WriteContentRequest};
use bytes::Bytes;
use oci::image::Descriptor;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Request};

use super::Session;
use super::pipe::pipe;
use crate::transport::{Channel, MESSAGE};

/// The largest piece that is sent, in bytes: Go's gRPC takes 4 MiB.
const PIECE: usize = 1 << 20;
/// Pieces on their way.
const AHEAD: usize = 4;

/// A blob of a content store of the client's, and no more than `max` bytes of it.
pub(super) async fn blob(
    session: &Session,
    store: &str,
    digest: &str,
    max: u64,
) -> Result<Box<dyn AsyncRead + Send + Unpin>, String> {
    let mut request =
        Request::new(ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 });
    to_store(request.metadata_mut(), store)?;
    let mut client = ContentClient::with_origin(session.channel(), Channel::origin())
        .max_decoding_message_size(MESSAGE);
    let failed = |status: tonic::Status| format!("{digest} of {store}: {}", status.message());
    let mut pieces = client.read(request).await.map_err(failed)?.into_inner();
    let (ours, mut theirs) = pipe();
    tokio::spawn(async move {
        let mut left = max;
        while let Ok(Some(piece)) = pieces.message().await {
            let n = piece.data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= n as u64;
            if theirs.write_all(&piece.data[..n]).await.is_err() || n < piece.data.len() {
                return;
            }
        }
    });
    Ok(Box::new(ours))
}

fn to_store(headers: &mut MetadataMap, store: &str) -> Result<(), String> {
    let value = AsciiMetadataValue::try_from(store).map_err(|_| format!("{store:?}: no store"))?;
    headers.insert("buildkit-attachable-store-id", value);
    Ok(())
}

/// Whether a store has a blob.
pub(super) async fn has(session: &Session, store: &str, digest: &str) -> Result<bool, String> {
    let mut request = Request::new(InfoRequest { digest: digest.to_owned() });
    to_store(request.metadata_mut(), store)?;
    let mut client = ContentClient::with_origin(session.channel(), Channel::origin());
    match client.info(request).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(format!("{digest} of {store}: {}", status.message())),
    }
}

/// Writes a blob to a store.
pub(super) fn put(
    session: &Session,
    store: &str,
    blob: &Descriptor,
) -> Result<Box<dyn Output>, String> {
    let (outgoing, messages) = mpsc::channel(AHEAD);
    let mut request = Request::new(ReceiverStream::new(messages));
    to_store(request.metadata_mut(), store)?;
    let mut client = ContentClient::with_origin(session.channel(), Channel::origin());
    let call = tokio::spawn(async move {
        let mut answers = client.write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    });
    let what = format!("{} of {store}", blob.digest);
    let first = WriteContentRequest {
        action: WriteAction::Stat.into(),
        r#ref: format!("dhow-{}", blob.digest),
        total: i64::try_from(blob.size).unwrap_or(i64::MAX),
        expected: blob.digest.to_string(),
        ..WriteContentRequest::default()
    };
    // There is room for it.
    _ = outgoing.try_send(first.clone());
    Ok(Box::new(Blob { outgoing: Some(outgoing), call, first, offset: 0, what }))
}

/// A blob on its way to a store.
struct Blob {
    outgoing: Option<mpsc::Sender<WriteContentRequest>>,
    call: JoinHandle<Result<(), tonic::Status>>,
    first: WriteContentRequest,
    offset: i64,
    what: String,
}

impl Blob {
    async fn send(&mut self, action: WriteAction, data: Vec<u8>) -> Result<(), String> {
        let len = i64::try_from(data.len()).unwrap_or(i64::MAX);
        let (action, offset) = (action.into(), self.offset);
        let message = WriteContentRequest { action, offset, data, ..self.first.clone() };
        self.offset += len;
        let Some(outgoing) = &self.outgoing else { return Ok(()) };
        if outgoing.send(message).await.is_err() {
            // Why is what the call says.
            self.outgoing = None;
        }
        Ok(())
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        // Given up, unless it has ended.
        self.call.abort();
    }
}

impl Output for Blob {
    fn write(&mut self, mut bytes: Bytes) -> Asked<'_, ()> {
        Box::pin(async move {
            while !bytes.is_empty() {
                let data = bytes.split_to(bytes.len().min(PIECE));
                self.send(WriteAction::Write, data.to_vec()).await?;
            }
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> Asked<'static, ()> {
        Box::pin(async move {
            self.send(WriteAction::Commit, Vec::new()).await?;
            self.outgoing = None;
            match (&mut self.call).await {
                Ok(Ok(())) => Ok(()),
                // Somebody else has written it meanwhile.
                Ok(Err(status)) if status.code() == Code::AlreadyExists => Ok(()),
                Ok(Err(status)) => Err(format!("{}: {}", self.what, status.message())),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}
