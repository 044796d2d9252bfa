//! One container's links, addresses and published ports: what is to be made, as data, and the
//! making of it in a network namespace.
//!
//! The network service computes a [`Plan`]; the shim [`apply`]s it between create and start, and
//! again on a restart, with no one else around; while the container runs, it makes a [`change`] from one
//! plan to the next. Neighbours who may know other hardware addresses are told ([`Announcements`]). All of it can be unmade by the plan alone, at any
//! time and any number of times: by the shim when the container ends ([`undo`]), and by whoever
//! finds that a shim has died ([`undo`] and [`remove_links`]).
#![forbid(unsafe_code)]

mod announce;
mod apply;
mod change;
mod error;
mod kind;
mod names;
mod parameters;
mod plan;
mod ports;
mod undo;
mod upper;

pub use announce::Announcements;
pub use apply::apply;
pub use change::change;
pub use error::Error;
pub use kind::Kind;
pub use netlink::{IpvlanFlag, IpvlanMode, MacvlanMode};
pub use plan::{
    Advertise, Dns, Guard, Link, Name, Neighbours, Parameter, Plan, Protocol, PublishedPort,
};
pub use undo::{Undone, remove_links, undo};
pub use upper::shared_links;
