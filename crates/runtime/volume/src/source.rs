//! What is mounted.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use mount::options;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sys::{Call as _, MountAttr};

use crate::Error;
use crate::namespace::Namespaces;

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Source {
    /// Layers of an image on each other, topmost first; read-only.
    Layers {
        /// Topmost first; at least one.
        lower: Vec<PathBuf>,
    },
    /// Directories on each other, topmost first, and one that takes what is written, which nobody
    /// needs after a crash of the machine.
    Overlay {
        /// Topmost first.
        lower: Vec<PathBuf>,
        /// What is written.
        upper: PathBuf,
        /// Overlayfs's own, on the same file system.
        work: PathBuf,
    },
    /// A directory of ours.
    Directory {
        /// It.
        path: PathBuf,
    },
    /// A directory or file of the host, as the host's mount namespace has it: what is mounted below
    /// it later travels, if the host's mount is a shared one.
    Host {
        /// It.
        path: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
    },
    /// A directory that another container has mounted: its shared memory.
    Container {
        /// A process of it, by the host's count.
        pid: i32,
        /// The directory, in its root.
        path: PathBuf,
    },
    /// A file system that a volume consists of.
    FileSystem(FileSystem),
    /// Copies of files, in memory: what is written of them never reaches a disk.
    Secrets {
        /// Them.
        files: Vec<Secret>,
    },
}

/// A file of [`Source::Secrets`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// What it is called there.
    pub name: String,
    /// The file of which it is a copy, which stays as it is.
    pub path: PathBuf,
    /// Its owner, by the host's count.
    pub uid: u32,
    /// Its group, by the host's count.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
}

/// The options of a volume of the driver `local`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// `type`: what mount(8) calls it: `tmpfs`, `nfs`, `ext4`; `none` with the option `bind`.
    pub kind: String,
    /// `device`.
    pub device: String,
    /// `o`, word by word.
    pub options: Vec<String>,
}

impl Source {
    /// It as a detached mount. `empty` is a directory in which nothing is; `label` the label of `SELinux` of what
    /// is made here, if that is not empty.
    pub fn open(
        &self,
        namespaces: &Namespaces<'_>,
        empty: &Path,
        label: &str,
    ) -> Result<OwnedFd, Error> {
        match self {
            Self::Layers { lower } => labelled_layers(lower, empty, label),
            Self::Overlay { lower, upper, work } => writable(lower, (upper, work), empty, label),
            Self::Directory { path } => {
                Ok(mount::bind(path, true).map_err(Error::mount(format!("mount {path:?}")))?)
            }
            Self::Host { path, recursive } => namespaces
                .on_host(|| mount::bind(path, *recursive))?
                .map_err(Error::mount(format!("mount {path:?}"))),
            Self::Container { pid, path } => in_container(*pid, path, namespaces),
            Self::FileSystem(volume) => volume.open(),
            Self::Secrets { files } => crate::secrets::open(files, label),
        }
    }
}

/// A copy of a mount of a container's. What links in the container's root lead to stays in that root.
fn in_container(pid: i32, path: &Path, namespaces: &Namespaces<'_>) -> Result<OwnedFd, Error> {
    let theirs = crate::namespace::open(&pid.to_string())?;
    namespaces.visit(theirs.as_fd(), || -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).call(|| "open(\"/\")")?;
        let found = fsroot::Root::from_fd(root)
            .open_path(path)
            .map_err(|source| Error::Subpath { path: path.into(), source })?;
        Ok(mount::bind_fd(found.as_fd(), false)?)
    })?
}

/// Layers on each other. It is the file system that is read-only, not only the mount: a container that
/// may mount could change that, and what is below is every container's.
pub fn layers(lower: &[PathBuf], empty: &Path) -> Result<OwnedFd, Error> {
    labelled_layers(lower, empty, "")
}

fn labelled_layers(lower: &[PathBuf], empty: &Path, label: &str) -> Result<OwnedFd, Error> {
    // Overlayfs wants two.
    let mut all = lower.to_vec();
    all.push(empty.to_owned());
    if all.len() == 1 {
        return read_only(empty).map_err(Error::mount("mount an image without layers"));
    }
    let extra: Vec<_> = context(label).collect();
    match (mount::overlay(&all, None, &extra), lower) {
        // Where overlays do not work, layers are whole trees.
        (Err(_), [only]) => read_only(only).map_err(Error::mount("mount the layer of an image")),
        (mounted, _) => mounted.map_err(Error::mount("mount the layers of an image")),
    }
}

/// The option of an overlay by which all in it has a label; none for an empty one.
fn context(label: &str) -> impl Iterator<Item = (&str, &str)> {
    (!label.is_empty()).then_some(("context", label)).into_iter()
}

fn writable(
    lower: &[PathBuf],
    (upper, work): (&Path, &Path),
    empty: &Path,
    label: &str,
) -> Result<OwnedFd, Error> {
    // Overlayfs wants one.
    let nothing = [empty.to_owned()];
    let lower = if lower.is_empty() { &nothing } else { lower };
    let volatile = mount::has_volatile_overlay().then_some(("volatile", ""));
    let extra: Vec<_> = volatile.into_iter().chain(context(label)).collect();
    mount::overlay(lower, Some((upper, work)), &extra)
        .map_err(Error::mount(format!("mount an overlay of {lower:?}")))
}

fn read_only(directory: &Path) -> Result<OwnedFd, sys::Error> {
    let tree = mount::bind(directory, false)?;
    let (set, clear) = (MountAttr::RDONLY, MountAttr::empty());
    mount::mount_setattr(tree.as_fd(), false, set, clear, None, None)?;
    Ok(tree)
}

impl FileSystem {
    /// It as a detached mount.
    pub fn open(&self) -> Result<OwnedFd, Error> {
        self.attempt().map_err(Error::mount(format!(
            "failed to mount local volume: mount {}, type: {}, data: {}",
            self.device,
            self.kind,
            self.shown()
        )))
    }

    /// The directory of the machine that it is, if it is one.
    pub(crate) fn bound(&self) -> Option<&Path> {
        options::parse(&self.options).bind.map(|_| Path::new(&self.device))
    }

    /// The options as errors have them: without what may be a password.
    fn shown(&self) -> String {
        let shown = self.options.iter().map(|option| match option.split_once('=') {
            Some((key @ ("password" | "pass" | "password2"), _)) => format!("{key}=********"),
            _ => option.clone(),
        });
        shown.collect::<Vec<_>>().join(",")
    }

    fn attempt(&self) -> Result<OwnedFd, sys::Error> {
        let parsed = options::parse(&self.options);
        let tree = if let Some(recursive) = parsed.bind {
            mount::bind(self.device.as_ref(), recursive)?
        } else {
            let mut options: Vec<_> = parsed.fs_options().collect();
            // mount(2) has one flag for both: a device that cannot be written to needs this one.
            if parsed.set.contains(MountAttr::RDONLY) {
                options.push(("ro", None));
            }
            mount::fs_mount(&self.kind, Some(&self.device), &options, MountAttr::empty())?
        };
        let attributes =
            [(false, parsed.set, parsed.clear), (true, parsed.rec_set, parsed.rec_clear)];
        for (recursive, set, clear) in attributes {
            if !(set | clear).is_empty() {
                mount::mount_setattr(tree.as_fd(), recursive, set, clear, None, None)?;
            }
        }
        for (propagation, recursive) in parsed.propagation {
            mount::set_propagation_fd(tree.as_fd(), propagation, recursive)?;
        }
        Ok(tree)
    }
}
