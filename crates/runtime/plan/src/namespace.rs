//! Namespaces: which are made, which are joined, and what goes into new ones.

use std::path::PathBuf;

use oci::runtime::{IdMapping, Linux, NamespaceKind};
use sys::CloneFlags;

use crate::Error;

/// The namespaces of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// Those that are made.
    pub new: CloneFlags,
    /// Those that are joined, in the order in which that must happen.
    pub join: Vec<Join>,
    /// The ids of a new user namespace.
    pub maps: Option<IdMaps>,
    /// The ids that a user namespace which is joined must have, if the configuration names any.
    pub joined_maps: Option<IdMaps>,
    /// The lines of `timens_offsets` for a new time namespace.
    pub time_offsets: Option<String>,
}

/// A namespace that is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Which kind it must be.
    pub kind: NamespaceKind,
    /// Its file.
    pub path: PathBuf,
}

/// The contents of `uid_map` and `gid_map`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// User ids.
    pub uid: Vec<IdMapping>,
    /// Group ids.
    pub gid: Vec<IdMapping>,
}

impl IdMaps {
    /// The lines that the kernel reads: inside, outside, count.
    pub fn lines(maps: &[IdMapping]) -> String {
        maps.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
    }

    /// What `id` inside is outside. `None` when it is not mapped.
    pub fn host(maps: &[IdMapping], id: u32) -> Option<u32> {
        maps.iter()
            .find(|m| id >= m.container_id && id - m.container_id < m.size)
            .and_then(|m| m.host_id.checked_add(id - m.container_id))
    }
}

/// The flag of clone(2) and setns(2) for a kind.
pub fn flag(kind: NamespaceKind) -> CloneFlags {
    match kind {
        NamespaceKind::Pid => CloneFlags::NEWPID,
        NamespaceKind::Network => CloneFlags::NEWNET,
        NamespaceKind::Mount => CloneFlags::NEWNS,
        NamespaceKind::Ipc => CloneFlags::NEWIPC,
        NamespaceKind::Uts => CloneFlags::NEWUTS,
        NamespaceKind::User => CloneFlags::NEWUSER,
        NamespaceKind::Cgroup => CloneFlags::NEWCGROUP,
        NamespaceKind::Time => CloneFlags::NEWTIME,
    }
}

impl Namespaces {
    /// Whether the container has one of this kind that the runtime does not have.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.is_new(kind) || self.joins(kind)
    }

    /// Whether one of this kind is made.
    pub fn is_new(&self, kind: NamespaceKind) -> bool {
        self.new.contains(flag(kind))
    }

    /// Whether one of this kind is joined.
    pub fn joins(&self, kind: NamespaceKind) -> bool {
        self.join.iter().any(|join| join.kind == kind)
    }

    pub(crate) fn new(linux: &Linux) -> Result<Self, Error> {
        let mut new = CloneFlags::empty();
        let mut join = Vec::new();
        for (i, ns) in linux.namespaces.iter().enumerate() {
            let field = format!("linux.namespaces[{i}]");
            if linux.namespaces[..i].iter().any(|other| other.kind == ns.kind) {
                return Err(Error::invalid(field + ".type", ns.kind, "is there twice"));
            }
            if ns.path.contains('\0') {
                let path = ns.path.escape_debug();
                return Err(Error::invalid(field + ".path", path, "contains a NUL"));
            }
            if ns.path.is_empty() {
                new |= flag(ns.kind);
            } else if ns.path.starts_with('/') {
                join.push(Join { kind: ns.kind, path: PathBuf::from(&ns.path) });
            } else {
                return Err(Error::invalid(field + ".path", &ns.path, "is not an absolute path"));
            }
        }
        // The user namespace first: what it owns can be entered only from inside. The mount
        // namespace last but for the PID namespace: after it, paths mean something else.
        join.sort_by_key(|join| match join.kind {
            NamespaceKind::User => 0,
            NamespaceKind::Mount => 2,
            NamespaceKind::Pid => 3,
            _ => 1,
        });
        let maps = id_maps(linux)?;
        let (maps, joined_maps) =
            if new.contains(CloneFlags::NEWUSER) { (maps, None) } else { (None, maps) };
        Ok(Self { new, join, maps, joined_maps, time_offsets: time_offsets(linux, new)? })
    }
}

