//! The supervisor of one container.
//!
//! One process for each running container, one thread, no async: an epoll loop over a closed set
//! of events ([`poll::Token`]). It is the parent of the container's init and of every exec, and
//! owns what belongs to one container's life: the mount of its root, its pipes or terminal, its
//! log, its exit status, its name server, and the listeners of its published ports.
//!
//! What it does not do: decide. The engine wrote `RUN/shim.json` and the bundle; the runtime makes
//! the container; `endpoint` makes its network.
//!
//! ```text
//! lock → mount namespace → root → runtime create, Listening, network → Created ─┐
//!     ┌─────────────────────────────────────────────────────────────────────────┘
//! Start → runtime start → status "running" → Started → loop
//!     → init ends → drain → status "exited" → runtime delete → network undone → RUN removed
//!     → waiters told → end, or become the program that removes the container, unless a waiter does
//! ```
//!
//! One that goes with its end, has a PID namespace of its own and no hooks, is left to a waiter as soon as its network is
//! undone; then come the runtime's delete, what the waiter has left in the trash, and the last of `RUN`.
//!
//! Where it is to be started again, the status is "restarting", `RUN`, the root's mount, the published
//! ports and the log stay, and after a while all is done again from "runtime create" on.
//!
//! Killed at any instant, it leaves: nothing mounted, since that ends with its mount namespace; a
//! free lock; and a status and a plan from which the engine's recovery does the rest.
#![forbid(unsafe_code)]

mod ahead;
mod announce;
mod bundle;
mod client;
mod clock;
mod dns;
mod error;
mod events;
mod exec;
mod flow;
mod health;
mod log;
mod memory;
mod ordinary;
mod outlet;
mod poll;
mod proxy;
mod queue;
mod regraft;
mod request;
mod restart;
mod rewire;
mod rootfs;
mod runtime;
mod setup;
mod stdio;
mod streams;
mod supervisor;
mod teardown;
mod trust;

use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use shim_protocol::{CONTROL_FD, Config, OnExit, Reply, Request};
use sys::Call;

use crate::error::{Error, report};
use crate::setup::{Hold, Left};
use crate::supervisor::{End, Supervisor};
use crate::teardown::{Next, Unmade};

/// Supervises the container whose `RUN` directory is `run_dir`, to its end.
///
/// For the start of a process with one thread, with the control connection as descriptor
/// [`CONTROL_FD`]. Returns the code to exit with: 0 if the container ran and ended, whatever its
/// own code; 1 if it never ran.
pub fn main(run_dir: &Path) -> i32 {
    begin(|control| supervise(run_dir, control, setup::leave))
}

/// The same for a supervisor that is started while the engine still writes down what it is to supervise:
/// it does what needs none of that, starts a runtime that does, and waits for [`Request::Supervise`]. Where
/// that does not come it ends, and has made nothing that outlives it.
pub fn main_ahead(run_dir: &Path) -> i32 {
    begin(|control| {
        let mut left = setup::leave_ahead(run_dir);
        loop {
            match shim_protocol::receive(&control) {
                Ok(Some(Request::Mount(root))) => {
                    if let Ok(left) = &mut left {
                        left.mount(*root);
                    }
                }
                Ok(Some(Request::Supervise)) => {
                    sys::run_anywhere();
                    open_shim_log(run_dir)?;
                    return supervise(run_dir, control, || left);
                }
                // Who started it needs none after all, or has ended.
                _ => return Ok(()),
            }
        }
    })
}

/// Makes the log in `RUN` standard error, as an engine does for a supervisor that is not started ahead.
fn open_shim_log(run_dir: &Path) -> Result<(), Error> {
    let path = run_dir.join("shim.log");
    let flags = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY | OFlags::CLOEXEC;
    let log = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .call(|| format!("open({path:?})"))?;
    Ok(rustix::stdio::dup2_stderr(log).call(|| "dup2()")?)
}

fn begin(life: impl FnOnce(OwnedFd) -> Result<(), Error>) -> i32 {
    let control = match take_control() {
        Ok(control) => control,
        Err(err) => {
            report("take the control connection", &err.into());
            return 1;
        }
    };
    match life(control) {
        Ok(()) => 0,
        Err(err) => {
            report("supervise", &err);
            1
        }
    }
}

/// Moves the control connection out of the way of what is to be standard input.
fn take_control() -> Result<OwnedFd, sys::Error> {
    let inherited = sys::take_fd(CONTROL_FD)?;
    let control =
        rustix::io::fcntl_dupfd_cloexec(&inherited, 3).call(|| "fcntl(F_DUPFD_CLOEXEC)")?;
    drop(inherited);
    // The lowest free number: 0. It stays, also for the program that this one may become.
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())
        .call(|| "open(\"/dev/null\")")?;
    let _ = null.into_raw_fd();
    Ok(control)
}

