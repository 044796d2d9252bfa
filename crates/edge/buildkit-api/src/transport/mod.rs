//! gRPC over a stream that somebody has handed us: as the server ([`server`]), and as the client of a
//! session ([`client`]).

pub(crate) mod client;
pub(crate) mod server;

pub(crate) use client::Channel;

use tokio::io::{AsyncRead, AsyncWrite};

/// A stream to a client.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// What a stream, and a whole connection, may have on its way, in bytes. HTTP/2's own 64 KiB would have
/// a context of many files wait for us after each piece.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 8 << 20;
/// The largest message, in bytes: as in BuildKit and containerd.
pub(crate) const MESSAGE: usize = 16 << 20;
