//! What people do with volumes beside making them: another name, a copy, a snapshot, a backup.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use docker::volume::Volume;
use fsroot::Root;
use metadata::Operation;
use shim_protocol::Phase;

use crate::engine::Engine;
use crate::error::At as _;
use crate::files::{Archive, Extract, whole};
use crate::mounting::{self, VOLUME};
use crate::record::Container;
use crate::volume_store::{Record, record, users_of};
use crate::{Error, clock, events, intent, local};

/// The operation under which a container is frozen; its subject is the container.
pub(crate) const FREEZE: &str = "freeze";
/// The operation under which a volume changes its name; its subject is the old one, its detail the new.
pub(crate) const RENAME: &str = "volume-rename";
/// Labels of a snapshot: of which volume, and when it was made.
const SNAPSHOT_OF: &str = "dhow.snapshot.of";
const SNAPSHOT_AT: &str = "dhow.snapshot.at";

/// How a volume is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeCopy {
    /// The copy's name.
    pub name: String,
    /// Its labels, beside those of the volume.
    pub labels: BTreeMap<String, String>,
    /// It is read-only for ever.
    pub snapshot: bool,
    /// Freeze the containers that may write to the volume meanwhile.
    pub pause: bool,
}

impl Engine {
    /// Makes a volume that has what another one has. Files share their blocks where the file system can.
    pub fn volume_copy(&self, name: &str, copy: &VolumeCopy) -> Result<Volume, Error> {
        let source = self.volume_row(name)?;
        mounting::check_volume_name(&copy.name)?;
        self.must_be_new(&copy.name)?;
        let mut made = record(&source);
        // What it is a copy of may be on another machine, or in memory: the copy is a directory here.
        made.options.retain(|option, _| option == "size");
        made.labels.retain(|label, _| label != SNAPSHOT_OF && label != SNAPSHOT_AT);
        made.snapshot_of.clear();
        made.labels.extend(copy.labels.clone());
        if copy.snapshot {
            name.clone_into(&mut made.snapshot_of);
            made.labels.insert(SNAPSHOT_OF.into(), name.into());
            made.labels.insert(SNAPSHOT_AT.into(), clock::print(clock::now()));
        }
        let root = self.volume_root(name)?;
        let frozen = if copy.pause { self.freeze_users(name)? } else { Vec::new() };
        let from = fsroot::fd_path(&root);
        let copied = self.make_volume(&copy.name, &made, &|data| {
            tree::copy(&from, data, tree::Files::Copy).map(drop).map_err(|err| {
                Error::Invalid(format!("copy volume {name}: {}", crate::error::chain(&err)))
            })
        });
        self.thaw(&frozen)?;
        if !copied? {
            return Err(taken(&copy.name));
        }
        self.volume_inspect(&copy.name)
    }

    /// Gives a volume another name. Containers that name it and do not run name it so from then on.
    pub fn volume_rename(&self, name: &str, to: &str) -> Result<(), Error> {
        mounting::check_volume_name(to)?;
        self.volume_row(name)?;
        let volumes = self.paths().volumes();
        let (source, target) = (volumes.join(name), volumes.join(to));
        failpoint::hit("engine.volume-rename").at("rename", &source)?;
        {
            let _lock = self.lock_volumes()?;
            if target.exists() {
                return Err(taken(to));
            }
            self.shared.db.write_durable(|tx| {
                for id in users_of(tx, name)? {
                    let Some(row) = tx.container(&id)? else { continue };
                    let alive = self.shared.status(&id)?.phase.is_alive();
                    if alive || self.paths().run(&id).exists() {
                        return Err(Error::Conflict(format!(
                            "rename {name}: volume is in use by the running container {}: stop it first",
                            row.name
                        )));
                    }
                    let mut container = Container::from_row(row)?;
                    rename_in(&mut container, name, to, &target.join("_data"));
                    tx.set_container_config(&id, &container.config_json()?)?;
                }
                tx.begin_operation(&operation(RENAME, name, to))?;
                match tx.rename_volume(name, to) {
                    Err(metadata::Error::InUse { .. }) => Err(taken(to)),
                    renamed => Ok(renamed?),
                }
            })?;
            failpoint::hit("engine.volume-renaming").at("rename", &source)?;
            fs::rename(&source, &target).at("rename", &source)?;
            self.shared.db.write(|tx| Ok::<_, Error>(tx.end_operation(name, RENAME)?))?;
        }
        failpoint::hit("engine.volume-renamed").at("rename", &source)?;
        self.emit(&events::of("volume", "rename", to, &[("driver", "local"), ("oldName", name)]));
        Ok(())
    }

