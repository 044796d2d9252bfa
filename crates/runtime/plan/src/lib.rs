//! From an OCI spec to the steps that make a container.
#![forbid(unsafe_code)]
