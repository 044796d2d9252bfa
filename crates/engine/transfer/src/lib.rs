//! Pulling and pushing: `images` on one side, `registry` on the other.
//!
//! The images are synchronous and know no network; the registry is asynchronous and keeps nothing.
//! Here they meet: what waits for the network is a task, what waits for the disk is on a thread
//! that may.
//!
//! ```text
//! pull   manifest ─▶ configuration ─▶ ┬ three downloads at once ─▶ content
//!                                     └ one thread that unpacks what comes, layer on layer
//! push   three uploads at once ─▶ configuration ─▶ manifest
//! ```
//!
//! A future that is dropped gives up: downloads end, the unpacking ends with them, and what has
//! come stays for the next attempt.
#![forbid(unsafe_code)]

mod depot;
mod error;
mod event;
mod pull;
mod push;

pub use depot::Depot;
pub use error::{Class, Error};
pub use event::{Event, Events, Layer};
pub use pull::{Pulled, Request, pull, pull_all};
pub use push::{push, push_by_digest};

/// How many layers come or go at once, as in Docker.
const AT_ONCE: usize = 3;
