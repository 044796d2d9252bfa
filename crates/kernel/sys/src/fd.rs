//! Descriptors by number, at the borders of a process: inherited, passed on, closed in bulk.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::error::{Call, Error, FdName, check, last_errno};

/// Closes all descriptors from `first` on, or with `cloexec` marks them to be closed on exec,
/// see `close_range(2)`.
///
/// Closing at once takes descriptors away from values that own them: only for a process that will
/// use none of those from here on, a child shortly before exec.
pub fn close_range(first: u32, cloexec: bool) -> Result<(), Error> {
    close_between(first, u32::MAX, cloexec)
}

/// Closes all descriptors from `first` on but those in `keep`. For a child shortly before exec, like
/// [`close_range`]: it closes what values of this program own, and they must not be used again.
///
/// Marking them to be closed on exec is not enough before a path of somebody else's is resolved:
/// `/proc/self/fd/N/...` would lead through them (CVE-2024-21626).
///
/// `proc` is a procfs that can be trusted: before Linux 5.9 it tells which descriptors there are.
pub fn close_all_but(
    first: u32,
    keep: &[BorrowedFd<'_>],
    proc: BorrowedFd<'_>,
) -> Result<(), Error> {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    if !has_close_range() && close_listed(first, &kept, proc).is_ok() {
        return Ok(());
    }
    let mut from = first;
    for fd in kept.into_iter().filter(|fd| *fd >= first) {
        if fd > from {
            close_between(from, fd - 1, false)?;
        }
        from = fd + 1;
    }
    close_between(from, u32::MAX, false)
}

fn close_between(first: u32, last: u32, cloexec: bool) -> Result<(), Error> {
    let flags = if cloexec { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: no pointer is passed. That descriptors owned by values of this program may be closed
    // is the documented purpose; using such a value afterwards fails with EBADF.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    let flag = if cloexec { ", CLOEXEC" } else { "" };
    match check(ret, || format!("close_range({first}, {last}{flag})")) {
        // The call is of Linux 5.9, its flag of 5.11.
        Err(error) if error.errno() == Errno::NOSYS || cloexec && error.errno() == Errno::INVAL => {
            close_each(first, last, cloexec);
            Ok(())
        }
        other => other.map(drop),
    }
}

fn has_close_range() -> bool {
    // SAFETY: no pointer is passed, and a range that ends before it begins is refused.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, 1, 0, 0) };
    ret != -1 || last_errno() != Errno::NOSYS
}

/// Closes those that procfs lists.
fn close_listed(first: u32, keep: &[u32], proc: BorrowedFd<'_>) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let what = || "read(\"thread-self/fd\")";
    let directory = rustix::fs::openat(proc, "thread-self/fd", flags, Mode::empty()).call(what)?;
    let mut open = Vec::new();
    for entry in Dir::new(directory).call(what)? {
        let entry = entry.call(what)?;
        open.extend(entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
    }
    for n in open.into_iter().filter(|n| *n >= first && !keep.contains(n)) {
        close_each(n, n, false);
    }
    Ok(())
}

/// The same one by one, which takes some 50 ms. `/proc/self/fd` would tell which there are, but a
/// process that has entered a container cannot trust it.
fn close_each(first: u32, last: u32, cloexec: bool) {
    /// The default of `/proc/sys/fs/nr_open`. It is often raised, to a number too large to count to,
    /// and hardly ever used.
    const MOST: u32 = 1 << 20;
    for n in first..=last.min(MOST) {
        // SAFETY: fcntl with F_SETFD and close take a number and answer EBADF for one that is not
        // open. Closing what values of this program own is the documented purpose, as above.
        unsafe {
            if cloexec {
                libc::fcntl(n as i32, libc::F_SETFD, libc::FD_CLOEXEC);
            } else {
                libc::close(n as i32);
            }
        }
    }
}

/// Makes number `to` refer to what `from` refers to, and stay open on exec, see dup(2).
///
/// Whatever `to` was before is closed. With both the same number only the flag is cleared.
pub fn dup2(from: BorrowedFd<'_>, to: i32) -> Result<(), Error> {
    let text = || format!("dup2({}, {to})", FdName(from));
    if from.as_raw_fd() == to {
        return rustix::io::fcntl_setfd(from, rustix::io::FdFlags::empty()).call(text);
    }
    // SAFETY: `from` is borrowed for the whole call. `to` is the caller's to give: 0, 1, 2 or one
    // that the next program expects.
    let ret = unsafe { libc::dup2(from.as_raw_fd(), to) };
    check(ret.into(), text).map(drop)
}

/// Those of the numbers from `first` to `first + count` that are open and stay so on exec.
pub fn open_on_exec(first: i32, count: u32) -> Vec<i32> {
    let stays = |n: &i32| {
        // SAFETY: fcntl with F_GETFD takes a number and answers EBADF for one that is not open.
        let flags = unsafe { libc::fcntl(*n, libc::F_GETFD) };
        flags >= 0 && flags & libc::FD_CLOEXEC == 0
    };
    (first..).take(count as usize).take_while(|n| *n > 0).filter(stays).collect()
}

/// Has descriptors stay open on exec, such as [`open_on_exec`] has found: a [`Spawn`](crate::Spawn) in
/// between has marked them to be closed. One that is not open any more is passed over.
pub fn keep_on_exec(numbers: &[i32]) {
    for n in numbers {
        // SAFETY: fcntl with F_SETFD takes a number and answers EBADF for one that is not open.
        unsafe { libc::fcntl(*n, libc::F_SETFD, 0) };
    }
}

/// Takes the descriptor that this process was started with under number `n`, and marks it to be
/// closed on exec. `EBADF` when there is none.
///
/// For the start of `main`, once for each number: nobody else may own it yet.
pub fn take_fd(n: i32) -> Result<OwnedFd, Error> {
    let text = || format!("take the inherited descriptor {n}");
    if n < 0 {
        return Err(Error::new(text(), Errno::BADF));
    }
    // SAFETY: fcntl with F_SETFD takes a number and answers EBADF for one that is not open.
    let ret = unsafe { libc::fcntl(n, libc::F_SETFD, libc::FD_CLOEXEC) };
    check(ret.into(), text)?;
    // SAFETY: it is open, as the call above showed, and inherited: no value of this process owns
    // it, since the caller takes each number once and before anything else is opened.
    Ok(unsafe { OwnedFd::from_raw_fd(n) })
}

/// The most descriptors that go with one message here.
const MOST_FDS: usize = 4;

/// Sends `data` and a copy of `fd` over a unix socket: `SCM_RIGHTS`, unix(7). `data` must not be
/// empty on a stream.
pub fn send_fd(sock: BorrowedFd<'_>, data: &[u8], fd: BorrowedFd<'_>) -> Result<(), Error> {
    send_fds(sock, data, &[fd])
}

/// The same with up to four descriptors (`ENOBUFS`).
pub fn send_fds(sock: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let text = || {
        let fds: Vec<String> = fds.iter().map(|fd| FdName(*fd).to_string()).collect();
        format!("sendmsg({}, {})", FdName(sock), fds.join(", "))
    };
    // The space is rounded up: one more might fit.
    if fds.len() > MOST_FDS || !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::new(text(), Errno::NOBUFS));
    }
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(sock, &[IoSlice::new(data)], &mut control, SendFlags::NOSIGNAL)
    })
    .call(text)?;
    if sent < data.len() { Err(Error::new(text(), Errno::MSGSIZE)) } else { Ok(()) }
}

