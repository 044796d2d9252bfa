//! Create, start, exec, kill and delete of one container.
#![forbid(unsafe_code)]
