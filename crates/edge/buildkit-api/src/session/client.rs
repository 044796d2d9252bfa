//! What a build asks of its client, asked over a session.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use build::{
    Asked, Client, Decided, Describe, Export, Fetched, Output, SentTree, Solved, Status, Stream,
};
use buildgraph::Local;
use buildkit::filesync::{BytesMessage, file_send_client::FileSendClient};
use buildkit::fsutil::Packet;
use bytes::Bytes;
use registry::Credentials;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataValue, MetadataKey, MetadataMap};
use tonic_prost::ProstCodec;

use super::policy::Policy;
use super::{Session, Sessions, ask, content, exports, header, tree};
use crate::clock::now;
use crate::fsutil::Received;
use crate::transport::{Channel, MESSAGE};

const SYNC: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const SEND: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Says that a transfer has the trees of all platforms.
const ALL_PLATFORMS: &str = "buildkit-exporter-multi-platform";
/// The largest piece of a file that is sent, in bytes: Go's gRPC takes 4 MiB.
const PIECE: usize = 1 << 20;

/// Who asked for a build, over its session; what says which sources may be used; and the sessions in which
/// directories may be.
#[derive(Clone, Debug)]
pub struct SessionClient(pub(crate) Arc<Session>, pub(crate) Policy, pub(crate) Arc<Sessions>);

impl Client for SessionClient {
    fn directory<'a>(
        &'a self,
        local: &'a Local,
        into: &'a Path,
        tell: &'a (dyn Fn(Status) + Send + Sync),
    ) -> Asked<'a, Fetched> {
        Box::pin(self.sync(local, into, tell))
    }

    fn shared_key(&self) -> String {
        self.0.shared_key().to_owned()
    }

    fn secret<'a>(&'a self, id: &'a str) -> Asked<'a, Option<Vec<u8>>> {
        Box::pin(ask::secret(&self.0, id))
    }

    fn has_agent<'a>(&'a self, id: &'a str) -> Asked<'a, bool> {
        Box::pin(ask::has_agent(&self.0, id))
    }

    fn agent<'a>(&'a self, id: &'a str) -> Asked<'a, Box<dyn Stream>> {
        Box::pin(async move {
            let stream = ask::agent(&self.0, id);
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn credentials<'a>(&'a self, host: &'a str) -> Asked<'a, Option<Credentials>> {
        Box::pin(ask::credentials(&self.0, host))
    }

    fn send_trees(&self, export: usize, trees: Vec<SentTree>, time: Option<i64>) -> Asked<'_, ()> {
        Box::pin(self.copy_out(export, trees, time))
    }

    fn send_file<'a>(
        &'a self,
        export: usize,
        about: &'a BTreeMap<String, String>,
    ) -> Asked<'a, Box<dyn Output>> {
        Box::pin(std::future::ready(self.open_file(export, about)))
    }

    fn blob<'a>(
        &'a self,
        store: &'a str,
        digest: &'a oci::Digest,
        max: u64,
    ) -> Asked<'a, Box<dyn AsyncRead + Send + Unpin>> {
        Box::pin(async move { content::blob(&self.0, store, &digest.to_string(), max).await })
    }

    fn has_blob<'a>(&'a self, store: &'a str, digest: &'a oci::Digest) -> Asked<'a, bool> {
        Box::pin(async move { content::has(&self.0, store, &digest.to_string()).await })
    }

    fn put_blob<'a>(
        &'a self,
        store: &'a str,
        blob: &'a oci::image::Descriptor,
    ) -> Asked<'a, Box<dyn Output>> {
        Box::pin(std::future::ready(content::put(&self.0, store, blob)))
    }

    fn decide<'a>(
        &'a self,
        source: &'a buildgraph::Source,
        platform: Option<&'a oci::image::Platform>,
        describe: &'a Describe<'a>,
    ) -> Decided<'a> {
        Box::pin(self.1.decide(source, platform, describe))
    }

    fn has_policy(&self) -> bool {
        self.1.is_some()
    }

    fn exports<'a>(&'a self, solved: &'a Solved) -> Asked<'a, Vec<Export>> {
        Box::pin(exports::find(&self.0, solved))
    }

    fn exported<'a>(&'a self, response: &'a BTreeMap<String, String>) -> Asked<'a, ()> {
        Box::pin(exports::finalize(&self.0, response))
    }

    fn upload<'a>(&'a self, path: &'a str) -> Asked<'a, Box<dyn AsyncRead + Send + Unpin>> {
        Box::pin(ask::upload(&self.0, path))
    }
}

impl SessionClient {
    fn needs(&self, method: &str) -> Result<(), String> {
        if self.0.has(method) {
            return Ok(());
        }
        Err(format!("the client does not answer {method}"))
    }

    /// The session that a directory is in; one that does not come has none.
    async fn that_has(&self, local: &Local) -> Arc<Session> {
        let named = match local.session.as_str() {
            "" => None,
            id => self.2.wait(id).await.ok(),
        };
        named.unwrap_or_else(|| Arc::clone(&self.0))
    }

