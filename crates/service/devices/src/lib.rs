//! What this machine offers to containers: devices, and programs for other machines that it runs.
//!
//! [`Specifications`] are the files that vendors put into `/etc/cdi` and `/var/run/cdi`. [`nvidia`]
//! finds out what a container needs for the GPUs of a machine with NVIDIA's driver, without NVIDIA's
//! toolkit, and writes it as such a file. [`emulation`] finds out of which architectures containers can run
//! programs.
#![forbid(unsafe_code)]

pub mod emulation;
mod error;
pub mod nvidia;
mod specifications;

pub use emulation::Emulation;
pub use error::Error;
pub use specifications::{Problem, Specifications, look};
