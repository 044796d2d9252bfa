//! Which functions of a program are executed, and by whom: a breakpoint in each, taken away at the first
//! hit. So nothing is slowed down by much, and nothing that waits gives up.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::script::{User, Users};
use super::symbols::Function;

/// `int3`, one byte.
const BREAKPOINT: u8 = 0xcc;
/// All is over by then, or it hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs a shell's script, which begins by stopping itself, and all that comes of it. Answers who executed
/// which of the functions of `program`.
pub(super) fn run(
    mut shell: Command,
    program: &Path,
    functions: &[Function],
) -> Result<BTreeMap<usize, Users>, String> {
    let size = std::fs::metadata(program).map_err(|e| format!("{}: {e}", program.display()))?.len();
    let child = shell.spawn().map_err(|error| format!("sh: {error}"))?;
    let first = Pid::from_raw(child.id().cast_signed());
    let mut tracer =
        Tracer { size, functions, code: Vec::new(), users: HashMap::new(), hits: BTreeMap::new() };
    tracer.follow(first).map_err(|error| format!("ptrace: {error}"))?;
    Ok(tracer.hits)
}

struct Tracer<'a> {
    /// Of the program's file, by which it is known wherever it lies.
    size: u64,
    functions: &'a [Function],
    /// The first byte of each function.
    code: Vec<u8>,
    /// Who the processes are that were seen; of those that execute something else, none.
    users: HashMap<Pid, Option<User>>,
    hits: BTreeMap<usize, Users>,
}

impl Tracer<'_> {
    fn follow(&mut self, first: Pid) -> Result<(), String> {
        let error = |error: Errno| error.to_string();
        waitpid(first, Some(WaitPidFlag::WUNTRACED)).map_err(error)?;
        let follow = Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(first, follow).map_err(error)?;
        kill(first, Signal::SIGCONT).map_err(error)?;
        let end = Instant::now() + PATIENCE;
        let mut result = Err("the shell is lost".to_owned());
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return result,
                Err(errno) => return Err(error(errno)),
                Ok(WaitStatus::StillAlive) if Instant::now() > end => {
                    return Err(format!("it does not end: {:?}", self.users));
                }
                Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_micros(100)),
                Ok(WaitStatus::Exited(pid, code)) if pid == first => {
                    result = if code == 0 { Ok(()) } else { Err(format!("it ends with {code}")) };
                }
                Ok(status) => self.stopped(status)?,
            }
        }
    }

    /// Lets who has stopped go on. A process can be gone at any time: its end is told as well.
    fn stopped(&mut self, status: WaitStatus) -> Result<(), String> {
        let (pid, signal) = match status {
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == Event::PTRACE_EVENT_EXEC as i32 {
                    self.arm(pid)?;
                }
                (pid, None)
            }
            WaitStatus::Stopped(pid, Signal::SIGTRAP) if self.hit(pid)? => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.users.remove(&pid);
                return Ok(());
            }
            _ => return Ok(()),
        };
        match ptrace::cont(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.to_string()),
        }
    }

    /// Sets all breakpoints where a process has begun to execute the program.
    fn arm(&mut self, pid: Pid) -> Result<(), String> {
        let is_ours =
            std::fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.len() == self.size);
        self.users.insert(pid, is_ours.then(|| user(pid)));
        if !is_ours {
            return Ok(());
        }
        let memory = memory(pid)?;
        let failed = |error: std::io::Error| format!("the memory of {pid}: {error}");
        if self.code.is_empty() {
            for function in self.functions {
                let mut byte = [0];
                memory.read_exact_at(&mut byte, function.address).map_err(failed)?;
                self.code.extend(byte);
            }
        }
        for function in self.functions {
            memory.write_all_at(&[BREAKPOINT], function.address).map_err(failed)?;
        }
        Ok(())
    }

    /// Whether a process stopped at one of the breakpoints; it is back at the function's beginning, and the
    /// breakpoint gone. Two threads may meet at one.
    fn hit(&mut self, pid: Pid) -> Result<bool, String> {
        let Ok(mut registers) = ptrace::getregs(pid) else { return Ok(false) };
        let address = registers.rip - 1;
        let Ok(nth) = self.functions.binary_search_by_key(&address, |function| function.address)
        else {
            return Ok(false);
        };
        // A thread, or what was forked, is of the kind of its process.
        let user = self.users.entry(pid).or_insert_with(|| Some(user(pid)));
        if let Some(user) = user {
            self.hits.entry(nth).or_default().insert(user.clone());
        }
        let failed = |error: std::io::Error| format!("the memory of {pid}: {error}");
        memory(pid)?.write_all_at(&self.code[nth..=nth], address).map_err(failed)?;
        registers.rip = address;
        ptrace::setregs(pid, registers).map_err(|errno| errno.to_string())?;
        Ok(true)
    }
}

fn memory(pid: Pid) -> Result<File, String> {
    let path = format!("/proc/{pid}/mem");
    File::options().read(true).write(true).open(&path).map_err(|error| format!("{path}: {error}"))
}

/// Who a process is, by its arguments.
fn user(pid: Pid) -> User {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    match words.next().unwrap_or_default().as_ref() {
        "dhow-shim" => User::Supervisor,
        "dhow-runtime" => User::Runtime,
        _ => User::Command(words.next().unwrap_or_default().into_owned()),
    }
}
