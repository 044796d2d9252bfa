//! A container's root: of what it is made, and that its supervisor mounts it before all the rest is known.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use shim_protocol::{Root, RootIds, Rootfs};
use snapshot::{Key, Mounts};

use crate::engine::Engine;
use crate::error::At as _;
use crate::idmap::Maps;
use crate::record::Container;
use crate::{Error, labelling, mountpoints};

impl Engine {
    /// What is below all of a container's layers; what `diff` and `commit` leave out.
    pub(crate) fn lowest_layer(&self, container: &Container) -> Result<PathBuf, Error> {
        match container.record.step {
            Some(_) => mountpoints::ensure(self.root()),
            None => mountpoints::ensure_of_container(self.root()),
        }
    }

    /// The directories that make the root; none for the machine's own.
    pub(crate) fn layers(&self, container: &Container) -> Result<Option<Mounts>, Error> {
        if container.record.host_root {
            return Ok(None);
        }
        let key: Key = container.id.parse()?;
        Ok(Some(self.images.snapshots().mounts(&key, &container.record.chain)?))
    }

    /// Has a supervisor that waits for the container mount its root while the rest is prepared. Not one with ids
    /// of its own, nor where the supervisor has yet to go elsewhere.
    pub(crate) fn mount_root_ahead(
        &self,
        container: &Container,
        mounts: Option<&Mounts>,
    ) -> Result<(), Error> {
        let Some(Mounts::Overlay { lower, upper, work }) = mounts else { return Ok(()) };
        if rootless::is_rootless() || root_ids(container).is_some() {
            return Ok(());
        }
        let target = self.paths().rootfs();
        make_own_dir(&target)?;
        let rootfs = overlay(
            container,
            lower.clone(),
            self.lowest_layer(container)?,
            (upper.clone(), work.clone()),
        );
        let mount_label = labelling::labels(&container.record).mount;
        self.mount_ahead(&container.id, &Root { rootfs, mount_label, target });
        Ok(())
    }
}

/// Makes a directory that is for its owner alone, unless it is there.
pub(crate) fn make_own_dir(dir: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.at("mkdir", dir),
    }
}

/// A container's layers, with the one below all others.
pub(crate) fn overlay(
    container: &Container,
    mut lower: Vec<PathBuf>,
    lowest: PathBuf,
    (upper, work): (PathBuf, PathBuf),
) -> Rootfs {
    lower.push(lowest);
    // After a crash of the machine it would be removed anyway.
    Rootfs::Overlay { lower, upper, work, volatile: container.record.host.auto_remove }
}

/// The ids with which its root is mounted, if those are not the machine's.
pub(crate) fn root_ids(container: &Container) -> Option<RootIds> {
    // A file system can always be had with the ids that it has.
    let is_plain =
        |maps: &Maps| maps.uids.iter().chain(&maps.gids).all(|one| one.container_id == one.host_id);
    let maps = container.record.user_namespace.clone().filter(|maps| !is_plain(maps))?;
    Some(RootIds { uids: maps.uids, gids: maps.gids })
}
