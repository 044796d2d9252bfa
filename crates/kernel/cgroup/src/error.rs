//! What can go wrong with a cgroup.

use std::io;
use std::path::PathBuf;

/// What can go wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kernel call.
    #[error(transparent)]
    Call(#[from] sys::Error),

    /// Neither cgroup v1 nor v2 is mounted.
    #[error("no cgroup file system is mounted (expected beneath /sys/fs/cgroup)")]
    NotMounted,

    /// A path that could lead out of the tree, or that is the tree itself.
    #[error("cgroup path `{path}`: {why}")]
    Path {
        /// As given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// The cgroup is in no tree.
    #[error("cgroup `{0}` does not exist")]
    NotFound(String),

    /// A limit was asked for, and no tree has its controller.
    #[error("the cgroup controller `{controller}` is not available here, and {limit} needs it")]
    MissingController {
        /// The controller.
        controller: &'static str,
        /// The limit.
        limit: String,
    },

    /// A limit was asked for that this kernel, or this version of cgroups, does not have.
    #[error("this kernel has no `{file}`, and {limit} needs it")]
    Unsupported {
        /// The file that would set it.
        file: String,
        /// The limit.
        limit: String,
    },

    /// A limit that makes no sense.
    #[error("{limit}: {why}")]
    Value {
        /// The limit.
        limit: String,
        /// What is wrong with it.
        why: String,
    },

    /// The kernel took the nearest value that it has.
    #[error("`{file}` is {is} after {wanted} was written")]
    Inexact {
        /// The file.
        file: String,
        /// What was asked for.
        wanted: u64,
        /// What it is.
        is: u64,
    },

    /// A limit below what is in use, where that would kill.
    #[error("rejecting {what} limit {max} <= usage {used}")]
    Rejected {
        /// `memory` or `memory+swap`.
        what: &'static str,
        /// The limit, bytes.
        max: u64,
        /// What is in use, bytes.
        used: u64,
    },

    /// A limit below what is in use, and what is in use cannot be reclaimed.
    #[error("unable to set memory limit to {max} (current usage: {used}, peak usage: {peak})")]
    MemoryInUse {
        /// The limit, bytes.
        max: u64,
        /// What is in use, bytes.
        used: u64,
        /// The most that was ever, bytes.
        peak: u64,
    },

    /// An update failed, and every limit is as it was before.
    #[error("no limit was changed")]
    Unchanged(#[source] Box<Error>),

    /// An update failed, and some limits could not be changed back.
    #[error("limits were changed and could not be changed back: {}", files.join("; "))]
    Changed {
        /// The files, and what was in them.
        files: Vec<String>,
        /// What failed.
        source: Box<Error>,
    },

    /// Processes that do not go away.
    #[error("cgroup `{path}` still holds processes: {pids:?}")]
    Busy {
        /// The directory.
        path: PathBuf,
        /// Those that are left.
        pids: Vec<i32>,
    },

    /// The processes cannot be frozen in time.
    #[error("cgroup `{path}` does not freeze: it is `{state}`")]
    NotFrozen {
        /// The directory.
        path: PathBuf,
        /// What the kernel says instead.
        state: String,
    },

    /// A step that a test made fail.
    #[error("failpoint {name}")]
    Failpoint {
        /// Which.
        name: &'static str,
        /// With what.
        source: io::Error,
    },
}

impl Error {
    /// The controller that is missing, if that is what is wrong: its name on v1.
    pub fn missing_controller(&self) -> Option<&'static str> {
        match self {
            Self::MissingController { controller, .. } => Some(controller),
            Self::Unchanged(source) | Self::Changed { source, .. } => source.missing_controller(),
            _ => None,
        }
    }
}

/// Passes a failpoint.
pub(crate) fn pass(name: &'static str) -> Result<(), Error> {
    failpoint::hit(name).map_err(|source| Error::Failpoint { name, source })
}
