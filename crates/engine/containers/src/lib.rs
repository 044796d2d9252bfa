//! Containers: what one is, the states it can be in, and who may take it from one to another.
//!
//! ```text
//!            create            start               its program ends
//!   (nothing) ───▶ created ───▶ running ◀─▶ paused ───▶ exited ──▶ start …
//!                     └────────────┴──── remove ──────────┴─────▶ (nothing)
//! ```
//!
//! Where a container is in its life, only its supervisor (shim) says: `status.json`, in the
//! container's folder. The database says which containers there are, and what somebody was about
//! to do when they died. Every call here starts from these two, so any number of processes may use
//! one root at once, and each may be killed at any moment: see `recovery`.
//!
//! Synchronous: whoever serves many at once calls it on threads of their own.
#![forbid(unsafe_code)]

mod error;
mod mounting;
mod record;
mod spec;

pub use error::{Class, Error};
