//! Pseudo-terminals.
#![forbid(unsafe_code)]
