//! Files of a container, from outside: looking, taking out, putting in.
//!
//! One that runs is looked at through its init's own root, so that its volumes are there as well.
//! One that does not has its layers mounted for as long as it takes, on a mount that is attached
//! nowhere: it ends with its descriptor, whatever becomes of us. Every path is resolved by the
//! kernel within that root; no name of a container's ever means a file of the host's.

mod extract;
mod view;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use cp::{Ids, Pack, Place};
use docker::container::PathStat;
use docker::timestamp::Timestamp;
use fsroot::Root;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use shim_protocol::{Phase, Status};
use snapshot::Mounts;

use crate::Error;
use crate::engine::Engine;
use crate::error::At as _;
use crate::record::Container;

use view::View;

pub(crate) use cp::Extract;

/// Files of a container, about to be written as a tar archive.
#[derive(Debug)]
pub struct Archive {
    /// What is at the path.
    pub stat: PathStat,
    view: View,
    place: Place,
    /// Whether other file systems in it stay out.
    one_file_system: bool,
    /// With all extended attributes that a tar archive can have.
    attributes: bool,
    /// Whose the files are.
    ids: Ids,
}

impl Engine {
    /// What is at a path in a container.
    pub fn path_stat(&self, wanted: &str, path: &str) -> Result<PathStat, Error> {
        Ok(self.archive(wanted, path)?.stat)
    }

    /// What is at a path in a container, with all that is below it.
    pub fn archive(&self, wanted: &str, path: &str) -> Result<Archive, Error> {
        let container = self.find(wanted)?;
        let status = self.status(&container.id)?;
        let (view, ids) = match self.running_root(&container, &status)? {
            Some(root) => (root.into(), ids_of(&container)),
            None => (self.view(&container, false)?, Ids::default()),
        };
        Ok(Archive { ids, ..archive(view, wanted, path, false)? })
    }

    /// The whole root of a container, without what is mounted in it.
    pub fn export(&self, wanted: &str) -> Result<Archive, Error> {
        let container = self.find(wanted)?;
        let status = self.status(&container.id)?;
        let (root, ids) = match self.kept_root(&container, &status)? {
            Some(root) => (root, ids_of(&container)),
            None => (self.mounted_root(&container, false)?, Ids::default()),
        };
        let mut archive = archive(root.into(), wanted, "/", true)?;
        archive.place.name = OsString::new();
        Ok(Archive { ids, ..archive })
    }

    /// Makes the working directory of a container that is being made, as Docker does: who copies something into
    /// it before the first start finds it. Below what is mounted, the start sees to it.
    pub(crate) fn make_work_dir(&self, container: &Container) -> Result<(), Error> {
        let record = &container.record;
        let path = Path::new(&record.config.working_dir);
        let mounts = record.mounts.iter().map(|mounting| mounting.point.destination.as_str());
        let mut mounts = mounts.chain(record.host.tmpfs.keys().map(String::as_str));
        if record.host_root || mounts.any(|mount| path.starts_with(mount)) {
            return Ok(());
        }
        let root = self.mounted_root(container, true)?;
        match root.mkdir_all(path, Mode::from_raw_mode(0o755)) {
            Err(err) if err.errno() == Errno::NOTDIR => Err(Error::WorkDir(path.to_owned())),
            made => Ok(made.map(drop)?),
        }
    }

    /// The root of a container that runs, as its init sees it; `None` where it does not run.
    fn running_root(&self, container: &Container, status: &Status) -> Result<Option<Root>, Error> {
        let path = match status.phase {
            Phase::Running | Phase::Paused => PathBuf::from(format!("/proc/{}/root", status.pid)),
            Phase::Restarting => return self.kept_root(container, status),
            Phase::Created | Phase::Exited => return Ok(None),
        };
        self.root_at(&path, container, status)
    }

    /// The root of a container as its supervisor has it mounted, without what is mounted in it. Two
    /// mounts of one writable layer would not see each other's changes.
    fn kept_root(&self, container: &Container, status: &Status) -> Result<Option<Root>, Error> {
        if matches!(status.phase, Phase::Created | Phase::Exited) {
            return Ok(None);
        }
        let rootfs = self.paths().rootfs();
        let below = rootfs.strip_prefix("/").unwrap_or(&rootfs);
        let path = PathBuf::from(format!("/proc/{}/root", status.shim_pid)).join(below);
        self.root_at(&path, container, status)
    }