/// Compresses a file of a log that has made place for another, for a process of its own. Returns the code
/// to exit with.
pub fn compress(path: &Path) -> i32 {
    match log::compress(path) {
        Ok(()) => 0,
        Err(err) => {
            report("compress", &Error::file("compress", path)(err));
            1
        }
    }
}

fn supervise(
    run_dir: &Path,
    control: OwnedFd,
    leave: impl FnOnce() -> Result<Left, Error>,
) -> Result<(), Error> {
    let run_dir = &std::path::absolute(run_dir).map_err(Error::file("resolve", run_dir))?;
    let (mut hold, config) = match take_up(run_dir, leave) {
        Ok(taken) => taken,
        Err(err) => {
            refuse(&control, &err);
            return Err(err);
        }
    };
    let on_exit = config.on_exit.clone();
    let spare = control.try_clone().map_err(Error::file("duplicate", "the control connection"))?;
    let mut supervisor = match Supervisor::prepare(run_dir, config, control, &mut hold) {
        Ok(supervisor) => supervisor,
        Err(err) => {
            clean_up(run_dir, &hold, &OnExit::End);
            refuse(&spare, &err);
            return Err(err);
        }
    };
    drop(spare);
    let (unmade, outcome) = run(&mut supervisor);
    // What never ran is removed by who wanted to start it.
    let next = if outcome.is_ok() && !supervisor.keep { on_exit } else { OnExit::End };
    if unmade == Unmade::All {
        clean_up(run_dir, &hold, &next);
    }
    if let Err(err) = &outcome {
        supervisor.reply_control(&Reply::Error(err.wire()));
    }
    supervisor.hear_requests();
    let mut remover = supervisor.remover.take();
    // What could not be taken apart is for the program that follows.
    if matches!(next, OnExit::Exec(_)) && unmade == Unmade::All && remover.is_none() {
        if supervisor.config.trash.is_none() {
            hold.unlock();
        }
        remover = supervisor.leave_removal();
    }
    supervisor.say_goodbye();
    outcome?;
    let config = supervisor.into_config();
    if remover.is_some_and(|remover| teardown::was_removed(&remover, &config)) {
        // Nobody can have anything mounted any more that is said to be free.
        hold.own_mounts = None;
        let deleted = match unmade {
            Unmade::All => teardown::delete_rest(&config, run_dir),
            Unmade::Partly => Err(Error::Request("something is left of the container".into())),
        };
        match deleted {
            Ok(()) if !teardown::is_to_be_tidied(&config) => return Ok(()),
            Ok(()) => {}
            Err(err) => report("delete what is left", &err),
        }
    }
    teardown::become_next(&next, &hold)
}

/// Everything before there is something to take apart.
fn take_up(
    run_dir: &Path,
    leave: impl FnOnce() -> Result<Left, Error>,
) -> Result<(Hold, Config), Error> {
    std::env::set_current_dir(run_dir).map_err(Error::file("enter", run_dir))?;
    let config = setup::load_config(run_dir)?;
    if let Some(state) = &config.rootless {
        rootless::join(state)?;
    }
    let lock = setup::lock()?;
    let mut left = leave()?;
    left.take_kept(config.kept_exe.as_deref());
    Ok((Hold::new(lock, left), config))
}

/// From creation to the end. An error is the reason why the container never ran.
fn run(supervisor: &mut Supervisor) -> (Unmade, Result<(), Error>) {
    let mut end = supervisor.make().map(|()| supervisor.serve());
    loop {
        end = match end {
            Ok(Ok(End::Exited(code))) => match supervisor.finish(code) {
                Next::End(unmade) => return (unmade, Ok(())),
                Next::Again => Ok(supervisor.wait()),
            },
            Ok(Ok(End::Due)) => match supervisor.live_again() {
                Ok(()) => Ok(supervisor.wait()),
                Err(err) => return (supervisor.give_up(Some(&err)), Ok(())),
            },
            Ok(Ok(End::Stopped)) => return (supervisor.give_up(None), Ok(())),
            Ok(Ok(End::NeverStarted(err))) | Err(err) => {
                return (supervisor.unmake(Some(&err)), Err(err));
            }
            // The loop itself failed: what cannot be supervised must not run.
            Ok(Err(err)) => {
                const KILLED: i32 = 128 + 9;
                report("supervise", &err);
                supervisor.status.error = err.chain();
                supervisor.stopped = true;
                match supervisor.finish(KILLED) {
                    Next::End(unmade) => return (unmade, Ok(())),
                    Next::Again => Ok(Ok(End::Stopped)),
                }
            }
        }
    }
}

fn clean_up(run_dir: &Path, hold: &Hold, next: &OnExit) {
    if let Err(err) = teardown::clean(run_dir, hold, next) {
        report("clean up", &err);
    }
}

fn refuse(control: &OwnedFd, err: &Error) {
    let reply = Reply::Error(err.wire());
    if let Err(source) = shim_protocol::send(supervisor::WriteFd(control), &reply) {
        report("reply", &Error::file("write to", "the control connection")(source));
    }
}
