//! Create, start, exec, kill and delete of one container.
//!
//! A container is a directory with a record ([`Store`], [`Record`]), a cgroup, and a process that
//! waits or runs. Nothing is kept in memory between two calls, and a call can be killed anywhere:
//! the record comes before what it describes, and `delete` with force removes whatever is there.
//!
//! ```text
//! create:  record -> mounts opened, detached -> cgroup -> clone -> (init) ... waits at the fifo
//! start:   a byte into the fifo -> (init) executes the program
//! delete:  kill -> cgroup removed -> directory removed
//! ```
//!
//! What is not here: the command line (`runtime-cli`), what happens inside the new process (`init`),
//! and every decision that can be taken before the first call (`plan`).
#![forbid(unsafe_code)]

pub mod ahead;
mod announce;
mod cgroups;
mod checkpoint;
mod create;
mod document;
mod error;
mod events;
mod exec;
mod facts;
mod images;
mod lifecycle;
mod listener;
mod making;
mod maps;
mod netdev;
mod old_root;
mod prepare;
mod process;
mod rdt;
mod record;
mod restore;
mod store;
mod sub_cgroup;
mod swrk;
mod unit;
mod verify;

pub use announce::Announce;
pub use cgroups::mounted as mounted_cgroups;
pub use checkpoint::checkpoint;
pub use create::{CreateOptions, Created, Waits, create, read_spec};
pub use criu::CgroupMode;
pub use error::Error;
pub use events::{Event, Interface, Usage, usage, watch};
pub use exec::{ExecOptions, Executed, exec, read_process};
pub use facts::in_user_namespace;
pub use init::one_line;
pub use lifecycle::{delete, kill, list, pause, processes, record, resume, start, state, update};
pub use maps::{id_helper, user_namespace};
pub use rdt::Class;
pub use record::{Record, rfc3339};
pub use restore::{Restored, restore};
pub use store::{Container, Store, check_id};
pub use swrk::CriuOptions;
