//! The flags of `run` and `create`: Docker's, one by one, and a few of ours.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use clap::Args;

/// A boolean flag in Go's way: alone it is true, and `--flag=false` is false.
macro_rules! go_bool {
    () => {
        "true"
    };
}

/// When an image is pulled, where nothing else is said.
pub(crate) const PULL: &str = "missing";

/// What `run` and `create` share.
#[derive(Args, Clone, Debug, Default)]
#[command(disable_help_flag = true)]
pub(crate) struct ContainerArgs {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long)]
    pub(crate) add_host: Vec<String>,
    /// Add an annotation to the container, passed through to the OCI runtime
    #[arg(long)]
    pub(crate) annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long)]
    pub(crate) attach: Vec<String>,
    /// Block IO weight, between 10 and 1000, or 0 to disable
    #[arg(long, default_value_t)]
    pub(crate) blkio_weight: u16,
    /// Block IO weight of a device (PATH:WEIGHT)
    #[arg(long)]
    pub(crate) blkio_weight_device: Vec<String>,
    /// Add Linux capabilities
    #[arg(long)]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long)]
    pub(crate) cap_drop: Vec<String>,
    /// Parent cgroup for the container
    #[arg(long, default_value_t)]
    pub(crate) cgroup_parent: String,
    /// Cgroup namespace to use (host|private)
    #[arg(long, default_value_t)]
    pub(crate) cgroupns: String,
    /// Write the container ID to the file
    #[arg(long)]
    pub(crate) cidfile: Option<std::path::PathBuf>,
    /// Limit CPU CFS period, in microseconds
    #[arg(long, default_value_t)]
    pub(crate) cpu_period: i64,
    /// Limit CPU CFS quota, in microseconds
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    pub(crate) cpu_quota: i64,
    /// Limit CPU real-time period in microseconds
    #[arg(long, default_value_t)]
    pub(crate) cpu_rt_period: i64,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long, default_value_t)]
    pub(crate) cpu_rt_runtime: i64,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, default_value_t)]
    pub(crate) cpu_shares: i64,
    /// Number of CPUs, such as 0.5
    #[arg(long)]
    pub(crate) cpus: Option<String>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, default_value_t)]
    pub(crate) cpuset_cpus: String,
    /// Memory nodes in which to allow execution (0-3, 0,1)
    #[arg(long, default_value_t)]
    pub(crate) cpuset_mems: String,
    /// Add a host device to the container, or a CDI device by its name
    #[arg(long)]
    pub(crate) device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long)]
    pub(crate) device_cgroup_rule: Vec<String>,
    /// Limit read rate (bytes per second) from a device (PATH:RATE)
    #[arg(long)]
    pub(crate) device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device (PATH:RATE)
    #[arg(long)]
    pub(crate) device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device (PATH:RATE)
    #[arg(long)]
    pub(crate) device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device (PATH:RATE)
    #[arg(long)]
    pub(crate) device_write_iops: Vec<String>,
    /// Set custom DNS servers
    #[arg(long)]
    pub(crate) dns: Vec<String>,
    /// Set DNS options
    #[arg(long, alias = "dns-opt")]
    pub(crate) dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long)]
    pub(crate) dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, default_value_t)]
    pub(crate) domainname: String,
    /// Skip image verification, of which there is none
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) disable_content_trust: Option<bool>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long)]
    pub(crate) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    pub(crate) env_file: Vec<std::path::PathBuf>,
    /// Expose a port or a range of ports
    #[arg(long)]
    pub(crate) expose: Vec<String>,
    /// GPU devices to add to the container ('all' to pass all GPUs); they are those that a CDI
    /// specification has (see `dhow cdi`)
    #[arg(long)]
    pub(crate) gpus: Vec<String>,
    /// Add additional groups to join
    #[arg(long)]
    pub(crate) group_add: Vec<String>,
    /// Command to run to check health
    #[arg(long)]
    pub(crate) health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h)
    #[arg(long)]
    pub(crate) health_interval: Option<String>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long)]
    pub(crate) health_retries: Option<i64>,
    /// Time between running the check during the start period
    #[arg(long)]
    pub(crate) health_start_interval: Option<String>,
    /// Start period for the container to initialize before health-retries count
    #[arg(long)]
    pub(crate) health_start_period: Option<String>,
    /// Maximum time to allow one check to run
    #[arg(long)]
    pub(crate) health_timeout: Option<String>,
    /// Print usage
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Container host name
    #[arg(short = 'h', long, default_value_t)]
    pub(crate) hostname: String,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) init: Option<bool>,
    /// Keep STDIN open even if not attached
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) interactive: Option<bool>,
    /// IPv4 address, such as 172.30.100.104
    #[arg(long)]
    pub(crate) ip: Option<String>,
    /// IPv6 address, such as 2001:db8::33
    #[arg(long)]
    pub(crate) ip6: Option<String>,
    /// IPC mode to use
    #[arg(long, default_value_t)]
    pub(crate) ipc: String,
    /// Container isolation technology
    #[arg(long, default_value_t)]
    pub(crate) isolation: String,
    /// Set metadata on a container
    #[arg(short, long)]
    pub(crate) label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long)]
    pub(crate) label_file: Vec<std::path::PathBuf>,
    /// Add link to another container
    #[arg(long)]
    pub(crate) link: Vec<String>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long)]
    pub(crate) link_local_ip: Vec<String>,
    /// Logging driver for the container
    #[arg(long, default_value_t)]
    pub(crate) log_driver: String,
    /// Log driver options
    #[arg(long)]
    pub(crate) log_opt: Vec<String>,
    /// Container MAC address, such as 92:d0:c6:0a:29:33
    #[arg(long)]
    pub(crate) mac_address: Option<String>,
    /// Memory limit, such as 512m
    #[arg(short, long)]
    pub(crate) memory: Option<String>,
    /// Memory soft limit
    #[arg(long)]
    pub(crate) memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<String>,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory_swappiness: Option<i64>,
    /// Kernel memory limit; the kernel has none any more
    #[arg(long, hide = true)]
    pub(crate) kernel_memory: Option<String>,
    /// Attach a filesystem mount to the container
    #[arg(long)]
    pub(crate) mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long, default_value_t)]
    pub(crate) name: String,
    /// Connect a container to a network
    #[arg(long, alias = "net")]
    pub(crate) network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, alias = "net-alias")]
    pub(crate) network_alias: Vec<String>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
    /// Disable OOM Killer
    #[arg(long)]
    pub(crate) oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    pub(crate) oom_score_adj: i64,
    /// PID namespace to use
    #[arg(long, default_value_t)]
    pub(crate) pid: String,
    /// Tune container pids limit (-1 for unlimited)
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) privileged: Option<bool>,
    /// Publish a container's port to the host, such as 8080:80
    #[arg(short = 'p', long)]
    pub(crate) publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Pull image before running (always, missing, never)
    #[arg(long, default_value = PULL)]
    pub(crate) pull: String,
    /// Suppress the pull output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) read_only: Option<bool>,
    /// Rights to files and TCP ports that the container's programs keep, all others being given up for
    /// good: RIGHTS=PATH (RIGHTS of r, w, x), tcp-bind=PORT, tcp-connect=PORT, tcp=none. dhow's own; in
    /// Docker's client: --annotation dhow.landlock=rx=/,rw=/tmp
    #[arg(long, value_name = "RULE")]
    pub(crate) landlock: Vec<String>,
    /// A clock of the container's own (monotonic or boottime) that goes before the machine's:
    /// CLOCK=DURATION. dhow's own; in Docker's client: --annotation dhow.time-offsets=boottime=24h
    #[arg(long, value_name = "CLOCK=DURATION")]
    pub(crate) time_offset: Vec<String>,
    /// Give the container a secret, as a file in memory: NAME[,target=PATH,uid=0,gid=0,mode=0444], or
    /// NAME,type=env[,target=VARIABLE]. dhow's own
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,
    /// What else is a reason to end the container and start it again, whatever its policy: 'unhealthy'.
    /// dhow's own; in Docker's client: --annotation dhow.restart-on=unhealthy
    #[arg(long)]
    pub(crate) restart_on: Option<String>,
    /// Restart policy to apply when a container exits
    #[arg(long, default_value_t)]
    pub(crate) restart: String,
    /// Remove the container and its anonymous volumes when it exits
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) rm: Option<bool>,
    /// Run straight from this root file system archive (tar, gzip, zstd) instead of an image
    #[arg(long)]
    pub(crate) rootfs: Option<std::path::PathBuf>,
    /// Runtime to use for this container
    #[arg(long, default_value_t)]
    pub(crate) runtime: String,
    /// Security options
    #[arg(long)]
    pub(crate) security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long)]
    pub(crate) shm_size: Option<String>,
    /// Signal to stop the container
    #[arg(long, default_value_t)]
    pub(crate) stop_signal: String,
    /// Timeout (in seconds) to stop a container
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) stop_timeout: Option<i64>,
    /// Storage driver options for the container
    #[arg(long)]
    pub(crate) storage_opt: Vec<String>,
    /// Sysctl options
    #[arg(long)]
    pub(crate) sysctl: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long)]
    pub(crate) tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) tty: Option<bool>,
    /// Ulimit options (TYPE=SOFT[:HARD])
    #[arg(long)]
    pub(crate) ulimit: Vec<String>,
    /// Bind mount the engine's API socket, and the credentials of its user for registries
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) use_api_socket: Option<bool>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, default_value_t)]
    pub(crate) user: String,
    /// User namespace to use
    #[arg(long, default_value_t)]
    pub(crate) userns: String,
    /// UTS namespace to use
    #[arg(long, default_value_t)]
    pub(crate) uts: String,
    /// Bind mount a volume (SOURCE:TARGET[:OPTIONS])
    #[arg(short, long)]
    pub(crate) volume: Vec<String>,
    /// Volume driver for the container
    #[arg(long, default_value_t)]
    pub(crate) volume_driver: String,
    /// Mount volumes from the specified containers
    #[arg(long)]
    pub(crate) volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, default_value_t)]
    pub(crate) workdir: String,
    /// The image (with --rootfs, the command), the command and its arguments
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", trailing_var_arg = true, required = true)]
    pub(crate) image_and_command: Vec<String>,
}

impl ContainerArgs {
    /// Whether it shares neither the machine's network nor another container's.
    pub(crate) fn has_own_network(&self) -> bool {
        let shares = |name: &String| name == "host" || name.starts_with("container:");
        !self.network.iter().any(shares)
    }
}

/// `run`'s own flags.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArgs {
    /// Run container in background and print container ID
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) detach: Option<bool>,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    pub(crate) detach_keys: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = go_bool!())]
    pub(crate) sig_proxy: Option<bool>,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
}
