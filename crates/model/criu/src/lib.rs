//! The messages of criu's service, `criu swrk`: requests, and what it answers.
//!
//! They are those of `rpc.proto`, in the encoding of Protocol Buffers: a few numbers and strings,
//! for which a generator and its library would be most of the code. What criu says and we do not
//! know is passed over, as the encoding asks for.
#![forbid(unsafe_code)]

mod request;
mod response;
mod wire;

pub use request::{CgroupMode, External, InheritFd, JoinNamespace, Options, Request};
pub use response::{Features, Response, Version};

/// What is asked for: `criu_req_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Save processes.
    Dump,
    /// Make them anew.
    Restore,
    /// Save their memory and let them go on.
    PreDump,
    /// criu tells how far it is, and goes on when it is answered.
    Notify,
    /// Which features are there.
    FeatureCheck,
    /// Which version it is.
    Version,
}

impl Kind {
    const ALL: [(Self, u64); 6] = [
        (Self::Dump, 1),
        (Self::Restore, 2),
        (Self::PreDump, 4),
        (Self::Notify, 6),
        (Self::FeatureCheck, 9),
        (Self::Version, 10),
    ];

    fn number(self) -> u64 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, number)| *number)
    }

    fn of(number: u64) -> Option<Self> {
        Self::ALL.iter().find(|(_, one)| *one == number).map(|(kind, _)| *kind)
    }
}

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("criu's answer is not one: {0}")]
pub struct Error(&'static str);
