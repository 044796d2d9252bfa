//! Opening a pair of ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use sys::{Call, Error, FdName};

/// Device numbers of the master in devpts: Documentation/admin-guide/devices.txt of the kernel.
const PTMX: (u32, u32) = (5, 2);

/// The majors that the other ends have.
const SLAVE_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// A pseudo-terminal, seen from the side that plays the terminal.
#[derive(Debug)]
pub struct Pty {
    master: OwnedFd,
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

impl Pty {
    /// A new one of this mount namespace's `/dev/pts`.
    pub fn open() -> Result<Self, Error> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).call(|| "open(\"/dev/ptmx\")")?;
        Self::unlock(master)
    }

    /// A new one of the devpts that `devpts` is the root of: a container's own. `ENOTTY` when it is
    /// no devpts, or `ptmx` in there is not the device.
    ///
    /// Opening some devices is an action in itself, so what is opened must be known before. A
    /// devpts holds nothing but what the kernel put there, and a mount over it is not crossed. It
    /// is not opened through `/proc/self/fd`, since a process that has entered a container's mount
    /// namespace but not yet its PID namespace has no `self` there.
    pub fn open_in(devpts: BorrowedFd<'_>) -> Result<Self, Error> {
        const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
        let is = rustix::fs::fstatfs(devpts).call(|| format!("fstatfs({})", FdName(devpts)))?;
        if is.f_type != DEVPTS_SUPER_MAGIC {
            let text = format!("check that {} is a devpts", FdName(devpts));
            return Err(Error::new(text, Errno::NOTTY));
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = sys::open_beneath(devpts, "ptmx", flags)
            .call(|| format!("openat2({}, \"ptmx\")", FdName(devpts)))?;
        check_device(master.as_fd(), |device| device == PTMX)?;
        Self::unlock(master)
    }

    fn unlock(master: OwnedFd) -> Result<Self, Error> {
        rustix::pty::unlockpt(&master)
            .call(|| format!("ioctl({}, TIOCSPTLCK)", FdName(master.as_fd())))?;
        Ok(Self { master })
    }

    /// The other end, for the program that runs in the terminal. It does not become anybody's
    /// controlling terminal: see [`sys::set_controlling_tty`].
    pub fn slave(&self) -> Result<OwnedFd, Error> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let text = || format!("ioctl({}, TIOCGPTPEER)", FdName(self.master.as_fd()));
        let slave = rustix::pty::ioctl_tiocgptpeer(&self.master, flags).call(text)?;
        check_device(slave.as_fd(), |(major, _)| SLAVE_MAJORS.contains(&major))?;
        Ok(slave)
    }

    /// The path of the other end as its own mount namespace has it: `/dev/pts/N`.
    pub fn slave_path(&self) -> Result<PathBuf, Error> {
        let name = rustix::pty::ptsname(&self.master, Vec::new())
            .call(|| format!("ioctl({}, TIOCGPTN)", FdName(self.master.as_fd())))?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes())))
    }

    /// This end.
    pub fn into_master(self) -> OwnedFd {
        self.master
    }
}

/// Checks that `fd` is a character device whose numbers `wanted` accepts: else `ENOTTY`.
fn check_device(fd: BorrowedFd<'_>, wanted: impl Fn((u32, u32)) -> bool) -> Result<(), Error> {
    let text = || format!("check that {} is a pseudo-terminal", FdName(fd));
    let stat = rustix::fs::fstat(fd).call(text)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode).is_char_device() && wanted(device) {
        Ok(())
    } else {
        Err(Error::new(text(), Errno::NOTTY))
    }
}

/// Sets the size of the terminal, in characters. A change sends `SIGWINCH` to its foreground.
pub fn set_size(fd: BorrowedFd<'_>, cols: u16, rows: u16) -> Result<(), Error> {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(fd, size)
        .call(|| format!("ioctl({}, TIOCSWINSZ, {cols}x{rows})", FdName(fd)))
}

/// The size of the terminal: columns, rows.
pub fn size(fd: BorrowedFd<'_>) -> Result<(u16, u16), Error> {
    let size =
        rustix::termios::tcgetwinsize(fd).call(|| format!("ioctl({}, TIOCGWINSZ)", FdName(fd)))?;
    Ok((size.ws_col, size.ws_row))
}

#[cfg(test)]
mod tests {
    use fsroot::Root;

    use super::*;

    fn check_a_pair(pty: &Pty) {
        let slave = pty.slave().unwrap();
        set_size(pty.as_fd(), 132, 43).unwrap();
        assert_eq!(size(slave.as_fd()).unwrap(), (132, 43));
        rustix::io::write(&slave, b"a\n").unwrap();
        let mut buffer = [0; 8];
        let n = rustix::io::read(pty, &mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"a\r\n");
        let path = pty.slave_path().unwrap();
        assert!(path.starts_with("/dev/pts"), "{path:?}");
    }

    #[test]
    fn what_one_end_writes_the_other_reads() {
        check_a_pair(&Pty::open().unwrap());
    }

    #[test]
    fn a_devpts_is_used_by_its_root() {
        let devpts = Root::open("/dev/pts".as_ref()).unwrap();
        match Pty::open_in(devpts.as_fd()) {
            // The host's may have no ptmx of its own that can be used (ptmxmode=000 is the default,
            // which root passes over).
            Err(err) if err.errno() == Errno::ACCESS => {
                println!("skipped: a_devpts_is_used_by_its_root: /dev/pts/ptmx is closed");
            }
            other => check_a_pair(&other.unwrap()),
        }
    }

    #[test]
    fn a_ptmx_that_is_none_is_refused() {
        // /dev/null's directory has a ptmx, but /dev/fd or /proc has not; a regular file is best.
        let dir = std::env::temp_dir().join(format!("dhow-pty-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ptmx"), b"").unwrap();
        let root = Root::open(&dir).unwrap();
        let err = Pty::open_in(root.as_fd()).unwrap_err();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(err.errno(), Errno::NOTTY);
    }
}
