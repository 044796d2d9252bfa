//! What a container's link is to the host.
use netlink::{IpvlanFlag, IpvlanMode, MacvlanMode, Sharing};
use serde::{Deserialize, Serialize};

use crate::Link;

/// What a link is in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A veth pair: one end is a port of a bridge.
    #[default]
    Veth,
    /// It shares a link of the host's, with a hardware address of its own.
    Macvlan(#[serde(with = "MacvlanModeText")] MacvlanMode),
    /// It shares a link of the host's, and its hardware address.
    Ipvlan(
        #[serde(with = "IpvlanModeText")] IpvlanMode,
        #[serde(with = "IpvlanFlagText")] IpvlanFlag,
    ),
}

impl Kind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn is_veth(&self) -> bool {
        *self == Self::Veth
    }

    /// How it shares a link of the host's; `None` where it does not.
    pub fn sharing(self) -> Option<Sharing> {
        match self {
            Self::Veth => None,
            Self::Macvlan(mode) => Some(Sharing::Macvlan(mode)),
            Self::Ipvlan(mode, flag) => Some(Sharing::Ipvlan(mode, flag)),
        }
    }
}

impl Link {
    /// Its hardware address; `None` where it has its parent's.
    pub fn hardware_address(&self) -> Option<[u8; 6]> {
        (!matches!(self.kind, Kind::Ipvlan(..))).then_some(self.mac)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "MacvlanMode", rename_all = "lowercase")]
enum MacvlanModeText {
    Private,
    Vepa,
    Bridge,
    Passthru,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "IpvlanMode", rename_all = "lowercase")]
enum IpvlanModeText {
    L2,
    L3,
    L3s,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "IpvlanFlag", rename_all = "lowercase")]
enum IpvlanFlagText {
    Bridge,
    Private,
    Vepa,
}
