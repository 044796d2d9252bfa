//! What a build asks of us, over a connection on which we are the server (BuildKit's `session`).
//!
//! Nothing is given but what was offered: directories, secrets, agents and streams have names, and
//! what was not named on the command line is not there.

mod auth;
mod content;
pub(crate) mod directory;
mod files;
mod header;
mod output;
mod receive;
mod secrets;
mod ssh;
mod walk;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use buildkit::health::HealthCheckResponse;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::build::wire::MESSAGE;

pub(crate) use content::Store;
pub(crate) use directory::Directory;
pub(crate) use output::Target;
pub(crate) use secrets::Secret;
pub(crate) use ssh::{Agent, DEFAULT as DEFAULT_AGENT};

const SYNC: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const SEND: &str = "/moby.filesync.v1.FileSend/DiffCopy";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const PULL: &str = "/moby.upload.v1.Upload/Pull";
const CONTENT_INFO: &str = "/containerd.services.content.v1.Content/Info";
const CONTENT_READ: &str = "/containerd.services.content.v1.Content/Read";
const CONTENT_WRITE: &str = "/containerd.services.content.v1.Content/Write";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// All that one build may ask for.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Directories by their names in the build: `context`, `dockerfile`, and named ones.
    pub(crate) directories: HashMap<String, Directory>,
    /// Secrets by id.
    pub(crate) secrets: HashMap<String, Secret>,
    /// ssh agents by id.
    pub(crate) agents: HashMap<String, Agent>,
    /// Where results go, by the number of their exporter.
    pub(crate) targets: HashMap<usize, Target>,
    /// The id of the stream that our standard input is, where the context comes from there.
    pub(crate) upload: Option<String>,
    /// Content stores by their names: caches, layouts.
    pub(crate) stores: BTreeMap<String, Store>,
    /// What of standard input was read already.
    pub(crate) read_ahead: Vec<u8>,
}

impl Session {
    /// The methods that are answered: BuildKit asks for no others.
    pub(crate) fn methods(&self) -> Vec<&'static str> {
        let offered = [
            (true, HEALTH),
            (true, CREDENTIALS),
            (!self.directories.is_empty(), SYNC),
            (!self.targets.is_empty(), SEND),
            (!self.secrets.is_empty(), SECRET),
            (!self.agents.is_empty(), CHECK_AGENT),
            (!self.agents.is_empty(), FORWARD_AGENT),
            (self.upload.is_some(), PULL),
            (!self.stores.is_empty(), CONTENT_INFO),
            (!self.stores.is_empty(), CONTENT_READ),
            (!self.stores.is_empty(), CONTENT_WRITE),
        ];
        offered.into_iter().filter(|(is_there, _)| *is_there).map(|(_, method)| method).collect()
    }

    /// Answers one call.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: http::Request<Body>,
    ) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            SYNC => stream(request, move |call| files::send(&self, call)).await,
            SEND if self.is_tree(request.headers()) => {
                stream(request, move |call| output::tree(&self, call)).await
            }
            SEND => stream(request, move |call| output::file(&self, call)).await,
            SECRET => unary(request, move |call| secrets::get(&self, call)).await,
            CHECK_AGENT => unary(request, move |call| ssh::check(&self, call)).await,
            FORWARD_AGENT => stream(request, move |call| ssh::forward(&self, call)).await,
            CREDENTIALS => unary(request, auth::credentials).await,
            PULL => stream(request, move |call| files::upload(&self, &call)).await,
            CONTENT_INFO => unary(request, move |call| content::info(&self, call)).await,
            CONTENT_READ => server_stream(request, move |call| content::read(&self, call)).await,
            CONTENT_WRITE => stream(request, move |call| content::write(&self, call)).await,
            HEALTH => {
                let serving = |_: Request<buildkit::health::HealthCheckRequest>| async {
                    // 1 is SERVING.
                    Ok(Response::new(HealthCheckResponse { status: 1 }))
                };
                unary(request, serving).await
            }
            _ => Status::unimplemented(format!("unknown method {path}")).into_http(),
        }
    }

    /// Whether what a call sends us is a tree, and not one file.
    fn is_tree(&self, headers: &http::HeaderMap) -> bool {
        let metadata = MetadataMap::from_headers(headers.clone());
        matches!(output::target(self, &metadata), Ok(Target::Directory { .. }))
    }
}

/// Makes a function what tonic takes.
struct Handler<F>(F);

impl<F, A, I, O> Service<Request<I>> for Handler<F>
where
    F: FnMut(Request<I>) -> A,
    A: Future<Output = Result<Response<O>, Status>> + Send + 'static,
{
    type Response = Response<O>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<O>, Status>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        Box::pin((self.0)(request))
    }
}

async fn unary<I, O, A>(
    request: http::Request<Body>,
    handle: impl FnMut(Request<I>) -> A + Send + Sync,
) -> http::Response<Body>
where
    I: Message + Default + Send + 'static,
    O: Message + Send + 'static,
    A: Future<Output = Result<Response<O>, Status>> + Send + 'static,
{
    let codec: ProstCodec<O, I> = ProstCodec::default();
    let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(MESSAGE);
    grpc.unary(Handler(handle), request).await
}

/// What is sent back: pieces as somebody makes them, or why there are no more.
pub(crate) type Pieces<T> = tokio_stream::wrappers::ReceiverStream<Result<T, Status>>;

async fn stream<I, O, A>(
    request: http::Request<Body>,
    handle: impl FnMut(Request<Streaming<I>>) -> A + Send + Sync,
) -> http::Response<Body>
where
    I: Message + Default + Send + 'static,
    O: Message + Send + 'static,
    A: Future<Output = Result<Response<Pieces<O>>, Status>> + Send + 'static,
{
    let codec: ProstCodec<O, I> = ProstCodec::default();
    let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(MESSAGE);
    grpc.streaming(Handler(handle), request).await
}

async fn server_stream<I, O, A>(
    request: http::Request<Body>,
    handle: impl FnMut(Request<I>) -> A + Send + Sync,
) -> http::Response<Body>
where
    I: Message + Default + Send + 'static,
    O: Message + Send + 'static,
    A: Future<Output = Result<Response<Pieces<O>>, Status>> + Send + 'static,
{
    let codec: ProstCodec<O, I> = ProstCodec::default();
    let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(MESSAGE);
    grpc.server_streaming(Handler(handle), request).await
}
