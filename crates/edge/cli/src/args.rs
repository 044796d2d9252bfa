//! The commands, as they are typed. Management commands (`dhow container ls`) and their short
//! forms (`dhow ps`) lead to one and the same.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::run_args::{ContainerArgs, RunArgs};

const EXAMPLES: &str = "Examples:
  dhow run hello                          what a container sees of itself
  dhow run --rm -it host sh               this machine's own files, safe to destroy
  dhow run -d --name web -p 8080:80 IMAGE
  dhow ps; dhow logs -f web; dhow exec -it web sh; dhow rm -f web";

/// A container engine in one static binary.
#[derive(Parser, Debug)]
#[command(name = "dhow", version, disable_help_subcommand = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What goes before the command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Engine to connect to (unix:///PATH, tcp://HOST:PORT); without it, none is needed
    #[arg(short = 'H', long)]
    pub host: Option<String>,
    /// Where images, containers and volumes are kept [env: DHOW_ROOT] [default: /var/lib/dhow]
    #[arg(long)]
    pub root: Option<PathBuf>,
    /// Where sockets and all that may vanish at a reboot are kept [env: DHOW_STATE] [default: /run/dhow]
    #[arg(long)]
    pub state: Option<PathBuf>,
}

/// A command.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Create and run a new container from an image
    #[command(
        after_help = "Example:\n  dhow run --rm -it --memory 512m --cpus 0.5 debian:base bash"
    )]
    Run(Box<RunArgs>),
    #[command(flatten)]
    Container(ContainerCommand),
    /// Manage containers
    #[command(name = "container", subcommand)]
    ContainerGroup(ContainerGroup),
    #[command(flatten)]
    Image(ImageCommand),
    /// Manage images
    #[command(name = "image", subcommand)]
    ImageGroup(ImageGroup),
    /// Manage networks
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Manage volumes
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Manage the engine
    #[command(subcommand)]
    System(SystemCommand),
    /// Return low-level information on containers, images, networks and volumes
    Inspect(InspectArgs),
    /// Show version information
    Version(FormatArg),
    /// Display system-wide information
    Info(FormatArg),
    /// Get real time events from the engine
    Events(EventsArgs),
    /// Serve the Docker Engine API on a socket
    #[command(after_help = "Example:\n  dhow daemon &\n  docker -H unix:///run/dhow/dhow.sock ps")]
    Daemon(DaemonArgs),
}

/// `dhow container ...`: the short forms, and the names that only exist here.
#[derive(Subcommand, Debug)]
pub(crate) enum ContainerGroup {
    /// Create and run a new container from an image
    Run(Box<RunArgs>),
    #[command(flatten)]
    Common(ContainerCommand),
    /// List containers
    #[command(aliases = ["list"])]
    Ls(PsArgs),
    /// Display detailed information on one or more containers
    Inspect(InspectArgs),
    /// Remove all stopped containers
    Prune(PruneArgs),
}

/// Commands on containers.
#[derive(Subcommand, Debug)]
pub(crate) enum ContainerCommand {
    /// Create a new container
    Create(Box<ContainerArgs>),
    /// Start one or more stopped containers
    Start(StartArgs),
    /// Attach local standard input, output, and error streams to a running container
    Attach(AttachArgs),
    /// Execute a command in a running container
    #[command(after_help = "Example:\n  dhow exec -it web sh")]
    Exec(ExecArgs),
    /// List containers
    #[command(
        after_help = "Example:\n  dhow ps -a --filter status=exited --format '{{.Names}}: {{.Status}}'"
    )]
    Ps(PsArgs),
    /// Fetch the logs of a container
    Logs(LogsArgs),
    /// Stop one or more running containers
    Stop(StopArgs),
    /// Restart one or more containers
    Restart(StopArgs),
    /// Kill one or more running containers
    Kill(KillArgs),
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Names),
    /// Display the running processes of a container
    Top(TopArgs),
    /// Pause all processes within one or more containers
    Pause(Names),
    /// Unpause all processes within one or more containers
    Unpause(Names),
    /// Rename a container
    Rename {
        /// The container
        container: String,
        /// Its new name
        new_name: String,
    },
    /// List port mappings or a specific mapping for the container
    Port {
        /// The container
        container: String,
        /// Only this port, such as 80/tcp
        port: Option<String>,
    },
    /// Inspect changes to files or directories on a container's filesystem
    Diff {
        /// The container
        container: String,
    },
}

/// One or more containers.
#[derive(Args, Debug)]
pub(crate) struct Names {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `start`.
#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Attach container's STDIN
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    pub(crate) detach_keys: Option<String>,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// `attach`.
#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// Override the key sequence for detaching a container
    #[arg(long)]
    pub(crate) detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sig_proxy: Option<bool>,
    /// Name or id
    pub(crate) container: String,
}

/// `exec`.
#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    pub(crate) detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long)]
    pub(crate) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    pub(crate) env_file: Vec<PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, default_value_t)]
    pub(crate) user: String,
    /// Working directory inside the container
    #[arg(short, long, default_value_t)]
    pub(crate) workdir: String,
    /// Name or id
    pub(crate) container: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `ps`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    pub(crate) size: bool,
}

/// `logs`.
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Show extra details provided to logs
    #[arg(long)]
    pub(crate) details: bool,
    /// Follow log output
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show logs since timestamp or relative (e.g. 42m for 42 minutes)
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all", allow_negative_numbers = true)]
    pub(crate) tail: String,
    /// Show timestamps
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Show logs before a timestamp or relative (e.g. 42m for 42 minutes)
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// Name or id
    pub(crate) container: String,
}

