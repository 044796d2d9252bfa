//! Building: a front end makes a graph of steps ([`buildgraph`]), which is carried out here, as much
//! of it at once as can be, with a cache of what has been made before.
//!
//! ```text
//! who asks: an API, a command ─ Request, Client ─▶ Builder::begin ─▶ Build ─▶ solve ─▶ export
//!              ▲                                                       │
//!              └──────────────── events, directories, secrets ◀────────┘
//! ```
//!
//! [`Client`] is what a build asks of who asked for it. A result is layers, which images share, or a
//! directory of the builder's own. What a step has made is found again by a key: see `keys`.
#![forbid(unsafe_code)]

mod attest;
mod build;
mod builder;
mod cache;
mod caches;
mod client;
mod container;
mod error;
mod event;
mod explain;
mod export;
mod frontend;
mod gc;
mod guest;
mod jobs;
mod keys;
mod look;
mod made;
mod op;
mod origin;
mod output;
mod platforms;
mod proxied;
mod pruning;
mod remote;
mod request;
mod solver;
mod source;
mod store;
mod tell;
mod usage;
mod view;
mod worked;

pub use attest::{Attestations, Recorded, Stated};
pub use build::{Build, FromFile, Step};
pub use builder::Builder;
pub use caches::{CacheArchive, CacheMount, CacheMountName};
pub use client::{
    Asked, Client, Decided, Denied, Describe, Described, Fetched, Output, SentTree, Stream,
};
pub use container::{Container, Control, Process, Program};
pub use error::{Error, Unrecorded};
pub use event::{Event, Log, Progress, Pulled, Source, Status, VertexState, Warning};
pub use export::Solved;
pub use frontend::{BUILDKIT, DOCKERFILE, Recipe, Syntax};
pub use guest::{Guest, GuestLog, GuestRequest};
pub use images::SaidOf;
pub use look::{Extras, FileStat, SourceMeta};
pub use op::Device;
pub use origin::{Origin, OriginFile, OriginPlace, Position};
pub use pruning::{Filter, Pruning};
pub use request::{CacheOption, Entitlements, Export, FrontendRequest, Request};
pub use source::chain::Chain;
pub use source::http::sum::{Sum, SumBy};
pub use usage::{CacheRecord, PrunedCache};
pub use worked::Worked;

#[cfg(test)]
pub(crate) mod tests;
