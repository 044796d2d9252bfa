//! Transient units of systemd: made, changed and stopped over D-Bus.
//!
//! A [`Manager`] is one connection to systemd, root's own or a user's. Every call has an end in time;
//! there is one thread, and nothing is read but the answer to what was asked and the news of its job.
//!
//! What is not here: what a unit's properties mean. They are the caller's, as [`Property`]s.
//!
//! See org.freedesktop.systemd1(5), and the D-Bus specification for the rest.
#![forbid(unsafe_code)]

mod address;
mod bus;
mod error;
mod manager;

use std::path::Path;

pub use error::Error;
pub use manager::{Manager, Property, Whose, has_user_bus};

/// Whether systemd is this machine's init: `sd_booted(3)`.
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

#[cfg(test)]
mod tests;
