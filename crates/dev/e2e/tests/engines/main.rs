//! Other engines, with `dhow-runtime` as their runtime, or as clients of our registry: Docker,
//! containerd, Podman and Buildah as Debian packages them, on a machine of their own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod archives;
mod buildah;
mod containerd;
mod docker;
#[path = "../../../../store/diff/tests/peers/generate.rs"]
mod generate;
mod layers;
mod machine;
mod platforms;
mod podman;
mod registry;
