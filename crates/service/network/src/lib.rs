//! Networks: which there are, who has which address and port in them, and the bridge and firewall
//! rules of each, or the link of the host that one shares.
//!
//! | what | where it is kept | how it is found again |
//! |---|---|---|
//! | a network, its subnets, the addresses and ports given out | the database | by id |
//! | its bridge, or the parent link that was made for it | the kernel | by name, in its record |
//! | its rules | the kernel: one nftables table each, `PREFIX-net-ID` | by name |
//! | a container's links, rules and names | the kernel and `STATE/networks`, made by its shim from the [`endpoint::Plan`] that [`Networks::connect`] computes | by name |
//!
//! The kernel's part is made again whenever it is found missing ([`Networks::ensure`]): after a
//! reboot, or after somebody flushed all rules. Rules that another version of this program has made otherwise are
//! made anew ([`Networks::renew_rules`]).
//!
//! `PREFIX` is of one engine's root directory alone, so that two engines never touch each other's. Of two that
//! chose the same range of addresses, the first to put it on a bridge has it.
#![forbid(unsafe_code)]

mod claim;
mod connect;
mod create;
mod defaults;
mod ensure;
mod error;
mod lease;
mod name;
mod options;
mod parent;
mod pool;
mod port;
mod predefined;
mod record;
mod remove;
mod rules;
mod ruleset;
mod site;
mod subnet;
mod sweep;
mod template;

use std::path::{Path, PathBuf};

pub use connect::{Attachment, Connected, Endpoint, Member, names};
pub use create::{CreateRequest, PoolRequest};
pub use defaults::{DefaultBridge, Defaults, SplitPool};
pub use error::{Class, Error};
pub use lease::Leased;
pub use options::is_link_name;
pub use port::PortRequest;
pub use record::{Driver, Network, Pool};
pub use subnet::Subnet;

/// The network that a container joins when it asks for none.
pub const DEFAULT: &str = "bridge";

/// The networks of one engine.
#[derive(Clone, Debug)]
pub struct Networks {
    /// What every name in the kernel starts with: `dhow`, or `dhow-HASH`.
    prefix: String,
    /// `STATE/networks`.
    directory: PathBuf,
    /// Where the kernel's part is, if not in this process's own network namespace.
    site: Option<site::Site>,
    /// What an administrator has set.
    defaults: Defaults,
}

impl Networks {
    /// `prefix` is `dhow`, or `dhow-` and 8 hexadecimal digits of the root directory's hash;
    /// `state` is where things are kept that may vanish at a reboot.
    pub fn new(prefix: impl Into<String>, state: &Path) -> Self {
        Self {
            prefix: prefix.into(),
            directory: state.join("networks"),
            site: None,
            defaults: Defaults::default(),
        }
    }

    /// The same, with what an administrator has set.
    #[must_use]
    pub fn with(mut self, defaults: Defaults) -> Self {
        self.defaults = defaults;
        self
    }

    /// Where the containers of a network write their names for each other.
    fn names_directory(&self, network_id: &str) -> PathBuf {
        self.directory.join(network_id).join("names")
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}
