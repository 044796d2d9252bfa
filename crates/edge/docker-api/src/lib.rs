//! The Docker Engine API over HTTP, in front of the engine.
//!
//! [`serve`] answers one connection, whatever it runs over: the command line talks to it over an
//! in-memory stream in its own process, [`listen`] puts it behind sockets. Handlers translate: a
//! request into a call of the engine, its result into `dockerd`'s JSON, its errors into `dockerd`'s
//! status codes and words. What a container is, they do not know.
//!
//! ```text
//! bytes ── http::connection ── server ── routes ── handlers::* ── containers::Engine
//!               │                                       │
//!               └──────── taken over: stream::relay ────┴── a supervisor's socket
//! ```
//!
//! The references are Docker's API description (v1.55) and `dockerd` itself where the description
//! is silent. `docs/compatibility.md` lists what is there.

#![forbid(unsafe_code)]

mod call;
mod error;
mod handlers;
#[cfg(test)]
mod hostile;
mod http;
mod legacy;
mod listen;
mod machine;
mod names;
mod older;
mod pages;
mod platform;
mod reload;
mod routes;
mod scope;
mod server;
mod stream;
mod swarm;
mod tls;
mod until;
mod version;

use std::{sync::Arc, time::Duration};

use containers::Engine;

pub use call::is_at_work;
pub use handlers::build::Builds;
pub use handlers::upgrade::{Session, Upgrade, Upgrades};
pub use http::{EndOfInput, Io, Relay};
pub use listen::{ListenError, Listener, Protection, listen};
pub use reload::reload;
pub use scope::Scope;
pub use tls::{Tls, TlsError, TlsFiles};

/// What the API is in front of.
#[derive(Clone)]
pub struct Api {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The builder, and who takes connections over for BuildKit's API; `None`: there is none.
    pub upgrades: Option<Arc<dyn Upgrades>>,
    /// Builds under way.
    pub builds: Builds,
    /// What `info` warns of beside what the engine knows: who else can reach it.
    pub warnings: Arc<[String]>,
    /// It has one client, in this process, which does nothing while it waits for an answer.
    pub alone: bool,
}

/// Serves one connection until its client leaves.
///
/// What goes wrong on it is the client's own business: it gets an answer, or the connection ends.
pub async fn serve(api: Api, io: impl Io) {
    serve_within(api, Bounds::default(), io).await;
}

/// What a connection is served within.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    /// What its socket allows; `None`: all.
    pub(crate) scope: Option<Arc<Scope>>,
    /// Which web pages are to be kept out: whatever a browser shows may reach its socket.
    pub(crate) kept_out: pages::Pages,
    /// How long a client may take for the head of a request; `None`: for ever.
    pub(crate) patience: Option<Duration>,
}

/// The same, within bounds.
pub(crate) async fn serve_within(api: Api, bounds: Bounds, io: impl Io) {
    let Bounds { scope, kept_out, patience } = bounds;
    let server = Arc::new(server::Server { api, scope, kept_out });
    // A client that breaks off or does not speak HTTP: there is nobody to tell.
    _ = http::connection::serve(server, io, patience).await;
}
