//! The Docker Engine API's types, as they go over the wire.
#![forbid(unsafe_code)]
