//! Starting another program from a process that may have threads: `posix_spawn(3)`, and what `std`'s way lacks.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::error::{Call, Error};
use crate::exec::pointers;
use crate::handle::Handle;
use crate::signal::signal_set;

/// What to start. The child gets exactly `env` and, of our descriptors, exactly `fds`.
///
/// Signals have their default actions in it, and none is blocked.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The program: a path, `/proc/self/fd/N` for a descriptor.
    pub program: &'a CStr,
    /// Its arguments, from `argv[0]` on.
    pub argv: &'a [CString],
    /// Its environment, `NAME=VALUE`.
    pub env: &'a [CString],
    /// Which of our descriptors it gets under which number.
    pub fds: &'a [(BorrowedFd<'a>, i32)],
    /// Whether it leads a session of its own.
    pub new_session: bool,
}

/// A child that was started.
#[derive(Debug)]
pub struct Spawned {
    /// Its PID.
    pub pid: Pid,
    /// The child itself.
    pub handle: Handle,
}

impl Spawn<'_> {
    /// Starts it. That the program is missing or cannot be run is an error of this call.
    pub fn spawn(&self) -> Result<Spawned, Error> {
        let text = || format!("posix_spawn({:?})", self.program);
        let attributes = Attributes::new(self.new_session)?;
        // What this process has inherited from a shell may lack the flag, and a long-lived child
        // would keep it open: somebody's pipe would never end.
        crate::close_range(3, true)?;
        // Under numbers that are above all targets first, so that no target overwrites a source.
        let floor = self.fds.iter().map(|(_, to)| to + 1).max().unwrap_or(3).max(3);
        let sources = self
            .fds
            .iter()
            .map(|(from, _)| rustix::io::fcntl_dupfd_cloexec(*from, floor))
            .collect::<Result<Vec<OwnedFd>, Errno>>()
            .call(text)?;
        let mut actions = FileActions::new()?;
        for (source, (_, to)) in sources.iter().zip(self.fds) {
            actions.dup2(source.as_fd(), *to)?;
        }
        let (args, env) = (pointers(self.argv), pointers(self.env));
        let mut pid: libc::pid_t = 0;
        // SAFETY: `pid`, `actions` and `attributes` are live and initialised; `program` is
        // NUL-terminated; `args` and `env` are null-terminated arrays of pointers into `argv` and
        // `env`, which outlive the call. The C library takes care of other threads.
        let ret = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.program.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                args.as_ptr().cast(),
                env.as_ptr().cast(),
            )
        };
        if ret != 0 {
            return Err(Error::new(text(), Errno::from_raw_os_error(ret)));
        }
        let pid = Pid::from_raw(pid).ok_or_else(|| Error::new(text(), Errno::SRCH))?;
        // Nobody has waited for it yet, so the number is still its own.
        Ok(Spawned { pid, handle: Handle::of_child(pid)? })
    }
}

/// Has a command lead a session of its own (`setsid(2)`): what a terminal sends to who is in front of it does not
/// reach it, and it can ask nothing there. It is killed when the thread that has started it ends
/// (`PR_SET_PDEATHSIG`).
pub fn in_own_session(command: &mut Command) {
    let before_exec = || -> std::io::Result<()> {
        rustix::process::setsid()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    };
    // SAFETY: what is called between the fork and the exec are two system calls; nothing is allocated.
    unsafe { command.pre_exec(before_exec) };
}

/// Of <spawn.h>; the libc crate gives it another type for each C library.
const POSIX_SPAWN_SETSID: libc::c_int = 0x80;

fn check(ret: libc::c_int, text: &str) -> Result<(), Error> {
    if ret == 0 { Ok(()) } else { Err(Error::new(text, Errno::from_raw_os_error(ret))) }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> Result<Self, Error> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises what the pointer refers to.
        let ret = unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) };
        check(ret, "posix_spawn_file_actions_init()")?;
        // SAFETY: initialised above.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn dup2(&mut self, from: BorrowedFd<'_>, to: i32) -> Result<(), Error> {
        // SAFETY: `self.0` is initialised; the numbers are only noted, and used in the child.
        let ret = unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from.as_raw_fd(), to)
        };
        check(ret, "posix_spawn_file_actions_adddup2()")
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(new_session: bool) -> Result<Self, Error> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initialises what the pointer refers to.
        let ret = unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) };
        check(ret, "posix_spawnattr_init()")?;
        // SAFETY: initialised above.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        if new_session {
            flags |= POSIX_SPAWN_SETSID;
        }
        let (none, all) = (signal_set(false), signal_set(true));
        // SAFETY: the attributes and both sets are live and initialised, here and below.
        let ret =
            unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, &raw const none) };
        check(ret, "posix_spawnattr_setsigmask()")?;
        // SAFETY: as above.
        let ret =
            unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, &raw const all) };
        check(ret, "posix_spawnattr_setsigdefault()")?;
        // SAFETY: as above.
        let ret = unsafe {
            libc::posix_spawnattr_setflags(&raw mut attributes.0, flags as libc::c_short)
        };
        check(ret, "posix_spawnattr_setflags()")?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
