//! What can go wrong.

pub(crate) use docker::error::chain;
use std::io;
use std::path::{Path, PathBuf};

/// What kind of mistake an error is: all that a caller decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// There is no such thing.
    NotFound,
    /// It clashes with what is there, or with the state that a container is in.
    Conflict,
    /// The request makes no sense.
    Invalid,
    /// It may not be done.
    Denied,
    /// It is so already.
    NotModified,
    /// Not now.
    Unavailable,
    /// dhow does not do this yet.
    NotImplemented,
    /// The machine or dhow itself failed.
    Internal,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such container.
    #[error("No such container: {0}")]
    NoContainer(String),
    /// A path leads through a file.
    #[error("lstat {0}: not a directory")]
    NotADirectory(String),
    /// A file is where the working directory is to be made.
    #[error("Cannot mkdir: {} is not a directory", .0.display())]
    WorkDir(PathBuf),
    /// Links lead on and on.
    #[error("lstat {0}: too many levels of symbolic links")]
    TooManyLinks(String),
    /// There is no such exec.
    #[error("No such exec instance: {0}")]
    NoExec(String),
    /// The name belongs to another container.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name, without its slash.
        name: String,
        /// The other container's id.
        holder: String,
    },
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// Not in this state; the text says why.
    #[error("{0}")]
    Conflict(String),
    /// It may not be done; the text says why.
    #[error("{0}")]
    Denied(String),
    /// There is no such thing; the text says which.
    #[error("{0}")]
    NotFound(String),
    /// It is in that state already.
    #[error("{0}")]
    NotModified(String),
    /// dhow has no such thing yet.
    #[error("{0} is not there yet")]
    NotYet(String),
    /// Nobody can have that of this container.
    #[error("{0}")]
    Unreadable(&'static str),
    /// The container could not be started.
    #[error("{message}")]
    Start {
        /// One line, in the words that clients know from Docker.
        message: String,
        /// 127 where the program was not found, 126 where it cannot be run, else 128.
        exit_code: i32,
        /// What kind of mistake it is.
        class: Class,
    },
    /// Whoever wanted it has changed their mind.
    #[error("canceled")]
    Cancelled,
    /// A supervisor refused.
    #[error("{0}")]
    Shim(String),
    /// A call on a file failed.
    #[error("{call} \"{path}\"", path = path.display())]
    Io {
        /// The call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database refused.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// The image could not be had.
    #[error(transparent)]
    Image(#[from] images::Error),
    /// The container could not be confined.
    #[error(transparent)]
    AppArmor(#[from] apparmor::Error),
    /// Files could not be given to the container.
    #[error(transparent)]
    Selinux(#[from] selinux::Error),
    /// The container's network could not be taken down.
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    /// Something failed, and so did taking back what had been made until then.
    #[error("{first} (and then: {undo})")]
    Undo {
        /// What failed first.
        first: Box<Error>,
        /// What could not be taken back.
        undo: Box<Error>,
    },
    /// The writable layer could not be made or removed.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// Files could not be copied.
    #[error(transparent)]
    Copy(#[from] cp::Error),
    /// A volume could not be mounted.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// The network could not be had.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A file inside the container could not be had.
    #[error(transparent)]
    Root(#[from] sys::Error),
    /// A limit that no cgroup can have.
    #[error(transparent)]
    Limit(#[from] plan::Error),
    /// The cgroup could not be used.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The record of a container is not what this program writes.
    #[error("record of container {id}")]
    Record {
        /// The container's.
        id: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The exit code of what never ran, where neither 126 nor 127 says why.
pub(crate) const NOT_STARTED: i32 = 128;

impl Error {
    /// A start that failed. What cannot be run is the request's mistake, as with Docker; all else is not.
    pub(crate) fn start(message: String, exit_code: i32) -> Self {
        let class = if matches!(exit_code, 126 | 127) { Class::Invalid } else { Class::Internal };
        Self::Start { message, exit_code, class }
    }

    /// One that failed by a mistake of another kind.
    pub(crate) fn not_started(message: String, class: Class) -> Self {
        Self::Start { message, exit_code: NOT_STARTED, class }
    }

    /// What kind of mistake it is.
    pub fn class(&self) -> Class {
        match self {
            Self::NoContainer(_)
            | Self::NoExec(_)
            | Self::NotFound(_)
            // It went in this moment: its record goes last.
            | Self::Snapshot(snapshot::Error::NoSnapshot { .. })
            | Self::Metadata(metadata::Error::NotFound { .. }) => Class::NotFound,
            Self::NameInUse { .. }
            | Self::Conflict(_)
            | Self::Metadata(metadata::Error::InUse { .. }) => Class::Conflict,
            Self::Invalid(_)
            | Self::Copy(cp::Error::Invalid(_))
            | Self::Limit(_)
            | Self::Snapshot(snapshot::Error::NoLimit { .. })
            | Self::Metadata(metadata::Error::Ambiguous { .. }) => Class::Invalid,
            Self::Denied(_) => Class::Denied,
            Self::NotModified(_) => Class::NotModified,
            Self::NotYet(_) | Self::Unreadable(_) => Class::NotImplemented,
            Self::Metadata(err) if err.is_busy() => Class::Unavailable,
            Self::Network(err) => network_class(err.class()),
            Self::Image(err) => image_class(err.class()),
            Self::Undo { first, .. } => first.class(),
            Self::Start { class, .. } => *class,
            Self::NotADirectory(_)
            // As Docker's daemon, which takes that for a failure of its own.
            | Self::WorkDir(_)
            | Self::TooManyLinks(_)
            | Self::Cancelled
            | Self::Shim(_)
            | Self::Io { .. }
            | Self::Metadata(_)
            | Self::Snapshot(_)
            | Self::Volume(_)
            | Self::Copy(_)
            | Self::Root(_)
            | Self::AppArmor(_)
            | Self::Selinux(_)
            | Self::Endpoint(_)
            | Self::Cgroup(_)
            | Self::Record { .. } => Class::Internal,
        }
    }
}

/// Whether something failed since the disk is full.
pub(crate) fn is_out_of_space(err: &Error) -> bool {
    let io = |err: &io::Error| {
        matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    };
    match err {
        Error::Io { source, .. }
        | Error::Copy(cp::Error::Io { source, .. })
        | Error::Snapshot(snapshot::Error::Io { source, .. }) => io(source),
        Error::Metadata(err) => err.is_full(),
        Error::Image(err) => err.is_out_of_space(),
        Error::Undo { first, .. } => is_out_of_space(first),
        _ => false,
    }
}

fn image_class(class: images::Class) -> Class {
    match class {
        images::Class::NotFound => Class::NotFound,
        images::Class::Conflict => Class::Conflict,
        images::Class::Invalid => Class::Invalid,
        images::Class::Unavailable => Class::Unavailable,
        images::Class::Internal => Class::Internal,
    }
}

fn network_class(class: network::Class) -> Class {
    match class {
        network::Class::NotFound => Class::NotFound,
        network::Class::Conflict => Class::Conflict,
        network::Class::Invalid => Class::Invalid,
        network::Class::Denied => Class::Denied,
        network::Class::Unavailable => Class::Unavailable,
        network::Class::Internal => Class::Internal,
    }
}

/// Adds the call and the file to an error.
pub(crate) trait At<T> {
    /// The call `call` on `path`.
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, call: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { call, path: path.into(), source: source.into() })
    }
}
