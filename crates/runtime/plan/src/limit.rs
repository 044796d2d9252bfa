//! Resource limits, and what becomes of those that this process may not raise.

use oci::runtime::Rlimit;
use rustix::process::Resource;

use crate::{Error, Facts};

/// One limit to set. `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which.
    pub resource: Resource,
    /// The limit.
    pub soft: Option<u64>,
    /// Its ceiling.
    pub hard: Option<u64>,
}

/// The resources by the names of getrlimit(2).
const RESOURCES: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_STACK", Resource::Stack),
];

/// Every resource, for whoever gathers [`Facts::hard_limits`].
pub fn resources() -> impl Iterator<Item = Resource> {
    RESOURCES.iter().map(|(_, resource)| *resource)
}

fn unlimited(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

fn larger(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
        _ => false,
    }
}

/// The limits to set. One above the present hard limit, which needs `CAP_SYS_RESOURCE`, is cut down
/// to that where the capability is not held, as Docker's containers get on such machines; the
/// warning says so.
pub(crate) fn limits(
    rlimits: &[Rlimit],
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<Vec<Limit>, Error> {
    let mut limits: Vec<Limit> = Vec::with_capacity(rlimits.len());
    for (i, rlimit) in rlimits.iter().enumerate() {
        let field = || format!("process.rlimits[{i}]");
        let Some((_, resource)) = RESOURCES.iter().find(|(name, _)| *name == rlimit.kind) else {
            let kind = rlimit.kind.escape_debug();
            return Err(Error::invalid(field() + ".type", kind, "is not a resource limit"));
        };
        if limits.iter().any(|limit| limit.resource == *resource) {
            return Err(Error::invalid(field() + ".type", &rlimit.kind, "is there twice"));
        }
        let (mut soft, mut hard) = (unlimited(rlimit.soft), unlimited(rlimit.hard));
        if larger(soft, hard) {
            let why = format!("is more than the hard limit {}", rlimit.hard);
            return Err(Error::invalid(field() + ".soft", rlimit.soft, why));
        }
        let present = facts.hard_limit(*resource);
        if larger(hard, present) && !facts.may_raise_limits() {
            hard = present;
            if larger(soft, hard) {
                soft = hard;
            }
            warnings.push(format!(
                "{}: the hard limit stays {}: raising it needs CAP_SYS_RESOURCE",
                rlimit.kind,
                present.unwrap_or(u64::MAX),
            ));
        }
        limits.push(Limit { resource: *resource, soft, hard });
    }
    Ok(limits)
}
