//! What can be wrong with a profile.

/// A profile that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An action that does not exist.
    #[error("unknown seccomp action `{0}`")]
    Action(String),
    /// An operator that does not exist.
    #[error("unknown seccomp operator `{0}`")]
    Operator(String),
    /// An architecture that does not exist.
    #[error("unknown seccomp architecture `{0}`")]
    Architecture(String),
    /// A flag that does not exist, or is not the profile's to set.
    #[error("unknown seccomp flag `{0}`")]
    Flag(String),
    /// A rule without a system call.
    #[error("seccomp rule number {0} names no system call")]
    NoName(usize),
    /// An argument that no system call has.
    #[error("seccomp rule for `{call}` looks at argument {index}, but the last is 5")]
    ArgumentIndex {
        /// The first call that the rule names.
        call: String,
        /// The index as given.
        index: u32,
    },
    /// An errno for an action that has none.
    #[error("seccomp action `{0}` takes no errno")]
    NoErrno(String),
    /// An errno above what the kernel passes on.
    #[error("errno {0} of a seccomp rule is above 4095")]
    ErrnoRange(u32),
    /// `SCMP_ACT_NOTIFY` where it would stop the runtime itself.
    #[error("SCMP_ACT_NOTIFY cannot be used for {0}")]
    Notify(&'static str),
    /// More instructions than the kernel takes.
    #[error("seccomp profile compiles to {0} instructions, more than the kernel's 4096")]
    TooLong(usize),
    /// A profile that is no JSON, or not this kind.
    #[error("parse the seccomp profile")]
    Json(#[source] serde_json::Error),
    /// Two ways to name architectures in one profile.
    #[error(
        "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or \
         'archMap'"
    )]
    BothArchitectures,
    /// Two ways to name system calls in one rule.
    #[error(
        "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names' (rule number {0})"
    )]
    BothNames(usize),
    /// A kernel version that is none.
    #[error("`{0}` is no kernel version (MAJOR.MINOR)")]
    KernelVersion(String),
}
