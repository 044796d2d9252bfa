//! Volumes: directories that outlive the containers that use them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use docker::Map;
use docker::filters::Filters;
use docker::volume::Volume;
use fsroot::Root;
use volume::{FileSystem, Holders};

use crate::engine::Engine;
use crate::error::At as _;
use crate::lock::Lock;
use crate::merged::{self, Directory};
use crate::mounting::{self, Mounting, NewVolume, VOLUME};
use crate::record::Container;
use crate::volume_store::{Record, Unmade, record};
use crate::{Error, clock, copy, local, name, visit};

/// The label of a volume that has no name of its own; Docker's.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

impl Engine {
    /// Makes a volume, or finds the one of that name. Without a name it gets one.
    pub fn volume_create(
        &self,
        wanted: &str,
        driver: &str,
        options: &Map<String>,
        labels: &Map<String>,
    ) -> Result<Volume, Error> {
        if !matches!(driver, "" | "local") {
            return Err(Error::NotFound(format!(
                "create {wanted}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
        let is_empty = |map: &Map<String>| map.is_empty() && !map.is_nil();
        let mut record = Record {
            labels: labels.clone().into_map(),
            options: options.clone().into_map(),
            empty_labels: is_empty(labels),
            empty_options: is_empty(options),
            ..Record::default()
        };
        let name = if wanted.is_empty() {
            record.labels.insert(ANONYMOUS.into(), String::new());
            name::hex::<32>()?
        } else {
            mounting::check_volume_name(wanted)?;
            wanted.to_owned()
        };
        local::check(options).map_err(|err| Error::Invalid(format!("create {name}: {err}")))?;
        self.make_volume(&name, &record, &|_| Ok(()))?;
        self.volume_inspect(&name)
    }

    /// The volume of this name.
    pub fn volume_inspect(&self, name: &str) -> Result<Volume, Error> {
        let row = self.shared.db.read(|tx| tx.volume(name))?;
        row.map(|row| self.show_volume(&row))
            .ok_or_else(|| Error::NotFound(format!("get {name}: no such volume")))
    }

    /// All volumes that `filters` want, by name.
    pub fn volumes(&self, filters: &Filters) -> Result<Vec<Volume>, Error> {
        let filters = filters
            .clone()
            .only(&["dangling", "driver", "label", "name"])
            .map_err(|err| Error::Invalid(err.to_string()))?;
        let dangling = filters.bool("dangling").map_err(|err| Error::Invalid(err.to_string()))?;
        let used = self.used_volumes()?;
        let rows = self.shared.db.read(metadata::Read::volumes)?;
        Ok(rows
            .iter()
            .map(|row| self.show_volume(row))
            .filter(|volume| {
                filters.matches("name", &volume.name)
                    && filters.exact("driver", &volume.driver)
                    && filters.labels("label", &volume.labels)
                    && dangling.is_none_or(|wanted| wanted != used.contains(&volume.name))
            })
            .collect())
    }

    /// Removes a volume that no container names.
    pub fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        if self.shared.db.read(|tx| tx.volume(name))?.is_none() {
            return if force {
                Ok(())
            } else {
                Err(Error::NotFound(format!("get {name}: no such volume")))
            };
        }
        match self.unmake_volume(name, &[])? {
            Unmade::Done => Ok(()),
            Unmade::Used(users) => Err(Error::Conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            ))),
        }
    }

    /// Removes the volumes that no container names: those without a name of their own, or with
    /// the filter `all` every one. Their names, and how many bytes they held.
    pub fn volumes_prune(&self, filters: &Filters) -> Result<(Vec<String>, u64), Error> {
        let filters = filters
            .clone()
            .only(&["all", "label", "label!"])
            .map_err(|err| Error::Invalid(err.to_string()))?;
        let all = filters.bool("all").map_err(|err| Error::Invalid(err.to_string()))?;
        let used = self.used_volumes()?;
        let mut pruned = (Vec::new(), 0_u64);
        for row in self.shared.db.read(metadata::Read::volumes)? {
            let labels = record(&row).labels;
            let wanted = (all == Some(true) || labels.contains_key(ANONYMOUS))
                && filters.labels("label", &labels)
                && filters.not_labels(&labels);
            if wanted && !used.contains(&row.name) {
                let size = copy::size(&self.volume_data(&row.name));
                // Somebody may have begun to use it.
                if matches!(self.unmake_volume(&row.name, &[])?, Unmade::Done) {
                    pruned.1 = pruned.1.saturating_add(size);
                    pruned.0.push(row.name);
                }
            }
        }
        Ok(pruned)
    }

    /// Makes the volume that a container's mount names, and notes where it is.
    pub(crate) fn furnish_volume(&self, container: &mut Container, at: usize) -> Result<(), Error> {
        let mounting = &container.record.mounts[at];
        let name = mounting.point.name.clone();
        let NewVolume { mut labels, options } = mounting.volume.clone();
        if mounting.anonymous {
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        self.make_volume(&name, &Record { labels, options, ..Record::default() }, &|_| Ok(()))?;
        let row = self.shared.db.read(|tx| tx.volume(&name))?;
        if row.is_some_and(|row| !record(&row).snapshot_of.is_empty()) {
            container.record.mounts[at].set_read_only();
        }
        let mounting = &container.record.mounts[at];
        if mounting.copy_up {
            self.copy_up(container, mounting)?;
        }
        let data = self.volume_data(&name);
        container.record.mounts[at].point.source = data.to_string_lossy().into_owned();
        Ok(())
    }

    /// Gives a volume that is empty what the image has where it is mounted.
    fn copy_up(&self, container: &Container, mounting: &Mounting) -> Result<(), Error> {
        let Some(layers) = self.layers(container)? else { return Ok(()) };
        let root = Directory::root(layers.stack())?;
        let destination = Path::new(&mounting.point.destination);
        let Some((_, merged::Entry::Directory(directory))) = merged::resolve(&root, destination)?
        else {
            return Ok(());
        };
        // Two that come at once would copy into each other's way.
        let _lock = Lock::wait(&self.paths().volumes().join(&mounting.point.name))?;
        let whole = self.volume_root(&mounting.point.name)?;
        let target = if mounting.subpath.is_empty() {
            whole.into_fd()
        } else {
            match whole.open_path(&mounting.subpath) {
                // It is missed when the container starts.
                Err(_) => return Ok(()),
                Ok(target) => target,
            }
        };
        let target = fsroot::fd_path(&target);
        if is_empty(&target)? {
            copy::tree(&directory, &target)?;
        }
        Ok(())
    }

    /// The root of a volume, mounted for as long as it takes where it is a file system.
    pub(crate) fn volume_root(&self, name: &str) -> Result<Root, Error> {
        let Some(volume) = self.file_system_of(name)? else {
            return Ok(Root::open(&self.volume_data(name))?);
        };
        let holders = Holders::lock(&self.volume_holders(name))?;
        for held in holders.living()? {
            if let Some(found) = visit::in_namespace(&held.namespace, || held.copy())? {
                return Ok(Root::from_fd(found));
            }
        }
        Ok(Root::from_fd(volume.open()?))
    }

    /// The file system that a volume consists of; none: a directory of ours.
    pub(crate) fn file_system_of(&self, name: &str) -> Result<Option<FileSystem>, Error> {
        let Some(row) = self.shared.db.read(|tx| tx.volume(name))? else {
            return Err(Error::NotFound(format!("get {name}: no such volume")));
        };
        local::file_system(&record(&row).options).map(local::resolved).transpose()
    }

    /// Removes the anonymous volumes of a container that goes, unless another one has them too.
    pub(crate) fn remove_anonymous_volumes(&self, container: &Container) -> Result<(), Error> {
        for mounting in container.record.mounts.iter().filter(|mounting| mounting.anonymous) {
            let name = &mounting.point.name;
            if !name.is_empty() && self.shared.db.read(|tx| tx.volume(name))?.is_some() {
                self.unmake_volume(name, &[&container.id])?;
            }
        }
        Ok(())
    }

    pub(crate) fn volume_data(&self, name: &str) -> PathBuf {
        self.paths().volumes().join(name).join("_data")
    }

    /// Who has a volume mounted that is a file system.
    pub(crate) fn volume_holders(&self, name: &str) -> PathBuf {
        self.paths().volumes().join(name).join("holders")
    }

    fn show_volume(&self, row: &metadata::Volume) -> Volume {
        let record = record(row);
        let shown = |map: BTreeMap<String, String>, is_empty: bool| -> Map<String> {
            if map.is_empty() && !is_empty { Map::NIL } else { map.into() }
        };
        Volume {
            created_at: clock::print(row.created),
            driver: "local".into(),
            labels: shown(record.labels, record.empty_labels),
            mountpoint: self.volume_data(&row.name).to_string_lossy().into_owned(),
            name: row.name.clone(),
            options: shown(record.options, record.empty_options),
            scope: "local".into(),
            ..Volume::default()
        }
    }

    fn used_volumes(&self) -> Result<std::collections::BTreeSet<String>, Error> {
        let mut used = std::collections::BTreeSet::new();
        for row in self.shared.db.read(metadata::Read::containers)? {
            let mounts = Container::from_row(row)?.record.mounts;
            let volumes = mounts.into_iter().filter(|mounting| mounting.point.kind == VOLUME);
            used.extend(volumes.map(|mounting| mounting.point.name));
        }
        Ok(used)
    }
}

fn is_empty(directory: &Path) -> Result<bool, Error> {
    Ok(fs::read_dir(directory).at("readdir", directory)?.next().is_none())
}
