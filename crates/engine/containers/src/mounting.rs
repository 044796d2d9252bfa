//! What a container wants mounted: Docker's two languages for it (`-v`, `--mount`), read into one.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use docker::container::{Mount, MountPoint};
use oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::idmap::IdMapping;
use crate::relabelling::Relabel;

/// One mount of a container, kept in its record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Mounting {
    /// As it is shown. A volume's source is filled in when the volume is there.
    pub(crate) point: MountPoint,
    /// The runtime's options.
    pub(crate) options: Vec<String>,
    /// The volume has no name of its own, and goes with the last container that has it.
    pub(crate) anonymous: bool,
    /// A volume that is empty gets what the image has at this place.
    pub(crate) copy_up: bool,
    /// A directory of the host that is missing is made.
    pub(crate) create_source: bool,
    /// A directory of the volume or image instead of its root.
    pub(crate) subpath: String,
    /// What the volume is to be, should it have to be made.
    #[serde(skip_serializing_if = "NewVolume::is_empty")]
    pub(crate) volume: NewVolume,
    /// The image that is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<MountedImage>,
    /// Its ids are mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idmap: Option<IdMapping>,
    /// The label of `SELinux` that it gets; none: it stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) relabel: Option<Relabel>,
    /// What the supervisor mounts, where that is known already: a step's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) supply: Option<volume::Source>,
}

impl Mounting {
    /// If it cannot be written to, that goes for it alone, not for what is mounted below it.
    pub(crate) fn set_shallow(&mut self) {
        for option in &mut self.options {
            if option == "rro" {
                "ro".clone_into(option);
            }
        }
    }

    /// It cannot be written to, whatever was asked for.
    pub(crate) fn set_read_only(&mut self) {
        self.point.rw = false;
        self.copy_up = false;
        for option in &mut self.options {
            if option == "rw" {
                "rro".clone_into(option);
            }
        }
    }
}

/// What a mount says of a volume that has to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NewVolume {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
}

impl NewVolume {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.options.is_empty()
    }
}

/// An image as it was when the container was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MountedImage {
    pub(crate) id: Digest,
    /// Its layers, lowest first.
    pub(crate) chain: Vec<ChainId>,
}

/// The kinds of mounts, in Docker's words.
pub(crate) const BIND: &str = "bind";
pub(crate) const VOLUME: &str = "volume";
pub(crate) const TMPFS: &str = "tmpfs";
pub(crate) const IMAGE: &str = "image";

/// Files of procfs that may be covered: they tell of the machine, and tools such as LXCFS put a
/// container's own figures there (`runc` has the same list).
const OF_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Reads `SOURCE:TARGET[:OPTIONS]`, or `TARGET` alone.
pub(crate) fn from_bind(text: &str) -> Result<Mounting, Error> {
    let invalid = |why: &str| {
        Error::Invalid(match why {
            "" => format!("invalid volume specification: '{text}'"),
            why => format!("invalid volume specification: '{text}': {why}"),
        })
    };
    // Only an id mapping may hold a colon of its own (`idmap=match-user:1000`).
    let n_parts = if text.contains("idmap=") { 3 } else { usize::MAX };
    let parts: Vec<&str> = text.splitn(n_parts, ':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid("")),
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(invalid(""));
    }
    let kind = if source.starts_with('/') { BIND } else { VOLUME };
    let wrap = |err: Error| invalid(&format!("invalid mount config for type \"{kind}\": {err}"));
    if kind == VOLUME && !source.is_empty() {
        check_volume_name(source)?;
    }
    let mut mounting = start(kind, source, target).map_err(wrap)?;
    mounting.create_source = kind == BIND;
    let mut propagation = "";
    let mut nocopy = false;
    let mut given = Vec::new();
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        // Of each kind there may be one.
        let of_kind = match word {
            "ro" | "rw" => "access",
            // Labels of SELinux, which mean nothing without it.
            "z" | "Z" => "label",
            "consistent" | "cached" | "delegated" => "consistency",
            "nocopy" if kind == VOLUME => "copy",
            word if word == "idmap" || word.starts_with("idmap=") => "idmap",
            word if kind == BIND && is_propagation(word) => "propagation",
            word if is_propagation(word) => {
                let why = "field BindOptions must not be specified";
                return Err(wrap(Error::Invalid(why.into())));
            }
            _ => return Err(Error::Invalid(format!("invalid mode: {mode}"))),
        };
        if given.contains(&of_kind) {
            return Err(Error::Invalid(format!("invalid mode: {mode}")));
        }
        given.push(of_kind);
        match of_kind {
            "access" => mounting.point.rw = word == "rw",
            "label" => {
                let relabel = if word == "z" { Relabel::Shared } else { Relabel::Private };
                mounting.relabel = Some(relabel);
            }
            "copy" => nocopy = true,
            "propagation" => propagation = word,
            "idmap" => {
                let value = word.strip_prefix("idmap=").unwrap_or_default();
                mounting.idmap = Some(IdMapping::parse(value).map_err(wrap)?);
            }
            _ => {}
        }
    }
    mode.clone_into(&mut mounting.point.mode);
    finish(&mut mounting, propagation, true, true);
    mounting.copy_up = kind == VOLUME && !nocopy;
    Ok(mounting)
}