    async fn sync(
        &self,
        local: &Local,
        into: &Path,
        tell: &(dyn Fn(Status) + Send + Sync),
    ) -> Result<Fetched, String> {
        let session = self.that_has(local).await;
        if !session.has(SYNC) {
            return Err("no local sources enabled".to_owned());
        }
        let (outgoing, packets) = mpsc::unbounded_channel();
        let mut request = Request::new(UnboundedReceiverStream::new(packets));
        let headers = request.metadata_mut();
        header::put(headers, "include-patterns", &local.include);
        header::put(headers, "exclude-patterns", &local.exclude);
        header::put(headers, "followpaths", &local.follow);
        header::put(headers, "dir-name", std::slice::from_ref(&local.name));
        let mut client = buildkit::filesync::file_sync_client::FileSyncClient::with_origin(
            session.channel(),
            Channel::origin(),
        )
        .max_decoding_message_size(MESSAGE);
        let answer =
            client.diff_copy(request).await.map_err(|status| status.message().to_owned())?;
        let began = now();
        let status = |n_bytes: u64, completed| Status {
            id: format!("transferring {}:", local.name),
            name: "transferring".into(),
            current: i64::try_from(n_bytes).unwrap_or(i64::MAX),
            time: now(),
            started: Some(began),
            completed,
            ..Status::default()
        };
        let so_far = |n_bytes| tell(status(n_bytes, None));
        let told_only = local.told_only.as_deref();
        let received =
            tree::receive(into, told_only, answer.into_inner(), outgoing, &so_far).await?;
        tell(status(received.n_bytes_sent, Some(now())));
        let Received { n_files, n_bytes, n_bytes_sent } = received;
        Ok(Fetched { n_files, n_bytes, n_bytes_sent })
    }

    async fn copy_out(
        &self,
        export: usize,
        trees: Vec<SentTree>,
        time: Option<i64>,
    ) -> Result<(), String> {
        self.needs(SEND)?;
        let (outgoing, packets) = mpsc::channel::<Packet>(32);
        let (asked, questions) = mpsc::unbounded_channel();
        let mut request = Request::new(ReceiverStream::new(packets));
        name_export(request.metadata_mut(), export);
        // Of several platforms all come in this one transfer: what else is there may be removed.
        request.metadata_mut().insert(ALL_PLATFORMS, AsciiMetadataValue::from_static("1"));
        let work =
            tokio::task::spawn_blocking(move || tree::send(&trees, time, &outgoing, questions));
        // What BuildKit's description calls bytes here are packets, as in FileSync.
        let mut grpc = tonic::client::Grpc::with_origin(self.0.channel(), Channel::origin());
        let call = async {
            grpc.ready().await.map_err(|error| error.to_string())?;
            let codec: ProstCodec<Packet, Packet> = ProstCodec::default();
            let path = PathAndQuery::from_static(SEND);
            let answer = grpc.streaming(request, path, codec).await;
            let mut answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
            while let Some(packet) =
                answer.message().await.map_err(|status| status.message().to_owned())?
            {
                _ = asked.send(packet);
            }
            drop(asked);
            Ok(())
        };
        let called: Result<(), String> = call.await;
        let sent = work.await.map_err(|error| error.to_string())?;
        called?;
        sent.map_err(|error| error.to_string())
    }

    fn open_file(
        &self,
        export: usize,
        about: &BTreeMap<String, String>,
    ) -> Result<Box<dyn Output>, String> {
        self.needs(SEND)?;
        let (outgoing, messages) = mpsc::channel(8);
        let mut request = Request::new(ReceiverStream::new(messages));
        let headers = request.metadata_mut();
        name_export(headers, export);
        for (key, value) in about {
            let key = MetadataKey::from_bytes(format!("exporter-md-{key}").as_bytes());
            if let (Ok(key), Ok(value)) = (key, AsciiMetadataValue::try_from(value)) {
                headers.insert(key, value);
            }
        }
        let mut client = FileSendClient::with_origin(self.0.channel(), Channel::origin());
        // The answer begins when the client has all of it, or wants no more.
        let call = tokio::spawn(async move {
            let mut answer = client.diff_copy(request).await?.into_inner();
            while answer.message().await?.is_some() {}
            Ok(())
        });
        Ok(Box::new(File { outgoing: Some(outgoing), call, is_there: false }))
    }
}

fn name_export(headers: &mut MetadataMap, export: usize) {
    headers.insert("buildkit-attachable-exporter-id", AsciiMetadataValue::from(export));
}

/// A file on its way to the client.
struct File {
    outgoing: Option<mpsc::Sender<BytesMessage>>,
    call: JoinHandle<Result<(), tonic::Status>>,
    /// The client has that file already, and wants nothing of it.
    is_there: bool,
}

impl File {
    /// How it ended.
    async fn end(&mut self) -> Result<(), String> {
        self.outgoing = None;
        match (&mut self.call).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) if status.code() == tonic::Code::AlreadyExists => {
                self.is_there = true;
                Ok(())
            }
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Given up, unless it has ended: a client that sees an end would take the part for the whole.
        self.call.abort();
    }
}

impl Output for File {
    fn write(&mut self, mut bytes: Bytes) -> Asked<'_, ()> {
        Box::pin(async move {
            while !bytes.is_empty() && !self.is_there {
                let data = bytes.split_to(bytes.len().min(PIECE));
                let Some(outgoing) = &self.outgoing else {
                    return Err("the client has closed the file".to_owned());
                };
                if outgoing.send(BytesMessage { data }).await.is_err() {
                    self.end().await?;
                    if self.is_there {
                        break;
                    }
                    return Err("the client has closed the file".to_owned());
                }
            }
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> Asked<'static, ()> {
        Box::pin(async move { if self.is_there { Ok(()) } else { self.end().await } })
    }
}
