//! The root file system.

use std::path::{Path, PathBuf};

use oci::runtime::{Linux, NamespaceKind, Spec};
use sys::Propagation;

use crate::device::{self, Device};
use crate::mounts::{self, Mount, What, clean};
use crate::namespace::Namespaces;
use crate::{Error, Facts, Options};

/// The root directory, and all that is mounted in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// The directory.
    pub root: Root,
    /// How it becomes the root.
    pub enter: Enter,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Fill `/dev`: not where the host's own is mounted there.
    pub fill_dev: bool,
    /// Device files.
    pub devices: Vec<Device>,
    /// The container, or the runtime, is in a user namespace: that makes no device file, so the host's
    /// are bound, and takes nothing away from the host's mounts.
    pub in_user_namespace: bool,
    /// The new process opens what is mounted from the host: the runtime may not mount.
    pub open_inside: bool,
    /// Paths that are made read-only.
    pub readonly_paths: Vec<PathBuf>,
    /// Paths that are covered.
    pub masked_paths: Vec<PathBuf>,
    /// The `SELinux` label of file systems that are made for it; empty for none.
    pub mount_label: String,
}

/// The root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Where it is on the host, absolute.
    pub path: PathBuf,
    /// Whether it is read-only inside.
    pub readonly: bool,
    /// How mounts of the host travel into it.
    pub propagation: Propagation,
}

/// How the process comes to have the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enter {
    /// `pivot_root(2)`.
    PivotRoot,
    /// The mount moves over `/`, for where the root is a ramfs that cannot be pivoted away from.
    Move,
    /// The mount namespace is not the container's own: only `chroot(2)`, and no mounts.
    Chroot,
}

pub(crate) fn rootfs(
    spec: &Spec,
    linux: &Linux,
    bundle: &Path,
    namespaces: &Namespaces,
    facts: &Facts,
    options: Options,
) -> Result<Rootfs, Error> {
    let root = spec.root.as_ref().ok_or_else(|| Error::missing("root"))?;
    if root.path.is_empty() {
        return Err(Error::missing("root.path"));
    }
    if root.path.contains('\0') {
        return Err(Error::invalid("root.path", root.path.escape_debug(), "contains a NUL"));
    }
    let masked_paths = paths("linux.maskedPaths", &linux.masked_paths)?;
    let readonly_paths = paths("linux.readonlyPaths", &linux.readonly_paths)?;
    let mut mounts = mounts::mounts(&spec.mounts, bundle, namespaces, &linux.mount_label, facts)?;
    if !facts.old_mounts {
        let path = clean(&bundle.join(&root.path).to_string_lossy());
        for mount in &mut mounts {
            mount.within(&path);
        }
    }
    let enter = match namespaces.has(NamespaceKind::Mount) {
        false => Enter::Chroot,
        true if options.no_pivot => Enter::Move,
        true => Enter::PivotRoot,
    };
    if enter == Enter::Chroot {
        for (field, there) in [
            ("mounts", !mounts.is_empty()),
            ("linux.maskedPaths", !masked_paths.is_empty()),
            ("linux.readonlyPaths", !readonly_paths.is_empty()),
            ("root.readonly", root.readonly),
        ] {
            if there {
                return Err(Error::conflict(
                    field,
                    "needs a mount namespace of the container's own",
                ));
            }
        }
    }
    let devices = device::devices(&linux.devices)?;
    let binds_dev = |mount: &Mount| {
        mount.target == Path::new("/dev") && matches!(mount.what, What::Bind { .. })
    };
    Ok(Rootfs {
        root: Root {
            path: bundle.join(&root.path),
            readonly: root.readonly,
            propagation: propagation(&linux.rootfs_propagation)?,
        },
        fill_dev: enter != Enter::Chroot && !mounts.iter().any(binds_dev),
        enter,
        mounts,
        devices,
        in_user_namespace: namespaces.has(NamespaceKind::User) || facts.in_user_namespace,
        open_inside: !facts.may_mount() || facts.old_mounts,
        readonly_paths,
        masked_paths,
        mount_label: linux.mount_label.clone(),
    })
}

fn paths(field: &str, list: &[String]) -> Result<Vec<PathBuf>, Error> {
    list.iter()
        .enumerate()
        .map(|(i, path)| {
            // A relative one is from the root, as runc has it.
            if path.is_empty() || path.contains('\0') {
                let field = format!("{field}[{i}]");
                return Err(Error::invalid(field, path.escape_debug(), "is not a path"));
            }
            Ok(clean(path))
        })
        .collect()
}

fn propagation(name: &str) -> Result<Propagation, Error> {
    match name {
        "" | "slave" | "rslave" => Ok(Propagation::Slave),
        "private" | "rprivate" => Ok(Propagation::Private),
        "shared" | "rshared" => Ok(Propagation::Shared),
        "unbindable" | "runbindable" => Ok(Propagation::Unbindable),
        _ => {
            let why = "is not shared, slave, private or unbindable";
            Err(Error::invalid("linux.rootfsPropagation", name.escape_debug(), why))
        }
    }
}
