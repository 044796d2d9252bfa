//! Roots, namespaces and leak checks for tests.
#![forbid(unsafe_code)]
