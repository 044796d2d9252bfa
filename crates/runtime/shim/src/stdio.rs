//! A process's three streams: pipes, or a terminal that the runtime hands over.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use shim_protocol::Console;
use sys::Call;

use crate::bundle::Owner;
use crate::error::Error;

/// The ends of pipes that the shim keeps. They do not block.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// Writes to standard input, if that is wanted.
    pub(crate) stdin: Option<OwnedFd>,
    /// Reads standard output, if that is wanted.
    pub(crate) stdout: Option<OwnedFd>,
    /// Reads standard error: always, since a runtime that fails says why there.
    pub(crate) stderr: OwnedFd,
}

/// The ends that the process gets; `None` is `/dev/null`.
#[derive(Debug)]
pub(crate) struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: OwnedFd,
}

impl Ends {
    /// In the order of their numbers.
    pub(crate) fn in_order<'a>(&'a self, null: BorrowedFd<'a>) -> [BorrowedFd<'a>; 3] {
        let or_null = |end: &'a Option<OwnedFd>| end.as_ref().map_or(null, AsFd::as_fd);
        [or_null(&self.stdin), or_null(&self.stdout), self.stderr.as_fd()]
    }
}

/// Makes the pipes of a process that runs as `owner`: they belong to it, so that it can open
/// `/proc/self/fd/1` again, as `/dev/stdout` does.
pub(crate) fn pipes(stdin: bool, stdout: bool, owner: Owner) -> Result<(Pipes, Ends), Error> {
    let pipe = || -> Result<(OwnedFd, OwnedFd), Error> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).call(|| "pipe2(O_CLOEXEC)")?;
        rustix::fs::fchown(&read, Some(owner.uid), Some(owner.gid)).call(|| "fchown(pipe)")?;
        Ok((read, write))
    };
    let outward = || -> Result<(OwnedFd, OwnedFd), Error> {
        let (read, write) = pipe()?;
        set_nonblocking(&read)?;
        Ok((read, write))
    };
    let (their_stdin, our_stdin) = if stdin {
        let (read, write) = pipe()?;
        set_nonblocking(&write)?;
        (Some(read), Some(write))
    } else {
        (None, None)
    };
    let (our_stdout, their_stdout) = if stdout {
        let (read, write) = outward()?;
        (Some(read), Some(write))
    } else {
        (None, None)
    };
    let (our_stderr, their_stderr) = outward()?;
    Ok((
        Pipes { stdin: our_stdin, stdout: our_stdout, stderr: our_stderr },
        Ends { stdin: their_stdin, stdout: their_stdout, stderr: their_stderr },
    ))
}

fn set_nonblocking(fd: impl AsFd) -> Result<(), sys::Error> {
    let flags = rustix::fs::fcntl_getfl(&fd).call(|| "fcntl(F_GETFL)")?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).call(|| "fcntl(F_SETFL, O_NONBLOCK)")
}

/// Where the runtime sends the master of the terminal that it made in the container.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: OwnedFd,
    /// The file, in the working directory.
    name: String,
    /// How the runtime gets there, wherever it works: a socket's path must be short.
    path: PathBuf,
    /// The directory, where the path leads over this descriptor.
    _directory: Option<OwnedFd>,
}

/// The longest path that a unix socket's address holds (unix(7)), in bytes.
const MAX_SOCKET_PATH_BYTES: usize = 107;

impl ConsoleSocket {
    /// Listens under `name` in the working directory `run`.
    pub(crate) fn bind(run: &Path, name: String) -> Result<Self, Error> {
        let listener = listen_on(&name)?;
        let path = run.join(&name);
        if path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
            return Ok(Self { listener, name, path, _directory: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(".", flags, Mode::empty()).call(|| "open(\".\")")?;
        let own = rustix::process::getpid().as_raw_nonzero();
        let path = format!("/proc/{own}/fd/{}/{name}", directory.as_raw_fd()).into();
        Ok(Self { listener, name, path, _directory: Some(directory) })
    }

    /// Its path, for the runtime.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal that a runtime which has ended left here, and sets its size.
    pub(crate) fn receive(self, size: Option<Console>) -> Result<OwnedFd, Error> {
        let text = || format!("accept({:?})", self.name);
        let connection =
            rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
                .call(text)?;
        let (_, terminal) = sys::recv_fd(connection.as_fd())?;
        let terminal = terminal.ok_or_else(|| sys::Error::new(text(), Errno::NOMSG))?;
        set_nonblocking(&terminal)?;
        if let Some(size) = size {
            resize(terminal.as_fd(), size.width, size.height)?;
        }
        Ok(terminal)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // If this fails, the whole directory still goes at the end.
        let _ = fs::remove_file(&self.name);
    }
}

/// Sets a terminal's size. Zero is "not known", and changes nothing.
pub(crate) fn resize(terminal: BorrowedFd<'_>, width: u16, height: u16) -> Result<(), Error> {
    if width == 0 && height == 0 {
        return Ok(());
    }
    Ok(pty::set_size(terminal, width, height)?)
}

/// A listening unix socket that only root can connect to.
pub(crate) fn listen_on(name: &str) -> Result<OwnedFd, Error> {
    let text = || format!("listen on {name:?}");
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .call(text)?;
    // The mode of the socket's inode becomes that of the file.
    rustix::fs::fchmod(&listener, Mode::from_raw_mode(0o600)).call(text)?;
    let address = SocketAddrUnix::new(name).call(text)?;
    rustix::net::bind(&listener, &address).call(text)?;
    rustix::net::listen(&listener, 128).call(text)?;
    Ok(listener)
}
