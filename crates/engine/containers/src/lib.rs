//! Containers: what one is, the states it can be in, and who may take it from one to another.
//!
//! ```text
//!            create            start               its program ends
//!   (nothing) ───▶ created ───▶ running ◀─▶ paused ───▶ exited ──▶ start …
//!                     └────────────┴──── remove ──────────┴─────▶ (nothing)
//! ```
//!
//! Where a container is in its life, only its supervisor (shim) says: `status.json`, in the
//! container's folder. The database says which containers there are, and what somebody was about
//! to do when they died. Every call here starts from these two, so any number of processes may use
//! one root at once, and each may be killed at any moment: see `recovery`.
//!
//! Synchronous: whoever serves many at once calls it on threads of their own.
#![forbid(unsafe_code)]

mod accounts;
mod ahead;
mod amend;
mod amend_live;
mod attachment;
mod boot;
mod cgroups;
mod change;
mod changes;
mod check;
mod clock;
mod commit;
mod control;
mod copy;
mod create;
mod defaults;
mod definition;
mod device_requests;
mod engine;
mod error;
mod etc;
mod events;
mod exec;
mod explain;
mod files;
mod gc;
mod health;
mod idmap;
mod init;
mod inspect;
mod intent;
mod labelling;
mod launch;
mod links;
mod list;
mod local;
mod lock;
mod log_driver;
mod logs;
mod lookup;
mod machine;
mod merged;
mod mounting;
mod mountpoints;
mod name;
mod netns;
mod network_lock;
mod network_removal;
mod networks;
mod ordinary;
mod paths;
mod ports;
mod prepare;
mod processes;
mod put_away;
mod record;
mod recovery;
mod relabelling;
mod remove;
mod renewal;
mod rewire;
mod root;
mod runtimes;
mod secret_mounts;
mod secrets;
mod settings;
mod shim;
mod spec;
mod start;
mod stats;
mod step;
mod stray;
mod supplies;
mod told;
mod top;
mod usage;
mod userns;
mod visit;
mod volume_caches;
mod volume_copies;
mod volume_store;
mod volumes;
mod wait;
mod watch;

pub use commit::CommitOptions;
pub use create::CreateOptions;
pub use engine::{Engine, EngineConfig};
pub use error::{Class, Error};
pub use events::Events;
pub use exec::ExecStream;
pub use files::Archive;
pub use images::IfNothing;
pub use list::{Counts, ListOptions};
pub use logs::{LogOptions, Logs};
pub use name::new_id;
pub use remove::RemoveOptions;
pub use settings::{BuilderGc, BuilderGcRule, BuilderSettings, Settings, UlimitSetting};
pub use step::{
    FinishedStep, RunningStep, STEP_PROXY, Step, StepExec, StepFrames, StepIo, StepMount,
    StepProcess, StepResult, StepSource,
};
pub use volume_copies::VolumeCopy;
pub use wait::{Attaching, Condition, Exit, Waiting};
