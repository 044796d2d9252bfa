use crate::Rule;

/// The protocol whose packets a table sees (`NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }

    /// Its name in nft(8).
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// A table: the unit in which rules are put in and taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which packets.
    pub family: Family,
    /// Its name, unique in its family and network namespace.
    pub name: String,
    /// In the order in which they are made: a chain before the rules that jump to it.
    pub chains: Vec<Chain>,
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name, unique in the table.
    pub name: String,
    /// Where packets enter it; `None` is only reached by a jump.
    pub base: Option<Base>,
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
}

/// Where a chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// What it may do.
    pub kind: Kind,
    /// On which way of a packet.
    pub hook: Hook,
    /// Lower comes first; see [`priority`].
    pub priority: i32,
    /// What happens to a packet that comes to its end.
    pub policy: Policy,
}

/// Usual priorities.
pub mod priority {
    /// Before routing: destination NAT.
    pub const DSTNAT: i32 = -100;
    /// Filters.
    pub const FILTER: i32 = 0;
    /// After routing: source NAT.
    pub const SRCNAT: i32 = 100;
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sees every packet.
    Filter,
    /// Sees the first packet of each connection, and decides for all of it.
    Nat,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// Where on its way a packet is (`NF_INET_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// It came in, and its way is not known yet.
    Prerouting,
    /// It is for this host.
    Input,
    /// It goes through.
    Forward,
    /// It was made here.
    Output,
    /// It is about to leave.
    Postrouting,
}

impl Hook {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// What a base chain does with a packet that no rule decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Lets it go on.
    Accept,
    /// Ends it.
    Drop,
}

impl Policy {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
        }
    }
}