    /// A root below the directory in `/proc` of a process of a container, while it runs.
    fn root_at(
        &self,
        path: &Path,
        container: &Container,
        status: &Status,
    ) -> Result<Option<Root>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.at("open", path)?,
        };
        // The number may have become another's before we opened it, but not after its supervisor
        // said that it still runs.
        let now = self.status(&container.id)?;
        let same = now.phase.is_alive() && (now.pid, now.shim_pid) == (status.pid, status.shim_pid);
        Ok(same.then(|| Root::from_fd(fd)))
    }

    /// The root of a container that does not run, on a mount of its own.
    fn mounted_root(&self, container: &Container, writable: bool) -> Result<Root, Error> {
        Ok(Root::from_fd(mount_layers(&self.mounts_of(container)?, writable)?))
    }

    /// What makes the root of a container, which is not the machine's own.
    fn mounts_of(&self, container: &Container) -> Result<Mounts, Error> {
        let layers = self.layers(container)?;
        let lowest = self.lowest_layer(container)?;
        let with_lowest = layers.map(|layers| match layers {
            Mounts::Overlay { mut lower, upper, work } => {
                lower.push(lowest);
                Mounts::Overlay { lower, upper, work }
            }
            directory @ Mounts::Directory { .. } => directory,
        });
        with_lowest.ok_or_else(|| {
            Error::NotYet(
                "a look at the files of a container of the host's root (but for those of one that \
                 runs)"
                    .into(),
            )
        })
    }
}

/// Whose files are in a container that runs, as they are seen from outside its user namespace.
fn ids_of(container: &Container) -> Ids {
    let Some(maps) = &container.record.user_namespace else { return Ids::default() };
    let all = |extents: &[oci::runtime::IdMapping]| {
        extents.iter().map(|one| (one.container_id, one.host_id, one.size)).collect()
    };
    Ids { uids: all(&maps.uids), gids: all(&maps.gids) }
}

/// A container's root as a detached mount.
fn mount_layers(mounts: &Mounts, writable: bool) -> Result<OwnedFd, Error> {
    Ok(match (mounts, writable) {
        (Mounts::Overlay { lower, upper, work }, true) => {
            mount::forget_volatile(work).at("remove", work)?;
            mount::overlay(lower, Some((upper, work)), &[])?
        }
        (Mounts::Overlay { .. }, false) => {
            let all: Vec<PathBuf> = mounts.stack().into_iter().map(Into::into).collect();
            mount::overlay(&all, None, &[])?
        }
        (Mounts::Directory { root, .. }, _) => mount::bind(root, false)?,
    })
}

impl Archive {
    /// Writes all of it.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let how = Pack {
            one_file_system: self.one_file_system,
            attributes: self.attributes,
            ids: self.ids.clone(),
            time: None,
            // As in Docker's archives; what is kept of a volume is whole.
            whole_seconds: !self.attributes,
        };
        Ok(cp::pack(&self.view.root, &self.place, how, out)?)
    }
}

fn archive(view: View, wanted: &str, path: &str, one_file_system: bool) -> Result<Archive, Error> {
    let place = Place::new(path);
    let node = place.open(&view.root).map_err(|err| missing(err, wanted, path))?;
    let stat = rustix::fs::fstat(&node).at("stat", &place.path)?;
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = match rustix::fs::readlinkat(&node, "", Vec::new()) {
                // `/proc/self`: who looks is not in the container.
                Err(Errno::NOENT) => return Err(not_there(wanted, path)),
                target => target.at("readlink", &place.path)?,
            };
            let target = Path::new(OsStr::from_bytes(target.to_bytes()));
            place.path.parent().unwrap_or(Path::new("/")).join(target).to_string_lossy().into()
        }
        _ => String::new(),
    };
    let stat = PathStat {
        name: place.name.to_string_lossy().into_owned(),
        size: stat.st_size,
        mode: docker::mode::from_unix(stat.st_mode),
        mtime: Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }.to_string(),
        link_target,
    };
    Ok(Archive { stat, view, place, one_file_system, attributes: false, ids: Ids::default() })
}

/// All that is in a directory, and what that itself is.
pub(crate) fn whole(root: Root) -> Result<Archive, Error> {
    let mut archive = archive(root.into(), "", "/.", false)?;
    archive.attributes = true;
    Ok(archive)
}

/// An error about a path that is not there, in Docker's words.
fn missing(err: sys::Error, wanted: &str, path: &str) -> Error {
    match err.errno() {
        Errno::NOENT => not_there(wanted, path),
        // Links of proc that lead out of it are not followed: they would lead out of the container as well.
        Errno::LOOP if crate::mounting::clean(path).starts_with("/proc/") => {
            not_there(wanted, path)
        }
        Errno::LOOP => Error::TooManyLinks(path.into()),
        Errno::NOTDIR => Error::NotADirectory(path.into()),
        _ => err.into(),
    }
}

fn not_there(wanted: &str, path: &str) -> Error {
    Error::NotFound(format!("Could not find the file {path} in container {wanted}"))
}
