//! Images: import, resolve, list, remove.
#![forbid(unsafe_code)]
