//! The devices that this machine offers to containers.
//!
//! [`Specifications`] are the files that vendors put into `/etc/cdi` and `/var/run/cdi`. [`nvidia`]
//! finds out what a container needs for the GPUs of a machine with NVIDIA's driver, without NVIDIA's
//! toolkit, and writes it as such a file.
#![forbid(unsafe_code)]

mod error;
pub mod nvidia;
mod specifications;

pub use error::Error;
pub use specifications::{Problem, Specifications, look};
