//! Roots, namespaces and leak checks for tests.
//!
//! A [`Sandbox`] is an engine of its own: a root and a state directory in a temporary one, and a
//! network and a mount namespace that stand for the host, so that a test touches neither the
//! machine's links and firewall nor another test's. Commands run in it as on a machine:
//!
//! ```no_run
//! testkit::needs!(Root, Overlay, Netns, Busybox);
//! let sandbox = testkit::Sandbox::new("hello");
//! sandbox.import("busybox");
//! sandbox.baseline();
//! assert_eq!(sandbox.dhow(&["run", "--rm", "busybox", "echo", "hi"]).stdout, "hi\n");
//! sandbox.finish();
//! ```
//!
//! [`Sandbox::finish`] compares the world with what it was at the baseline, and fails the test for
//! anything that is left; so does a sandbox that is dropped without.
//!
//! This is code for tests: it panics where a test should fail.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

mod catalogue;
mod disk;
mod distribution;
mod need;
mod output;
mod program;
mod rootfs;
mod sandbox;
pub mod user;
mod world;

pub use catalogue::{Catalogue, Item, catalogue, differences};
pub use disk::Disk;
pub use distribution::Distribution;
pub use need::{Need, skip};
pub use output::{Output, capture, wait_until};
pub use program::dhow_program;
pub use rootfs::{Archive, archive, busybox_rootfs};
pub use sandbox::{Sandbox, engine_name};
pub use world::World;

/// Returns from a test, with a line that says why, when the machine lacks one of the [`Need`]s.
#[macro_export]
macro_rules! needs {
    ($($need:ident),+ $(,)?) => {
        $(if !$crate::Need::$need.is_met() { return; })+
    };
}
