//! The engine's network namespace, from outside of it.

use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use sys::CloneFlags;

use crate::error::{Error, pass};
use crate::members::Place;
use crate::{HOLDER, HOLDER_NAME, NETWORK};

/// Does `work` in a network namespace, on a thread of its own: nobody who is not root can leave the
/// machine's and come back.
pub fn inside<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let on_it = || -> Result<T, Error> {
        sys::setns(namespace.as_fd(), CloneFlags::NEWNET)?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        scope.spawn(on_it).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Place {
    /// The network namespace; `None` where there is none.
    pub fn network(&self) -> Result<Option<OwnedFd>, Error> {
        loop {
            let Some(found) = self.holder(NETWORK)? else { return Ok(None) };
            match found.namespace("net") {
                Err(_) if found.handle.signal(0).is_err() => {}
                namespace => return namespace.map(Some),
            }
        }
    }

    /// The network namespace, made if there is none, with a way to the outside if there can be one.
    /// `exe` is dhow's own program.
    pub fn make_network(&self, exe: &Path) -> Result<OwnedFd, Error> {
        let _door = self.door("network")?;
        let there = self.network()?;
        if let Some(holder) = self.holder(HOLDER)? {
            match there {
                Some(there) if self.leads_outside() => return Ok(there),
                // The program that led outside was killed: who kept it goes, and another one comes.
                _ => {
                    _ = holder.handle.signal(9);
                    while holder.handle.signal(0).is_ok() && self.holder(HOLDER)?.is_some() {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
            }
        }
        pass("rootless.hold")?;
        self.spawn_holder(exe, there)?;
        pass("rootless.held")?;
        self.network()?.ok_or_else(|| Error::Network("it is gone again".into()))
    }

    /// Whether the program that leads outside is as the holder left it.
    fn leads_outside(&self) -> bool {
        let note = self.note();
        match note.split_once(' ') {
            Some((program, pid)) if pid.bytes().all(|byte| byte.is_ascii_digit()) => {
                std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| {
                    program.starts_with(comm.trim()) || comm.trim().starts_with(program)
                })
            }
            _ => true,
        }
    }

    fn spawn_holder(&self, exe: &Path, there: Option<OwnedFd>) -> Result<(), Error> {
        let state = self.directory().parent().unwrap_or(self.directory());
        let mut command = Command::new(exe);
        command.arg0(HOLDER_NAME).arg(state).current_dir("/").env_clear();
        for name in ["PATH", "DHOW_FAILPOINTS"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let stdin = there.map_or_else(Stdio::null, Stdio::from);
        let log = self.directory().join("network.log");
        let log_file = std::fs::File::create(&log).map_err(Error::file("create", &log))?;
        let spawned = command.stdin(stdin).stdout(Stdio::piped()).stderr(log_file).spawn();
        let mut child = spawned.map_err(Error::file("spawn", exe))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            _ = BufReader::new(stdout).read_line(&mut line);
        }
        // It goes on by itself; should this process outlive it, it is waited for.
        std::thread::spawn(move || child.wait());
        match line.trim() {
            "ready" => Ok(()),
            "" => Err(Error::Network(format!("{HOLDER_NAME} ended: see {}", log.display()))),
            why => Err(Error::Network(why.to_owned())),
        }
    }

    /// Brings this process, which has one thread, into the network namespace for good.
    pub fn enter_network(&self) -> Result<(), Error> {
        let Some(namespace) = self.network()? else {
            return Err(Error::Network("it is gone".into()));
        };
        sys::setns(namespace.as_fd(), CloneFlags::NEWNET)?;
        self.share(NETWORK)
    }
}
