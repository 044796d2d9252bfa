//! The OCI image and runtime formats: types, digests, validation.
#![forbid(unsafe_code)]

pub mod runtime;
