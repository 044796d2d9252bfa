//! The messages and services of BuildKit's API, as a client and a server of it need them.
//!
//! Generated from the .proto files in `protos` (BuildKit, fsutil, containerd, gRPC; see NOTICE) by the
//! program in `generate`, and checked in. Everything here comes from outside: lengths, numbers and
//! names mean nothing before somebody has looked at them.
#![forbid(unsafe_code)]

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::nursery, rustdoc::all)]
#[rustfmt::skip]
mod generated;

/// `google.protobuf`: instants, any message.
pub use prost_types;

/// The control service: builds, their progress, the cache, the history.
pub use generated::moby::buildkit::v1 as control;

/// The gateway service: how a client, in place of a front end, drives a build.
pub use generated::moby::buildkit::v1::frontend as gateway;

/// Which features there are.
pub use generated::moby::buildkit::v1::apicaps;

/// Which sources may be used.
pub use generated::moby::buildkit::v1::sourcepolicy;

/// Session: the client says of each source whether it may be used.
pub use generated::moby::buildkit::v1::sourcepolicy::policysession;

/// Workers and their versions.
pub use generated::moby::buildkit::v1::types;

/// Operations of the low-level builder, of which a graph consists.
pub use generated::pb;

/// What an error says of the step and the line that it comes from.
pub use generated::errdefs;

/// Session: directories of the client's, files to it, and its credentials at registries. (BuildKit has
/// both in one package.)
pub use generated::moby::filesync::v1 as filesync;

/// Session: where else results go.
pub use generated::moby::exporter::v1 as exporter;

/// Session: secrets.
pub use generated::moby::buildkit::secrets::v1 as secrets;

/// Session: the client's ssh agent.
pub use generated::moby::sshforward::v1 as sshforward;

/// Session: a stream that the client has, an archive from its standard input.
pub use generated::moby::upload::v1 as upload;

/// Files and packets of fsutil, of which `filesync` consists.
pub use generated::fsutil::types as fsutil;

/// containerd's content store: blobs by digest.
pub use generated::containerd::services::content::v1 as content;

/// Whether a server answers.
pub use generated::grpc::health::v1 as health;

/// `google.rpc.Status`: an error with its details.
pub use generated::google::rpc;
