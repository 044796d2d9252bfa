//! From a tar archive into a container.

use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use cp::{Ids, Place};
use rustix::fs::{FileType, Gid, PROC_SUPER_MAGIC, StatVfsMountFlags, Uid};

use super::{Extract, View, ids_of, missing};
use crate::Error;
use crate::engine::Engine;
use crate::error::At as _;
use crate::record::Container;

/// What may be read-only, in Docker's words.
const ROOT: &str = "container rootfs";
const VOLUME: &str = "mounted volume";

impl Engine {
    /// Unpacks a tar archive (plain or compressed) into a directory of a container. With `keep_kinds` a directory is not put where
    /// something else is, nor something else where a directory is. With `to_user` all of
    /// it becomes that of the user whom the container runs as, where it says so.
    pub fn extract(
        &self,
        wanted: &str,
        path: &str,
        keep_kinds: bool,
        to_user: bool,
        archive: &mut dyn Read,
    ) -> Result<(), Error> {
        // Held, so that nobody starts it while its layers are mounted here.
        let (container, lock) = self.find_locked(wanted)?;
        let status = self.status_locked(&container.id, &lock)?;
        let running = self.running_root(&container, &status)?;
        check_writable(&container, path)?;
        let (view, ids) = match running {
            Some(root) => {
                drop(lock);
                (root.into(), ids_of(&container))
            }
            None => (self.view(&container, true)?, Ids::default()),
        };
        let owner = self.owner_for(&container, to_user)?;
        let (user, group) = (ids.uids.clone(), ids.gids.clone());
        let options = Extract { keep_kinds, owner, ids, ..Extract::default() };
        let place = Place { follow: true, ..Place::new(path) };
        let target = place.open(&view.root).map_err(|err| missing(err, wanted, path))?;
        let stat = rustix::fs::fstat(&target).at("stat", &place.path)?;
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(Error::Invalid("extraction point is not a directory".into()));
        }
        check_mount(view.root.as_fd(), target.as_fd(), &place)?;
        failpoint::hit("engine.extract").at("unpack", &place.path)?;
        let View { root, _namespace } = view;
        // Who has no id in a user namespace can make nothing in what is mounted with its ids.
        let of_root = |maps: &[(u32, u32, u32)]| {
            maps.iter().find(|one| one.0 == 0).map(|one| one.1).filter(|root| *root != 0)
        };
        let unpack = || cp::unpack(root, &place.path, options, archive);
        match of_root(&user).zip(of_root(&group)) {
            None => unpack(),
            Some((uid, gid)) => sys::as_effective(Uid::from_raw(uid), Gid::from_raw(gid), unpack)?,
        }
        .map_err(read_only)?;
        failpoint::hit("engine.extracted").at("unpack", &place.path)
    }
}

impl Engine {
    /// Whose what is copied into a container is to be.
    fn owner_for(&self, container: &Container, to_user: bool) -> Result<Option<(u32, u32)>, Error> {
        let user = &container.record.config.user;
        if !to_user || user.is_empty() {
            return Ok(None);
        }
        let layers = self.layers(container)?;
        let identity = crate::accounts::look_up_user(user, &[], layers.as_ref())?;
        Ok(Some((identity.user.uid, identity.user.gid)))
    }
}

/// Refuses what is to come where nothing can be written, as far as the path tells.
fn check_writable(container: &Container, path: &str) -> Result<(), Error> {
    let path = PathBuf::from(crate::mounting::clean(path));
    let on = container
        .record
        .mounts
        .iter()
        .filter(|mounting| path.starts_with(&mounting.point.destination))
        .max_by_key(|mounting| mounting.point.destination.len());
    match on {
        Some(mounting) if !mounting.point.rw => Err(denied(VOLUME)),
        None if container.record.host.readonly_rootfs => Err(denied(ROOT)),
        _ => Ok(()),
    }
}

/// The same by what is mounted where links have led.
fn check_mount(root: BorrowedFd<'_>, target: BorrowedFd<'_>, place: &Place) -> Result<(), Error> {
    // In proc nothing can be made.
    if rustix::fs::fstatfs(target).at("statfs", &place.path)?.f_type == PROC_SUPER_MAGIC {
        return Err(denied(VOLUME));
    }
    let flags = rustix::fs::fstatvfs(target).at("statvfs", &place.path)?.f_flag;
    if !flags.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let mount = |fd| sys::mount_id(fd).ok().flatten();
    Err(denied(if mount(root) == mount(target) { ROOT } else { VOLUME }))
}

/// The same where what was in the archive led there.
fn read_only(err: cp::Error) -> Error {
    if err.is_read_only() { denied(VOLUME) } else { err.into() }
}

fn denied(what: &str) -> Error {
    Error::Denied(format!("{what} is marked read-only"))
}
