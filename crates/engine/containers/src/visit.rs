//! Looking into the mount namespace of a supervisor.

use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;

use sys::CloneFlags;

/// What `work` finds in another mount namespace, on a thread that is there until it ends. Descriptors
/// that it opens are good in all threads.
pub(crate) fn in_namespace<T: Send>(
    namespace: &OwnedFd,
    work: impl FnOnce() -> Result<T, sys::Error> + Send,
) -> Result<T, sys::Error> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // A thread that shares its root and directory with others cannot go.
            sys::unshare(CloneFlags::NEWNS)?;
            sys::setns(namespace.as_fd(), CloneFlags::NEWNS)?;
            work()
        });
        match thread.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
