//! Capability sets of a thread: capabilities(7).
//!
//! [`apply`] is the one place where sets are put on a thread, so that every way into a container
//! (create, exec, build) ends with the same ones.
#![forbid(unsafe_code)]

mod apply;
mod capability;

pub use apply::{Sets, apply, apply_bounding, known_and_bounding};
pub use capability::{CapSet, Capability, UnknownCapability};