/// Receives one message of at most 4096 bytes, and the descriptor that came with it. Empty data
/// without a descriptor: the other side closed. More than one descriptor is refused (`EPROTO`).
pub fn recv_fd(sock: BorrowedFd<'_>) -> Result<(Vec<u8>, Option<OwnedFd>), Error> {
    let (data, mut fds, _) = receive(sock, 4096)?;
    if fds.len() > 1 {
        return Err(Error::new(format!("recvmsg({})", FdName(sock)), Errno::PROTO));
    }
    Ok((data, fds.pop()))
}

/// Receives one message of at most `most` bytes, and the descriptors that came with it. Empty data
/// without a descriptor: the other side closed. A longer message is refused (`EMSGSIZE`) where the
/// socket keeps messages apart, more than four descriptors are anywhere (`EPROTO`).
pub fn recv_fds(sock: BorrowedFd<'_>, most: usize) -> Result<(Vec<u8>, Vec<OwnedFd>), Error> {
    let (data, fds, flags) = receive(sock, most)?;
    if flags.contains(ReturnFlags::TRUNC) {
        return Err(Error::new(format!("recvmsg({})", FdName(sock)), Errno::MSGSIZE));
    }
    Ok((data, fds))
}

fn receive(
    sock: BorrowedFd<'_>,
    most: usize,
) -> Result<(Vec<u8>, Vec<OwnedFd>, ReturnFlags), Error> {
    let text = || format!("recvmsg({})", FdName(sock));
    let mut data = vec![0; most];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        let mut iov = [IoSliceMut::new(&mut data)];
        rustix::net::recvmsg(sock, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .call(text)?;
    let fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if fds.len() > MOST_FDS || message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Error::new(text(), Errno::PROTO));
    }
    data.truncate(message.bytes);
    Ok((data, fds, message.flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_close_range_it_is_the_same() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let is_open = |n| std::fs::exists(format!("/proc/self/fd/{n}")).unwrap();
        for n in [900, 901, 903] {
            dup2(std::os::fd::AsFd::as_fd(&file), n).unwrap();
        }
        close_each(900, 901, true);
        assert_eq!(open_on_exec(900, 4), [903]);
        close_each(901, 902, false);
        assert!(is_open(900) && !is_open(901) && is_open(903));
        close_each(900, 903, false);
        assert!(!is_open(900) && !is_open(903));
        let proc = std::fs::File::open("/proc").unwrap();
        for n in [900, 910, 911] {
            dup2(std::os::fd::AsFd::as_fd(&file), n).unwrap();
        }
        close_listed(901, &[911], std::os::fd::AsFd::as_fd(&proc)).unwrap();
        assert!(is_open(900) && !is_open(910) && is_open(911));
        close_each(900, 911, false);
    }
}
