//! Commands on manifests and manifest lists.

#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use clap::{Args, Subcommand};

/// `dhow manifest ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum ManifestCommand {
    /// Create a local manifest list for annotating and pushing to a registry
    #[command(
        after_help = "Example:\n  dhow manifest create r.example.com/app:1 r.example.com/app:1-amd64 r.example.com/app:1-arm64"
    )]
    Create(ManifestCreateArgs),
    /// Add additional information to a local image manifest
    Annotate(ManifestAnnotateArgs),
    /// Display an image manifest, or manifest list
    Inspect(ManifestInspectArgs),
    /// Push a manifest list to a repository
    Push(ManifestPushArgs),
    /// Delete one or more manifest lists from local storage
    Rm {
        /// Manifest lists
        #[arg(required = true)]
        lists: Vec<String>,
    },
    /// List what a registry has that is about an image: signatures, attestations, bills of materials
    Referrers(ReferrersArgs),
}

/// `manifest create`.
#[derive(Args, Debug)]
pub(crate) struct ManifestCreateArgs {
    /// Amend an existing manifest list
    #[arg(short, long)]
    pub(crate) amend: bool,
    /// Allow communication with an insecure registry
    #[arg(long)]
    pub(crate) insecure: bool,
    /// The list
    pub(crate) list: String,
    /// Its manifests
    #[arg(required = true)]
    pub(crate) manifests: Vec<String>,
}

/// `manifest annotate`.
#[derive(Args, Debug)]
pub(crate) struct ManifestAnnotateArgs {
    /// Set architecture
    #[arg(long)]
    pub(crate) arch: Option<String>,
    /// Set operating system
    #[arg(long)]
    pub(crate) os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_delimiter = ',')]
    pub(crate) os_features: Vec<String>,
    /// Set operating system version
    #[arg(long)]
    pub(crate) os_version: Option<String>,
    /// Set architecture variant
    #[arg(long)]
    pub(crate) variant: Option<String>,
    /// The list
    pub(crate) list: String,
    /// One of its manifests
    pub(crate) manifest: String,
}

/// `manifest inspect`.
#[derive(Args, Debug)]
pub(crate) struct ManifestInspectArgs {
    /// Allow communication with an insecure registry
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// [MANIFEST_LIST] MANIFEST
    #[arg(required = true, num_args = 1..=2)]
    pub(crate) names: Vec<String>,
}

/// `manifest push`.
#[derive(Args, Debug)]
pub(crate) struct ManifestPushArgs {
    /// Allow push to an insecure registry
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    pub(crate) purge: bool,
    /// The list
    pub(crate) list: String,
}

/// `manifest referrers`.
#[derive(Args, Debug)]
pub(crate) struct ReferrersArgs {
    /// Only those of this type
    #[arg(long)]
    pub(crate) artifact_type: Option<String>,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Allow communication with an insecure registry
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// NAME[:TAG|@DIGEST] of the image
    pub(crate) name: String,
}
