//! Mounts: what is mounted where, with which attributes.

use std::path::{Path, PathBuf};

use mount::options;
use oci::runtime::{Mount as Spec, NamespaceKind};
use sys::{MountAttr, Propagation};

use crate::namespace::{IdMaps, Namespaces, check_maps};
use crate::{Error, Facts};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number in the configuration, for errors.
    pub index: usize,
    /// Where, inside the root; absolute.
    pub target: PathBuf,
    /// What.
    pub what: What,
    /// Attributes of the mount to set.
    pub set: MountAttr,
    /// Attributes to clear, before.
    pub clear: MountAttr,
    /// Attributes to set on it and all below.
    pub rec_set: MountAttr,
    /// Attributes to clear there, before.
    pub rec_clear: MountAttr,
    /// How it propagates, and whether those below do likewise; in this order.
    pub propagation: Vec<(Propagation, bool)>,
    /// Its ids are mapped.
    pub idmap: Option<IdMap>,
}

/// How an id-mapped mount is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// Inside is what the file system has, outside is what is seen through the mount.
    pub ids: MapIds,
    /// The mounts below it have the mapping too.
    pub recursive: bool,
}

/// Where the ids of an id-mapped mount come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapIds {
    /// These: its own, or those of the container's new user namespace.
    Maps(IdMaps),
    /// The user namespace that the container joins, by its file.
    Namespace(PathBuf),
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A file or directory of the host.
    Bind {
        /// Where it is.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// It is in the container's own root, at this path there: then what the mounts before it
        /// have put there counts.
        inside: Option<PathBuf>,
    },
    /// A new file system.
    Fs {
        /// Its type.
        kind: String,
        /// What mount(8) calls the device.
        source: String,
        /// Its parameters.
        data: Vec<String>,
        /// Copy what the mount point holds into it first.
        copy_up: bool,
    },
    /// The cgroup hierarchy, as the container may see it.
    Cgroup,
    /// What is mounted there already, with other attributes.
    Remount {
        /// Parameters of its file system that change.
        data: Vec<String>,
    },
}

/// File systems through which the kernel is told things: their mount point must be a directory and
/// the way to it free of symbolic links, or a later write would go where a link in the image leads
/// (CVE-2019-19921, CVE-2023-27561, CVE-2025-54867).
const PLAIN_DIRECTORY_ONLY: [&str; 2] = ["proc", "sysfs"];

/// What may be mounted on inside `/proc`: files that programs like lxcfs replace.
const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

impl Mount {
    /// Whether no symbolic link may be on the way to the target.
    pub fn wants_plain_directory(&self) -> bool {
        matches!(&self.what, What::Fs { kind, .. } if PLAIN_DIRECTORY_ONLY.contains(&kind.as_str()))
    }

    /// Whether this one may be mounted on a file of procfs.
    pub fn may_cover_proc(&self) -> bool {
        self.target.to_str().is_some_and(|target| PROC_FILES.contains(&target))
    }
}

impl Mount {
    /// Paths of the host that lead into the container's root mean what is there, as runc has it.
    pub(crate) fn within(&mut self, root: &Path) {
        // With the machine's own root for a root, all paths do.
        if root == Path::new("/") {
            return;
        }
        if let Ok(inner) = self.target.strip_prefix(root) {
            self.target = Path::new("/").join(inner);
        }
        if let (What::Bind { source, inside, .. }, None) = (&mut self.what, &self.idmap) {
            let source = clean(&source.to_string_lossy());
            *inside = source.strip_prefix(root).ok().map(|inner| Path::new("/").join(inner));
        }
    }
}

/// `path` without `.`, `..` and doubled slashes, absolute: what it means inside a root.
pub(crate) fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            name => clean.push(name),
        }
    }
    clean
}

pub(crate) fn mounts(
    specs: &[Spec],
    bundle: &Path,
    namespaces: &Namespaces,
    mount_label: &str,
    facts: &Facts,
) -> Result<Vec<Mount>, Error> {
    specs
        .iter()
        .enumerate()
        .map(|(index, spec)| one(index, spec, bundle, namespaces, mount_label, facts))
        .collect()
}

