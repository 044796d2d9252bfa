//! How a caller learns which process was made.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use sys::{Call, Handle};

use crate::error::{Doing, Error};
use crate::prepare;

/// Who is told of a process.
#[derive(Clone, Debug, Default)]
pub struct Announce {
    /// A file that gets its number, `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// A unix socket that gets a pidfd of it, `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
}

impl Announce {
    pub(crate) fn is_to_nobody(&self) -> bool {
        self.pid_file.is_none() && self.pidfd_socket.is_none()
    }

    pub(crate) fn tell(&self, pid: i32, handle: &Handle) -> Result<(), Error> {
        if let Some(path) = &self.pidfd_socket {
            send_pidfd(path, handle)?;
        }
        self.pid_file.as_ref().map_or(Ok(()), |path| write_pid_file(path, pid))
    }
}

/// Sends a pidfd, as runc does: with its name as the data.
fn send_pidfd(path: &Path, handle: &Handle) -> Result<(), Error> {
    const NAME: &str = "--pidfd-socket";
    let Handle::Pidfd(pidfd) = handle else {
        let why = format!("{NAME}: this kernel has no pidfd_open(2) (Linux 5.3)");
        return Err(Error::Refused(why));
    };
    let socket = prepare::connect(path, NAME)?;
    sys::send_fd(socket.as_fd(), b"pidfd", pidfd.as_fd()).doing(|| NAME)
}

/// Writes a pid file, whole or not at all.
fn write_pid_file(path: &Path, pid: i32) -> Result<(), Error> {
    let doing = || "--pid-file";
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    // Never through what somebody else has put there under that name.
    let created = std::fs::File::options().write(true).create_new(true).open(&new);
    let mut file = created.call(|| format!("creat({new:?}, O_EXCL)")).doing(doing)?;
    file.write_all(pid.to_string().as_bytes()).call(|| format!("write({new:?})")).doing(doing)?;
    std::fs::rename(&new, path).call(|| format!("rename({new:?}, {path:?})")).doing(doing)
}
