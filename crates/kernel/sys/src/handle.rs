//! Handles of processes that no other process can take over.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus};

use crate::error::{Call, Error, FdName, check};
use crate::process::CloneFlags;

/// How often the end of a process is looked for where nothing tells of it.
const LOOK: Duration = Duration::from_millis(10);

/// One process, for as long as this is kept.
#[derive(Debug)]
pub enum Handle {
    /// As it should be.
    Pidfd(OwnedFd),
    /// Before Linux 5.3, which has no `pidfd_open(2)`: the process's directory in procfs. That
    /// belongs to this very process too, and says `ESRCH` when it is gone. Signals and waits go by
    /// the number that is read there: between the two calls it could in theory be given away, as
    /// for everybody on such kernels.
    Directory(OwnedFd),
    /// A child on such a kernel. Its number is its own until it is waited for.
    Child(Pid),
}

impl Handle {
    /// A handle of the process of number `pid`. `ESRCH`: there is none.
    pub fn open(pid: Pid) -> Result<Self, Error> {
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::NOSYS) => open_directory(pid).map(Self::Directory),
            other => {
                let text = || format!("pidfd_open({})", pid.as_raw_nonzero());
                // A number that is still there and leads no process: one that has been waited for in
                // this moment, or a thread's. Kernels have said all three.
                let gone = |errno| match errno {
                    Errno::INVAL | Errno::NOENT => Errno::SRCH,
                    errno => errno,
                };
                other.map_err(gone).call(text).map(Self::Pidfd)
            }
        }
    }

    /// The same of a child, which nobody has waited for.
    pub(crate) fn of_child(pid: Pid) -> Result<Self, Error> {
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::NOSYS) => Ok(Self::Child(pid)),
            other => {
                let text = || format!("pidfd_open({})", pid.as_raw_nonzero());
                other.call(text).map(Self::Pidfd)
            }
        }
    }

    /// The pidfd, for what only that is good for. `ENOSYS` before Linux 5.3.
    pub fn pidfd(&self) -> Result<BorrowedFd<'_>, Error> {
        match self {
            Self::Pidfd(fd) => Ok(fd.as_fd()),
            _ => Err(Error::new("pidfd_open()", Errno::NOSYS)),
        }
    }

    /// Sends the signal of number `signal` (0 only checks), see `pidfd_send_signal(2)`. Real-time
    /// signals have no names and so no [`rustix::process::Signal`]. `ESRCH`: it has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        let Self::Pidfd(pidfd) = self else { return kill(self.number()?, signal) };
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: `pidfd` is open for the whole call. A null pointer stands for the information
        // that kill(2) would give, and the kernel reads nothing else.
        let ret = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0_u32)
        };
        check(ret, || format!("pidfd_send_signal({}, {signal})", FdName(pidfd.as_fd()))).map(drop)
    }

    /// Waits for a child, see waitid(2); `None` with `NOHANG` while it runs. `ECHILD`: it is not a
    /// child of this process, or somebody has waited for it.
    pub fn wait(&self, options: WaitIdOptions) -> Result<Option<WaitIdStatus>, Error> {
        if let Self::Pidfd(pidfd) = self {
            // EINVAL: there are pidfds from Linux 5.3 on, waiting for them from 5.4.
            match waitid(&WaitId::PidFd(pidfd.as_fd()), options) {
                Err(err) if err.errno() == Errno::INVAL => {}
                other => return other,
            }
        }
        match self.number() {
            Ok(pid) => waitid(&WaitId::Pid(pid), options),
            Err(err) if err.errno() == Errno::SRCH => Err(Error::new("waitid()", Errno::CHILD)),
            Err(err) => Err(err),
        }
    }

    /// What to give to poll(2), to be woken by the end of the process. `None` where it wakes nobody:
    /// then wait no longer than [`Handle::patience`] says, and ask [`Handle::has_ended`] each time.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        match self {
            Self::Pidfd(fd) => Some(PollFd::new(fd, PollFlags::IN)),
            _ => None,
        }
    }

    /// How long to wait at most in poll(2), if it were `timeout` otherwise.
    pub fn patience(&self, timeout: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Pidfd(_) => timeout,
            _ => Some(timeout.unwrap_or(LOOK).min(LOOK)),
        }
    }

    /// Whether the process has ended, be it waited for or not.
    pub fn has_ended(&self) -> Result<bool, Error> {
        match self {
            Self::Pidfd(pidfd) => poll(pidfd.as_fd(), Duration::ZERO),
            Self::Directory(directory) => match stat(directory.as_fd()) {
                Ok(text) => Ok(state(&text).is_none_or(|state| matches!(state, 'Z' | 'X' | 'x'))),
                Err(err) if err.errno() == Errno::SRCH => Ok(true),
                Err(err) => Err(err),
            },
            Self::Child(_) => {
                let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
                match self.wait(look) {
                    Err(err) if err.errno() == Errno::CHILD => Ok(true),
                    other => Ok(other?.is_some()),
                }
            }
        }
    }

    /// Waits until the process has ended. `false` when the time is over.
    pub fn wait_end(&self, timeout: Duration) -> Result<bool, Error> {
        if let Self::Pidfd(pidfd) = self {
            return poll(pidfd.as_fd(), timeout);
        }
        let deadline = Instant::now() + timeout;
        while !self.has_ended()? {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
        Ok(true)
    }

    /// Moves the calling thread into those namespaces of the process that `flags` names, see
    /// setns(2). `proc` is a procfs in which the process can be found, for kernels before 5.8.
    pub fn enter_namespaces(&self, flags: CloneFlags, proc: BorrowedFd<'_>) -> Result<(), Error> {
        if let Self::Pidfd(pidfd) = self {
            match crate::setns(pidfd.as_fd(), flags) {
                Err(err) if err.errno() == Errno::INVAL => {}
                other => return other,
            }
        }
        let number = self.number()?.as_raw_nonzero();
        let mut namespaces = Vec::new();
        for (flag, name) in NAMESPACES.into_iter().filter(|(flag, _)| flags.contains(*flag)) {
            let path = format!("{number}/ns/{name}");
            let how = OFlags::RDONLY | OFlags::CLOEXEC;
            let namespace = rustix::fs::openat(proc, &path, how, Mode::empty())
                .call(|| format!("open(\"/proc/{path}\")"))?;
            namespaces.push((flag, namespace));
        }
        // It was there all the time, so that number was its own.
        self.signal(0)?;
        // Those of other owners can be entered only before the user namespace, its own only after.
        let mut later = Vec::new();
        for (flag, namespace) in namespaces {
            if flag == CloneFlags::NEWUSER {
                later.insert(0, (flag, namespace));
                continue;
            }
            match crate::setns(namespace.as_fd(), flag) {
                Err(err) if err.errno() == Errno::PERM => later.push((flag, namespace)),
                other => other?,
            }
        }
        later.iter().try_for_each(|(flag, namespace)| crate::setns(namespace.as_fd(), *flag))
    }

    fn number(&self) -> Result<Pid, Error> {
        let text = match self {
            Self::Child(pid) => return Ok(*pid),
            Self::Pidfd(pidfd) => pidfd_number(pidfd.as_fd())?,
            Self::Directory(directory) => stat(directory.as_fd())?,
        };
        let word = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        // A pidfd of a process that was waited for says -1.
        let word = word.filter(|number| *number > 0).and_then(Pid::from_raw);
        word.ok_or_else(|| Error::new("read the number of a process", Errno::SRCH))
    }
}

