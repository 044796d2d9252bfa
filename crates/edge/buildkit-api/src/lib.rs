//! BuildKit's API in front of the builder.
//!
//! ```text
//! POST /grpc    ─▶ Service::grpc    ─▶ control, gateway ─▶ build::Builder
//! POST /session ─▶ Service::session ─▶ Sessions ◀─ SessionClient, which is what a build asks
//! ```
//!
//! Messages are whatever a client sends: nothing in them is believed, and none ends the process. The
//! references are BuildKit's .proto files and its documents, and `dockerd` where those are silent.
#![forbid(unsafe_code)]

mod builds;
mod cache;
mod clock;
mod content;
mod control;
mod definition;
mod drawn;
mod failure;
mod front_end;
mod fsutil;
#[cfg(fuzzing)]
pub mod fuzz;
mod gateway;
mod guest;
mod history;
mod places;
mod processes;
mod request;
mod service;
mod session;
mod status;
mod transport;
mod worker;

pub use fsutil::{Error as TransferError, Received, Receiver, Sender};
pub use service::{Service, Serving};
pub use session::{SessionClient, Sessions};
pub use status::trace;
pub use transport::Io;
pub use worker::Worker;
