//! The OCI image and runtime formats: types, digests, signals, validation.
//!
//! Pure: bytes in, values out. Nothing here opens a file.
#![forbid(unsafe_code)]

pub mod digest;
pub mod image;
pub mod runtime;
pub mod signal;

pub use digest::{Algorithm, ChainId, DiffId, Digest, Hasher};