    /// Takes labels from a volume, and gives it others.
    pub fn volume_label(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        without: &[String],
    ) -> Result<Volume, Error> {
        let gone = || Error::NotFound(format!("get {name}: no such volume"));
        self.shared.db.write_durable(|tx| {
            let mut record = record(&tx.volume(name)?.ok_or_else(gone)?);
            // Of whom it is a copy, and that nobody may write to it, is no matter of opinion.
            let is_own = |key: &str| matches!(key, SNAPSHOT_OF | SNAPSHOT_AT);
            if let Some(key) = labels.keys().chain(without).find(|key| is_own(key)) {
                return Err(Error::Invalid(format!(
                    "label {key} of volume {name} is the engine's own"
                )));
            }
            record.labels.retain(|key, _| !without.contains(key));
            record.labels.extend(labels.clone());
            let config = serde_json::to_string(&record)
                .map_err(|source| Error::Record { id: name.to_owned(), source })?;
            Ok(tx.set_volume_config(name, &config).map(drop)?)
        })?;
        self.emit(&events::of("volume", "update", name, &[("driver", "local")]));
        self.volume_inspect(name)
    }

    /// All that is in a volume, to be written as a tar archive.
    pub fn volume_backup(&self, name: &str) -> Result<Archive, Error> {
        self.volume_row(name)?;
        whole(self.volume_root(name)?)
    }

    /// Makes a volume of what an archive holds (a tar, plain or compressed).
    pub fn volume_restore(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        options: &BTreeMap<String, String>,
        archive: &mut dyn Read,
    ) -> Result<Volume, Error> {
        mounting::check_volume_name(name)?;
        local::check(options).map_err(|err| Error::Invalid(format!("create {name}: {err}")))?;
        if local::file_system(options).is_some() {
            return Err(Error::Invalid(format!(
                "restore {name}: only a volume without a type can be made of an archive"
            )));
        }
        self.must_be_new(name)?;
        let made = Record { labels: labels.clone(), options: options.clone(), ..Record::default() };
        let archive = RefCell::new(archive);
        let restored = self.make_volume(name, &made, &|data| {
            let options = Extract { whole: true, ..Extract::default() };
            Ok(cp::unpack(Root::open(data)?, Path::new("/"), options, &mut **archive.borrow_mut())?)
        })?;
        if !restored {
            return Err(taken(name));
        }
        self.volume_inspect(name)
    }

    fn volume_row(&self, name: &str) -> Result<metadata::Volume, Error> {
        let row = self.shared.db.read(|tx| tx.volume(name))?;
        row.ok_or_else(|| Error::NotFound(format!("get {name}: no such volume")))
    }

    fn must_be_new(&self, name: &str) -> Result<(), Error> {
        match self.shared.db.read(|tx| tx.volume(name))? {
            Some(_) => Err(taken(name)),
            None => Ok(()),
        }
    }

