//! What a container's supervisor mounts for it, and where the runtime finds it.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use oci::ChainId;
use oci::runtime::IdMapping as Extent;
use rustix::fs::Stat;
use snapshot::Form;
use volume::{Source, Supply};

use crate::engine::{Engine, make_dir};
use crate::error::At as _;
use crate::idmap::{self, IdMapping, Maps};
use crate::merged::Directory;
use crate::mounting::{BIND, IMAGE, Mounting, VOLUME};
use crate::record::Container;
use crate::spec::namespaces::{Mode, mode};
use crate::spec::user::Identity;
use crate::{Error, labelling, relabelling};

/// What a mount of a container is bound from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bound {
    /// A path of the host, or one that only the supervisor sees. Empty: none, it is a tmpfs.
    pub(crate) source: PathBuf,
    /// How its ids are mapped.
    pub(crate) maps: Option<Maps>,
}

/// All of one container, for one start.
#[derive(Debug, Default)]
pub(crate) struct Supplies {
    /// What the supervisor mounts.
    pub(crate) list: Vec<Supply>,
    /// By the number of the mount in the record.
    pub(crate) bound: Vec<Bound>,
    /// What `/dev/shm` is bound from, where it is another container's.
    pub(crate) shm: Option<PathBuf>,
}

/// The name of another container's shared memory among what the supervisor mounts.
const SHM: &str = "shm";

/// Who somebody is in a container, for mounts whose owner is to be them.
pub(crate) struct Who<'a> {
    /// Whom it runs as.
    pub(crate) identity: &'a Identity,
    /// Its files of accounts, for others.
    pub(crate) look_up: &'a dyn Fn(&str) -> Result<Identity, Error>,
    /// The ids of its user namespace; empty: the machine's.
    pub(crate) inside: &'a Maps,
}

impl Engine {
    /// What `container` has mounted, as of now.
    pub(crate) fn supplies(&self, container: &Container, who: &Who<'_>) -> Result<Supplies, Error> {
        let mut supplies = Supplies::default();
        let label = labelling::labels(&container.record).mount;
        if let Mode::Container(other) = mode(&container.record.host.ipc_mode) {
            let pid = self.joined(container, other, "IPC")?.1;
            let source = Source::Container { pid, path: "/dev/shm".into() };
            let name = SHM.to_owned();
            let (subpath, label) = (String::new(), String::new());
            supplies.list.push(Supply { name, source, subpath, holders: None, label });
            supplies.shm = Some(self.paths().supplies().join(SHM));
        }
        for mounting in &container.record.mounts {
            let (mut bound, supply) = self.supply(mounting, &label)?;
            if let Some(asked) = &mounting.idmap {
                bound.maps = self.maps(asked, mounting, who)?;
            } else if mounting.point.kind == VOLUME {
                // On the disk a volume has the ids that containers see: others have other namespaces.
                bound.maps = complete(who.inside.clone());
            }
            supplies.list.extend(supply);
            supplies.bound.push(bound);
        }
        Ok(supplies)
    }

    /// One, in a container whose files have the label `label`.
    fn supply(&self, mounting: &Mounting, label: &str) -> Result<(Bound, Option<Supply>), Error> {
        let point = &mounting.point;
        let plain = PathBuf::from(&point.source);
        let mut holders = None;
        let source = match point.kind.as_str() {
            _ if mounting.supply.is_some() => mounting.supply.clone(),
            VOLUME => match self.file_system_of(&point.name)? {
                Some(volume) => {
                    let directory = self.volume_holders(&point.name);
                    make_dir(&directory, 0o700)?;
                    holders = Some(directory);
                    Some(Source::FileSystem(volume))
                }
                None if mounting.subpath.is_empty() => None,
                None => Some(Source::Directory { path: plain.clone() }),
            },
            IMAGE => Some(Source::Layers { lower: self.image_layers(mounting) }),
            BIND => {
                check_propagation(&plain, &point.propagation)?;
                let recursive = mounting.options.iter().any(|option| option == "rbind");
                is_shared(&point.propagation)
                    .then(|| Source::Host { path: plain.clone(), recursive })
            }
            _ => return Ok((Bound::default(), None)),
        };
        let Some(source) = source else {
            return Ok((Bound { source: plain, maps: None }, None));
        };
        // Others may come and go while the container runs.
        let name = format!("m{}", &oci::Digest::sha256(point.destination.as_bytes()).hex()[..12]);
        let bound = Bound { source: self.paths().supplies().join(&name), maps: None };
        let label = relabelling::of_supply(&source, mounting.relabel, label);
        let subpath = mounting.subpath.clone();
        Ok((bound, Some(Supply { name, source, subpath, holders, label })))
    }

