//! Terminals.

use std::os::fd::BorrowedFd;

use crate::error::{Call, Error, FdName};

/// Makes `tty` the controlling terminal of this session, whose leader the caller must be
/// (`setsid` first), see `ioctl_tty(2)`, `TIOCSCTTY`.
pub fn set_controlling_tty(tty: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::process::ioctl_tiocsctty(tty).call(|| format!("ioctl({}, TIOCSCTTY)", FdName(tty)))
}
