//! The terminal of a person, handed to a program in a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::termios::{OptionalActions, OutputModes, SpecialCodeIndex, Termios};
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
    make_raw(terminal, false)
}

/// The same, but what is written goes on being translated (line feeds, that is): for a terminal in
/// the container that does not do it, see [`plain_line_feeds`].
pub fn raw_input(terminal: BorrowedFd<'_>) -> Result<RawGuard, Error> {
    make_raw(terminal, true)
}

/// Has the terminal that `master` belongs to pass line feeds on as they are (no `ONLCR`), so that a
/// pipe gets what was written.
pub fn plain_line_feeds(master: BorrowedFd<'_>) -> Result<(), Error> {
    let mut modes =
        rustix::termios::tcgetattr(master).call(|| format!("ioctl({}, TCGETS)", FdName(master)))?;
    modes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(master, OptionalActions::Now, &modes)
        .call(|| format!("ioctl({}, TCSETS)", FdName(master)))
}

fn make_raw(terminal: BorrowedFd<'_>, translate_output: bool) -> Result<RawGuard, Error> {
    let before = rustix::termios::tcgetattr(terminal)
        .call(|| format!("ioctl({}, TCGETS)", FdName(terminal)))?;
    let terminal = terminal.try_clone_to_owned().call(|| format!("dup({})", FdName(terminal)))?;
    let mut raw = before.clone();
    raw.make_raw();
    if translate_output {
        raw.output_modes = before.output_modes;
    }
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
    fn a_line_feed_is_translated_once() {
        let pty = Pty::open().unwrap();
        let slave = pty.slave().unwrap();
        let modes = || rustix::termios::tcgetattr(&slave).unwrap().output_modes;
        assert!(modes().contains(OutputModes::OPOST | OutputModes::ONLCR));
        let guard = raw_input(slave.as_fd()).unwrap();
        assert!(modes().contains(OutputModes::OPOST | OutputModes::ONLCR));
        drop(guard);
        plain_line_feeds(pty.as_fd()).unwrap();
        assert!(!modes().contains(OutputModes::ONLCR));
        rustix::io::write(&slave, b"a\n").unwrap();
        let mut buffer = [0; 8];
        let count = rustix::io::read(pty.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"a\n");
    }

    #[test]
    fn a_file_is_no_terminal() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(raw_mode(null.as_fd()).unwrap_err().errno(), rustix::io::Errno::NOTTY);
    }
}