    /// The directories of an image's layers, topmost first.
    pub(crate) fn image_layers(&self, mounting: &Mounting) -> Vec<PathBuf> {
        mounting.image.as_ref().map_or_else(Vec::new, |image| self.layers_of(&image.chain))
    }

    /// The directories of these layers, topmost first.
    pub(crate) fn layers_of(&self, chain: &[ChainId]) -> Vec<PathBuf> {
        let snapshots = self.images.snapshots();
        let mut paths = snapshots.layer_paths(chain);
        paths.reverse();
        if snapshots.form() == Form::Whole {
            paths.truncate(1);
        }
        paths
    }

    fn maps(
        &self,
        asked: &IdMapping,
        mounting: &Mounting,
        who: &Who<'_>,
    ) -> Result<Option<Maps>, Error> {
        let inside = who.inside;
        let maps = match asked {
            IdMapping::UserNamespace => inside.clone(),
            IdMapping::Maps { uids, gids } => Maps {
                uids: idmap::outside(uids, &inside.uids)?,
                gids: idmap::outside(gids, &inside.gids)?,
            },
            IdMapping::MatchUser(name) => {
                let other = (!name.is_empty()).then(|| (who.look_up)(name)).transpose()?;
                let user = &other.as_ref().unwrap_or(who.identity).user;
                let owner = self.owner(mounting)?;
                Maps {
                    uids: idmap::exchange(owner.st_uid, user.uid, &inside.uids),
                    gids: idmap::exchange(owner.st_gid, user.gid, &inside.gids),
                }
            }
        };
        Ok(complete(maps))
    }

    /// Whose what is mounted is.
    fn owner(&self, mounting: &Mounting) -> Result<Stat, Error> {
        let point = &mounting.point;
        let source = Path::new(&point.source);
        if point.kind != VOLUME {
            return rustix::fs::stat(source).at("stat", source);
        }
        let root = self.volume_root(&point.name)?;
        if mounting.subpath.is_empty() {
            return rustix::fs::fstat(root.as_fd()).at("stat", source);
        }
        let part = root.open_path(&mounting.subpath)?;
        rustix::fs::fstat(&part).at("stat", source)
    }
}

/// The runtime wants both, or none.
fn complete(mut maps: Maps) -> Option<Maps> {
    let all = || vec![Extent { container_id: 0, host_id: 0, size: u32::MAX }];
    match (maps.uids.is_empty(), maps.gids.is_empty()) {
        (true, true) => return None,
        (true, false) => maps.uids = all(),
        (false, true) => maps.gids = all(),
        (false, false) => {}
    }
    Some(maps)
}

/// Looks a user of a container's up, as `--user` has it.
pub(crate) fn look_up(root: &Directory, name: &str) -> Result<Identity, Error> {
    crate::accounts::look_up_in(root, name, &[])
}

fn is_shared(propagation: &str) -> bool {
    matches!(propagation, "shared" | "rshared")
}

/// Refuses a propagation that the host's mount does not have, in Docker's words.
fn check_propagation(path: &Path, propagation: &str) -> Result<(), Error> {
    let slave = matches!(propagation, "slave" | "rslave");
    if !slave && !is_shared(propagation) {
        return Ok(());
    }
    let real = path.canonicalize().at("resolve", path)?;
    let text = mount::mountinfo::read("self")?;
    // Of several at one place the last is on top.
    let on = mount::mountinfo::mounts(&text)
        .filter(|mounted| real.starts_with(mounted.point()))
        .max_by_key(|mounted| mounted.point().components().count());
    let Some(on) = on else { return Ok(()) };
    if on.shared || slave && on.follows {
        return Ok(());
    }
    let which = if slave { "shared or slave" } else { "shared" };
    Err(Error::Invalid(format!(
        "path {} is mounted on {} but it is not a {which} mount",
        path.display(),
        on.point().display()
    )))
}
