//! A client of image registries (OCI distribution-spec 1.1, and Docker's token and helper
//! protocols): names to bytes, and bytes back.
//!
//! ```text
//! Registry ── Repository ─┬─ resolve     reference ─▶ index ─▶ manifest for a platform
//!     │                   ├─ download    blob ─▶ Sink, checked, gone on with after a break
//!     │                   └─ upload, put_manifest
//!     └─ challenges, redirections, outages ── http ── connect: names, proxy, TLS
//! ```
//!
//! Everything that comes is hostile: documents are bounded, are what their digest says, and are
//! one kind of thing whatever their header says; blobs are counted and hashed. What is secret is
//! bound to the registry's origin, and goes to no one it sends us to.
//!
//! What it does not do: it keeps nothing, and knows no image store.
#![forbid(unsafe_code)]

mod auth;
mod base64;
mod blob;
mod challenge;
mod client;
mod connect;
mod credentials;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod hosts;
mod hosts_toml;
mod http;
mod keep;
mod pace;
mod proxy;
mod push;
mod referrers;
mod refused;
mod repository;
mod resolve;
mod retry;
mod search;
mod settings;
mod tags;
mod tls;
mod toml;
mod url;
mod web;

pub use blob::{Progress, Sink};
pub use client::Registry;
pub use credentials::{Credentials, Keys, server_domain, server_key};
pub use error::{Class, Error, Refused, Transport};
pub use hosts::{Found, Hosts, Passed};
pub use keep::{Kept, change_config, forget, keep};
pub use proxy::Proxies;
pub use push::{Pushed, Source};
pub use repository::{Document, Repository, Resolved};
pub use resolve::Resolver;
pub use retry::{Retry, http_date};
pub use search::{SEARCH_DOMAIN, SearchHit};
pub use settings::Settings;
pub use web::{WebFile, web_file, web_head, web_request};

#[cfg(test)]
mod junk;
