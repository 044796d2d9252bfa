//! Execution domain and NUMA policy.

use oci::runtime::{MemoryPolicy as MemorySpec, Personality};

use crate::Error;
use crate::affinity::bits;

/// The arguments of `set_mempolicy(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The mode with its flags.
    pub mode: i32,
    /// A bit for each node.
    pub nodes: Vec<u64>,
}

impl MemoryPolicy {
    /// The names of all modes.
    pub fn modes() -> impl Iterator<Item = &'static str> {
        MODES.iter().map(|(name, ..)| *name)
    }

    /// The names of all flags.
    pub fn flags() -> impl Iterator<Item = &'static str> {
        FLAGS.iter().map(|(name, _)| *name)
    }
}

const MODES: [(&str, i32, Nodes); 7] = [
    ("MPOL_DEFAULT", 0, Nodes::None),
    ("MPOL_PREFERRED", 1, Nodes::Any),
    ("MPOL_BIND", 2, Nodes::Some),
    ("MPOL_INTERLEAVE", 3, Nodes::Some),
    ("MPOL_LOCAL", 4, Nodes::None),
    ("MPOL_PREFERRED_MANY", 5, Nodes::Some),
    ("MPOL_WEIGHTED_INTERLEAVE", 6, Nodes::Some),
];

const FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// The most nodes that a kernel has (`CONFIG_NODES_SHIFT` is at most 10).
const MAX_NODES: u32 = 1024;

/// How many nodes a mode takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    None,
    Some,
    Any,
}

pub(crate) fn personality(spec: &Personality) -> Result<u32, Error> {
    if let Some(flag) = spec.flags.first() {
        return Err(Error::invalid("linux.personality.flags", flag, "is not supported"));
    }
    match spec.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(Error::invalid("linux.personality.domain", other, "is not LINUX or LINUX32")),
    }
}

pub(crate) fn memory(spec: &MemorySpec) -> Result<MemoryPolicy, Error> {
    let Some((_, mode, wanted)) = MODES.iter().find(|(name, ..)| *name == spec.mode) else {
        return Err(Error::invalid(
            "linux.memoryPolicy.mode",
            spec.mode.escape_debug(),
            "is not known",
        ));
    };
    let mut mode = *mode;
    for flag in &spec.flags {
        let Some((_, bit)) = FLAGS.iter().find(|(name, _)| name == flag) else {
            return Err(Error::invalid("linux.memoryPolicy.flags", flag, "is not known"));
        };
        mode |= bit;
    }
    let nodes = bits("linux.memoryPolicy.nodes", &spec.nodes, MAX_NODES)?;
    match (wanted, nodes.is_empty()) {
        (Nodes::None, false) => Err(Error::conflict(
            "linux.memoryPolicy.nodes",
            format!("must be empty for {}", spec.mode),
        )),
        (Nodes::Some, true) => Err(Error::missing("linux.memoryPolicy.nodes")),
        _ => Ok(MemoryPolicy { mode, nodes }),
    }
}
