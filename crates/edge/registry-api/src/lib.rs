//! A registry of our own: the distribution API (OCI distribution-spec 1.1) over HTTP, in front of
//! the engine's images.
//!
//! ```text
//! socket ── listen ── server ── route ──▶ pull ── lists ── push ──▶ images::Images
//!             │          │                                  │
//!            tls      htpasswd                    uploads: files nobody sees
//! ```
//!
//! What a repository is to the engine says `names`: one that is pushed to is an image
//! under the registry's own name; every other image that a name can be written for may be read.
//! Handlers translate, a request into a call of the images and its result into an answer; what a
//! manifest consists of, and what becomes of it, they do not know.
//!
//! Strangers may be at the other end. Names and digests become nothing but parsed values, bodies
//! are bounded, clients that neither take nor give are let go, and a blob that is being uploaded
//! cannot be asked for.
#![forbid(unsafe_code)]

mod bcrypt;
mod body;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod htpasswd;
mod listen;
mod lists;
mod names;
mod patience;
mod pull;
mod push;
mod query;
mod range;
mod route;
mod server;
mod tls;
mod uploads;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use images::Images;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use htpasswd::HtpasswdError;
pub use tls::TlsError;

use htpasswd::Htpasswd;
use names::Names;
use server::Server;

/// How a registry is to be.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where to listen: `ADDRESS:PORT`, `localhost:PORT`, or `:PORT` for all addresses.
    pub listen: String,
    /// What it is called, `HOST` or `HOST:PORT`; without it, `localhost:PORT`.
    pub name: Option<String>,
    /// Whether anything may be pushed or deleted; without it, only where it listens on loopback.
    pub writable: Option<bool>,
    /// Files of a certificate, with those that vouch for it, and its key, both in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A file of names and passwords.
    pub htpasswd: Option<PathBuf>,
}

/// Why there is no registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an address.
    #[error("invalid address `{0}`: give ADDRESS:PORT, localhost:PORT or :PORT")]
    Address(String),
    /// Not a name.
    #[error(
        "invalid name `{0}`: give HOST or HOST:PORT, as clients write it before an image's name"
    )]
    Name(String),
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The names and passwords.
    #[error(transparent)]
    Htpasswd(#[from] HtpasswdError),
}

/// A registry that listens.
pub struct Registry {
    server: Arc<Server>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

impl Registry {
    /// Listens. Must be called within a tokio runtime.
    pub fn bind(images: Arc<Images>, config: &Config) -> Result<Self, Error> {
        let address = listen::parse(&config.listen);
        let address = address.ok_or_else(|| Error::Address(config.listen.clone()))?;
        let tls = config.tls.as_ref().map(|(cert, key)| tls::acceptor(cert, key)).transpose()?;
        let htpasswd = config.htpasswd.as_deref().map(Htpasswd::open).transpose()?;
        let failed = |source| Error::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let name = config.name.clone().unwrap_or_else(|| format!("localhost:{}", address.port()));
        let names = Names::new(&name).ok_or(Error::Name(name))?;
        let is_local = address.ip().is_loopback();
        let is_writable = config.writable.unwrap_or(is_local);
        let server = Server::new(images, names, is_writable, is_local, htpasswd);
        Ok(Self { server: Arc::new(server), listener, tls, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is called: the domain of the images that are pushed to it.
    pub fn name(&self) -> &str {
        self.server.names.own()
    }

    /// Whether anything may be pushed or deleted.
    pub fn is_writable(&self) -> bool {
        self.server.is_writable
    }

    /// What a person should think about, if anything: who else can do what.
    pub fn warnings(&self) -> Vec<&'static str> {
        let server = &self.server;
        let mut warnings = Vec::new();
        if !server.is_local && server.htpasswd.is_some() && self.tls.is_none() {
            warnings.push("without TLS, names and passwords can be read on their way");
        }
        if !server.is_local && server.htpasswd.is_none() && server.is_writable {
            warnings.push("whoever reaches this address can push and delete (see --htpasswd)");
        }
        warnings
    }

    /// Serves every connection until `shutdown` turns true.
    pub async fn serve(self, shutdown: watch::Receiver<bool>) -> io::Result<()> {
        listen::serve(self.server, self.listener, self.tls, shutdown).await
    }
}
