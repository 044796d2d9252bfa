//! What a step has mounted, for its supervisor.

use std::fs;
use std::path::Path;

use rustix::fs::{Gid, Mode, Uid};
use snapshot::Mounts;
use volume::Source;

use super::{StepMount, StepSource};
use crate::Error;
use crate::engine::Engine;
use crate::error::At as _;
use crate::mounting::{self, Mounting};
use crate::record::Container;
use crate::relabelling::{Relabel, relabel_for_step};

/// What a step's mounts are called in its record, where they are no tmpfs.
const KIND: &str = "step";

/// What a secret is called in the tmpfs that it is alone in.
const SECRET: &str = "secret";

/// The key of the layer to which the mount of this number writes.
pub(super) fn key(id: &str, at: usize) -> String {
    format!("{id}.{at}")
}

/// Whether a mount has a writable layer of the step's.
fn has_layer(mount: &StepMount) -> bool {
    !mount.readonly && matches!(mount.source, StepSource::Layers(_) | StepSource::Directory(_))
}

/// The keys of all layers that a step has beside its root's.
pub(super) fn keys(id: &str, mounts: &[StepMount]) -> Vec<String> {
    let with_layer = mounts.iter().enumerate().filter(|(_, mount)| has_layer(mount));
    with_layer.map(|(at, _)| key(id, at)).collect()
}

/// How a mount is recorded, before what it is bound from is there.
pub(super) fn of(mount: &StepMount) -> Result<Mounting, Error> {
    let mut mounting = Mounting::default();
    let point = &mut mounting.point;
    point.destination = mounting::destination(&mount.target)?;
    point.rw = !mount.readonly;
    if let StepSource::Tmpfs { size } = mount.source {
        mounting::TMPFS.clone_into(&mut point.kind);
        // As BuildKit's: programs may run there.
        let access = if mount.readonly { "ro" } else { "rw" };
        mounting.options = ["nosuid", "rprivate", access].map(str::to_owned).to_vec();
        if size > 0 {
            mounting.options.push(format!("size={size}"));
        }
        return Ok(mounting);
    }
    KIND.clone_into(&mut point.kind);
    let subpath = mounting::clean(&mount.subpath);
    subpath.trim_start_matches('/').clone_into(&mut mounting.subpath);
    mounting::finish(&mut mounting, "", true, true);
    Ok(mounting)
}

impl Engine {
    /// Fills in what the supervisor mounts, and makes what that takes. What is in memory is kept by
    /// the descriptors that come back.
    pub(super) fn supply_step(
        &self,
        container: &mut Container,
        mounts: &[StepMount],
    ) -> Result<Vec<fs::File>, Error> {
        let mut held = Vec::new();
        for (at, mount) in mounts.iter().enumerate() {
            let source = match &mount.source {
                StepSource::Tmpfs { .. } => continue,
                StepSource::Secret { bytes, uid, gid, mode } => {
                    let (file, source) = secret(bytes, (*uid, *gid), *mode)?;
                    held.push(file);
                    SECRET.clone_into(&mut container.record.mounts[at].subpath);
                    source
                }
                StepSource::Socket { path, uid, gid, mode } => {
                    give(path, (*uid, *gid), *mode)?;
                    relabel_for_step(container, path, Relabel::Private)?;
                    Source::Directory { path: path.clone() }
                }
                StepSource::Cache(path) => {
                    relabel_for_step(container, path, Relabel::Shared)?;
                    Source::Directory { path: path.clone() }
                }
                StepSource::Layers(chain) if mount.readonly => {
                    Source::Layers { lower: self.layers_of(chain) }
                }
                // Not a bind mount: who may mount could make it writable again.
                StepSource::Directory(path) if mount.readonly => {
                    Source::Layers { lower: vec![path.clone()] }
                }
                StepSource::Layers(chain) => {
                    let mounts =
                        self.images.snapshots().prepare(&key(&container.id, at).parse()?, chain)?;
                    writable(mounts)
                }
                StepSource::Directory(path) => {
                    let mounts =
                        self.images.snapshots().prepare(&key(&container.id, at).parse()?, &[])?;
                    over(path, mounts)?
                }
            };
            // A layer of its own that is no overlay.
            let has_own = has_layer(mount).then_some(&source);
            if let Some(Source::Directory { path }) = has_own {
                relabel_for_step(container, path, Relabel::Private)?;
            }
            container.record.mounts[at].supply = Some(source);
        }
        Ok(held)
    }
}

fn writable(mounts: Mounts) -> Source {
    match mounts {
        Mounts::Overlay { lower, upper, work } => Source::Overlay { lower, upper, work },
        Mounts::Directory { root, .. } => Source::Directory { path: root },
    }
}

/// A directory with a layer over it, or a copy of it where layers are whole trees.
fn over(directory: &Path, mounts: Mounts) -> Result<Source, Error> {
    Ok(match mounts {
        Mounts::Overlay { upper, work, .. } => {
            // The topmost layer's root is that of the whole.
            let found = rustix::fs::stat(directory).at("stat", directory)?;
            let owner = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
            rustix::fs::chown(&upper, Some(owner.0), Some(owner.1)).at("chown", &upper)?;
            rustix::fs::chmod(&upper, Mode::from_raw_mode(found.st_mode)).at("chmod", &upper)?;
            Source::Overlay { lower: vec![directory.to_owned()], upper, work }
        }
        Mounts::Directory { root, .. } => {
            tree::copy(directory, &root, tree::Files::Copy).map_err(snapshot::Error::from)?;
            Source::Directory { path: root }
        }
    })
}

/// Bytes that are on no disk: the supervisor copies them from a file of this process that has no name.
fn secret(bytes: &[u8], (uid, gid): (u32, u32), mode: u32) -> Result<(fs::File, Source), Error> {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    if mode > 0o777 {
        return Err(Error::Invalid(format!("secret: invalid mode {mode:o}")));
    }
    let place = Path::new("a secret");
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let memory = rustix::fs::memfd_create("dhow-secret", flags).at("memfd_create", place)?;
    let mut file = fs::File::from(memory);
    file.write_all(bytes).at("write", place)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
    let file_of = volume::Secret { name: SECRET.into(), path, uid, gid, mode };
    Ok((file, Source::Secrets { files: vec![file_of] }))
}

/// Gives a socket of the builder's its owner and its permissions. No link is followed.
fn give(path: &Path, (uid, gid): (u32, u32), mode: u32) -> Result<(), Error> {
    use rustix::fs::OFlags;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
    let found = rustix::fs::fstat(&socket).at("stat", path)?;
    if rustix::fs::FileType::from_raw_mode(found.st_mode) != rustix::fs::FileType::Socket {
        return Err(Error::Invalid(format!("{}: is no socket", path.display())));
    }
    let place = fsroot::fd_path(&socket);
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chown(&place, owner.0, owner.1).at("chown", path)?;
    rustix::fs::chmod(&place, Mode::from_raw_mode(mode & 0o7777)).at("chmod", path)
}
