//! A supervisor that is started before the container is made which it is to supervise.
//!
//! Whoever opens an engine to create one container and start it at once (`run`) needs a supervisor in a
//! few milliseconds. Meanwhile one is started that leaves this process's namespaces, makes an empty
//! network and starts the runtime: much of what a start takes, on another processor, while this one opens
//! the database and writes down the container. It waits for a word on its control connection; if the
//! connection ends instead, so does it, and nothing of it is left.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use shim_protocol::{Request, Root};

use crate::engine::Engine;
use crate::error::At as _;
use crate::launch;
use crate::paths::Paths;
use crate::{Error, name};

/// How long after its start it is still used. It has the mounts of the machine as they were then; later
/// ones come to it only if the machine's are shared, as systemd makes them.
const FRESH: Duration = Duration::from_secs(5);

/// One that waits for its container.
#[derive(Debug)]
pub(crate) struct Ahead {
    id: String,
    /// A container has been given the id.
    taken: bool,
    /// It, and its control connection.
    supervisor: Option<(Child, UnixStream)>,
    since: Instant,
}

impl Ahead {
    /// Starts one, for a container that does not exist yet.
    pub(crate) fn start(exe: &Path, paths: &Paths) -> Result<Self, Error> {
        let id = name::new_id()?;
        let run = paths.run(&id);
        let (control, theirs) = UnixStream::pair().at("socketpair", &run)?;
        let child = launch::supervisor(exe)
            .arg("ahead")
            .arg(&run)
            .stdin(OwnedFd::from(theirs))
            .stderr(Stdio::null())
            .spawn()
            .at("spawn", exe)?;
        work_beside(&child);
        let supervisor = Some((child, control));
        Ok(Self { id, taken: false, supervisor, since: Instant::now() })
    }
}

/// Has a supervisor work on another processor than the one on which this process goes on, until it is told to go on.
fn work_beside(supervisor: &Child) {
    let pid = i32::try_from(supervisor.id()).ok().and_then(Pid::from_raw);
    // Where it cannot be, it works when there is time for it.
    let _beside = pid.is_some_and(sys::wake_elsewhere);
}

impl Drop for Ahead {
    /// Nobody needs it: it is seen off, so that nothing of it is there when the command has ended.
    fn drop(&mut self) {
        let Some((mut child, control)) = self.supervisor.take() else { return };
        drop(control);
        // It cannot be anything but our child, and does nothing any more.
        let _ended = child.wait();
    }
}

impl Engine {
    /// The id of the next container.
    pub(crate) fn next_id(&self) -> Result<String, Error> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        match ahead.as_mut().filter(|ahead| !ahead.taken) {
            Some(ahead) => {
                ahead.taken = true;
                Ok(ahead.id.clone())
            }
            None => name::new_id(),
        }
    }

    /// Has the supervisor that waits for this container, if there is one, mount its root meanwhile.
    pub(crate) fn mount_ahead(&self, id: &str, root: &Root) {
        let waiting = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        // One that will not be used need not mount anything: its end is waited for.
        let is_meant = |ahead: &&Ahead| ahead.id == id && ahead.since.elapsed() <= FRESH;
        let ahead = waiting.as_ref().filter(is_meant);
        if let Some((child, control)) = ahead.and_then(|ahead| ahead.supervisor.as_ref()) {
            work_beside(child);
            // One that is dead is not used either.
            let _unheard = shim_protocol::send(control, &Request::Mount(Box::new(root.clone())));
        }
    }

    /// Sees off the supervisor that waits for this container, if there is one: it may be about to mount what is
    /// removed next.
    pub(crate) fn give_up_ahead(&self, id: &str) {
        let mut waiting = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = waiting.take_if(|ahead| ahead.id == id);
        drop(waiting);
        drop(ahead);
    }

    /// The supervisor that waits for this container, told to go on, if there is one that can be used.
    pub(crate) fn take_ahead(&self, id: &str) -> Option<(Child, UnixStream)> {
        let mut waiting = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ahead = waiting.take_if(|ahead| ahead.id == id)?;
        drop(waiting);
        if ahead.since.elapsed() > FRESH {
            return None;
        }
        let (_, control) = ahead.supervisor.as_ref()?;
        shim_protocol::send(control, &Request::Supervise).ok()?;
        ahead.supervisor.take()
    }
}
