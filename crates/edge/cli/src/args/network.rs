//! Commands on networks and volumes.

#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{InspectArgs, ListArgs, PruneArgs};

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
    /// The network from which to copy the configuration
    #[arg(long, value_name = "NETWORK", default_value_t)]
    pub(crate) config_from: String,
    /// Create a configuration only network
    #[arg(long)]
    pub(crate) config_only: bool,
    /// Driver to manage the network
    #[arg(short, long, default_value = "bridge")]
    pub(crate) driver: String,
    /// Gateway of the subnet
    #[arg(long)]
    pub(crate) gateway: Vec<String>,
    /// Create swarm routing-mesh network
    #[arg(long, hide = true)]
    pub(crate) ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    pub(crate) internal: bool,
    /// Allocate container addresses from a sub-range
    #[arg(long)]
    pub(crate) ip_range: Vec<String>,
    /// Addresses of the network that no container is given, by name
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) aux_address: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) ipam_opt: Vec<String>,
    /// Enable or disable IPv4 address assignment
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ipv6: Option<bool>,
    /// Set metadata on a network
    #[arg(long)]
    pub(crate) label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long)]
    pub(crate) opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, default_value_t)]
    pub(crate) scope: String,
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
    /// driver options for the network
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    pub(crate) gw_priority: i64,
    /// IPv4 address
    #[arg(long, default_value_t)]
    pub(crate) ip: String,
    /// IPv6 address
    #[arg(long, default_value_t)]
    pub(crate) ip6: String,
    /// Add link to another container
    #[arg(long)]
    pub(crate) link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long)]
    pub(crate) link_local_ip: Vec<String>,
    /// Hardware address
    #[arg(long, default_value_t)]
    pub(crate) mac_address: String,
    /// The network
    pub(crate) network: String,
    /// The container
    pub(crate) container: String,
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
        /// Its name, as an option
        #[arg(long = "name", hide = true, conflicts_with = "name")]
        name_flag: Option<String>,
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
    /// Change the labels of a volume
    #[command(
        after_help = "Example:\n  dhow volume update --label keep=yes --label-rm stage data; dhow volume ls --filter label=keep"
    )]
    Update {
        /// Set metadata for the volume
        #[arg(short, long)]
        label: Vec<String>,
        /// Take metadata away
        #[arg(long, value_name = "KEY")]
        label_rm: Vec<String>,
        /// Cluster Volume availability ("active", "pause", "drain")
        #[arg(long)]
        availability: Option<String>,
        /// Its name
        volume: String,
    },
    /// Rename a volume that no running container has
    Rename {
        /// Its name
        volume: String,
        /// The name it is to have
        new_name: String,
    },
    /// Make a copy of a volume; files share their blocks where the file system can
    Clone(VolumeCopyArgs),
    /// Make a copy of a volume that stays as it is: it is read-only wherever it is mounted
    #[command(
        after_help = "Example:\n  dhow volume snapshot data before-upgrade; dhow volume ls --filter label=dhow.snapshot.of=data"
    )]
    Snapshot(VolumeCopyArgs),
    /// Write all that is in a volume as a tar archive
    #[command(
        after_help = "Example:\n  dhow volume backup data -o data.tar; dhow volume backup data | ssh host dhow volume restore data"
    )]
    Backup {
        /// Write to a file, instead of STDOUT
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Its name
        volume: String,
    },
    /// Make a volume of a tar archive
    Restore {
        /// Read from a tar archive file (plain, gzip, zstd), instead of STDIN
        #[arg(short, long)]
        input: Option<PathBuf>,
        /// Set metadata for the volume
        #[arg(long)]
        label: Vec<String>,
        /// Set driver specific options
        #[arg(long)]
        opt: Vec<String>,
        /// The name of the volume, which is new
        volume: String,
    },
}

/// `volume clone` and `volume snapshot`.
#[derive(Args, Debug)]
pub(crate) struct VolumeCopyArgs {
    /// Set metadata for the copy, beside the volume's own
    #[arg(long)]
    pub(crate) label: Vec<String>,
    /// Do not freeze the containers that may write to the volume meanwhile
    #[arg(long)]
    pub(crate) no_pause: bool,
    /// Its name
    pub(crate) volume: String,
    /// The name of the copy; without one, the volume's with the time
    pub(crate) name: Option<String>,
}
