//! Commands on networks and volumes.

#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

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