/// The files of `/proc/PID/ns`, in the order in which the kernel enters the namespaces of a pidfd.
const NAMESPACES: [(CloneFlags, &str); 8] = [
    (CloneFlags::NEWUSER, "user"),
    (CloneFlags::NEWNS, "mnt"),
    (CloneFlags::NEWUTS, "uts"),
    (CloneFlags::NEWIPC, "ipc"),
    (CloneFlags::NEWPID, "pid"),
    (CloneFlags::NEWCGROUP, "cgroup"),
    (CloneFlags::NEWNET, "net"),
    (CloneFlags::NEWTIME, "time"),
];

fn open_directory(pid: Pid) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{}", pid.as_raw_nonzero());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, &path, flags, Mode::empty())
        .map_err(gone)
        .call(|| format!("open({path:?})"))
}

fn gone(errno: Errno) -> Errno {
    if errno == Errno::NOENT { Errno::SRCH } else { errno }
}

fn kill(pid: Pid, signal: i32) -> Result<(), Error> {
    // SAFETY: no pointer is passed.
    let ret = unsafe { libc::syscall(libc::SYS_kill, pid.as_raw_nonzero().get(), signal) };
    check(ret, || format!("kill({}, {signal})", pid.as_raw_nonzero())).map(drop)
}

fn waitid(id: &WaitId<'_>, options: WaitIdOptions) -> Result<Option<WaitIdStatus>, Error> {
    loop {
        match rustix::process::waitid(id.clone(), options) {
            Err(Errno::INTR) => {}
            other => break other.call(|| format!("waitid({id:?})")),
        }
    }
}

