//! Files as a tar archive, out of and into directories that others may change meanwhile: what `cp` does
//! with containers, on both sides, and backups of volumes.
//!
//! Everything happens inside one directory, of which the caller has a descriptor. Names are resolved by
//! the kernel within it, once, and acted on by descriptor: neither a name in an archive, nor a link in
//! it, nor one that somebody puts in the way leads out. Nothing is executed and no name is looked up.
#![forbid(unsafe_code)]

mod error;
mod ids;
mod pack;
mod place;
mod rename;
mod unpack;

pub use error::Error;
pub use ids::Ids;
pub use pack::{Pack, pack, pack_trees};
pub use place::Place;
pub use rename::rename;
pub use unpack::{Extract, unpack, unpack_file};
