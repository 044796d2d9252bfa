//! Volumes: directories that outlive the containers that use them.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use docker::Map;
use docker::filters::Filters;
use docker::volume::Volume;
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::At as _;
use crate::merged::{self, Directory};
use crate::mounting::{self, VOLUME};
use crate::record::Container;
use crate::remove::remove_dir;
use crate::{Error, clock, copy, events, name};

/// The label of a volume that has no name of its own; Docker's.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// The record, as the database keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
}

impl Engine {
    /// Makes a volume, or finds the one of that name. Without a name it gets one.
    pub fn volume_create(
        &self,
        wanted: &str,
        driver: &str,
        options: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        if !matches!(driver, "" | "local") {
            return Err(Error::NotYet(format!("the volume driver \"{driver}\"")));
        }
        if !options.is_empty() {
            return Err(Error::NotYet("an option of the local volume driver (--opt)".into()));
        }
        let mut labels = labels.clone();
        let name = if wanted.is_empty() {
            labels.insert(ANONYMOUS.into(), String::new());
            name::hex::<32>()?
        } else {
            mounting::check_volume_name(wanted)?;
            wanted.to_owned()
        };
        self.ensure_volume(&name, labels)?;
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
                filters.any("name", |wanted| volume.name.contains(wanted))
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
        let users = self.users_of(name)?;
        if !users.is_empty() {
            return Err(Error::Conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            )));
        }
        self.delete_volume(name)
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
        let mut pruned = (Vec::new(), 0);
        for row in self.shared.db.read(metadata::Read::volumes)? {
            let labels = record(&row).labels;
            let wanted = (all == Some(true) || labels.contains_key(ANONYMOUS))
                && filters.labels("label", &labels)
                && filters.not_labels(&labels);
            if wanted && !used.contains(&row.name) {
                pruned.1 += copy::size(&self.volume_data(&row.name));
                self.delete_volume(&row.name)?;
                pruned.0.push(row.name);
            }
        }
        Ok(pruned)
    }

    /// Makes the volume that a container's mount names, gives it what the image has there if it is
    /// empty, and notes where it is.
    pub(crate) fn furnish_volume(&self, container: &mut Container, at: usize) -> Result<(), Error> {
        let mounting = &container.record.mounts[at];
        let (anonymous, copy_up) = (mounting.anonymous, mounting.copy_up);
        let destination = mounting.point.destination.clone();
        let mut name = mounting.point.name.clone();
        let mut labels = BTreeMap::new();
        if anonymous && name.is_empty() {
            name = name::hex::<32>()?;
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        let data = self.ensure_volume(&name, labels)?;
        if copy_up && let Some(mounts) = self.layers(container)? {
            let root = Directory::root(mounts.stack())?;
            if is_empty(&data)?
                && let Some((_, merged::Entry::Directory(directory))) =
                    merged::resolve(&root, Path::new(&destination))?
            {
                copy::tree(&directory, &data)?;
            }
        }
        let point = &mut container.record.mounts[at].point;
        point.source = data.to_string_lossy().into_owned();
        point.name = name;
        Ok(())
    }

    /// Removes the anonymous volumes of a container that goes, unless another one has them too.
    pub(crate) fn remove_anonymous_volumes(&self, container: &Container) -> Result<(), Error> {
        for mounting in container.record.mounts.iter().filter(|mounting| mounting.anonymous) {
            let name = &mounting.point.name;
            let users = self.users_of(name)?;
            if !name.is_empty() && users.iter().all(|id| *id == container.id) {
                self.delete_volume(name)?;
            }
        }
        Ok(())
    }

    fn ensure_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<PathBuf, Error> {
        let data = self.volume_data(name);
        let config = serde_json::to_string(&Record { labels, ..Record::default() })
            .map_err(|source| Error::Record { id: name.to_owned(), source })?;
        failpoint::hit("engine.volume").at("mkdir", &data)?;
        let row = metadata::Volume { name: name.to_owned(), created: clock::now(), config };
        // The record first: a directory without one would never be found again.
        let added = self.shared.db.write_durable(|tx| tx.insert_volume(&row))?;
        if !data.is_dir() {
            crate::engine::make_dir(&self.paths().volumes(), 0o711)?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(data.parent().unwrap_or(&data))
                .at("mkdir", &data)?;
            DirBuilder::new().recursive(true).mode(0o755).create(&data).at("mkdir", &data)?;
        }
        failpoint::hit("engine.volume-made").at("mkdir", &data)?;
        if added {
            self.emit(&events::of("volume", "create", name, &[("driver", "local")]));
        }
        Ok(data)
    }

    fn delete_volume(&self, name: &str) -> Result<(), Error> {
        let directory = self.paths().volumes().join(name);
        failpoint::hit("engine.volume-remove").at("rmdir", &directory)?;
        remove_dir(&directory)?;
        self.shared.db.write(|tx| tx.delete_volume(name))?;
        failpoint::hit("engine.volume-removed").at("rmdir", &directory)?;
        self.emit(&events::of("volume", "destroy", name, &[("driver", "local")]));
        Ok(())
    }

    pub(crate) fn volume_data(&self, name: &str) -> PathBuf {
        self.paths().volumes().join(name).join("_data")
    }

    fn show_volume(&self, row: &metadata::Volume) -> Volume {
        let record = record(row);
        Volume {
            created_at: clock::print(row.created),
            driver: "local".into(),
            labels: if record.labels.is_empty() { Map::default() } else { record.labels.into() },
            mountpoint: self.volume_data(&row.name).to_string_lossy().into_owned(),
            name: row.name.clone(),
            options: if record.options.is_empty() { Map::default() } else { record.options.into() },
            scope: "local".into(),
            ..Volume::default()
        }
    }

    /// The ids of the containers that name a volume, whatever state they are in.
    fn users_of(&self, name: &str) -> Result<Vec<String>, Error> {
        let mut users = Vec::new();
        for row in self.shared.db.read(metadata::Read::containers)? {
            let container = Container::from_row(row)?;
            let uses = container
                .record
                .mounts
                .iter()
                .any(|mounting| mounting.point.kind == VOLUME && mounting.point.name == name);
            if uses {
                users.push(container.id);
            }
        }
        Ok(users)
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

fn record(row: &metadata::Volume) -> Record {
    // A record that cannot be read has no labels: the data below it matter more.
    serde_json::from_str(&row.config).unwrap_or_default()
}

fn is_empty(directory: &Path) -> Result<bool, Error> {
    Ok(fs::read_dir(directory).at("readdir", directory)?.next().is_none())
}