fn poll(pidfd: BorrowedFd<'_>, timeout: Duration) -> Result<bool, Error> {
    let timeout = Timespec::try_from(timeout).ok();
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, timeout.as_ref()))
        .call(|| format!("poll({})", FdName(pidfd)))?;
    Ok(ready > 0)
}

/// What `/proc/self/fdinfo` says of a pidfd.
fn pidfd_number(pidfd: BorrowedFd<'_>) -> Result<String, Error> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = crate::read_file(&path, 1 << 12).call(|| format!("read({path:?})"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    Ok(line.unwrap_or_default().trim().to_owned())
}

fn stat(directory: BorrowedFd<'_>) -> Result<String, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let what = || format!("read({}/stat)", FdName(directory));
    let file =
        rustix::fs::openat(directory, "stat", flags, Mode::empty()).map_err(gone).call(what)?;
    let mut buffer = [0; 1 << 10];
    let n = rustix::io::retry_on_intr(|| rustix::io::read(file.as_fd(), &mut buffer)).call(what)?;
    Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

/// The letter of the state in the text of `stat`: after the name, which is in parentheses and may
/// hold anything.
fn state(text: &str) -> Option<char> {
    text.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn directory(pid: Pid) -> Result<Handle, Error> {
        open_directory(pid).map(Handle::Directory)
    }

    /// Each kind of handle answers the same, from the start to after the wait.
    #[test]
    #[allow(clippy::zombie_processes, reason = "waited for by its handle")]
    fn a_process_is_signalled_and_waited_for() {
        for open in [Handle::open, directory, |pid| Ok(Handle::Child(pid))] {
            let child = Command::new("sleep").arg("100").spawn().unwrap();
            let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
            let handle = open(pid).unwrap();
            assert!(!handle.has_ended().unwrap());
            assert!(!handle.wait_end(Duration::from_millis(20)).unwrap());
            handle.signal(0).unwrap();
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            assert!(handle.wait(look).unwrap().is_none());
            handle.signal(9).unwrap();
            assert!(handle.wait_end(Duration::from_mins(1)).unwrap());
            let status = handle.wait(WaitIdOptions::EXITED).unwrap().unwrap();
            assert_eq!(status.terminating_signal(), Some(9));
            assert!(handle.has_ended().unwrap());
            assert_eq!(handle.wait(look).unwrap_err().errno(), Errno::CHILD);
            if !matches!(handle, Handle::Child(_)) {
                assert_eq!(handle.signal(0).unwrap_err().errno(), Errno::SRCH);
            }
        }
    }

    #[test]
    fn a_number_that_nobody_has_is_no_process() {
        let none = Pid::from_raw(i32::MAX).unwrap();
        for open in [Handle::open, directory] {
            assert_eq!(open(none).unwrap_err().errno(), Errno::SRCH);
        }
    }

    #[test]
    fn the_number_of_a_pidfd_is_told() {
        let own = rustix::process::getpid();
        assert_eq!(Handle::open(own).unwrap().number().unwrap(), own);
        assert_eq!(directory(own).unwrap().number().unwrap(), own);
    }

    #[test]
    fn the_state_is_behind_the_name() {
        assert_eq!(state("7 (a) Z (b)) S 1"), Some('S'));
        assert_eq!(state(""), None);
    }
}
