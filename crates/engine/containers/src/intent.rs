//! Intents: what a process is about to do to a container, noted before it does it, so that whoever
//! comes after its death knows.

use std::fs;
use std::sync::OnceLock;

use metadata::{Operation, Write};

use crate::{Error, clock};

/// What may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Create,
    Start,
    Remove,
    /// What lost its supervisor is to be started again.
    Restart,
    /// A supervisor is to be told of a change.
    Update,
    /// A step of a build, which goes with its builder.
    Step,
    /// It is to join a network (`connect ID`), to leave one (`disconnect ID`), or to have other ports
    /// (`publish`), while it runs.
    Rewire,
}

impl Intent {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Remove => "remove",
            Self::Restart => "restart",
            Self::Update => "update",
            Self::Step => "step",
            Self::Rewire => "rewire",
        }
    }

    /// Notes it.
    pub(crate) fn begin(self, tx: &Write, id: &str) -> Result<(), Error> {
        self.begin_with(tx, id, String::new())
    }

    /// The same, with what is to be known of it.
    pub(crate) fn begin_with(self, tx: &Write, id: &str, detail: String) -> Result<(), Error> {
        Ok(tx.begin_operation(&Operation {
            subject: id.into(),
            kind: self.name().into(),
            owner: me(),
            detail,
            started: clock::now(),
        })?)
    }

    /// Forgets it.
    pub(crate) fn end(self, tx: &Write, id: &str) -> Result<(), Error> {
        tx.end_operation(id, self.name())?;
        Ok(())
    }
}

/// This process: its number, and when it started, since numbers are used again.
pub(crate) fn me() -> String {
    /// The number and what was made of it: a process that was forked is another.
    static ME: OnceLock<(u32, String)> = OnceLock::new();
    let pid = std::process::id();
    if let Some((known, me)) = ME.get()
        && *known == pid
    {
        return me.clone();
    }
    let started = start_time(pid);
    let me = format!("{pid}:{}", started.as_deref().unwrap_or_default());
    // What could not be read may be next time.
    if started.is_some() {
        ME.get_or_init(|| (pid, me.clone()));
    }
    me
}

/// Whether the process that noted an intent still lives.
pub(crate) fn lives(owner: &str) -> bool {
    let Some((pid, started)) = owner.split_once(':') else { return false };
    pid.parse().ok().and_then(start_time).is_some_and(|now| now == started)
}

/// Field 22 of `/proc/PID/stat`: clock ticks since the boot; with the boot's own id, since ticks
/// start again with each. One that is dead and waits for its parent (a zombie) is no process any more.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, spaces and brackets too.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if matches!(fields.next(), None | Some("Z" | "X")) {
        return None;
    }
    let ticks = fields.nth(18)?;
    Some(format!("{ticks}:{}", boot_id()?))
}

/// The boot's own id.
fn boot_id() -> Option<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Some(boot);
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(BOOT.get_or_init(|| boot.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_the_same_each_time_and_read_once() {
        let first = me();
        let pid = std::process::id();
        assert_eq!(first, format!("{pid}:{}", start_time(pid).unwrap()));
        let boot = boot_id().unwrap();
        assert_eq!(boot, fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim());
        // No second text: the one that was kept.
        assert!(std::ptr::eq(boot, boot_id().unwrap()));
        assert_eq!(me(), first);
    }

    #[test]
    fn the_living_are_told_from_the_dead() {
        let me = me();
        assert!(lives(&me));
        assert!(!lives(&format!("{me}0")));
        assert!(!lives("4194304:1:x"));
        assert!(!lives(""));
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let its = format!("{}:{}", child.id(), start_time(child.id()).unwrap());
        assert!(lives(&its));
        child.kill().unwrap();
        while lives(&its) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
