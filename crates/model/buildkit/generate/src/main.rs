//! Writes the Rust of the .proto files, to be checked in.
#![forbid(unsafe_code)]

use std::path::Path;

const BUILDKIT: &str = "github.com/moby/buildkit";

/// What is spoken; all else is imported by these.
const FILES: [&str; 12] = [
    "api/services/control/control.proto",
    "frontend/gateway/pb/gateway.proto",
    "session/auth/auth.proto",
    "session/exporter/exporter.proto",
    "session/filesync/filesync.proto",
    "session/secrets/secrets.proto",
    "session/sshforward/ssh.proto",
    "session/upload/upload.proto",
    "solver/errdefs/errdefs.proto",
    "solver/pb/ops.proto",
    "sourcepolicy/pb/policy.proto",
    "sourcepolicy/policysession/policysession.proto",
];

const OTHERS: [&str; 3] = [
    "github.com/containerd/containerd/api/services/content/v1/content.proto",
    "google/rpc/status.proto",
    "grpc/health/v1/health.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = FILES.iter().map(|file| format!("{BUILDKIT}/{file}"));
    let files: Vec<_> = ours.chain(OTHERS.iter().map(|&file| file.to_owned())).collect();
    let descriptors = protox::compile(files, [here.join("../protos")])?;
    tonic_prost_build::configure()
        .out_dir(here.join("../src/generated"))
        .include_file("mod.rs")
        .build_transport(false)
        .bytes(".fsutil.types.Packet.data")
        .bytes(".moby.filesync.v1.BytesMessage")
        .bytes(".moby.sshforward.v1.BytesMessage")
        .bytes(".moby.upload.v1.BytesMessage")
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
