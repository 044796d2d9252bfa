//! Links, addresses and routes (rtnetlink(7)), and batches of firewall rules, over sockets that
//! speak netlink(7). Synchronous: the kernel has done all that was asked when `sendmsg(2)` returns,
//! and its answers wait in the socket.
//!
//! What is to be done is gathered in [`Requests`] and sent at once: one call for many changes, of
//! which only the last asks for an acknowledgement. Errors always come back, and name the change
//! and the object, with the kernel's own words where it has any.
//!
//! ```no_run
//! # fn main() -> Result<(), netlink::Error> {
//! let mut requests = netlink::Requests::new();
//! requests.add_bridge("br0", [2, 0x42, 172, 18, 0, 1], 1500);
//! netlink::RouteSocket::open()?.execute(&requests)?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod error;
mod filter;
mod glance;
mod namespace;
mod parse;
mod request;
mod route;
mod socket;
mod upper;

pub use error::Error;
pub use filter::FilterSocket;
pub use glance::Glance;
pub use namespace::inside;
pub use parse::{Address, Link, Route, parse_address, parse_link, parse_route};
pub use request::{Requests, Veth};
pub use route::RouteSocket;
pub use upper::{IpvlanFlag, IpvlanMode, MacvlanMode, Sharing, Upper};

/// The loopback interface's index, in every network namespace.
pub const LOOPBACK_INDEX: u32 = 1;
