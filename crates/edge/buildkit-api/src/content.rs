//! Blobs that the history of builds has, as containerd's content store gives them: what is attested of builds, and their
//! errors. It is for reading alone, and has nothing else.

use std::sync::Arc;

use buildkit::content::content_server::Content;
use buildkit::content::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest,
    ReadContentResponse, StatusRequest, StatusResponse, UpdateRequest, UpdateResponse,
    WriteContentRequest, WriteContentResponse,
};
use tokio_stream::Iter;
use tonic::{Request, Response, Status, Streaming};

use crate::history::History;

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

/// Bytes in one message.
const PIECE: usize = 1 << 20;

/// The blobs of the history.
#[derive(Debug)]
pub(crate) struct Blobs(pub(crate) Arc<History>);

impl Blobs {
    async fn blob(&self, digest: &str) -> Result<Vec<u8>, Status> {
        let missing = || Status::not_found(format!("content {digest}: not found"));
        let parsed: oci::Digest = digest.parse().map_err(|_| missing())?;
        self.0.blob(&parsed).await?.ok_or_else(missing)
    }
}

fn refused<T>(what: &str) -> Answer<T> {
    Err(Status::unimplemented(format!("{what}: the content of the history can only be read")))
}

#[tonic::async_trait]
impl Content for Blobs {
    async fn info(&self, asked: Request<InfoRequest>) -> Answer<InfoResponse> {
        let digest = asked.into_inner().digest;
        let size = self.blob(&digest).await?.len() as i64;
        let info = Info { digest, size, ..Info::default() };
        Ok(Response::new(InfoResponse { info: Some(info) }))
    }

    type ReadStream = Stream<ReadContentResponse>;

    async fn read(&self, asked: Request<ReadContentRequest>) -> Answer<Self::ReadStream> {
        let ReadContentRequest { digest, offset, size } = asked.into_inner();
        let blob = self.blob(&digest).await?;
        let range = |number: i64| usize::try_from(number).unwrap_or_default().min(blob.len());
        let start = range(offset);
        // Of no size all of it is meant.
        let end = if size == 0 { blob.len() } else { range(offset.saturating_add(size)) };
        let mut at = start;
        let pieces = blob.get(start..end).unwrap_or_default().chunks(PIECE).map(|piece| {
            let offset = at as i64;
            at += piece.len();
            Ok(ReadContentResponse { offset, data: piece.to_vec() })
        });
        Ok(Response::new(tokio_stream::iter(pieces.collect::<Vec<_>>())))
    }

    async fn update(&self, _: Request<UpdateRequest>) -> Answer<UpdateResponse> {
        refused("Update")
    }

    type ListStream = Stream<ListContentResponse>;

    async fn list(&self, _: Request<ListContentRequest>) -> Answer<Self::ListStream> {
        refused("List")
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Answer<()> {
        refused("Delete")
    }

    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        refused("Status")
    }

    async fn list_statuses(&self, _: Request<ListStatusesRequest>) -> Answer<ListStatusesResponse> {
        refused("ListStatuses")
    }

    type WriteStream = Stream<WriteContentResponse>;

    async fn write(&self, _: Request<Streaming<WriteContentRequest>>) -> Answer<Self::WriteStream> {
        refused("Write")
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Answer<()> {
        refused("Abort")
    }
}