/// Reads a mount of the long form. `exists` tells whether a directory or file of the host is there.
pub(crate) fn from_mount(mount: &Mount, exists: impl Fn(&str) -> bool) -> Result<Mounting, Error> {
    let kind = mount.kind.as_str();
    let bad =
        |why: String| Error::Invalid(format!("invalid mount config for type \"{kind}\": {why}"));
    let wrap = |err: Error| bad(err.to_string());
    let known = match kind {
        BIND => BIND,
        VOLUME | "" => VOLUME,
        TMPFS => TMPFS,
        IMAGE => IMAGE,
        "npipe" | "cluster" => {
            return Err(Error::Invalid(format!("mount type \"{kind}\" is not of Linux")));
        }
        other => {
            return Err(Error::Invalid(format!(
                "invalid mount config for type \"{other}\": mount type unknown: \"{other}\""
            )));
        }
    };
    if mount.target.is_empty() {
        return Err(bad("field Target must not be empty".into()));
    }
    foreign_options(mount, known).map_err(Error::Invalid)?;
    match (known, mount.source.as_str()) {
        (BIND | IMAGE, "") => return Err(bad("field Source must not be empty".into())),
        (BIND, source) if !source.starts_with('/') => {
            return Err(bad(format!("invalid mount path: '{source}' mount path must be absolute")));
        }
        (TMPFS, source) if !source.is_empty() => {
            return Err(bad("field Source must not be specified".into()));
        }
        _ => {}
    }
    if known == VOLUME && !mount.source.is_empty() {
        check_volume_name(&mount.source)?;
    }
    let mut mounting = start(known, &mount.source, &mount.target).map_err(wrap)?;
    mounting.point.rw = !mount.read_only;
    match known {
        BIND => {
            let bind = mount.bind_options.clone().unwrap_or_default();
            if !bind.propagation.is_empty() && !is_propagation(&bind.propagation) {
                return Err(bad(format!("invalid propagation mode: {}", bind.propagation)));
            }
            mounting.create_source = bind.create_mountpoint;
            if !bind.create_mountpoint && !exists(&mount.source) {
                return Err(bad(format!("bind source path does not exist: {}", mount.source)));
            }
            mounting.idmap = asked_map(bind.id_mapping.as_ref()).map_err(wrap)?;
            let recursive_ro = !bind.read_only_non_recursive;
            finish(&mut mounting, &bind.propagation, !bind.non_recursive, recursive_ro);
        }
        VOLUME => {
            let volume = mount.volume_options.clone().unwrap_or_default();
            if let Some(driver) = volume.driver_config {
                if !matches!(driver.name.as_str(), "" | "local") {
                    return Err(Error::NotFound(format!(
                        "create {1}: error looking up volume plugin {0}: plugin \"{0}\" not found",
                        driver.name, mount.source
                    )));
                }
                mounting.volume.options = driver.options.into_map();
                crate::local::check(&mounting.volume.options).map_err(wrap)?;
            }
            mounting.volume.labels = volume.labels.into_iter().collect();
            mounting.idmap = asked_map(volume.id_mapping.as_ref()).map_err(wrap)?;
            mounting.subpath = relative(&volume.subpath).map_err(bad)?;
            if mount.source.is_empty() && !volume.subpath.is_empty() {
                return Err(bad("must not set Subpath when using anonymous volumes".into()));
            }
            mounting.copy_up = !volume.no_copy;
            finish(&mut mounting, "", true, true);
        }
        IMAGE => {
            let image = mount.image_options.clone().unwrap_or_default();
            mounting.subpath = relative(&image.subpath).map_err(bad)?;
            mounting.point.rw = false;
            finish(&mut mounting, "", true, true);
        }
        _ => tmpfs_of(mount, &mut mounting).map_err(bad)?,
    }
    Ok(mounting)
}

fn asked_map(asked: Option<&docker::container::IdMapping>) -> Result<Option<IdMapping>, Error> {
    asked.map(IdMapping::of_request).transpose()
}

/// Options of a kind that the mount is not.
fn foreign_options(mount: &Mount, kind: &str) -> Result<(), String> {
    let given = [
        (BIND, mount.bind_options.is_some(), "BindOptions"),
        (VOLUME, mount.volume_options.is_some(), "VolumeOptions"),
        (TMPFS, mount.tmpfs_options.is_some(), "TmpfsOptions"),
        (IMAGE, mount.image_options.is_some(), "ImageOptions"),
    ];
    match given.iter().find(|(of, given, _)| *given && *of != kind) {
        Some((_, _, field)) => {
            Err(format!("{field} must not be specified on mount type \"{kind}\""))
        }
        None => Ok(()),
    }
}

