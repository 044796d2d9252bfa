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

/// Passes a failpoint.
pub(crate) fn pass(name: &'static str) -> Result<(), Error> {
    failpoint::hit(name).map_err(|source| Error::Failpoint { name, source })
}
