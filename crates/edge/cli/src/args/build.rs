//! `dhow build` and `dhow builder`.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `build`.
#[derive(Args, Debug, Default)]
pub(crate) struct BuildArgs {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_delimiter = ',', value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,
    /// Allow extra privileged entitlement (network.host, security.insecure, device, buildx.local.delete)
    #[arg(long)]
    pub(crate) allow: Vec<String>,
    /// Add annotation to the image ([TYPE:]KEY=VALUE)
    #[arg(long)]
    pub(crate) annotation: Vec<String>,
    /// Attestation parameters (type=sbom,generator=IMAGE)
    #[arg(long)]
    pub(crate) attest: Vec<String>,
    /// Set build-time variables
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Additional build contexts (NAME=PATH, NAME=docker-image://IMAGE, a git or http URL)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_context: Vec<String>,
    /// The builder: there is one, default
    #[arg(long, value_name = "NAME")]
    pub(crate) builder: Option<String>,
    /// Where a cache of RUN --mount=type=cache is for this build: a directory or a .tar file of this machine, which
    /// it begins with and is written to, or a volume (ID=DIR|FILE.tar|volume:NAME[,uid=N][,gid=N][,mode=OCTAL])
    #[arg(long, value_name = "ID=PLACE")]
    pub(crate) cache_mount: Vec<String>,
    /// External cache sources (user/app:cache, type=local,src=DIR; cache-mounts=true: also cache mounts)
    #[arg(long)]
    pub(crate) cache_from: Vec<String>,
    /// Cache export destinations (user/app:cache, type=local,dest=DIR, type=inline; cache-mounts=true: also cache mounts)
    #[arg(long)]
    pub(crate) cache_to: Vec<String>,
    /// What to do: build, check, outline, targets, subrequests.describe
    #[arg(long, default_value = "build", value_name = "METHOD")]
    pub(crate) call: String,
    /// Set the parent cgroup for the RUN instructions during build
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,
    /// Shorthand for --call=check
    #[arg(long)]
    pub(crate) check: bool,
    /// Show more of warnings and errors
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,
    /// Build a definition (LLB) that buildctl takes on its standard input, instead of a Dockerfile; local sources in it
    /// are the context, by the name context, and those of --build-context by theirs
    #[arg(long, value_name = "FILE")]
    pub(crate) definition: Option<PathBuf>,
    /// Say why each step was or was not cached
    #[arg(long)]
    pub(crate) explain: bool,
    /// Format of --explain (text, json), of --call (text, json) and of `build graph` (text, svg, dot, json)
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Name of the Dockerfile (default: PATH/Dockerfile); - for standard input
    #[arg(short, long)]
    pub(crate) file: Option<String>,
    /// Always remove intermediate containers: there are none
    #[arg(long, hide = true)]
    pub(crate) force_rm: bool,
    /// After the build, write its steps, with their times and what each waited for, to a file (.svg: a
    /// picture), or - for text to STDOUT
    #[arg(long, value_name = "FILE")]
    pub(crate) graph: Option<PathBuf>,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Set metadata for an image
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Shorthand for --output=type=docker
    #[arg(long)]
    pub(crate) load: bool,
    /// Write build result metadata to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Set the networking mode for the RUN instructions during build (default, none, host)
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// Do not use cache when building the image
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Do not cache specified stages
    #[arg(long, value_delimiter = ',', value_name = "STAGE")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Output destination (PATH, -, type=local,dest=DIR; also tar, oci, docker, image, registry)
    #[arg(short, long)]
    pub(crate) output: Vec<String>,
    /// Set target platform for build
    #[arg(long, value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Set type of progress output: auto, plain, tty, quiet, none, rawjson [env: BUILDKIT_PROGRESS]
    #[arg(long, value_name = "TYPE")]
    pub(crate) progress: Option<String>,
    /// Shorthand for --attest=type=provenance
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) provenance: Option<String>,
    /// Let RUN instructions reach others through a proxy alone, which heeds the rules for sources, and notes what is
    /// fetched
    #[arg(long)]
    pub(crate) proxy_network: bool,
    /// Always attempt to pull all referenced images
    #[arg(long)]
    pub(crate) pull: bool,
    /// Shorthand for --output=type=registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Resource limits of build containers (memory=2g, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus,
    /// cpuset-mems)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) resource: Vec<String>,
    /// Remove intermediate containers after a successful build: there are none
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) rm: Option<bool>,
    /// Shorthand for --attest=type=sbom
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sbom: Option<String>,
    /// Secret to expose to the build (id=NAME[,src=FILE|,env=VARIABLE])
    #[arg(long)]
    pub(crate) secret: Vec<String>,
    /// Shared memory size for build containers
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// SSH agent socket or keys to expose to the build (default|ID[=SOCKET|KEY[,KEY]])
    #[arg(long)]
    pub(crate) ssh: Vec<String>,
    /// Make one layer of all that is built above the base image
    #[arg(long)]
    pub(crate) squash: bool,
    /// Image identifier ([REGISTRY/]REPOSITORY[:TAG])
    #[arg(short, long)]
    pub(crate) tag: Vec<String>,
    /// Set the target build stage to build
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Ulimit options (nofile=1024:2048)
    #[arg(long)]
    pub(crate) ulimit: Vec<String>,
    #[command(flatten)]
    pub(crate) refused: RefusedArgs,
    /// The context: a directory, the URL of a repository or an archive, - for standard input. With `graph`
    /// before it nothing is built: the steps are shown, with what the last build of each took
    #[arg(value_name = "PATH | URL | -", required = true, num_args = 1..=2)]
    pub(crate) context: Vec<String>,
}