fn tmpfs_of(mount: &Mount, mounting: &mut Mounting) -> Result<(), String> {
    let tmpfs = mount.tmpfs_options.clone().unwrap_or_default();
    let mut options: Vec<String> =
        ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec();
    options.push(if mount.read_only { "ro" } else { "rw" }.into());
    if tmpfs.size_bytes > 0 {
        options.push(format!("size={}", tmpfs.size_bytes));
    }
    if tmpfs.mode != 0 {
        options.push(format!("mode={:o}", tmpfs.mode & 0o7777));
    }
    for words in &tmpfs.options {
        if !(1..=2).contains(&words.len()) {
            return Err("invalid option array length".into());
        }
        options.push(words.join("="));
    }
    mounting.options = options;
    Ok(())
}

/// Reads an entry of the `Tmpfs` map: a path and `mount(8)` options.
pub(crate) fn from_tmpfs(target: &str, options: &str) -> Result<Mounting, Error> {
    let mut mounting = start(TMPFS, "", target)?;
    let mut words: Vec<String> =
        ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec();
    for word in options.split(',').filter(|word| !word.is_empty()) {
        let opposite = match word {
            "exec" => "noexec",
            "suid" => "nosuid",
            "dev" => "nodev",
            "ro" => "rw",
            "rw" => "ro",
            word if is_propagation(word) => "rprivate",
            "noexec" | "nosuid" | "nodev" | "sync" | "async" | "noatime" | "atime" | "relatime"
            | "norelatime" | "strictatime" | "nostrictatime" | "nodiratime" | "diratime"
            | "dirsync" | "mand" | "nomand" => "",
            word => match word.split_once('=') {
                Some((
                    "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol" | "huge",
                    _,
                )) => "",
                _ => return Err(Error::Invalid(format!("invalid tmpfs option [\"{word}\"]"))),
            },
        };
        words.retain(|old| old != opposite && old != word);
        words.push(word.to_owned());
    }
    mounting.options = words;
    Ok(mounting)
}

fn start(kind: &str, source: &str, target: &str) -> Result<Mounting, Error> {
    let target = destination(target)?;
    let mut mounting = Mounting::default();
    kind.clone_into(&mut mounting.point.kind);
    mounting.point.rw = true;
    mounting.point.destination = target;
    match kind {
        BIND => mounting.point.source = clean(source),
        VOLUME => {
            if !source.is_empty() {
                check_volume_name(source)?;
            }
            source.clone_into(&mut mounting.point.name);
            mounting.anonymous = source.is_empty();
            // They are the engine's, and any container's that names them.
            mounting.relabel = Some(Relabel::Shared);
            "local".clone_into(&mut mounting.point.driver);
        }
        IMAGE => {
            source.clone_into(&mut mounting.point.name);
            mounting.point.rw = false;
        }
        _ => {}
    }
    Ok(mounting)
}

pub(crate) fn finish(
    mounting: &mut Mounting,
    propagation: &str,
    recursive: bool,
    recursive_ro: bool,
) {
    let propagation = if propagation.is_empty() { "rprivate" } else { propagation };
    let bind = if recursive { "rbind" } else { "bind" };
    let access = match (mounting.point.rw, recursive && recursive_ro) {
        (true, _) => "rw",
        // The mounts below as well: a read-only directory of the host is to be one.
        (false, true) => "rro",
        (false, false) => "ro",
    };
    mounting.options = [bind, access, propagation].map(str::to_owned).to_vec();
    if mounting.point.kind == BIND {
        propagation.clone_into(&mut mounting.point.propagation);
    }
}

fn is_propagation(word: &str) -> bool {
    ["private", "rprivate", "shared", "rshared", "slave", "rslave"].contains(&word)
}

/// A path inside the container, in its shortest form.
pub(crate) fn destination(target: &str) -> Result<String, Error> {
    if !target.starts_with('/') {
        return Err(Error::Invalid(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    let path = clean(target);
    if path == "/" {
        return Err(Error::Invalid("invalid specification: destination can't be '/'".into()));
    }
    // What is mounted over procfs is what the next process that sets itself up there would be
    // told to trust (CVE-2019-16884).
    if (path == "/proc" || path.starts_with("/proc/")) && !OF_PROC.contains(&path.as_str()) {
        return Err(Error::Invalid(format!(
            "\"{path}\" cannot be mounted because it is inside /proc"
        )));
    }
    if path.contains('\0') {
        return Err(Error::Invalid("a mount path must not hold a NUL byte".into()));
    }
    Ok(path)
}

/// Without `.`, `..`, and more than one slash in a row; text only, nothing is looked up.
pub(crate) fn clean(path: &str) -> String {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

fn relative(subpath: &str) -> Result<String, String> {
    let path = Path::new(subpath);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(subpath.to_owned());
    }
    Err("subpath must be a relative path within the volume".into())
}

/// Holds that a name can be a volume's: it becomes a directory.
pub(crate) fn check_volume_name(name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && (2..=255).contains(&name.len());
    if good {
        return Ok(());
    }
    if name.len() == 1 {
        return Err(Error::Invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    Err(Error::Invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

#[cfg(test)]
#[path = "mounting_tests.rs"]
mod tests;