fn id_maps(linux: &Linux) -> Result<Option<IdMaps>, Error> {
    let user = linux.namespaces.iter().find(|ns| ns.kind == NamespaceKind::User);
    let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    match user {
        None if mapped => {
            Err(Error::conflict("linux.uidMappings", "are there without a user namespace"))
        }
        None => Ok(None),
        Some(user) if !user.path.is_empty() && !mapped => Ok(None),
        Some(_) => {
            check_maps("linux.uidMappings", &linux.uid_mappings)?;
            check_maps("linux.gidMappings", &linux.gid_mappings)?;
            Ok(Some(IdMaps { uid: linux.uid_mappings.clone(), gid: linux.gid_mappings.clone() }))
        }
    }
}

/// Checks what the kernel would answer with a bare `EINVAL`.
pub(crate) fn check_maps(field: &str, maps: &[IdMapping]) -> Result<(), Error> {
    /// `user_namespaces(7)`: lines, and bytes of one write.
    const MOST: usize = 340;
    const LONGEST: usize = 4095;
    if maps.is_empty() {
        return Err(Error::missing(field));
    }
    if maps.len() > MOST {
        let why = format!("ranges are more than the kernel takes ({MOST})");
        return Err(Error::invalid(field, maps.len(), why));
    }
    let bytes = IdMaps::lines(maps).len();
    if bytes > LONGEST {
        let why = format!("bytes as text are more than the kernel takes ({LONGEST})");
        return Err(Error::invalid(field, bytes, why));
    }
    for (i, map) in maps.iter().enumerate() {
        let value = || format!("{} {} {}", map.container_id, map.host_id, map.size);
        let invalid = |why: &str| Err(Error::invalid(format!("{field}[{i}]"), value(), why));
        if map.size == 0 {
            return invalid("maps nothing");
        }
        if map.container_id.checked_add(map.size - 1).is_none()
            || map.host_id.checked_add(map.size - 1).is_none()
        {
            return invalid("goes beyond the largest id");
        }
        let overlaps = |a: u32, a_len: u32, b: u32, b_len: u32| {
            u64::from(a) < u64::from(b) + u64::from(b_len)
                && u64::from(b) < u64::from(a) + u64::from(a_len)
        };
        for other in &maps[..i] {
            if overlaps(map.container_id, map.size, other.container_id, other.size)
                || overlaps(map.host_id, map.size, other.host_id, other.size)
            {
                return invalid("overlaps with another range");
            }
        }
    }
    Ok(())
}

fn time_offsets(linux: &Linux, new: CloneFlags) -> Result<Option<String>, Error> {
    const NANOSECONDS: u32 = 1_000_000_000;
    if linux.time_offsets.is_empty() {
        return Ok(None);
    }
    if !new.contains(CloneFlags::NEWTIME) {
        return Err(Error::conflict("linux.timeOffsets", "are there without a new time namespace"));
    }
    let mut lines = String::new();
    for (clock, offset) in &linux.time_offsets {
        if clock != "monotonic" && clock != "boottime" {
            return Err(Error::invalid(
                "linux.timeOffsets",
                clock.escape_debug(),
                "is not a clock with an offset",
            ));
        }
        let nanosecs = offset.nanosecs.unwrap_or(0);
        if nanosecs >= NANOSECONDS {
            let field = format!("linux.timeOffsets.{clock}.nanosecs");
            return Err(Error::invalid(field, nanosecs, "is a second or more"));
        }
        lines += &format!("{clock} {} {nanosecs}\n", offset.secs.unwrap_or(0));
    }
    Ok(Some(lines))
}
