//! `SELinux`: whether the kernel labels, which labels containers get, and giving them to files.
//!
//! A label is a context, `USER:ROLE:TYPE:LEVEL`. The policy says of the type what it may do; the level
//! keeps containers apart that have the same type: each has two categories of its own (`s0:c12,c345`), and
//! reaches no file that has others. Which types containers have is the policy's to say, in a file beside
//! it (`lxc_contexts`). Documentation/admin-guide/LSM/SELinux.rst of the kernel; selinux(8); for what Docker
//! makes of it, the project opencontainers/selinux.
#![forbid(unsafe_code)]

mod context;
mod labels;
mod policy;
mod relabel;

pub use context::Context;
pub use labels::{Defaults, Labels, Options, level, shared};
pub use policy::{defaults, is_enabled, is_known};
pub use relabel::{Homes, is_label, may_relabel, relabel, relabel_allowed, relabel_own, set_label};

use std::path::PathBuf;

/// What went wrong with labels.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is no context.
    #[error("{0:?} is no label of SELinux")]
    Context(String),
    /// An option that there is not.
    #[error(
        "bad label option \"{0}\", valid options 'disable' or 'user, role, level, type, filetype' \
         followed by ':' and a value"
    )]
    Option(String),
    /// What is to be labelled is the machine's.
    #[error("SELinux relabeling of {} is not allowed", .0.display())]
    NotAllowed(PathBuf),
    /// A file could not be labelled.
    #[error("give {} the label {label}", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// The label.
        label: String,
        /// Why not.
        #[source]
        source: sys::Error,
    },
}
