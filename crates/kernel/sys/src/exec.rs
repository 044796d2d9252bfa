//! Becoming another program, and ending without running what `exit(3)` runs.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::error::{Error, FdName, last_errno};

/// The array of pointers that execve(2) takes: to each string, and a null at the end.
///
/// It borrows from `strings`, which must outlive it.
pub(crate) fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Replaces this program by the one at `path`, see execve(2). Returns only on failure.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> Error {
    let (args, env) = (pointers(argv), pointers(envp));
    // SAFETY: `path` is NUL-terminated; `args` and `env` are null-terminated arrays of pointers
    // into `argv` and `envp`, all alive for the whole call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Error::new(format!("execve({path:?})"), last_errno())
}

/// Replaces this program by the file that `fd` refers to (`O_PATH` will do), see execveat(2).
/// Returns only on failure.
///
/// A script (`#!`) cannot be run from a descriptor that closes on exec.
pub fn execveat(fd: BorrowedFd<'_>, argv: &[CString], envp: &[CString]) -> Error {
    let (args, env) = (pointers(argv), pointers(envp));
    // SAFETY: `fd` is borrowed for the whole call; the path is a static "", which AT_EMPTY_PATH
    // makes mean `fd` itself; `args` and `env` are as in `execve`.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Error::new(format!("execveat({})", FdName(fd)), last_errno())
}

/// Ends the process at once: no destructor, no `atexit` handler, no flush. For a forked child,
/// whose copies of those belong to the parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes a number and does not return.
    unsafe { libc::_exit(code) }
}
