//! What can go wrong with a container.

use std::path::PathBuf;

use oci::runtime::Status;

/// What can go wrong with a container. The wording follows runc where programs read it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The id is not one.
    #[error("invalid container id `{0}`: {1}")]
    Id(String, &'static str),
    /// There is one with this id.
    #[error("container with given ID already exists: {0}")]
    Exists(String),
    /// There is none with this id.
    #[error("container `{0}` does not exist")]
    NotFound(String),
    /// Its state does not allow what was asked for.
    #[error("cannot {what} a container that is {status}: {id}")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// Which container.
        id: String,
        /// Its state.
        status: Status,
    },
    /// `config.json` or another document cannot be read as what it must be.
    #[error("{path:?}{}", in_field(.field))]
    Document {
        /// The file.
        path: PathBuf,
        /// Where in it, as a path from its top; may be empty.
        field: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration is not one that a container can be made from.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// The container's first process could not be made, or a process not executed in it: its own
    /// words.
    #[error("{text}")]
    Init {
        /// What a caller can do about it.
        class: init::Class,
        /// The line.
        text: String,
    },
    /// The process ended without a word.
    #[error("the container's process ended while it was being {0}")]
    Ended(&'static str),
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] init::hook::Error),
    /// The cgroup.
    #[error("cgroup")]
    Cgroup(#[from] cgroup::Error),
    /// A limit was asked for whose controller is missing.
    #[error("{field}")]
    Limit {
        /// Which.
        field: &'static str,
        /// What is missing.
        source: cgroup::Error,
    },
    /// systemd, which makes the cgroup.
    #[error(transparent)]
    Systemd(#[from] systemd::Error),
    /// An interface of the host could not be moved.
    #[error("linux.netDevices: `{name}`")]
    NetDevice {
        /// Its name on the host.
        name: String,
        /// Why.
        #[source]
        source: netlink::Error,
    },
    /// The class of service.
    #[error("linux.intelRdt")]
    Rdt(#[from] resctrl::Error),
    /// Something that was asked for contradicts something else.
    #[error("{0}")]
    Refused(String),
    /// A kernel call.
    #[error("{doing}")]
    Call {
        /// What was being done.
        doing: String,
        /// The call.
        #[source]
        source: sys::Error,
    },
    /// An error, and what could not be undone after it.
    #[error("{first} (and what was made could not be undone: {})", undone.join("; "))]
    NotUndone {
        /// The error.
        first: String,
        /// What is left.
        undone: Vec<String>,
    },
}

impl From<init::Error> for Error {
    fn from(error: init::Error) -> Self {
        match error {
            init::Error::Call { doing, source } => Self::Call { doing, source },
            other => Self::Refused(other.line()),
        }
    }
}

fn in_field(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(": {field}") }
}

impl Error {
    /// A document of our own that is not what it must be.
    pub(crate) fn document(path: impl Into<PathBuf>, source: serde_json::Error) -> Self {
        Self::Document { path: path.into(), field: String::new(), source }
    }

    /// The whole chain as one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            line += ": ";
            line += &error.to_string();
            source = error.source();
        }
        init::one_line(&line)
    }
}

/// Says what a call was for.
pub(crate) trait Doing<T> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, sys::Error> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Error> {
        self.map_err(|source| Error::Call { doing: what().into(), source })
    }
}

/// Passes a failpoint.
pub(crate) fn failpoint(name: &str) -> Result<(), Error> {
    failpoint::hit(name).map_err(|error| Error::Call {
        doing: "failpoint".into(),
        source: sys::Error::from_io(name, &error),
    })
}
