//! The listener of a seccomp filter: from the process that installs it to its agent.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use init::sync::{FromInit, RuntimeEnd, ToInit};
use oci::runtime::{ContainerProcessState, State};
use sys::{Call, Handle};

use crate::create::unexpected;
use crate::error::{Doing, Error};
use crate::prepare;

/// Takes the listener of a filter, descriptor `number` of the process: that needs nothing of what
/// the filter may forbid. Where this process may not, it is sent.
pub(crate) fn take_listener(
    sync: &RuntimeEnd,
    process: &Handle,
    number: i32,
) -> Result<OwnedFd, Error> {
    let flags = rustix::process::PidfdGetfdFlags::empty();
    let taken = match process.pidfd() {
        Ok(pidfd) => rustix::process::pidfd_getfd(pidfd, number, flags),
        Err(err) => Err(err.errno()),
    };
    match taken {
        Ok(fd) => Ok(fd),
        // Not traceable by this user, or a kernel before 5.6.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::NOSYS) => {
            sync.send(ToInit::HandOver).doing(|| "sync")?;
            match sync.receive().doing(|| "sync")? {
                FromInit::Listener(fd) => Ok(fd),
                other => Err(unexpected(other)),
            }
        }
        Err(errno) => Err(errno).call(|| "pidfd_getfd(listener)").doing(|| "linux.seccomp"),
    }
}

/// Sends the listener of a filter to the socket that the configuration names.
pub(crate) fn send_listener(
    listener: Option<&plan::Listener>,
    fd: &OwnedFd,
    pid: i32,
    state: State,
) -> Result<(), Error> {
    let Some(listener) = listener else {
        return Err(Error::Refused("linux.seccomp.listenerPath is missing".into()));
    };
    let message = ContainerProcessState {
        oci_version: state.oci_version.clone(),
        fds: vec!["seccompFd".to_owned()],
        pid,
        metadata: listener.metadata.clone(),
        state,
    };
    let message = serde_json::to_vec(&message)
        .map_err(|source| Error::document("the seccomp listener's state", source))?;
    let socket = prepare::connect(
        Path::new(&listener.path),
        "linux.seccomp.listenerPath: failed to connect with seccomp agent",
    )?;
    sys::send_fd(socket.as_fd(), &message, fd.as_fd()).doing(|| "linux.seccomp.listenerPath")
}
