//! The terminal of a person, handed to a program in a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios};
use sys::{Call, Error, FdName};

/// Keeps a terminal raw, and gives it back as it was.
#[derive(Debug)]
pub struct RawGuard {
    terminal: OwnedFd,
    before: Termios,
}

/// Makes `terminal` raw, see `cfmakeraw(3)`: no echo, no lines, no signals from keys, no translation
/// of what is written, for all of that is done by the terminal in the container. `ENOTTY` when it is
/// no terminal.
pub fn raw_mode(terminal: BorrowedFd<'_>) -> Result<RawGuard, Error> {
    let before = rustix::termios::tcgetattr(terminal)
        .call(|| format!("ioctl({}, TCGETS)", FdName(terminal)))?;
    let terminal = terminal.try_clone_to_owned().call(|| format!("dup({})", FdName(terminal)))?;
    let mut raw = before.clone();
    raw.make_raw();
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw)
        .call(|| format!("ioctl({}, TCSETS)", FdName(terminal.as_fd())))?;
    Ok(RawGuard { terminal, before })
}

impl RawGuard {
    /// Gives the terminal back now, and says whether that worked.
    pub fn restore(self) -> Result<(), Error> {
        rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before)
            .call(|| format!("ioctl({}, TCSETS)", FdName(self.terminal.as_fd())))
    }
}

impl Drop for RawGuard {
    fn drop(&mut self) {
        // The terminal may be gone (a closed window); nobody is left to tell.
        let _gone = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pty;
    use rustix::termios::LocalModes;

    #[test]
    fn raw_while_the_guard_lives() {
        let pty = Pty::open().unwrap();
        let slave = pty.slave().unwrap();
        let cooked = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        let modes = || rustix::termios::tcgetattr(&slave).unwrap().local_modes;
        assert!(modes().contains(cooked));
        let guard = raw_mode(slave.as_fd()).unwrap();
        assert!(!modes().intersects(cooked));
        drop(guard);
        assert!(modes().contains(cooked));
        let guard = raw_mode(slave.as_fd()).unwrap();
        guard.restore().unwrap();
        assert!(modes().contains(cooked));
    }

    #[test]
    fn a_file_is_no_terminal() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(raw_mode(null.as_fd()).unwrap_err().errno(), rustix::io::Errno::NOTTY);
    }
}
