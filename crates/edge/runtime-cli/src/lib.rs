//! The command line of an OCI runtime, as runc's.
#![forbid(unsafe_code)]
