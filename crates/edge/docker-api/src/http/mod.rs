//! HTTP, without Docker: connections that can be taken over, bodies, queries, routes.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod gone;
pub(crate) mod query;
pub(crate) mod route;
mod sha1;
pub(crate) mod syntax;
mod takeover;
#[cfg(test)]
mod tests;
pub(crate) mod websocket;

pub use connection::{EndOfInput, Io, Relay};
