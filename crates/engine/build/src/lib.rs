//! Building: a front end makes a graph of steps ([`buildgraph`]), which is carried out here, as much
//! of it at once as can be, with a cache of what has been made before.
//!
//! ```text
//! who asks: an API, a command ─ Request, Client ─▶ Builder::begin ─▶ Build ─▶ solve ─▶ export
//!              ▲                                                       │
//!              └──────────────── events, directories, secrets ◀────────┘
//! ```
//!
//! [`Client`] is what a build asks of who asked for it.
#![forbid(unsafe_code)]

mod client;
mod event;
mod request;

pub use client::{Asked, Client, Fetched, Output, Stream};
pub use event::{Event, Log, Progress, Source, Status, VertexState, Warning};
pub use request::{CacheOption, Entitlements, Export, FrontendRequest, Request};
