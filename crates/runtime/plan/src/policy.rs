//! Execution domain and NUMA policy.

use oci::runtime::{MemoryPolicy as MemorySpec, Personality};

use crate::Error;

/// The arguments of `set_mempolicy(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The mode with its flags.
    pub mode: i32,
    /// A bit for each node.
    pub nodes: Vec<u64>,
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
        return Err(Error::invalid("linux.memoryPolicy.mode", &spec.mode, "is not known"));
    };
    let mut mode = *mode;
    for flag in &spec.flags {
        let Some((_, bit)) = FLAGS.iter().find(|(name, _)| name == flag) else {
            return Err(Error::invalid("linux.memoryPolicy.flags", flag, "is not known"));
        };
        mode |= bit;
    }
    let nodes = nodes(&spec.nodes)?;
    match (wanted, nodes.is_empty()) {
        (Nodes::None, false) => Err(Error::conflict(
            "linux.memoryPolicy.nodes",
            format!("must be empty for {}", spec.mode),
        )),
        (Nodes::Some, true) => Err(Error::missing("linux.memoryPolicy.nodes")),
        _ => Ok(MemoryPolicy { mode, nodes }),
    }
}

/// A list such as `0-3,7` as bits.
fn nodes(list: &str) -> Result<Vec<u64>, Error> {
    let invalid = |why: &str| Error::invalid("linux.memoryPolicy.nodes", list, why);
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number =
            |text: &str| text.parse::<u32>().map_err(|_| invalid("is not a list of nodes"));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= MAX_NODES {
            return Err(invalid("has a range that no machine has"));
        }
        for node in first..=last {
            let word = node as usize / 64;
            if bits.len() <= word {
                bits.resize(word + 1, 0);
            }
            bits[word] |= 1 << (node % 64);
        }
    }
    Ok(bits)
}
