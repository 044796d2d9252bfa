//! What the services of a connection share.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use build::{Builder, Client};
use buildkit::content::content_server::ContentServer;
use buildkit::control::control_server::ControlServer;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service as _;

use crate::builds::Builds;
use crate::content::Blobs;
use crate::gateway::Gateway;
use crate::history::History;
use crate::session::policy::Policy;
use crate::session::{Announced, SessionClient, Sessions};
use crate::transport::{Io, MESSAGE, server};
use crate::worker::{Offers, Worker};

/// BuildKit's API in front of a builder. Clones are the same.
#[derive(Clone, Debug)]
pub struct Service(Arc<Shared>);

/// What they share.
#[derive(Debug)]
pub struct Shared {
    pub(crate) builder: Arc<Builder>,
    pub(crate) worker: Worker,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) builds: Builds,
    pub(crate) history: Arc<History>,
}

impl std::ops::Deref for Service {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Service {
    /// In front of `builder`. Records of builds are kept in the directory `history`.
    pub fn new(builder: Arc<Builder>, worker: Worker, history: PathBuf) -> Self {
        let (sessions, builds) = (Arc::default(), Builds::default());
        let history = Arc::new(History::new(history));
        Self(Arc::new(Shared { builder, worker, sessions, builds, history }))
    }

    /// What carries builds out.
    pub fn builder(&self) -> &Arc<Builder> {
        &self.builder
    }

    /// What steps may ask for, and run for, now. Who cannot be asked offers nothing.
    pub(crate) async fn offers(&self) -> Offers {
        let builder = Arc::clone(&self.builder);
        let look = move || Offers { devices: builder.devices(), platforms: builder.platforms() };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// The session of this id, as a build's client: waits a little for it.
    ///
    /// # Errors
    ///
    /// It did not come.
    pub async fn find_session(&self, id: &str) -> Result<Arc<dyn Client>, String> {
        let (session, all) = (self.sessions.wait(id).await?, Arc::clone(&self.sessions));
        Ok(Arc::new(SessionClient(session, Policy::default(), all)))
    }

    /// Answers calls over a stream until its client leaves (`POST /grpc`).
    pub async fn grpc(self, io: impl Io) {
        server::serve(io, move |request| self.clone().answer(request)).await;
    }

    /// Has a session by what the client says of it in the headers of its request (`POST /session`):
    /// answers who has the connection from now on.
    ///
    /// # Errors
    ///
    /// One line for people.
    pub fn session<I: Io>(
        &self,
        headers: &HeaderMap,
    ) -> Result<impl FnOnce(I) -> Serving + Send + 'static, String> {
        let announced = Announced::read(headers)?;
        self.sessions.check(&announced)?;
        let sessions = Arc::clone(&self.sessions);
        Ok(move |io: I| -> Serving { Box::pin(async move { sessions.serve(announced, io).await }) })
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let answered = match service.map(|(service, _)| service) {
            Some("moby.buildkit.v1.Control") => {
                let control = ControlServer::new(self).max_decoding_message_size(MESSAGE);
                { control }.call(request).await
            }
            Some("moby.buildkit.v1.frontend.LLBBridge") => {
                return Gateway::of_clients(self).answer(request).await;
            }
            Some("containerd.services.content.v1.Content") => {
                let mut content = ContentServer::new(Blobs(Arc::clone(&self.history)));
                content.call(request).await
            }
            other => {
                let text = format!("unknown service {}", other.unwrap_or(path));
                Ok(tonic::Status::unimplemented(text).into_http())
            }
        };
        match answered {
            Ok(answered) => answered,
        }
    }
}

/// A connection, to its end.
pub type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;
