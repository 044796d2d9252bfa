//! A proxy for the programs of a build, which have no other network: each of their requests is judged by its URL,
//! made from here, and noted with the digest of what came.
//!
//! ```text
//! a program ── HTTP, or CONNECT and TLS ─▶ server ─▶ Outside::judge    may it, or another in its place
//!                                            │
//!                                            ├─────▶ Outside::connect  from where is not ours to know
//!                                            └─────▶ Capture           what was asked, what came
//! ```
//!
//! As BuildKit's proxy networks have it (`docs/proxy.md`, `util/network/proxyprovider`). What TLS protects is seen
//! here: a connection to `h` is answered with a certificate for `h` of an [`Authority`] that is made for one program
//! and is in no file but that program's own; towards `h` the machine's authorities count as ever. A request goes to
//! whom it was judged by: the name in the URL is the one that is connected to, verified, and said in `Host`.
#![forbid(unsafe_code)]

mod address;
mod authority;
mod body;
mod capture;
mod client;
mod der;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;

use tokio::net::TcpStream;

pub use authority::{Authority, MakeError};
pub use capture::{Capture, Captured, Incomplete, Material, Request, Ruled};
pub use client::Trust;
pub use server::{Proxy, serve};

/// An answer that takes time.
pub type Asked<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// What is beyond the proxy.
pub trait Outside: Send + Sync + 'static {
    /// The URL that is asked for in the place of this one; `None`: this one. The URL is absolute, without who asks
    /// and without the port that is its scheme's own.
    ///
    /// # Errors
    ///
    /// It may not be asked for: why, in one line.
    fn judge<'a>(&'a self, url: &'a str) -> Asked<'a, Option<String>, String>;

    /// A connection to a port of a host, which is a name or an address without brackets.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Asked<'a, TcpStream, io::Error>;
}
