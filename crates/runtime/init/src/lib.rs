//! What runs inside a new container before its program.
#![forbid(unsafe_code)]