/// Options of the classic builder that BuildKit has no word for. Each is refused by its name.
#[derive(Args, Debug, Default)]
pub(crate) struct RefusedArgs {
    #[arg(short, long, hide = true)]
    pub(crate) memory: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) memory_swap: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpu_period: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpu_quota: Option<String>,
    #[arg(short, long, hide = true)]
    pub(crate) cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpuset_mems: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) isolation: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) security_opt: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) policy: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) compress: bool,
}

impl RefusedArgs {
    /// The first of them that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let texts = [
            (&self.memory, "--memory"),
            (&self.memory_swap, "--memory-swap"),
            (&self.cpu_period, "--cpu-period"),
            (&self.cpu_quota, "--cpu-quota"),
            (&self.cpu_shares, "--cpu-shares"),
            (&self.cpuset_cpus, "--cpuset-cpus"),
            (&self.cpuset_mems, "--cpuset-mems"),
            (&self.isolation, "--isolation"),
        ];
        let others = [
            (!self.security_opt.is_empty(), "--security-opt"),
            (!self.policy.is_empty(), "--policy"),
            (self.compress, "--compress"),
        ];
        let texts = texts.iter().map(|(value, name)| (value.is_some(), *name));
        texts.chain(others).find(|(is_given, _)| *is_given).map(|(_, name)| name)
    }
}

/// `dhow builder ...` and `dhow buildx ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum BuilderCommand {
    /// Start a build
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
    /// Remove build cache
    #[command(
        after_help = "Example:\n  dhow builder prune --all --filter until=72h --max-used-space 10GB"
    )]
    Prune(BuilderPruneArgs),
    /// Show what the build cache holds
    Du(BuilderDuArgs),
    /// List builders: there is one, the engine's own
    #[command(after_help = "Example:\n  dhow builder ls --format json")]
    Ls(BuilderLsArgs),
    /// Show the builder, and what it can build for
    Inspect {
        /// Ensure builder has booted before inspecting: it has, once it answers
        #[arg(long)]
        bootstrap: bool,
        #[arg(long, hide = true)]
        builder: Option<String>,
        /// The builder
        name: Option<String>,
    },
    /// Choose a builder: that of the context in use, the only one that there is
    Use {
        /// The builder
        name: String,
    },
    /// Show the version
    Version,
    /// What RUN --mount=type=cache keeps: list it, take it elsewhere, bring it here
    #[command(subcommand, name = "cache-mount", visible_alias = "cache-mounts")]
    CacheMount(CacheMountCommand),
    /// Builds that were made
    #[command(subcommand)]
    History(HistoryCommand),
    /// Show the steps of a build that was made, with their times and what each waited for
    #[command(after_help = "Examples:\n  dhow builder graph\n  dhow builder graph -o build.svg ^1")]
    Graph {
        /// Write an SVG, instead of text to STDOUT
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The build: the newest, or an id, or ^1 for the one before
        build: Option<String>,
    },
}

