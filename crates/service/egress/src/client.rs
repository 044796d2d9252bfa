//! Requests to whoever was asked for: over connections that are used again, privately where the URL says so.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring as provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::Outside;
use crate::address::Origin;

/// A connection may take this long, its handshake included.
const CONNECT: Duration = Duration::from_secs(30);
/// No more connections to one host wait to be used again,
const MAX_IDLE: usize = 8;
/// nor to more hosts.
const MAX_HOSTS: usize = 64;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("connect to {to}: {source}")]
    Connect { to: String, source: io::Error },
    #[error("speak to {to}: {source}")]
    Http { to: String, source: hyper::Error },
}

/// Whom servers have to be vouched for by: the machine's own authorities, read when they are first needed.
#[derive(Default)]
pub struct Trust(OnceLock<Arc<ClientConfig>>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    /// These authorities, and no others.
    #[cfg(test)]
    pub(crate) fn only(roots: RootCertStore) -> Self {
        Self(OnceLock::from(Arc::new(config(roots).unwrap())))
    }

    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = self.0.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(config(certs::machine_authorities()).map_err(io::Error::other)?);
        Ok(Arc::clone(self.0.get_or_init(|| config)))
    }
}

fn config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A stream of bytes, both ways.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Outgoing = Either<Incoming, Empty<Bytes>>;
type Sender = SendRequest<Outgoing>;

/// Asks others.
pub(crate) struct Client {
    trust: Arc<Trust>,
    idle: Mutex<HashMap<Origin, Vec<Sender>>>,
}

impl Client {
    pub(crate) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, idle: Mutex::default() }
    }

    /// Sends a request, and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        outside: &dyn Outside,
        origin: &Origin,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Error> {
        let failed = |source| Error::Http { to: origin.to_string(), source };
        let (parts, body) = request.into_parts();
        let is_empty = body.is_end_stream();
        // What has no body, and may be done twice (RFC 9110, 9.2.2), can be said twice: a connection that waited may be
        // gone by now.
        let again = (is_empty && parts.method.is_idempotent()).then(|| parts.clone());
        let body = if is_empty { Either::Right(Empty::new()) } else { Either::Left(body) };
        let mut request = Request::from_parts(parts, body);
        while let Some(mut sender) = self.take_idle(origin) {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(origin, sender);
                    return Ok(response);
                }
                Err(mut error) => match (error.take_message(), &again) {
                    (Some(unsent), _) => request = unsent,
                    (None, Some(parts)) => {
                        request = Request::from_parts(parts.clone(), Either::Right(Empty::new()));
                    }
                    (None, None) => return Err(failed(error.into_error())),
                },
            }
        }
        let mut sender = self.connect(outside, origin).await?;
        let response = sender.send_request(request).await.map_err(failed)?;
        self.keep(origin, sender);
        Ok(response)
    }

    async fn connect(&self, outside: &dyn Outside, origin: &Origin) -> Result<Sender, Error> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let stream = timeout(CONNECT, self.stream(outside, origin));
        let stream = stream.await.unwrap_or_else(|_| Err(late()));
        let stream = stream.map_err(|source| Error::Connect { to: origin.to_string(), source })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Http { to: origin.to_string(), source })?;
        // It ends with the connection, which ends when nobody can send on it any more.
        tokio::spawn(async move {
            // What went wrong is told to the one who waits for an answer.
            _ = connection.await;
        });
        Ok(sender)
    }

    async fn stream(&self, outside: &dyn Outside, origin: &Origin) -> io::Result<Box<dyn Io>> {
        let stream = outside.connect(&origin.host, origin.port).await?;
        // What is sent is sent whole; a delay would only delay.
        stream.set_nodelay(true).ok();
        if !origin.is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(origin.host.clone());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(self.trust.config()?);
        Ok(Box::new(connector.connect(name, stream).await?))
    }

    /// A connection that nothing is going on on.
    fn take_idle(&self, origin: &Origin) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(origin)?;
        senders.retain(|sender| !sender.is_closed());
        let ready = senders.iter().position(SendRequest::is_ready)?;
        Some(senders.swap_remove(ready))
    }

    /// Keeps a connection; it becomes ready when its answer has been read.
    fn keep(&self, origin: &Origin, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= MAX_HOSTS && !idle.contains_key(origin) {
            idle.clear();
        }
        let senders = idle.entry(origin.clone()).or_default();
        senders.retain(|sender| !sender.is_closed());
        if senders.len() < MAX_IDLE {
            senders.push(sender);
        }
    }
}
