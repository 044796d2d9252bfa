//! Programs that a source runs, and whatever those start.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// Whoever is in a group of processes ends when this is dropped.
pub(super) struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Group {
    /// The one of a child that was started in a group of its own.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())))
    }

    /// Nobody is in it any more.
    pub(super) fn has_ended(&mut self) {
        self.0 = None;
    }
}
