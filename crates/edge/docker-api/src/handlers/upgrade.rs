//! BuildKit's API, which is spoken over a connection that was taken over: HTTP/2, without TLS.

use std::{pin::Pin, sync::Arc};

use ::build::{self as build, Builder, Client};
use hyper::{
    Response, StatusCode,
    header::{HeaderMap, HeaderValue, UPGRADE},
};

use crate::{
    call::{Call, Reply, blocking},
    error::Error,
    http::{Relay, connection::Answer},
};

/// The one protocol that there is (RFC 7540, section 3.2).
const H2C: &str = "h2c";

/// What a connection becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// `POST /grpc`: we answer BuildKit's control and gateway services.
    Grpc,
    /// `POST /session`: the client answers, and we ask.
    Session,
}

/// A client's session, found; or one line for people.
pub type Session = Pin<Box<dyn Future<Output = Result<Arc<dyn Client>, String>> + Send>>;

/// The builder, and who takes such connections over.
pub trait Upgrades: Send + Sync + 'static {
    /// The builder that all builds of this process share.
    ///
    /// # Errors
    ///
    /// One line for people.
    ///
    /// Blocks.
    fn builder(&self) -> Result<Arc<Builder>, String>;

    /// The session of this id: waits a little for it.
    fn find_session(&self, id: &str) -> Session;

    /// What a build tells, as BuildKit's API has it (`StatusResponse`).
    fn trace(&self, told: Vec<build::Event>) -> Vec<u8>;

    /// Who has the connection from now on, by what the request says in its headers.
    ///
    /// # Errors
    ///
    /// One line for people: the request is none that can be met.
    ///
    /// Blocks.
    fn open(&self, upgrade: Upgrade, headers: &HeaderMap) -> Result<Relay, String>;
}

/// `POST /grpc`
pub(crate) async fn grpc(call: Call) -> Reply {
    take_over(&call, Upgrade::Grpc).await
}

/// `POST /session`
pub(crate) async fn session(call: Call) -> Reply {
    take_over(&call, Upgrade::Session).await
}

async fn take_over(call: &Call, upgrade: Upgrade) -> Reply {
    let Some(upgrades) = call.upgrades.clone() else {
        return Err(Error::not_there_yet("building images"));
    };
    match call.headers.get(UPGRADE).and_then(|value| value.to_str().ok()) {
        Some(H2C) => {}
        None => return Err(Error::invalid("no upgrade proto in request")),
        Some(other) => return Err(Error::invalid(format!("protocol {other} not supported"))),
    }
    let headers = call.headers.clone();
    let open = move || upgrades.open(upgrade, &headers).map_err(Error::invalid);
    let relay = blocking(open).await?;
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    head.headers_mut().insert(UPGRADE, HeaderValue::from_static(H2C));
    Ok(Answer::TakeOver(head, relay))
}
