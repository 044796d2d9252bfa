//! The container's terminal: a pair in its own devpts, whose master goes to whoever asked for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fsroot::Root;
use pty::Pty;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::{Call, Propagation};

use crate::error::{Doing, Error};
use crate::rootfs::file_type;

/// The terminal as the process gets it.
pub(crate) struct Console {
    slave: OwnedFd,
}

/// Makes the terminal in the devpts of `root`, covers `/dev/console` with it, and sends the master
/// over `socket`.
///
/// The other end comes from the master itself (`TIOCGPTPEER`), and what is mounted is that
/// descriptor: no path of the container's decides which device it is (CVE-2025-52565).
pub(crate) fn set_up(
    root: &Root,
    socket: &OwnedFd,
    size: (u16, u16),
    mounts: bool,
) -> Result<Console, Error> {
    let devpts = root.open_path("/dev/pts").doing(|| "terminal")?;
    let pty = Pty::open_in(devpts.as_fd()).doing(|| "terminal")?;
    if size != (0, 0) {
        pty::set_size(pty.as_fd(), size.0, size.1).doing(|| "terminal")?;
    }
    let slave = pty.slave().doing(|| "terminal")?;
    if mounts {
        cover_console(root, &slave)?;
    }
    let name = pty.slave_path().doing(|| "terminal")?;
    sys::send_fd(socket.as_fd(), name.as_os_str().as_encoded_bytes(), pty.as_fd())
        .doing(|| "send the terminal to the console socket")?;
    Ok(Console { slave })
}

/// The terminal of a process that is executed in a running container, whose `/dev/pts` is at `/`'s.
pub(crate) fn open_inside(socket: &OwnedFd, size: (u16, u16)) -> Result<Console, Error> {
    let root = Root::open(std::path::Path::new("/")).doing(|| "terminal")?;
    set_up(&root, socket, size, false)
}

fn cover_console(root: &Root, slave: &OwnedFd) -> Result<(), Error> {
    let doing = || "/dev/console";
    let dev = root.open_path("/dev").doing(doing)?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(&dev, "console", create, Mode::from_raw_mode(0o620)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).call(|| "creat(\"/dev/console\")").doing(doing),
    }
    // A link there, which the image chose, is covered itself: what it names is never reached.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(&dev, "console", flags, Mode::empty())
        .call(|| "openat(\"/dev/console\", O_NOFOLLOW)")
        .doing(doing)?;
    if file_type(target.as_fd())? == FileType::Directory {
        return Err(Error::refused("/dev/console", "is a directory"));
    }
    let tree = mount::open_tree_fd(slave.as_fd(), true, false).doing(doing)?;
    mount::set_propagation_fd(tree.as_fd(), Propagation::Private, false).doing(doing)?;
    mount::move_to_fd(tree.as_fd(), target.as_fd()).doing(doing)
}

impl AsFd for Console {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.slave.as_fd()
    }
}

impl Console {
    /// Makes it the standard streams and the controlling terminal. Needs a session of one's own.
    pub(crate) fn take(self) -> Result<(), Error> {
        sys::set_controlling_tty(self.slave.as_fd()).doing(|| "terminal")?;
        for stream in 0..3 {
            sys::dup2(self.slave.as_fd(), stream).doing(|| "terminal")?;
        }
        Ok(())
    }
}