/// `builder prune`.
#[derive(Args, Debug)]
pub(crate) struct BuilderPruneArgs {
    /// Include internal/frontend images, and all that is unused, not only what is dangling
    #[arg(short, long)]
    pub(crate) all: bool,
    #[arg(long, hide = true)]
    pub(crate) builder: Option<String>,
    /// Provide filter values (until=24h, type=regular, id=ID)
    #[arg(long)]
    pub(crate) filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Amount of disk space to keep for cache: the same as --reserved-space
    #[arg(long, value_name = "BYTES")]
    pub(crate) keep_storage: Option<String>,
    /// Maximum amount of disk space allowed to keep for cache
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_used_space: Option<String>,
    /// Target amount of free disk space after pruning
    #[arg(long, value_name = "BYTES")]
    pub(crate) min_free_space: Option<String>,
    /// Amount of disk space always allowed to keep for cache
    #[arg(long, value_name = "BYTES")]
    pub(crate) reserved_space: Option<String>,
    /// Show each entry in full
    #[arg(long)]
    pub(crate) verbose: bool,
}

/// `builder ls`.
#[derive(Args, Debug)]
pub(crate) struct BuilderLsArgs {
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// `builder du`.
#[derive(Args, Debug)]
pub(crate) struct BuilderDuArgs {
    #[arg(long, hide = true)]
    pub(crate) builder: Option<String>,
    /// Provide filter values
    #[arg(long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, `table TEMPLATE`, `pretty`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Shorthand for --format=pretty
    #[arg(long)]
    pub(crate) verbose: bool,
}

/// `builder history ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum HistoryCommand {
    /// List builds
    #[command(alias = "list")]
    Ls {
        /// Provide filter values (status=error, ref=ID, duration>30s)
        #[arg(long)]
        filter: Vec<String>,
        /// Format output using a Go template, `table TEMPLATE`, or `json`
        #[arg(long)]
        format: Option<String>,
        /// Don't truncate output
        #[arg(long)]
        no_trunc: bool,
    },
    /// Show one build: the newest, or an id, or ^1 for the one before
    Inspect {
        /// Format output: pretty, json, or a Go template
        #[arg(long)]
        format: Option<String>,
        /// The build
        build: Option<String>,
    },
    /// Print the logs of a build
    Logs {
        /// plain, rawjson or tty
        #[arg(long, default_value = "plain", value_name = "TYPE")]
        progress: String,
        /// The build
        build: Option<String>,
    },
    /// Remove builds from the history
    Rm {
        /// All of them
        #[arg(long)]
        all: bool,
        /// The builds
        #[arg(required_unless_present = "all")]
        builds: Vec<String>,
    },
}

/// `builder cache-mount ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum CacheMountCommand {
    /// List cache mounts
    #[command(alias = "list", after_help = "Example:\n  dhow builder cache-mount ls --format json")]
    Ls {
        /// Format output using a Go template, `table TEMPLATE`, or `json`
        #[arg(long)]
        format: Option<String>,
        /// Only display ids
        #[arg(short, long)]
        quiet: bool,
    },
    /// Write what is in one as a tar archive
    #[command(after_help = "Examples:\n  dhow builder cache-mount export -o npm.tar npm\n  \
                            dhow builder cache-mount export /root/.npm | zstd > npm.tar.zst")]
    Export {
        /// Write to a file, or - for STDOUT, where it goes otherwise
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        look: CacheMountLook,
        /// The id that the Dockerfile gives (without one, the target), or that in `builder du`
        id: String,
    },
    /// Give one what is in a tar archive (plain or compressed) or a directory, in place of what it has
    #[command(after_help = "Examples:\n  dhow builder cache-mount import -i npm.tar npm\n  \
                            dhow builder cache-mount import -i ~/.npm --uid 1000 --gid 1000 npm")]
    Import {
        /// Read from a file or a directory, or - for STDIN, whence it comes otherwise
        #[arg(short, long, value_name = "FILE|DIR")]
        input: Option<PathBuf>,
        #[command(flatten)]
        look: CacheMountLook,
        /// The id that the Dockerfile gives (without one, the target)
        id: String,
    },
    /// Remove cache mounts
    #[command(
        alias = "remove",
        after_help = "Example:\n  dhow builder cache-mount rm npm /root/.npm"
    )]
    Rm {
        /// The ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// What a Dockerfile says of a cache mount beside its id. One of another owner is another one.
#[derive(Args, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheMountLook {
    /// The owner, as the Dockerfile says (0 where it does not)
    #[arg(long)]
    pub(crate) uid: Option<u32>,
    /// The group, as the Dockerfile says (0 where it does not)
    #[arg(long)]
    pub(crate) gid: Option<u32>,
    /// The mode, as the Dockerfile says (0755 where it does not)
    #[arg(long, value_name = "OCTAL")]
    pub(crate) mode: Option<String>,
}
