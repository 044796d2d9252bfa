//! Commands on images.

#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::PruneArgs;

/// Commands on images.
#[derive(Subcommand, Debug)]
pub(crate) enum ImageCommand {
    /// List images
    Images(ImagesArgs),
    /// Remove one or more images
    Rmi(RmiArgs),
    #[command(flatten)]
    Common(ImageCommon),
}

/// Commands on images that have one name at the top and under `image`.
#[derive(Subcommand, Debug)]
pub(crate) enum ImageCommon {
    /// Import the contents of a tarball to create an image
    #[command(
        after_help = "Example:\n  dhow import rootfs.tar.zst debian:base --change 'CMD [\"bash\"]'"
    )]
    Import(ImportArgs),
    /// Create a tag that refers to an image
    Tag {
        /// The image
        source: String,
        /// Its new name
        target: String,
    },
    /// Show the history of an image
    History(HistoryArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save {
        /// Write to a file, instead of STDOUT
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Save only the given platform(s) (linux/amd64,linux/arm64/v8)
        #[arg(long)]
        platform: Vec<String>,
        /// Names or ids
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Load an image from a tar archive or STDIN
    Load {
        /// Read from tar archive file, instead of STDIN
        #[arg(short, long)]
        input: Option<PathBuf>,
        /// Load only the given platform(s) (linux/amd64,linux/arm64/v8)
        #[arg(long)]
        platform: Vec<String>,
        /// Suppress the load output
        #[arg(short, long)]
        quiet: bool,
    },
    /// Download an image from a registry
    #[command(after_help = "Example:\n  dhow pull --platform linux/arm64 debian:12")]
    Pull(PullArgs),
    /// Upload an image to a registry
    #[command(after_help = "Example:\n  dhow push registry.example.com:5000/me/app:1.2")]
    Push(PushArgs),
}

/// `dhow image ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum ImageGroup {
    #[command(flatten)]
    Common(ImageCommon),
    /// Build an image from a Dockerfile
    Build(Box<super::BuildArgs>),
    /// List images
    #[command(aliases = ["list"])]
    Ls(ImagesArgs),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Display detailed information on one or more images
    Inspect(ImageInspectArgs),
    /// Remove unused images
    Prune(PruneArgs),
    /// Remove images that were not used for long, or for which there is no room
    ///
    /// Images that a container is made of stay, and those that were pushed to a registry served from
    /// here. The daemon does the same from time to time, without being asked only when the disk is nearly
    /// full, and then only to those without a name that nobody has used for a month (dhow daemon
    /// --image-gc, or "image-gc" in /etc/dhow/daemon.json; "off" turns it off).
    #[command(
        after_help = "Example:\n  dhow image gc --max-age 30d --max-size 20GB --filter 'label!=keep' --dry-run"
    )]
    Gc(GcArgs),
    /// Show what each layer of an image adds, changes and removes, and what of it nobody sees
    #[command(
        after_help = "Examples:\n  dhow image explain debian:12\n  dhow image explain --files debian:12 | grep /var/cache"
    )]
    Explain(ExplainArgs),
    /// Give an image another name under a manifest of Docker's schema 2, or of OCI
    ///
    /// Its id stays, and its layers stay byte for byte: only what the manifest calls them changes. For
    /// registries and tools that know one of the two. Layers through zstd are OCI's alone.
    #[command(
        after_help = "Example:\n  dhow image convert --to docker app:1 registry.example/app:1 && dhow push registry.example/app:1"
    )]
    Convert(ConvertArgs),
}

/// `image convert`.
#[derive(Args, Debug)]
pub(crate) struct ConvertArgs {
    /// What the manifest is to be
    #[arg(long, value_name = "SCHEMA", value_parser = ["docker", "oci"])]
    pub(crate) to: String,
    /// Of an image for several platforms, the one for this (linux/amd64)
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// The image
    pub(crate) source: String,
    /// Its new name
    pub(crate) target: String,
}

/// `image inspect`.
#[derive(Args, Debug)]
pub(crate) struct ImageInspectArgs {
    /// Format output using a Go template, or `json`
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Inspect a specific platform of the multi-platform image (linux/amd64)
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

/// `image explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Show every file: A added, C changed, T stored again with the same content, D removed
    #[arg(long, conflicts_with = "format")]
    pub(crate) files: bool,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// The image
    pub(crate) image: String,
}

/// `image gc`, `container gc`.
#[derive(Args, Debug)]
pub(crate) struct GcArgs {
    /// Remove those that were not used for this long (30d, 12h)
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<String>,
    /// Remove those that were not used for longest until all together hold no more than this (20GB)
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<String>,
    /// Remove those that were not used for longest until this much of the disk is free (5GB, 10%)
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_free: Option<String>,
    /// Keep those that were used within this time, whatever else is said
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) min_age: String,
    /// Only remove those that fit: label=KEY[=VALUE], label!=...; of images also reference=PATTERN,
    /// dangling=BOOL, of containers named=BOOL (whether somebody chose the name)
    #[arg(long)]
    pub(crate) filter: Vec<String>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Show what was removed until now, by hand or by the daemon
    #[arg(long, conflicts_with_all = ["max_age", "max_size", "min_free", "filter", "dry_run"])]
    pub(crate) log: bool,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
}

/// `images`.
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Show all images (default hides intermediate and dangling images)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Show images of several platforms with what is in them, and the layers as a tree with the images
    /// that share them
    #[arg(long)]
    pub(crate) tree: bool,
    /// REPOSITORY[:TAG]
    pub(crate) reference: Option<String>,
}

/// `rmi`.
#[derive(Args, Debug)]
pub(crate) struct RmiArgs {
    /// Force removal of the image
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// Remove only the given platform variant (linux/amd64)
    #[arg(long)]
    pub(crate) platform: Vec<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

/// `import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    pub(crate) change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, default_value_t)]
    pub(crate) message: String,
    /// Set platform of the image
    #[arg(long, default_value_t)]
    pub(crate) platform: String,
    /// The archive (tar, gzip or zstd), its address (http://, https://), or `-` for standard input
    pub(crate) file: PathBuf,
    /// REPOSITORY[:TAG]
    pub(crate) reference: Option<String>,
}

/// `history`.
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) human: Option<bool>,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show history for the given platform (linux/amd64)
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Only show image IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image
    pub(crate) image: String,
}

/// `pull`.
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Skip image verification, of which there is none
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) disable_content_trust: Option<bool>,
    /// NAME[:TAG|@DIGEST]
    pub(crate) name: String,
}

/// `push`.
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Push the image of one platform, not the index (linux/amd64)
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Skip image verification, of which there is none
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) disable_content_trust: Option<bool>,
    /// NAME[:TAG]
    pub(crate) name: String,
}

/// `login`.
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Username
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// Password or Personal Access Token, or - to read it from stdin
    #[arg(short, long)]
    pub(crate) password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// The registry; Docker Hub where there is none
    pub(crate) server: Option<String>,
}

/// `search`.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// Filter output based on conditions provided (stars=NUMBER, is-official=BOOL)
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Max number of search results
    #[arg(long, default_value_t)]
    pub(crate) limit: i64,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// What to search for, [REGISTRY/]TERM
    pub(crate) term: String,
}
