use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::in_child;
use crate::{close_all_but, close_range, dup2, recv_fd, recv_fds, send_fd, send_fds, take_fd};

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
fn several_travel_in_their_order() {
    let unix = AddressFamily::UNIX;
    let (a, b) =
        rustix::net::socketpair(unix, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let files = ["/dev/null", "/dev/zero", "/proc/self/exe"].map(|path| {
        let file = std::fs::File::open(path).unwrap();
        (rustix::fs::fstat(&file).unwrap(), file)
    });
    let fds = files.each_ref().map(|(_, file)| file.as_fd());
    send_fds(a.as_fd(), b"three", &fds).unwrap();
    let (data, got) = recv_fds(b.as_fd(), 5).unwrap();
    assert_eq!((data.as_slice(), got.len()), (&b"three"[..], 3));
    for ((sent, _), got) in files.iter().zip(&got) {
        let found = rustix::fs::fstat(got).unwrap();
        assert_eq!((found.st_dev, found.st_ino), (sent.st_dev, sent.st_ino));
        assert_eq!(rustix::io::fcntl_getfd(got).unwrap(), FdFlags::CLOEXEC);
    }
    // Of one that is too long nothing is taken, and of one descriptor too many neither.
    send_fds(a.as_fd(), b"longer", &fds).unwrap();
    assert_eq!(recv_fds(b.as_fd(), 5).unwrap_err().errno(), Errno::MSGSIZE);
    send_fds(a.as_fd(), b"x", &fds).unwrap();
    assert_eq!(recv_fd(b.as_fd()).unwrap_err().errno(), Errno::PROTO);
    assert_eq!(send_fds(a.as_fd(), b"x", &[fds[0]; 5]).unwrap_err().errno(), Errno::NOBUFS);
    drop(a);
    let (data, got) = recv_fds(b.as_fd(), 5).unwrap();
    assert!(data.is_empty() && got.is_empty());
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
