//! What the engine and a supervisor (shim) say to each other.
//!
//! Three places carry it:
//!
//! | where | who writes | what |
//! |---|---|---|
//! | `RUN/shim.json` | the engine, before it spawns the shim; the shim, when its network changes | [`Config`]: all that the shim needs to know |
//! | `RUN/shim.sock` | both, while the shim lives | one [`Request`] line, one [`Reply`] line, then perhaps a raw stream |
//! | `DATA/status.json` | the shim, by rename | [`Status`]: the truth about the container's life, also after a reboot |
//!
//! `RUN` is `STATE/containers/ID`, `DATA` is `ROOT/containers/ID`. The shim holds a `flock(2)` on
//! `RUN/shim.lock` for as long as it lives; the kernel lets go of it however the shim dies, so a
//! container whose status says "running" and whose lock is free has lost its shim.
//!
//! # Start
//!
//! The engine spawns the shim with one end of a socket pair as its standard input (the one
//! descriptor that can be handed on without `unsafe`), the *control connection*; the shim moves it
//! to another number and opens `/dev/null` in its place. The shim says [`Reply::Listening`], and creates the
//! container; meanwhile the engine asks, for whoever waits for the first byte of output, to be attached, and
//! says [`Request::Start`], now or when it has heard [`Reply::Created`] and done what is to be done in between;
//! the shim takes in what was asked for before that, has the runtime start the program, writes the status, and
//! says [`Reply::Started`]. If the control connection ends before [`Request::Start`], the engine died:
//! the shim unmakes everything and ends. After [`Reply::Started`] its end means nothing.
//!
//! [`Reply::Error`] in place of any of these means that everything is unmade and `RUN` is gone; the
//! status tells why, under the phase that it had before.
#![forbid(unsafe_code)]

mod config;
pub mod events;
mod health;
mod log;
mod message;
mod restart;
mod status;

pub use config::{
    Companion, Config, Console, Events, Growth, Join, Listener, OnExit, Proxied, Root, RootIds,
    Rootfs, Runtime,
};
pub use health::{Health, HealthCheck, HealthLog, HealthResult, HealthStatus, Unhealthy};
pub use log::{
    LogConfig, LogMode, RELAY, RELAY_FD, RELAY_READY, Rotation, SyslogAddress, SyslogFormat,
    SyslogTls,
};
pub use message::{
    Attach, Change, Exec, MountChange, NetworkChange, Outlet, PROXY, Reply, Request, WireError,
    receive, send,
};
pub use restart::{Backoff, RestartPolicy};
pub use status::{ExecRecord, ExecStatus, Phase, Status};

/// The descriptor on which a new shim finds its control connection: its standard input. It moves
/// the connection elsewhere (with close-on-exec) and opens `/dev/null` as 0 before anything else.
pub const CONTROL_FD: i32 = 0;
/// The kind of byte stream before each piece of multiplexed output: Docker's `stdcopy` framing.
///
/// A frame is one byte of kind (1 standard output, 2 standard error), three zero bytes, the length
/// of the payload as a big-endian `u32`, and the payload.
pub const FRAME_HEADER_BYTES: usize = 8;
