//! Paths inside a root that never lead out of it.
//!
//! A [`Root`] is a directory. Every path is resolved by the kernel with that directory as `/`
//! (openat2(2), `RESOLVE_IN_ROOT`): absolute symbolic links and `..` stay inside, magic links of
//! procfs are refused, and none of it can be changed by who swaps directories meanwhile. Before Linux
//! 5.6, which has no such call, the same is done here, component by component. The result
//! is a descriptor, on which the caller then acts; no path is resolved twice.
//!
//! Errors are [`sys::Error`]: the call with the path as it was given.
//!
//! [`proc`] writes to procfs, and only to procfs.
#![forbid(unsafe_code)]

pub mod proc;
mod remove;
mod root;
mod walk;

pub use root::{Root, fd_path};