    /// Freezes the containers that run and may write to a volume; their ids.
    fn freeze_users(&self, name: &str) -> Result<Vec<String>, Error> {
        let users = self.shared.db.read(|tx| users_of(tx, name))?;
        let mut frozen = Vec::new();
        for id in users {
            let Ok(container) = self.find(&id) else { continue };
            let writes = container.record.mounts.iter().any(|mounting| {
                mounting.point.kind == VOLUME && mounting.point.name == name && mounting.point.rw
            });
            if !writes || self.status(&id)?.phase != Phase::Running {
                continue;
            }
            match self.freeze(&container, name) {
                Ok(true) => frozen.push(id),
                Ok(false) => {}
                Err(err) => {
                    self.thaw(&frozen)?;
                    return Err(err);
                }
            }
        }
        Ok(frozen)
    }

    /// Freezes a container that runs, on behalf of an operation on `what`, so that whoever comes after
    /// this process's death thaws it. Whether [`Engine::thaw`] has something to do: one that an ordinary
    /// user has without a cgroup cannot be frozen.
    pub(crate) fn freeze(&self, container: &Container, what: &str) -> Result<bool, Error> {
        let id = &container.id;
        if self.cgroup_path(container).is_empty() {
            return Ok(false);
        }
        self.shared.db.write(|tx| tx.begin_operation(&operation(FREEZE, id, what)))?;
        failpoint::hit("engine.freeze").at("record", self.root())?;
        match self.pause(id) {
            // It ended in this moment.
            Ok(()) | Err(Error::Conflict(_)) => {}
            Err(err) => {
                self.thaw(std::slice::from_ref(id))?;
                return Err(err);
            }
        }
        failpoint::hit("engine.frozen").at("record", self.root())?;
        Ok(true)
    }

    /// Thaws what was frozen by [`Engine::freeze`].
    pub(crate) fn thaw(&self, frozen: &[String]) -> Result<(), Error> {
        for id in frozen {
            match self.unpause(id) {
                Ok(()) | Err(Error::Conflict(_) | Error::NoContainer(_)) => {}
                Err(err) => return Err(err),
            }
            self.shared.db.write(|tx| tx.end_operation(id, FREEZE))?;
        }
        Ok(())
    }

    /// Finishes what a process was about that died.
    pub(crate) fn recover_copy(&self, operation: &Operation) -> Result<(), Error> {
        if operation.kind == FREEZE {
            // One that cannot be thawed must not keep everybody from everything: it is tried again.
            _ = self.thaw(std::slice::from_ref(&operation.subject));
            return Ok(());
        }
        let _lock = self.lock_volumes()?;
        let volumes = self.paths().volumes();
        let (source, target) = (volumes.join(&operation.subject), volumes.join(&operation.detail));
        let renamed = self.shared.db.read(|tx| tx.volume(&operation.detail))?.is_some();
        if renamed && source.exists() && !target.exists() {
            fs::rename(&source, &target).at("rename", &source)?;
        }
        self.shared.db.write(|tx| tx.end_operation(&operation.subject, RENAME))?;
        Ok(())
    }
}

/// Everything in a container's record that names a volume.
fn rename_in(container: &mut Container, name: &str, to: &str, data: &Path) {
    let record = &mut container.record;
    for mounting in &mut record.mounts {
        let point = &mut mounting.point;
        if point.kind == VOLUME && point.name == name {
            to.clone_into(&mut point.name);
            point.source = data.to_string_lossy().into_owned();
        }
    }
    for bind in record.host.binds.iter_mut() {
        if let Some(rest) = bind.strip_prefix(name).filter(|rest| rest.starts_with(':')) {
            *bind = format!("{to}{rest}");
        }
    }
    for mount in record.host.mounts.iter_mut() {
        if matches!(mount.kind.as_str(), VOLUME | "") && mount.source == name {
            to.clone_into(&mut mount.source);
        }
    }
}

fn operation(kind: &str, subject: &str, detail: &str) -> Operation {
    Operation {
        subject: subject.into(),
        kind: kind.into(),
        owner: intent::me(),
        detail: detail.into(),
        started: clock::now(),
    }
}

fn taken(name: &str) -> Error {
    Error::Conflict(format!("volume name \"{name}\" is already in use"))
}
