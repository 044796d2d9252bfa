//! Processes and namespaces: clone, unshare, setns, and what prctl sets for the whole process.

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bitflags::bitflags;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal};

use crate::error::{Call, Error, FdName, check};
use crate::handle::Handle;

/// Proof that this process has one thread.
///
/// Forking copies the calling thread only: a lock that another thread held, in the allocator for
/// one, would stay locked in the child for ever. So whoever forks shows this proof, and it cannot
/// move to another thread.
#[derive(Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Counts the threads of this process. `EBUSY` when there are others.
    pub fn check() -> Result<Self, Error> {
        // A directory has a link for its name, its own `.`, and the `..` of each one in it: that of
        // each thread here, which procfs counts.
        let tasks = rustix::fs::stat("/proc/self/task").call(|| "stat(\"/proc/self/task\")")?;
        match tasks.st_nlink {
            3 => Ok(Self(PhantomData)),
            n => {
                let n = i128::from(n) - 2;
                Err(Error::new(format!("fork a process that has {n} threads"), Errno::BUSY))
            }
        }
    }
}

bitflags! {
    /// Which namespaces to make or to enter, and how to clone: clone(2), `CLONE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CloneFlags: u64 {
        /// A time namespace. Its offsets can be set only while it is empty, so it is made with
        /// [`unshare`] before the fork where offsets are wanted.
        const NEWTIME = 0x80;
        /// A mount namespace.
        const NEWNS = 0x0002_0000;
        /// A cgroup namespace.
        const NEWCGROUP = 0x0200_0000;
        /// A UTS namespace (host name).
        const NEWUTS = 0x0400_0000;
        /// An IPC namespace.
        const NEWIPC = 0x0800_0000;
        /// A user namespace.
        const NEWUSER = 0x1000_0000;
        /// A PID namespace.
        const NEWPID = 0x2000_0000;
        /// A network namespace.
        const NEWNET = 0x4000_0000;
        /// The child's parent is the caller's parent.
        const PARENT = 0x0000_8000;
        /// A root, working directory and umask of one's own ([`unshare`] only).
        const FS = 0x0000_0200;
        /// Start in the cgroup of [`CloneArgs::cgroup`] ([`clone3`] only).
        const INTO_CGROUP = 0x2_0000_0000;
    }
}

impl CloneFlags {
    /// The flags that name namespaces.
    pub const NAMESPACES: Self = Self::NEWTIME
        .union(Self::NEWNS)
        .union(Self::NEWCGROUP)
        .union(Self::NEWUTS)
        .union(Self::NEWIPC)
        .union(Self::NEWUSER)
        .union(Self::NEWPID)
        .union(Self::NEWNET);
}

/// What [`clone3`] makes.
#[derive(Clone, Copy, Debug)]
pub struct CloneArgs<'a> {
    /// Namespaces, parent, cgroup.
    pub flags: CloneFlags,
    /// The cgroup v2 directory to start in; goes with [`CloneFlags::INTO_CGROUP`].
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What the parent gets when the child ends. Ignored with [`CloneFlags::PARENT`], where the
    /// child has the caller's own.
    pub exit_signal: Option<Signal>,
}

/// Which of the two processes returned from [`clone3`].
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The process that called.
    Parent {
        /// The child's PID as the caller sees it.
        pid: Pid,
        /// The child itself.
        handle: Handle,
    },
}

/// `struct clone_args` of clone(2), as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct RawCloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const _: () = assert!(size_of::<RawCloneArgs>() == 88, "CLONE_ARGS_SIZE_VER2");

const CLONE_PIDFD: u64 = 0x1000;

/// Makes a new process: the child returns from this call on its own copy of the memory, as from
/// fork(2), see clone(2).
///
/// The child must not return from `main` into what the parent still does: it runs its own course
/// to [`crate::execve`] or [`crate::exit_now`]. The C library's idea of its thread id is the
/// parent's until then, which matters only to `raise(3)` and robust mutexes.
///
/// Where `clone3` is missing (a seccomp filter older than it answers `ENOSYS`), clone(2) is used,
/// which knows neither `INTO_CGROUP` nor `NEWTIME`.
pub fn clone3(_proof: &SingleThreaded, args: &CloneArgs<'_>) -> Result<Cloned, Error> {
    let text = || format!("clone3({:?})", args.flags);
    let mut pidfd: libc::c_int = -1;
    let exit_signal = if args.flags.contains(CloneFlags::PARENT) {
        0
    } else {
        args.exit_signal.map_or(0, Signal::as_raw)
    };
    let raw = RawCloneArgs {
        flags: args.flags.bits() | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        exit_signal: exit_signal as u64,
        cgroup: args.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..RawCloneArgs::default()
    };
    // SAFETY:
    // - `raw` is a live repr(C) value of the size that is passed; the kernel only reads it.
    // - `raw.pidfd` points to `pidfd`, alive and writable for the whole call.
    // - No stack, no CLONE_VM: the child runs on a copy of this memory, as after fork(2).
    // - `_proof` says that no other thread exists, so no lock of one is copied in a locked state.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, &raw const raw, size_of::<RawCloneArgs>()) };
    match check(ret, text) {
        Ok(0) => Ok(Cloned::Child),
        Ok(pid) => {
            // SAFETY: the kernel put a new descriptor there (CLONE_PIDFD), and nobody else has it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: child_pid(pid, text)?, handle: Handle::Pidfd(pidfd) })
        }
        Err(err) if err.errno() == Errno::NOSYS => clone_without_pidfd(args, exit_signal),
        Err(err) => Err(err),
    }
}