fn one(
    index: usize,
    spec: &Spec,
    bundle: &Path,
    namespaces: &Namespaces,
    mount_label: &str,
    facts: &Facts,
) -> Result<Mount, Error> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    if spec.destination.is_empty() {
        return Err(Error::missing(&field("destination")));
    }
    for (name, text) in
        [("destination", &spec.destination), ("source", &spec.source), ("type", &spec.kind)]
    {
        if text.contains('\0') {
            return Err(Error::invalid(field(name), text.escape_debug(), "contains a NUL"));
        }
    }
    if let Some(option) = spec.options.iter().find(|option| option.contains('\0')) {
        return Err(Error::invalid(field("options"), option.escape_debug(), "contains a NUL"));
    }
    let parsed = options::parse(&spec.options);
    let target = clean(&spec.destination);
    let bind = parsed.bind.or_else(|| (spec.kind == "bind").then_some(false));
    let what = if parsed.remount && bind.is_none() {
        What::Remount { data: parsed.data.clone() }
    } else if let Some(recursive) = bind {
        bind_source(&field("source"), spec, bundle, recursive)?
    } else {
        file_system(&field("type"), spec, &parsed, mount_label)?
    };
    let idmap = idmap(index, spec, &parsed, namespaces)?;
    if idmap.is_some() && !matches!(what, What::Bind { .. }) {
        return Err(Error::conflict(field("uidMappings"), "need a bind mount"));
    }
    if idmap.is_some() && !facts.may_mount() {
        let why = "ask for an id-mapped mount, which is not supported for rootless containers";
        return Err(Error::conflict(field("options"), why));
    }
    if let (What::Fs { data, .. }, Some(maps)) = (&what, &namespaces.maps) {
        check_owners(&field("options"), data, maps)?;
    }
    let may_be_proc = match &what {
        What::Fs { kind, .. } => kind == "proc",
        What::Cgroup => false,
        What::Bind { .. } | What::Remount { .. } => true,
    };
    if target == Path::new("/proc") && !may_be_proc {
        let why = "must not be covered by anything but procfs";
        return Err(Error::invalid(field("destination"), target.display(), why));
    }
    Ok(Mount {
        index,
        target,
        what,
        set: parsed.set,
        clear: parsed.clear,
        rec_set: parsed.rec_set,
        rec_clear: parsed.rec_clear,
        propagation: parsed.propagation,
        idmap,
    })
}

fn bind_source(field: &str, spec: &Spec, bundle: &Path, recursive: bool) -> Result<What, Error> {
    if spec.source.is_empty() {
        return Err(Error::missing(field));
    }
    Ok(What::Bind { source: bundle.join(&spec.source), recursive, inside: None })
}

fn file_system(
    field: &str,
    spec: &Spec,
    parsed: &options::Parsed,
    mount_label: &str,
) -> Result<What, Error> {
    match spec.kind.as_str() {
        "" | "none" => Err(Error::invalid(field, &spec.kind, "is no file system's type")),
        "cgroup" | "cgroup2" => Ok(What::Cgroup),
        kind => {
            let mut data = parsed.data.clone();
            // One of its own wins: of two the kernel takes none.
            let has_own = data.iter().any(|option| option.starts_with("context="));
            let takes_one = !matches!(kind, "proc" | "sysfs" | "mqueue");
            if !mount_label.is_empty() && takes_one && !has_own {
                data.push(format!("context={mount_label}"));
            }
            // Every instance is a new one since Linux 4.7, and fsconfig(2) knows the word no more.
            if kind == "devpts" {
                data.retain(|option| option != "newinstance");
            }
            if parsed.tmpcopyup && kind != "tmpfs" {
                return Err(Error::conflict(field, "must be tmpfs for the option `tmpcopyup`"));
            }
            let source = if spec.source.is_empty() { kind } else { &spec.source };
            Ok(What::Fs {
                kind: kind.to_owned(),
                source: source.to_owned(),
                data,
                copy_up: parsed.tmpcopyup,
            })
        }
    }
}

/// Owners of a new file system must be ids of its user namespace; the kernel says a bare `EINVAL`.
fn check_owners(field: &str, data: &[String], maps: &IdMaps) -> Result<(), Error> {
    for option in data {
        let (list, id) = match option.split_once('=') {
            Some(("uid", id)) => (&maps.uid, id),
            Some(("gid", id)) => (&maps.gid, id),
            _ => continue,
        };
        if id.parse().is_ok_and(|id| IdMaps::host(list, id).is_none()) {
            let why = "names an id that is not mapped in the container's user namespace";
            return Err(Error::invalid(field, option.escape_debug(), why));
        }
    }
    Ok(())
}

fn idmap(
    index: usize,
    spec: &Spec,
    parsed: &options::Parsed,
    namespaces: &Namespaces,
) -> Result<Option<IdMap>, Error> {
    let field = format!("mounts[{index}].uidMappings");
    let recursive = parsed.idmap == Some(true);
    let given = (!spec.uid_mappings.is_empty(), !spec.gid_mappings.is_empty());
    let ids = match given {
        (true, true) => {
            check_maps(&field, &spec.uid_mappings)?;
            check_maps(&format!("mounts[{index}].gidMappings"), &spec.gid_mappings)?;
            let maps = IdMaps { uid: spec.uid_mappings.clone(), gid: spec.gid_mappings.clone() };
            MapIds::Maps(maps)
        }
        (false, false) if parsed.idmap.is_none() => return Ok(None),
        (false, false) => {
            let joined = namespaces.join.iter().find(|join| join.kind == NamespaceKind::User);
            match (&namespaces.maps, joined) {
                (Some(maps), _) => MapIds::Maps(maps.clone()),
                (None, Some(join)) => MapIds::Namespace(join.path.clone()),
                (None, None) => {
                    return Err(Error::conflict(
                        format!("mounts[{index}].options"),
                        "have `idmap` without mappings or a user namespace to take them from",
                    ));
                }
            }
        }
        _ => return Err(Error::conflict(field, "and gidMappings must be there together")),
    };
    Ok(Some(IdMap { ids, recursive }))
}
