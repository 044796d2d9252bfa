//! HTTP, without Docker: connections that can be taken over, bodies, queries, routes.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod gone;
pub(crate) mod query;
pub(crate) mod route;
mod takeover;
#[cfg(test)]
mod tests;

pub use connection::Io;
