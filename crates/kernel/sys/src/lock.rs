//! Locks of single bytes of a file: `fcntl_locking(2)`.
//!
//! Those of a process ([`lock_byte`]) know who holds them. They belong to a process: they end with it however it ends, are not inherited by a fork, and stay
//! over an exec. They also end when the process closes any descriptor of the file, so whoever uses
//! them opens it once. Those of an open file ([`lock_byte_of_open_file`]) are anybody's who has it.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{Error, FdName, check};

/// How a byte is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteLock {
    /// Several may hold it.
    Shared,
    /// One alone holds it.
    Exclusive,
}

fn request(byte: u32, kind: ByteLock) -> libc::flock {
    // SAFETY: `flock` is a structure of numbers, of which all may be 0.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    let kind = match kind {
        ByteLock::Shared => libc::F_RDLCK,
        ByteLock::Exclusive => libc::F_WRLCK,
    };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte.into();
    lock.l_len = 1;
    lock
}

/// Locks a byte of a file that is open for reading and writing. `false`: another process is in the
/// way; never with `wait`, which waits for it.
pub fn lock_byte(
    file: BorrowedFd<'_>,
    byte: u32,
    kind: ByteLock,
    wait: bool,
) -> Result<bool, Error> {
    let command = if wait { libc::F_SETLKW } else { libc::F_SETLK };
    match lock(file, byte, kind, command) {
        Err(err) if !wait && matches!(err.errno(), Errno::AGAIN | Errno::ACCESS) => Ok(false),
        locked => locked.map(|()| true),
    }
}

/// Locks a byte of a file that is open for reading and writing, for whoever has this open file, and waits for those
/// in the way, who have opened it anew, in this process or another one. It ends with the last descriptor of the open
/// file (`F_OFD_SETLKW`, Linux 3.15).
pub fn lock_byte_of_open_file(
    file: BorrowedFd<'_>,
    byte: u32,
    kind: ByteLock,
) -> Result<(), Error> {
    lock(file, byte, kind, libc::F_OFD_SETLKW)
}

fn lock(
    file: BorrowedFd<'_>,
    byte: u32,
    kind: ByteLock,
    command: libc::c_int,
) -> Result<(), Error> {
    let lock = request(byte, kind);
    let text = || format!("fcntl({}, F_SETLK, {kind:?} of byte {byte})", FdName(file));
    loop {
        // SAFETY: `file` is borrowed and `lock` lives for the whole call, which only reads it.
        let ret = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const lock) };
        match check(ret.into(), text) {
            Ok(_) => return Ok(()),
            Err(err) if err.errno() == Errno::INTR => {}
            Err(err) => return Err(err),
        }
    }
}

/// A process other than this one that has locked a byte in any way. `None`: nobody has; or, as
/// `Some(None)` says, somebody whom this process's PID namespace does not show.
pub fn byte_holder(file: BorrowedFd<'_>, byte: u32) -> Result<Option<Option<Pid>>, Error> {
    let mut lock = request(byte, ByteLock::Exclusive);
    // SAFETY: `file` is borrowed and `lock` is alive and ours alone for the whole call, which writes
    // the lock that is in the way to it.
    let ret = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    check(ret.into(), || format!("fcntl({}, F_GETLK, byte {byte})", FdName(file)))?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    Ok(Some(if lock.l_pid > 0 { Pid::from_raw(lock.l_pid) } else { None }))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::fd::AsFd as _;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lock_of_an_open_file_is_waited_for_in_the_same_process() {
        let path = std::env::temp_dir().join(format!("dhow-open-byte-{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let open = || options.open(&path).unwrap();
        let (one, two, three) = (open(), open(), open());
        for file in [&one, &two] {
            lock_byte_of_open_file(file.as_fd(), 7, ByteLock::Shared).unwrap();
        }
        lock_byte_of_open_file(two.as_fd(), u32::MAX, ByteLock::Exclusive).unwrap();
        let (tell, told) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            lock_byte_of_open_file(three.as_fd(), 7, ByteLock::Exclusive).unwrap();
            tell.send(()).unwrap();
        });
        // Closing another one of the file lets go of nothing.
        drop(open());
        drop(one);
        assert!(told.recv_timeout(Duration::from_millis(200)).is_err());
        drop(two);
        told.recv_timeout(Duration::from_secs(20)).unwrap();
        waiting.join().unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_lock_tells_who_has_it() {
        let path = std::env::temp_dir().join(format!("dhow-byte-{}", std::process::id()));
        let file = std::fs::File::create_new(&path).unwrap();
        assert_eq!(byte_holder(file.as_fd(), 0).unwrap(), None);
        let raw = file.as_raw_fd();
        let mut cat = std::process::Command::new("cat");
        cat.stdin(std::process::Stdio::piped());
        // SAFETY: what is called between the fork and the exec are two system calls, on a descriptor
        // that the child has from this process; an error only makes its text, in a child of one
        // thread. The descriptor has to stay open over the exec: closing it would end the lock.
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(&mut cat, move || {
                let file = BorrowedFd::borrow_raw(raw);
                rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty())?;
                let locked = lock_byte(file, 0, ByteLock::Shared, false);
                if matches!(locked, Ok(true)) { Ok(()) } else { Err(Errno::AGAIN.into()) }
            });
        }
        let mut child = cat.spawn().unwrap();
        let holder = byte_holder(file.as_fd(), 0).unwrap().flatten().unwrap();
        assert_eq!(holder.as_raw_nonzero().get().unsigned_abs(), child.id());
        assert!(!lock_byte(file.as_fd(), 0, ByteLock::Exclusive, false).unwrap());
        assert!(lock_byte(file.as_fd(), 0, ByteLock::Shared, false).unwrap());
        assert!(lock_byte(file.as_fd(), 1, ByteLock::Exclusive, false).unwrap());
        drop(child.stdin.take());
        assert!(lock_byte(file.as_fd(), 0, ByteLock::Exclusive, true).unwrap());
        child.wait().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
