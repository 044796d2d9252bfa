//! What a container has mounted beside its root and is no plain directory of the host: volumes with
//! options (`type`, `o`, `device`), images, directories of volumes and images, trees that stay
//! joined with the host's, and secrets.
//!
//! None of it is ever mounted in the host's mount namespace. A supervisor mounts what its container
//! has in its own, so all of it ends with the supervisor. Containers that have one volume at the same
//! time see one file system: see [`Holders`].
#![forbid(unsafe_code)]

mod error;
mod graft;
mod holders;
mod namespace;
mod secrets;
mod source;
mod supply;

pub use error::Error;
pub use graft::{Graft, graft, ungraft};
pub use holders::{Held, Holders};
pub use namespace::Namespaces;
pub use source::{FileSystem, Secret, Source, layers};
pub use supply::{Supply, release, supply, supply_also, unsupply};

#[cfg(test)]
mod tests;
