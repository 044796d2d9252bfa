//! The database.
#![forbid(unsafe_code)]
