//! Paths inside a root that never lead out of it.
#![forbid(unsafe_code)]
