//! The supervisor of one container.
#![forbid(unsafe_code)]
