//! Signals as a descriptor, and as the next program expects them.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Signal;

use crate::error::{Call, Error, FdName, check};

/// An empty set, or one with every signal.
pub(crate) fn signal_set(full: bool) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both functions initialise the whole set that the pointer refers to.
    let ret = unsafe {
        if full { libc::sigfillset(set.as_mut_ptr()) } else { libc::sigemptyset(set.as_mut_ptr()) }
    };
    debug_assert_eq!(ret, 0, "a valid pointer is all that these calls ask for");
    // SAFETY: initialised above.
    unsafe { set.assume_init() }
}

fn set_mask(set: &libc::sigset_t, text: &str) -> Result<(), Error> {
    // SAFETY: `set` is a live, initialised signal set; the old mask is not asked for.
    let ret = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) };
    if ret == 0 { Ok(()) } else { Err(Error::new(text, Errno::from_raw_os_error(ret))) }
}

/// Blocks every signal for this thread, so that they wait for [`signalfd`].
pub fn signal_block_all() -> Result<(), Error> {
    set_mask(&signal_set(true), "sigprocmask(SIG_SETMASK, all)")
}

/// Blocks no signal any more.
pub fn signal_unblock_all() -> Result<(), Error> {
    set_mask(&signal_set(false), "sigprocmask(SIG_SETMASK, none)")
}

/// A descriptor that reads as the signals of the list when they are pending, see signalfd(2). They
/// must be blocked. It does not block itself: see [`read_signal`].
pub fn signalfd(signals: &[Signal]) -> Result<OwnedFd, Error> {
    let mut set = signal_set(false);
    for signal in signals {
        // SAFETY: `set` is a live, initialised set, and the number is a signal's.
        unsafe { libc::sigaddset(&raw mut set, signal.as_raw()) };
    }
    // SAFETY: `set` is a live, initialised set; -1 asks for a new descriptor.
    let ret = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(ret.into(), || format!("signalfd({signals:?})"))?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(ret) })
}

/// The same for every signal there is, those of real time among them.
pub fn signalfd_all() -> Result<OwnedFd, Error> {
    let set = signal_set(true);
    // SAFETY: `set` is a live, initialised set; -1 asks for a new descriptor.
    let ret = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(ret.into(), || "signalfd(-1, all)")?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(ret) })
}

/// One signal that [`read_signal`] took: `struct signalfd_siginfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// The signal's number.
    pub signal: i32,
    /// Who sent it, or for `SIGCHLD` the child.
    pub pid: i32,
    /// The sender's user id.
    pub uid: u32,
    /// Nobody sent it: the kernel did, a terminal for one.
    pub by_kernel: bool,
    /// For `SIGCHLD`: the exit status or the signal that ended the child.
    pub status: i32,
}

/// Takes one pending signal from a [`signalfd`]. `None` when there is none.
pub fn read_signal(fd: BorrowedFd<'_>) -> Result<Option<SignalInfo>, Error> {
    let mut raw = [0_u8; 128];
    let text = || format!("read({}, struct signalfd_siginfo)", FdName(fd));
    match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut raw)) {
        Ok(128) => {}
        Ok(_) => return Err(Error::new(text(), Errno::IO)),
        Err(Errno::AGAIN) => return Ok(None),
        Err(errno) => return Err(errno).call(text),
    }
    let word = |at: usize| i32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    Ok(Some(SignalInfo {
        signal: word(0),
        pid: word(12),
        uid: word(16).cast_unsigned(),
        // As SI_FROMUSER of the kernel has it.
        by_kernel: word(8) > 0,
        status: word(40),
    }))
}

/// Ignores every signal, and so forgets those that are pending, blocked or not: sigaction(2). For
/// one who blocked all of them and is about to [`reset_signals`] for the next program, which what
/// was sent to the last one would end.
pub fn ignore_signals() {
    const LAST_SIGNAL: i32 = 64;
    // SAFETY: `sigaction` is plain data in which all zeroes is a valid value.
    let mut ignore: libc::sigaction = unsafe { std::mem::zeroed() };
    ignore.sa_sigaction = libc::SIG_IGN;
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: `ignore` is a live, initialised action; the old one is not asked for. The C
        // library refuses its own signals and the kernel SIGKILL and SIGSTOP, without harm.
        unsafe { libc::sigaction(signal, &raw const ignore, std::ptr::null_mut()) };
    }
}

/// Ends the process on the signals that ask it to: `HUP`, `INT`, `QUIT`, `TERM`. To the first process
/// of a PID namespace the kernel delivers none whose action is the default, see `pid_namespaces(7)`.
/// Exec gives them their default action again.
pub fn end_on_request() {
    extern "C" fn end(signal: libc::c_int) {
        crate::exit_now(128 + signal);
    }
    // SAFETY: a sigaction of zeros is valid: the default action, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: `action` is a live, initialised action; its handler takes a signal's number, as
        // sigaction(2) wants without SA_SIGINFO, and does nothing but _exit(2), which is safe in a
        // handler. The old one is not asked for.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// Gives every signal its default action and blocks none, as a program expects at its start. For a
/// child shortly before exec: Rust's own start ignores `SIGPIPE`, and exec keeps what is ignored.
pub fn reset_signals() -> Result<(), Error> {
    const LAST_SIGNAL: i32 = 64;
    // SAFETY: a sigaction of zeros is valid: the default action, no flags, an empty mask.
    let mut default: libc::sigaction = unsafe { std::mem::zeroed() };
    default.sa_sigaction = libc::SIG_DFL;
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: `default` is a live, initialised action without a handler; the old one is not
        // asked for. KILL, STOP and the C library's own signals answer EINVAL and stay as they are.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
    signal_unblock_all()
}
