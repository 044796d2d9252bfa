//! The image in the binary.

/// An OCI image layout as a tar archive, made by `build.rs`.
pub(crate) const HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello.oci.tar"));
