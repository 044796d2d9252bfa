use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::in_child;
use crate::{close_all_but, close_range, dup2, recv_fd, send_fd, take_fd};

#[test]
fn a_descriptor_travels() {
    let unix = AddressFamily::UNIX;
    for kind in [SocketType::STREAM, SocketType::SEQPACKET] {
        let (a, b) = rustix::net::socketpair(unix, kind, SocketFlags::CLOEXEC, None).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send_fd(a.as_fd(), b"console", null.as_fd()).unwrap();
        let (data, fd) = recv_fd(b.as_fd()).unwrap();
        assert_eq!(data, b"console");
        let fd = fd.unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&fd).unwrap(), FdFlags::CLOEXEC);
        let same = [&fd, &null.into()].map(|fd| rustix::fs::fstat(fd).unwrap().st_rdev);
        assert_eq!(same[0], same[1]);
        drop(a);
        let (data, fd) = recv_fd(b.as_fd()).unwrap();
        assert!(data.is_empty() && fd.is_none());
    }
}

#[test]
fn what_was_not_inherited_cannot_be_taken() {
    for number in [-1, 1 << 20] {
        assert_eq!(take_fd(number).unwrap_err().errno(), Errno::BADF);
    }
}

#[test]
fn numbers_are_given_and_closed() {
    if let Some(status) = in_child("descriptor::numbers_are_given_and_closed") {
        assert!(status.success());
        return;
    }
    let null = std::fs::File::open("/dev/null").unwrap();
    dup2(null.as_fd(), 100).unwrap();
    let taken = take_fd(100).unwrap();
    assert_eq!(rustix::io::fcntl_getfd(&taken).unwrap(), FdFlags::CLOEXEC);
    dup2(taken.as_fd(), 100).unwrap();
    assert_eq!(rustix::io::fcntl_getfd(&taken).unwrap(), FdFlags::empty());
    close_range(100, true).unwrap();
    assert_eq!(rustix::io::fcntl_getfd(&taken).unwrap(), FdFlags::CLOEXEC);
    let number = taken.as_raw_fd();
    // Its owner gives it up: from here the number is closed.
    std::mem::forget(taken);
    close_range(number.cast_unsigned(), false).unwrap();
    assert_eq!(take_fd(100).unwrap_err().errno(), Errno::BADF);
}

#[test]
fn only_what_is_kept_stays_open() {
    if let Some(status) = in_child("descriptor::only_what_is_kept_stays_open") {
        assert!(status.success());
        return;
    }
    let null = std::fs::File::open("/dev/null").unwrap();
    for number in 100..106 {
        dup2(null.as_fd(), number).unwrap();
    }
    let kept = [103, 101].map(|number| take_fd(number).unwrap());
    let proc = std::fs::File::open("/proc").unwrap();
    close_all_but(100, &[kept[0].as_fd(), kept[1].as_fd()], proc.as_fd()).unwrap();
    let open = |number| std::path::Path::new(&format!("/proc/self/fd/{number}")).exists();
    assert_eq!((100..106).filter(|number| open(*number)).collect::<Vec<i32>>(), [101, 103]);
    rustix::io::fcntl_getfd(&null).unwrap();
}