/// `stop` and `restart`.
#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    /// Signal to send to the container
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, alias = "timeout", allow_negative_numbers = true)]
    pub(crate) time: Option<i64>,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// `kill`.
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    /// Signal to send to the container
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// `rm`.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Remove the specified link
    #[arg(short, long)]
    pub(crate) link: bool,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// `top`.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Name or id
    pub(crate) container: String,
    /// Options of ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) ps_args: Vec<String>,
}

/// `inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Format output using a Go template, or `json`
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Only inspect objects of the given type (container, image, network, volume)
    #[arg(long)]
    pub(crate) r#type: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) objects: Vec<String>,
}

/// `... prune`.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Filter what is removed
    #[arg(long)]
    pub(crate) filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
    /// All that is unused, not only what is dangling or anonymous
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// A lone `--format`.
#[derive(Args, Debug)]
pub(crate) struct FormatArg {
    /// Format output using a Go template, or `json`
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}

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
    /// Download an image from a registry
    Pull {
        /// Suppress verbose output
        #[arg(short, long)]
        quiet: bool,
        /// Set platform if server is multi-platform capable
        #[arg(long)]
        platform: Option<String>,
        /// NAME[:TAG|@DIGEST]
        name: String,
    },
}

/// `dhow image ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum ImageGroup {
    #[command(flatten)]
    Common(ImageCommon),
    /// List images
    #[command(aliases = ["list"])]
    Ls(ImagesArgs),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Display detailed information on one or more images
    Inspect(InspectArgs),
    /// Remove unused images
    Prune(PruneArgs),
}

/// `images`.
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Show all images (default hides intermediate images)
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
    /// The archive (tar, gzip or zstd), or `-` for standard input
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
    /// Only show image IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image
    pub(crate) image: String,
}

/// `dhow network ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum NetworkCommand {
    /// Create a network
    #[command(after_help = "Example:\n  dhow network create --subnet 10.5.0.0/24 backend")]
    Create(NetworkCreateArgs),
    /// List networks
    #[command(aliases = ["list"])]
    Ls(ListArgs),
    /// Display detailed information on one or more networks
    Inspect(InspectArgs),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm {
        /// Do not error if the network does not exist
        #[arg(short, long)]
        force: bool,
        /// Names or ids
        #[arg(required = true)]
        networks: Vec<String>,
    },
    /// Connect a container to a network
    Connect(ConnectArgs),
    /// Disconnect a container from a network
    Disconnect {
        /// Force the container to disconnect from a network
        #[arg(short, long)]
        force: bool,
        /// The network
        network: String,
        /// The container
        container: String,
    },
    /// Remove all unused networks
    Prune(PruneArgs),
}

/// `network create`.
#[derive(Args, Debug)]
pub(crate) struct NetworkCreateArgs {
    /// Enable manual container attachment
    #[arg(long)]
    pub(crate) attachable: bool,
    /// Driver to manage the network
    #[arg(short, long, default_value = "bridge")]
    pub(crate) driver: String,
    /// Gateway of the subnet
    #[arg(long)]
    pub(crate) gateway: Vec<String>,
    /// Restrict external access to the network
    #[arg(long)]
    pub(crate) internal: bool,
    /// Allocate container addresses from a sub-range
    #[arg(long)]
    pub(crate) ip_range: Vec<String>,
    /// Enable IPv6 networking
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Set metadata on a network
    #[arg(long)]
    pub(crate) label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long)]
    pub(crate) opt: Vec<String>,
    /// Subnet in CIDR form
    #[arg(long)]
    pub(crate) subnet: Vec<String>,
    /// Its name
    pub(crate) name: String,
}

/// `network connect`.
#[derive(Args, Debug)]
pub(crate) struct ConnectArgs {
    /// Add network-scoped alias for the container
    #[arg(long)]
    pub(crate) alias: Vec<String>,
    /// IPv4 address
    #[arg(long, default_value_t)]
    pub(crate) ip: String,
    /// IPv6 address
    #[arg(long, default_value_t)]
    pub(crate) ip6: String,
    /// The network
    pub(crate) network: String,
    /// The container
    pub(crate) container: String,
}

/// `network ls` and `volume ls`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only display names or ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `dhow volume ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum VolumeCommand {
    /// Create a volume
    Create {
        /// Driver of the volume
        #[arg(short, long, default_value = "local")]
        driver: String,
        /// Set metadata for a volume
        #[arg(long)]
        label: Vec<String>,
        /// Set driver specific options
        #[arg(short, long)]
        opt: Vec<String>,
        /// Its name; without one, a random one
        name: Option<String>,
    },
    /// List volumes
    #[command(aliases = ["list"])]
    Ls(ListArgs),
    /// Display detailed information on one or more volumes
    Inspect(InspectArgs),
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm {
        /// Do not error if the volume does not exist
        #[arg(short, long)]
        force: bool,
        /// Names
        #[arg(required = true)]
        volumes: Vec<String>,
    },
    /// Remove unused local volumes
    Prune(PruneArgs),
}

/// `dhow system ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum SystemCommand {
    /// Display system-wide information
    Info(FormatArg),
    /// Get real time events from the engine
    Events(EventsArgs),
}

/// `events`.
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long)]
    pub(crate) until: Option<String>,
}

/// `daemon`.
#[derive(Args, Clone, Debug, Default)]
pub struct DaemonArgs {
    /// Where to listen, unix:///path; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
}
