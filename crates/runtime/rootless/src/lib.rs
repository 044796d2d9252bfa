//! The namespaces in which an ordinary user's engine is: one user namespace, in which the user is
//! root and has the subordinate ids of `/etc/subuid` and `/etc/subgid` besides, and one network
//! namespace, in which the bridges are.
//!
//! Nobody keeps them. A namespace lives as long as a process is in it, and each process that is in
//! it holds a lock of a byte in `STATE/rootless/members`, which the kernel takes back however the
//! process ends, and of which the kernel says who holds it. So whoever comes next asks who is there,
//! and joins that process; or finds nobody, and makes the namespaces anew, with the same ids.
//!
//! | byte | held by | means |
//! |---|---|---|
//! | [`MEMBER`] | commands, daemons, supervisors | is in the user namespace |
//! | [`NETWORK`] | supervisors of containers with a network, the holder | is in the network namespace |
//! | [`HOLDER`] | the holder, alone | has made the network namespace, and its way to the outside |
//!
//! A command itself stays in the machine's network namespace: it pulls images and binds ports
//! there, and a container of `--network host` has the real one. A supervisor binds its published
//! ports there too, and enters the engine's network namespace afterwards; nobody can go back. The
//! holder is a process of that namespace that runs `pasta` or `slirp4netns`, and ends with the last
//! member.
#![forbid(unsafe_code)]

mod enter;
mod error;
mod hold;
mod ids;
mod members;
mod network;
mod outside;

pub use enter::{enter, is_rootless, join};
pub use error::Error;
pub use hold::{hold, launch};
pub use ids::{Ids, ids};
pub use members::Place;
pub use network::inside;
pub use outside::{NAMES, Program, find as find_outside};

/// Byte of `members`: a process in the user namespace.
const MEMBER: u32 = 0;
/// Byte of `members`: a process in the network namespace.
const NETWORK: u32 = 1;
/// Byte of `members`: the process that keeps the network namespace.
const HOLDER: u32 = 2;

/// What the program is called as where it is to be the holder.
pub const HOLDER_NAME: &str = "dhow-network";
/// The argument with which it waits to become the program that leads outside.
pub const LAUNCH: &str = "launch";
