//! Capability sets of a thread.
#![forbid(unsafe_code)]
