//! From a layer archive to a directory.
#![forbid(unsafe_code)]