/// clone(2), for where clone3 does not exist.
fn clone_without_pidfd(args: &CloneArgs<'_>, exit_signal: i32) -> Result<Cloned, Error> {
    let text = || format!("clone({:?})", args.flags);
    if args.flags.intersects(CloneFlags::INTO_CGROUP | CloneFlags::NEWTIME) {
        return Err(Error::new(text(), Errno::NOSYS));
    }
    let flags = args.flags.bits() as libc::c_ulong | exit_signal as libc::c_ulong;
    let zero: libc::c_ulong = 0;
    // SAFETY: as in `clone3`, whose caller showed the proof: no stack, no CLONE_VM, and none of the
    // flags that would make the kernel read or write one of the four pointers, which are null.
    let ret = unsafe { libc::syscall(libc::SYS_clone, flags, zero, zero, zero, zero) };
    match check(ret, text)? {
        0 => Ok(Cloned::Child),
        pid => {
            let pid = child_pid(pid, text)?;
            // The child cannot have been reaped yet, so the number is still its own. (Not so with
            // PARENT, whose parent we are not; nobody reaps a process that has not run, though.)
            Ok(Cloned::Parent { pid, handle: Handle::of_child(pid)? })
        }
    }
}

fn child_pid(pid: libc::c_long, text: impl FnOnce() -> String) -> Result<Pid, Error> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| Error::new(text(), Errno::RANGE))
}

/// Moves the calling thread into new namespaces, see unshare(2).
///
/// A user or mount namespace needs a process with one thread or, for mounts, a thread with
/// [`CloneFlags::FS`] of its own. A PID or time namespace is for the children only.
pub fn unshare(flags: CloneFlags) -> Result<(), Error> {
    // SAFETY: no pointer is passed; the flags of this type change namespaces and file system
    // attributes only, never the table of descriptors, so every descriptor stays what it is.
    let ret = unsafe { libc::syscall(libc::SYS_unshare, flags.bits() as libc::c_ulong) };
    check(ret, || format!("unshare({flags:?})")).map(drop)
}

/// Which kind of namespace `ns` is, one of the flags: `NS_GET_NSTYPE` of `ioctl_ns(2)`. `ENOTTY` for
/// what is none.
pub fn namespace_kind(ns: BorrowedFd<'_>) -> Result<CloneFlags, Error> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: this request takes no argument; on a file that is no namespace it is another's, or
    // none: type 0xb7 is the namespaces' alone.
    let ret = unsafe { libc::ioctl(ns.as_raw_fd(), NS_GET_NSTYPE) };
    let kind = check(ret.into(), || format!("ioctl({}, NS_GET_NSTYPE)", FdName(ns)))?;
    Ok(CloneFlags::from_bits_retain(kind as u64))
}

/// Moves the calling thread into the namespace that `ns` refers to (a file of `/proc/PID/ns`), or
/// into those of a process (a pidfd) that `flags` names, see setns(2).
///
/// `flags` empty: whichever kind `ns` is.
pub fn setns(ns: BorrowedFd<'_>, flags: CloneFlags) -> Result<(), Error> {
    // SAFETY: `ns` is borrowed for the whole call; no pointer is passed.
    let ret =
        unsafe { libc::syscall(libc::SYS_setns, ns.as_raw_fd(), flags.bits() as libc::c_int) };
    check(ret, || format!("setns({}, {flags:?})", FdName(ns))).map(drop)
}

/// Makes this process the parent of orphaned descendants: `PR_SET_CHILD_SUBREAPER`.
pub fn set_child_subreaper() -> Result<(), Error> {
    // rustix asks for a pid, of which the kernel only sees that it is not 0.
    rustix::process::set_child_subreaper(Some(Pid::INIT)).call(|| "prctl(PR_SET_CHILD_SUBREAPER)")
}

/// The signal that this thread gets when its parent ends: `PR_SET_PDEATHSIG`. `None` turns it off.
///
/// It is cleared by the exec of a set-uid program and by changing credentials; and a parent that
/// ended before this call is not noticed: compare `getppid` afterwards.
pub fn set_pdeathsig(signal: Option<Signal>) -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(signal)
        .call(|| format!("prctl(PR_SET_PDEATHSIG, {signal:?})"))
}

/// Whether other processes of the same user may trace this one and open its `/proc/PID`:
/// `PR_SET_DUMPABLE`. Off before namespaces that others share are joined (CVE-2016-9962).
pub fn set_dumpable(on: bool) -> Result<(), Error> {
    let how = if on { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    rustix::process::set_dumpable_behavior(how)
        .call(|| format!("prctl(PR_SET_DUMPABLE, {})", i32::from(on)))
}

/// Sets the execution domain, see personality(2): 0 is `PER_LINUX`, 8 is `PER_LINUX32`; flags are
/// or-ed in. Returns what it was.
pub fn personality(persona: u32) -> Result<u32, Error> {
    // SAFETY: no pointer is passed. Flags that change the memory layout apply to the next exec.
    let ret = unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) };
    check(ret, || format!("personality({persona:#x})")).map(|old| old as u32)
}
