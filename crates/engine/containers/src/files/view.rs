//! The files of a container that does not run, with all that it would have mounted.
//!
//! They are mounted in a namespace that a thread makes and leaves: nothing of it is in the host's, and
//! it ends with the descriptors that look at it, whatever becomes of us. What is mounted in the
//! container's root is put there by descriptor, at a place that was looked up inside the root.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use fsroot::Root;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::{CloneFlags, MountAttr};

use crate::Error;
use crate::engine::{Engine, make_dir};
use crate::error::At as _;
use crate::mounting::{BIND, IMAGE, Mounting, VOLUME};
use crate::record::Container;

/// A container's root, and what keeps it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) root: Root,
    /// The mount namespace in which something is mounted in it.
    pub(super) _namespace: Option<OwnedFd>,
}

impl From<Root> for View {
    fn from(root: Root) -> Self {
        Self { root, _namespace: None }
    }
}

/// Something that is mounted in the root.
struct Part {
    /// Detached, so that it can come into another namespace.
    tree: OwnedFd,
    subpath: String,
    target: PathBuf,
    read_only: bool,
}

impl Engine {
    /// The root of a container that does not run, with its volumes, binds and images. With `writable`
    /// nobody may start it meanwhile; what would be read-only is.
    pub(crate) fn view(&self, container: &Container, writable: bool) -> Result<View, Error> {
        let view = self.assemble(container, writable);
        if writable || !matches!(&view, Err(err) if is_missing(err)) {
            return view;
        }
        // It has never run: nobody has made the places yet. As at a start, they are made in its
        // writable layer.
        let (container, _lock) = self.find_locked(&container.id)?;
        drop(self.assemble(&container, true)?);
        self.assemble(&container, false)
    }

    fn part(&self, mounting: &Mounting) -> Result<Option<Part>, Error> {
        let point = &mounting.point;
        let tree = match point.kind.as_str() {
            VOLUME => match self.file_system_of(&point.name)? {
                None => mount::bind(&self.volume_data(&point.name), true)?,
                Some(_) => self.volume_root(&point.name)?.into_fd(),
            },
            IMAGE => volume::layers(&self.image_layers(mounting), &self.nothing()?)?,
            BIND => match mount::bind(Path::new(&point.source), true) {
                // Made at the start, or an error then.
                Err(err) if err.errno() == Errno::NOENT => return Ok(None),
                bound => bound?,
            },
            _ => return Ok(None),
        };
        Ok(Some(Part {
            tree,
            subpath: mounting.subpath.clone(),
            target: PathBuf::from(&point.destination),
            read_only: !point.rw,
        }))
    }

    /// The files of the network, as they were when it ran last. Where something else is mounted in their
    /// place, or on all of `/etc`, that is what is seen.
    fn network_parts(&self, container: &Container) -> Result<Vec<Part>, Error> {
        let data = self.paths().data(&container.id);
        let mut parts = Vec::new();
        for name in ["hostname", "hosts", "resolv.conf"] {
            let target = Path::new("/etc").join(name);
            let covers = |mounting: &Mounting| target.starts_with(&mounting.point.destination);
            let source = data.join(name);
            if !source.exists() || container.record.mounts.iter().any(covers) {
                continue;
            }
            let tree = mount::bind(&source, false)?;
            let read_only = container.record.host.readonly_rootfs;
            parts.push(Part { tree, subpath: String::new(), target, read_only });
        }
        Ok(parts)
    }

    /// A directory in which nothing is.
    fn nothing(&self) -> Result<PathBuf, Error> {
        let path = self.paths().supplies();
        make_dir(&path, 0o700)?;
        Ok(path)
    }

    fn assemble(&self, container: &Container, writable: bool) -> Result<View, Error> {
        let mut parts = Vec::new();
        for mounting in &container.record.mounts {
            parts.extend(self.part(mounting)?);
        }
        parts.extend(self.network_parts(container)?);
        if parts.is_empty() {
            let tree = super::mount_layers(&self.mounts_of(container)?, writable)?;
            close_root(container, tree.as_fd())?;
            return Ok(Root::from_fd(tree).into());
        }
        // What lies below another is mounted after it.
        parts.sort_by_key(|part| part.target.components().count());
        let layers = self.mounts_of(container)?;
        let (place, beside) = (self.paths().rootfs(), self.nothing()?);
        make_dir(&place, 0o700)?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                sys::unshare(CloneFlags::NEWNS)?;
                mount::set_propagation(Path::new("/"), mount::Propagation::Private, true)?;
                let tree = super::mount_layers(&layers, writable)?;
                mount::move_to_path(tree.as_fd(), &place)?;
                let root = Root::open(&place)?;
                for part in parts {
                    part.mount(&root, writable, &beside)?;
                }
                close_root(container, tree.as_fd())?;
                let path = Path::new("/proc/thread-self/ns/mnt");
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let namespace = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
                Ok(View { root, _namespace: Some(namespace) })
            });
            match thread.join() {
                Ok(view) => view,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Part {
    /// Mounts it in `root`; with `make` the place is made. `beside` is a directory to have it in first.
    fn mount(self, root: &Root, make: bool, beside: &Path) -> Result<(), Error> {
        let tree = if self.subpath.is_empty() {
            self.tree
        } else {
            // Of what is mounted nowhere older kernels take no part. Each covers the one before.
            mount::move_to_path(self.tree.as_fd(), beside)?;
            let part = Root::open(beside)?.open_path(&self.subpath)?;
            mount::bind_fd(part.as_fd(), true)?
        };
        let stat = rustix::fs::fstat(&tree).at("stat", &self.target)?;
        let target = if !make {
            root.open_path(&self.target)?
        } else if FileType::from_raw_mode(stat.st_mode).is_dir() {
            root.mkdir_all(&self.target, Mode::from_raw_mode(0o755))?
        } else {
            if let Some(parent) = self.target.parent() {
                root.mkdir_all(parent, Mode::from_raw_mode(0o755))?;
            }
            match root.open_path(&self.target) {
                Err(err) if err.errno() == Errno::NOENT => {
                    root.create_file(&self.target, Mode::from_raw_mode(0o644))?
                }
                found => found?,
            }
        };
        let none = MountAttr::empty();
        let set = if self.read_only { MountAttr::RDONLY } else { none };
        let private = Some(mount::Propagation::Private);
        mount::mount_setattr(tree.as_fd(), true, set, none, private, None)?;
        Ok(mount::move_to_fd(tree.as_fd(), target.as_fd())?)
    }
}

/// Makes the root of a container read-only where it would be so; what is mounted in it stays as it is. Else a link
/// in a volume would lead to where nothing is to be written.
fn close_root(container: &Container, tree: BorrowedFd<'_>) -> Result<(), Error> {
    if !container.record.host.readonly_rootfs {
        return Ok(());
    }
    let none = MountAttr::empty();
    Ok(mount::mount_setattr(tree, false, MountAttr::RDONLY, none, None, None)?)
}

/// Whether a place in the root was not there.
fn is_missing(err: &Error) -> bool {
    matches!(err, Error::Root(err) if matches!(err.errno(), Errno::NOENT | Errno::NOTDIR))
}
