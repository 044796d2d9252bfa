//! Snapshots: the trait and its contract.
#![forbid(unsafe_code)]
