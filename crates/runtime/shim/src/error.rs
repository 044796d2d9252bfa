//! What can go wrong, and how the engine is told.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use shim_protocol::WireError;

/// Why a container could not be set up, started, or talked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A kernel call failed.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
    /// A file could not be read or written.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A test asked for it.
    #[error("failpoint")]
    Failpoint(#[from] io::Error),
    /// Another shim holds the lock.
    #[error("container already has a supervisor")]
    Locked,
    /// The root file system could not be mounted.
    #[error("mount the root file system")]
    Rootfs(#[source] sys::Error),
    /// Something that the container has mounted could not be mounted.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// The container's ids could not be mapped.
    #[error("map the container's ids")]
    Ids(#[source] container::Error),
    /// A layer cannot be mounted with other ids.
    #[error(
        "{path:?} cannot be mounted with the ids of a user namespace: its file system does not support that in this kernel"
    )]
    Unmapped {
        /// The layer.
        path: PathBuf,
        /// What the kernel says.
        source: sys::Error,
    },
    /// The OCI runtime refused.
    #[error("{0}")]
    Runtime(WireError),
    /// A published port is in use.
    #[error("Bind for {0} failed: port is already allocated")]
    PortTaken(String),
    /// A published port that is not an ordinary user's to take.
    #[error(
        "cannot expose privileged port {0}: an ordinary user may from \
         net.ipv4.ip_unprivileged_port_start on (sysctl -w \
         net.ipv4.ip_unprivileged_port_start={0}), by default 1024"
    )]
    PrivilegedPort(u16),
    /// A published address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why it failed.
        source: rustix::io::Errno,
    },
    /// The container's network could not be made.
    #[error("set up the network")]
    Network(#[source] endpoint::Error),
    /// The container's cgroup could not be used.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// An ordinary user's container, where no cgroup is delegated.
    #[error(
        "the container has no cgroup, which this user may not make: nothing can freeze it (see \
         docs/rootless.md, cgroups)"
    )]
    NoCgroup,
    /// The namespaces of an ordinary user's engine.
    #[error(transparent)]
    Rootless(#[from] rootless::Error),
    /// The engine went before it asked for the start.
    #[error("engine went away before the container was started")]
    Abandoned,
    /// The program does not run any more, or not yet.
    #[error("container is not running")]
    NotRunning,
    /// A frozen container.
    #[error("container is paused, unpause it first")]
    Paused,
    /// It has ended, and is about to be started again.
    #[error("container is restarting, wait until the container is running")]
    Restarting,
    /// There is no such exec here.
    #[error("exec {0} is not running")]
    NoExec(String),
    /// What a client sent makes no sense.
    #[error("{0}")]
    Request(String),
}

impl Error {
    /// For `map_err` of a failed file operation.
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    /// As it crosses to the engine: the whole chain in one line, and its class.
    pub(crate) fn wire(&self) -> WireError {
        if let Self::Runtime(wire) = self {
            return wire.clone();
        }
        let mut wire = WireError::new(self.chain());
        wire.port_taken = matches!(self, Self::PortTaken(_));
        wire.not_running = matches!(self, Self::NotRunning | Self::Restarting | Self::NoExec(_));
        wire
    }

    /// Itself and what caused it, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Notes what went wrong where nobody waits for an answer: standard error is `RUN/shim.log`.
pub(crate) fn report(doing: &str, error: &Error) {
    eprintln!("{} {doing}: {}", crate::clock::Timestamp::now(), error.chain());
}
