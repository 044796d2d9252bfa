//! The Docker Engine API's types (v1.55 and what older clients still send), as they go over the
//! wire, and the small languages that come with it: port specs, sizes, filters.
//!
//! The types follow Go's rules where a client could tell the difference: a field that is absent or
//! `null` reads as the zero value, a list or a map knows whether it is `null` or empty
//! ([`List`], [`Map`]), and what `dockerd` leaves out when empty is left out here. Unknown fields
//! are ignored, as `dockerd` does.
//!
//! Pure: no input or output, no clock, no environment.

#![forbid(unsafe_code)]

#[macro_use]
mod wire;

pub mod check;
pub mod container;
pub mod dhow;
pub mod error;
pub mod event;
pub mod exec;
pub mod explained;
pub mod filters;
pub mod gc;
pub mod go;
pub mod image;
pub mod manifest;
pub mod mode;
pub mod nat;
pub mod network;
pub mod pattern;
pub mod progress;
pub mod secret;
pub mod stats;
pub mod system;
pub mod timestamp;
pub mod units;
pub mod volume;

pub use container::{
    ContainerConfig, CreateRequest, CreateResponse, HealthConfig, HostConfig,
    Inspect as ContainerInspect, LogConfig, Mount, MountPoint, NetworkingConfig, PortBinding,
    PortMap, Resources, RestartPolicy, Summary as ContainerSummary,
};
pub use error::{ErrorResponse, IdResponse};
pub use network::{EndpointIpamConfig, EndpointSettings};
pub use wire::{Empty, List, Map, StrSlice, Words, fold_keys};

/// The newest API version that these types describe.
pub const API_VERSION: &str = "1.55";
/// The oldest API version that is still answered.
pub const MIN_API_VERSION: &str = "1.24";
