//! Commands on containers.

#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{InspectArgs, PruneArgs};
use crate::run_args::{ContainerArgs, RunArgs};

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
    /// Tell what a container is to the kernel: processes, namespaces, limits, files, network, rights
    #[command(after_help = "Example:\n  dhow container explain web")]
    Explain(ExplainContainerArgs),
    /// Remove all stopped containers
    Prune(PruneArgs),
    /// Remove containers that have not run for long, or for which there is no room
    ///
    /// None that runs or has a restart policy, and no volume. The daemon does the same from time to
    /// time, without being asked only when the disk is nearly full, and then only to those that nobody
    /// has given a name and that ended a month ago (dhow daemon --container-gc, or "container-gc" in
    /// /etc/dhow/daemon.json; "off" turns it off).
    #[command(
        after_help = "Example:\n  dhow container gc --max-age 7d --filter 'label!=keep' --dry-run"
    )]
    Gc(super::image::GcArgs),
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
    /// A shell with tools beside a container that has none
    ///
    /// Beside a container that runs it shares its processes and its network, and finds its files in
    /// /proc/1/root. For one that does not run it is in a copy of its files, which ends with it.
    #[command(
        after_help = "Example:\n  dhow debug web; dhow debug web ls -l /proc/1/root/etc; dhow debug --image debian web bash"
    )]
    Debug(DebugArgs),
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
    /// Display a live stream of container(s) resource usage statistics
    #[command(
        after_help = "Example:\n  dhow stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}'"
    )]
    Stats(StatsArgs),
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
    /// Update configuration of one or more containers
    #[command(
        after_help = "Example:\n  dhow update --memory 1g web\n  dhow update --publish 8443:443 --mount type=volume,src=data,dst=/data web"
    )]
    Update(Box<UpdateArgs>),
    /// Create a new image from a container's changes
    Commit(CommitArgs),
    /// Copy files/folders between containers and the local filesystem, or between containers
    #[command(
        after_help = "Example:\n  dhow cp web:/etc/nginx/. conf; dhow cp page.html web:/srv/; dhow cp web:/var/log - | tar -t"
    )]
    Cp(CpArgs),
    /// Export a container's filesystem as a tar archive
    Export {
        /// Write to a file, instead of STDOUT
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// The container
        container: String,
    },
}

/// `container explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainContainerArgs {
    /// Format output: `json`, with all that is known
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// The container
    pub(crate) container: String,
}

/// `debug`.
#[derive(Args, Debug)]
pub(crate) struct DebugArgs {
    /// Image with the tools [default: busybox if it is here, else host: this machine's own files]
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// Give extended privileges to the shell
    #[arg(long)]
    pub(crate) privileged: bool,
    /// The container
    pub(crate) container: String,
    /// Command to run [default: sh]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// One or more containers.
#[derive(Args, Debug)]
pub(crate) struct Names {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `update`.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Block IO weight, between 10 and 1000
    #[arg(long)]
    pub(crate) blkio_weight: Option<u16>,
    /// Limit CPU CFS period, in microseconds
    #[arg(long)]
    pub(crate) cpu_period: Option<i64>,
    /// Limit CPU CFS quota, in microseconds
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Limit CPU real-time period in microseconds
    #[arg(long)]
    pub(crate) cpu_rt_period: Option<i64>,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long)]
    pub(crate) cpu_shares: Option<i64>,
    /// Number of CPUs, such as 0.5
    #[arg(long)]
    pub(crate) cpus: Option<String>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes in which to allow execution (0-3, 0,1)
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// Memory limit, such as 512m
    #[arg(short, long)]
    pub(crate) memory: Option<String>,
    /// Memory soft limit
    #[arg(long)]
    pub(crate) memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<String>,
    /// Tune container pids limit (-1 for unlimited)
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long)]
    pub(crate) restart: Option<String>,
    #[command(flatten)]
    pub(crate) changes: ChangeArgs,
    #[command(flatten)]
    pub(crate) names: Names,
}

/// What of a container Docker changes with none of its commands.
#[derive(Args, Debug)]
#[command(next_help_heading = "Changes of dhow's own")]
pub(crate) struct ChangeArgs {
    /// Publish a port, at once: [[IP:]HOSTPORT:]PORT[/PROTOCOL]
    #[arg(short, long, value_name = "PORT")]
    pub(crate) publish: Vec<String>,
    /// Publish a port no more, at once: [HOSTPORT:]PORT[/PROTOCOL]
    #[arg(long, value_name = "PORT")]
    pub(crate) publish_rm: Vec<String>,
    /// Attach a filesystem mount, at once where ids need not be mapped
    #[arg(long, value_name = "MOUNT")]
    pub(crate) mount: Vec<String>,
    /// Take a mount away, at once likewise
    #[arg(long, value_name = "PATH")]
    pub(crate) mount_rm: Vec<String>,
    /// Set environment variables, from the next start on
    #[arg(short, long)]
    pub(crate) env: Vec<String>,
    /// Take environment variables away, from the next start on
    #[arg(long, value_name = "NAME")]
    pub(crate) env_rm: Vec<String>,
    /// Set metadata, at once
    #[arg(short, long)]
    pub(crate) label: Vec<String>,
    /// Take metadata away, at once
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,
    /// Add a host device, at once but in a user namespace
    #[arg(long)]
    pub(crate) device: Vec<String>,
    /// Take a device away, by its path in the container
    #[arg(long, value_name = "PATH")]
    pub(crate) device_rm: Vec<String>,
}

/// `commit`.
#[derive(Args, Debug)]
pub(crate) struct CommitArgs {
    /// Author, such as "A. Person <person@example.org>"
    #[arg(short, long, default_value_t)]
    pub(crate) author: String,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    pub(crate) change: Vec<String>,
    /// Commit message
    #[arg(short, long, default_value_t)]
    pub(crate) message: String,
    /// Disable pausing container during commit
    #[arg(long, conflicts_with = "pause")]
    pub(crate) no_pause: bool,
    /// Pause container during commit
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) pause: Option<bool>,
    /// The container
    pub(crate) container: String,
    /// REPOSITORY[:TAG]
    pub(crate) reference: Option<String>,
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

/// `stats`.
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Which; all that run where there is none
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `cp`.
#[derive(Args, Debug)]
pub(crate) struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// CONTAINER:PATH, a path here, or - for a tar archive from STDIN
    #[arg(value_name = "SRC_PATH")]
    pub(crate) source: String,
    /// CONTAINER:PATH, a path here, or - for a tar archive to STDOUT
    #[arg(value_name = "DEST_PATH")]
    pub(crate) destination: String,
}
