//! How a failed kernel call is told.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// A kernel call that failed: which call, on what, with which errno.
///
/// `Display` prints the call the way strace would, for example `move_mount(7</>, "/proc")`. The
/// errno is the `source`, so whoever prints the chain prints it exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    call: String,
    errno: Errno,
}

impl Error {
    /// An error of the call that `call` spells out.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self { call: call.into(), errno }
    }

    /// The same for an error of std; what is no errno becomes `EIO`.
    pub fn from_io(call: impl Into<String>, error: &std::io::Error) -> Self {
        Self::new(call, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// The call as text.
    pub fn text(&self) -> &str {
        &self.call
    }

    /// The errno that the kernel answered with.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.call)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}

/// Names the call that a result came from.
pub trait Call<T> {
    /// Turns the errno into an [`Error`]; `text` is made only on failure.
    fn call<S: Into<String>>(self, text: impl FnOnce() -> S) -> Result<T, Error>;
}

impl<T> Call<T> for Result<T, Errno> {
    fn call<S: Into<String>>(self, text: impl FnOnce() -> S) -> Result<T, Error> {
        self.map_err(|errno| Error::new(text(), errno))
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call<S: Into<String>>(self, text: impl FnOnce() -> S) -> Result<T, Error> {
        self.map_err(|error| Error::from_io(text(), &error))
    }
}

/// Prints a descriptor as `7</path/it/refers/to>`, for error texts.
#[derive(Clone, Copy)]
pub struct FdName<'a>(pub BorrowedFd<'a>);

impl fmt::Display for FdName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.as_raw_fd();
        match std::fs::read_link(format!("/proc/self/fd/{number}")) {
            Ok(path) => write!(f, "{number}<{}>", path.display()),
            Err(_) => write!(f, "{number}"),
        }
    }
}

/// The errno that the C library left behind.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The result of a call that answers -1 on failure.
pub(crate) fn check<S: Into<String>>(
    ret: libc::c_long,
    text: impl FnOnce() -> S,
) -> Result<libc::c_long, Error> {
    if ret != -1 {
        return Ok(ret);
    }
    // Before the text, which asks the kernel for names.
    let errno = last_errno();
    Err(Error::new(text(), errno))
}
