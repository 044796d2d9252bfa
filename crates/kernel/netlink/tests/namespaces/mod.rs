//! Network namespaces for tests.

use std::fs::File;

/// Runs `test` on a thread in a fresh network namespace, which ends with it.
pub(crate) fn in_fresh_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        sys::unshare(sys::CloneFlags::NEWNET).unwrap();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A network namespace besides this thread's own.
pub(crate) fn another_namespace() -> File {
    let thread = std::thread::spawn(|| {
        sys::unshare(sys::CloneFlags::NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    thread.join().unwrap()
}
