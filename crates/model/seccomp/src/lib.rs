//! Seccomp profiles, compiled to BPF.
//!
//! - [`docker`] is Docker's profile: rules that depend on capabilities, architecture and kernel.
//!   [`docker::resolve`] decides those and leaves the OCI runtime specification's object,
//!   [`oci::runtime::Seccomp`].
//! - [`compile`] makes a program of it for seccomp(2): for each architecture of the machine a search
//!   tree over ranges of system call numbers, because the kernel runs the program over all numbers
//!   when it is installed, and a list of some 400 comparisons makes that ten times as slow.
//!
//! Which rule decides. Of the rules that name a call, those with conditions on arguments are tried
//! in the order of the profile, then the first without; then the default action.
//!
//! Arguments that the kernel takes as 32 bits are compared as 32 bits, for it ignores the others:
//! else `socket(2^32 + AF_ALG)` would pass a rule that looks at 64.
//!
//! Numbers above the highest that a profile names get `ENOSYS`, not the default action, when that
//! one forbids: programs try new calls first, and fall back only on this errno. As in runc.
#![forbid(unsafe_code)]

mod action;
mod arch;
mod builtin;
mod compile;
mod condition;
pub mod docker;
mod error;
mod program;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod rules;
mod table;
mod width;

pub use action::{Action, DATA_MAX};
pub use arch::Arch;
pub use compile::compile;
pub use docker::{DOCKER_DEFAULT, Profile, resolve};
pub use error::Error;
pub use program::Insn;
pub use rules::{flags, needs_listener};

#[cfg(test)]
mod tests;
