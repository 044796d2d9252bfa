//! The process that keeps the network namespace while there are containers and commands.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netlink::{Requests, RouteSocket};
use rustix::process::Signal;
use sys::{ByteLock, CloneFlags, lock_byte};

use crate::error::Error;
use crate::members::Place;
use crate::outside::{self, LINK};
use crate::{HOLDER, HOLDER_NAME, LAUNCH, MEMBER, NETWORK};

/// How long the program that leads outside may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the network namespace of the engine with this state directory until nobody is in the
/// engine's user namespace any more. Standard input is that namespace where it is there already; one
/// line goes to standard output when it can be used. Returns the code to exit with.
pub fn hold(state: &Path) -> i32 {
    match try_hold(&Place::of(state)) {
        Ok(()) => 0,
        Err(err) => {
            let mut text = err.to_string();
            let mut source = std::error::Error::source(&err);
            while let Some(err) = source {
                text += &format!(": {err}");
                source = err.source();
            }
            println!("{}", text.replace('\n', " "));
            1
        }
    }
}

fn try_hold(place: &Place) -> Result<(), Error> {
    let members = place.members()?;
    if !lock_byte(members.as_fd(), HOLDER, ByteLock::Exclusive, false)? {
        return Err(Error::Network("another process keeps it".into()));
    }
    // EPERM: it leads one already.
    _ = rustix::process::setsid();
    let outside = outside::find();
    // The program is started where the machine's network is, and must be a child.
    let mut launcher = outside.as_ref().map(|_| start_launcher()).transpose()?;
    let stdin = std::io::stdin();
    if sys::namespace_kind(stdin.as_fd()).is_ok_and(|kind| kind == CloneFlags::NEWNET) {
        sys::setns(stdin.as_fd(), CloneFlags::NEWNET)?;
    } else {
        sys::unshare(CloneFlags::NEWNET)?;
    }
    let mut requests = Requests::new();
    requests.set_loopback_up();
    RouteSocket::open()?.execute(&requests)?;
    place.share(NETWORK)?;
    // All that needs a capability is done. Programs that have fewer than this process may then open its
    // files in procfs: pasta gives up most of its own before it does.
    sys::capset(0, 0, 0)?;
    match (outside, &mut launcher) {
        (Some(program), Some(child)) => {
            let note = match lead_outside(&program, child)? {
                Ok(()) => format!("{} {}", program.name(), child.id()),
                Err(why) => format!("{}: {why}", program.name()),
            };
            place.set_note(&note)?;
        }
        _ => place.set_note("")?,
    }
    let mut stdout = std::io::stdout();
    // Whoever asked may be gone.
    _ = writeln!(stdout, "ready").and_then(|()| stdout.flush());
    leave_stdio()?;
    lock_byte(members.as_fd(), MEMBER, ByteLock::Exclusive, true)?;
    if let Some(mut child) = launcher {
        _ = child.kill();
        _ = child.wait();
    }
    Ok(())
}

fn start_launcher() -> Result<Child, Error> {
    let exe = Path::new("/proc/self/exe");
    let mut command = Command::new(exe);
    command.arg0(HOLDER_NAME).arg(LAUNCH).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().map_err(Error::file("spawn", exe))
}

/// Lets the launcher become the program, and waits for its link. The inner error is why there is
/// none: containers do without.
fn lead_outside(
    program: &outside::Program,
    child: &mut Child,
) -> Result<Result<(), String>, Error> {
    if let Some(mut stdin) = child.stdin.take() {
        let own = std::process::id();
        let words: Vec<String> = program.command_line(own);
        // Where this fails it has ended, which is seen below.
        _ = stdin.write_all(words.join("\0").as_bytes());
    }
    let until = Instant::now() + PATIENCE;
    let mut socket = RouteSocket::open()?;
    loop {
        let is_up = socket.link(LINK)?.is_some_and(|link| link.is_up());
        if is_up && socket.routes()?.iter().any(|route| route.prefix == 0) {
            return Ok(Ok(()));
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(Err(format!("{status}")));
        }
        if Instant::now() > until {
            return Ok(Err("its link does not come up".into()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lets go of the pipes of whoever started this process.
fn leave_stdio() -> Result<(), Error> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(Error::file("open", Path::new("/dev/null")))?;
    sys::dup2(null.as_fd(), 0)?;
    sys::dup2(null.as_fd(), 1)?;
    Ok(())
}

/// What the holder's child does: waits for a command line (words with NULs between them) on standard
/// input, and becomes that program, which ends with its parent. Returns the code to exit with, where it
/// does not.
pub fn launch() -> i32 {
    let parent = rustix::process::getppid();
    if sys::set_pdeathsig(Some(Signal::KILL)).is_err() || rustix::process::getppid() != parent {
        return 1;
    }
    let mut text = String::new();
    if std::io::stdin().read_to_string(&mut text).is_err() || text.is_empty() {
        return 1;
    }
    let words: Vec<OsString> = text.split('\0').map(OsString::from).collect();
    let Some((program, args)) = words.split_first() else { return 1 };
    let err = Command::new(program).args(args).stdin(Stdio::null()).exec();
    eprintln!("execute {}: {err}", program.display());
    127
}
