//! One container's links, addresses and published ports: what is to be made, as data, and the
//! making of it in a network namespace.
//!
//! The network service computes a [`Plan`]; the shim applies it between create and start, and
//! again on a restart, with no one else around.
#![forbid(unsafe_code)]

mod plan;

pub use plan::{Dns, Link, Name, Plan, Protocol, PublishedPort};
