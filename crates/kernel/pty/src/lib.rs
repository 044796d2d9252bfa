//! Pseudo-terminals: pty(7).
//!
//! The other end is always opened through its master (`TIOCGPTPEER`), never by its path: what lies at
//! `/dev/pts/N` in a container is the container's to choose (CVE-2025-52565).
#![forbid(unsafe_code)]

mod open;
mod raw;

pub use open::{Pty, set_size, size};
pub use raw::{RawGuard, plain_line_feeds, raw_input, raw_mode};
