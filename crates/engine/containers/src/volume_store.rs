//! Making and unmaking volumes, so that a process that dies at it leaves nothing.
//!
//! A volume is a directory `ROOT/volumes/NAME`: `_data`, and `holders` (who has its file system
//! mounted). One that is made is filled under a name of no volume (`.new-...`) first; then the record
//! is written and the directory takes its name. One that goes loses its record, then its name
//! (`.gone-...`), then all that is in it. Record and name change while the directory of all volumes is
//! locked, and what is under way is an operation in the database: by it recovery finds what a process
//! left that died.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use metadata::{Operation, Read};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, make_dir};
use crate::error::At as _;
use crate::lock::Lock;
use crate::mounting::VOLUME;
use crate::record::Container;
use crate::remove::remove_dir;
use crate::volume_caches::{self, Away};
use crate::{Error, clock, events, intent, local, name};

/// What the operation is called by which a volume comes or goes. Its subject is what the directory is
/// called meanwhile, its detail the volume.
pub(crate) const OPERATION: &str = "volume";
/// A directory that will be a volume.
const NEW: &str = ".new-";
/// A directory that was one.
const GONE: &str = ".gone-";

/// The record, as the database keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    /// Somebody said that there are no labels, or no options: they are shown as empty, not as `null`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) empty_labels: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) empty_options: bool,
    /// The volume that it is a snapshot of: it is read-only for ever.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) snapshot_of: String,
}

/// What became of a volume that was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unmade {
    Done,
    /// Containers name it.
    Used(Vec<String>),
}

/// What the row of a volume says. A record that cannot be read has no labels: the data below it matter
/// more.
pub(crate) fn record(row: &metadata::Volume) -> Record {
    serde_json::from_str(&row.config).unwrap_or_default()
}

/// The ids of the containers that name a volume, whatever state they are in.
pub(crate) fn users_of(tx: &Read, name: &str) -> Result<Vec<String>, Error> {
    let mut users = Vec::new();
    for row in tx.containers()? {
        let container = Container::from_row(row)?;
        let uses =
            |one: &crate::mounting::Mounting| one.point.kind == VOLUME && one.point.name == name;
        if container.record.mounts.iter().any(uses) {
            users.push(container.id);
        }
    }
    Ok(users)
}

impl Engine {
    /// Makes a volume, unless there is one of that name. `fill` puts into its directory what it is to
    /// have at first. Whether it was made.
    pub(crate) fn make_volume(
        &self,
        name: &str,
        record: &Record,
        fill: &dyn Fn(&Path) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        if self.shared.db.read(|tx| tx.volume(name))?.is_some() {
            return Ok(false);
        }
        let config = serde_json::to_string(record)
            .map_err(|source| Error::Record { id: name.to_owned(), source })?;
        let row = metadata::Volume { name: name.to_owned(), created: clock::now(), config };
        let volumes = self.paths().volumes();
        make_dir(&volumes, 0o711)?;
        let beside = format!("{NEW}{}", name::hex::<8>()?);
        let directory = volumes.join(&beside);
        failpoint::hit("engine.volume").at("record", &directory)?;
        self.begin_volume(&beside, name)?;
        failpoint::hit("engine.volume-fill").at("mkdir", &directory)?;
        let made = fill_directory(&directory, record, fill)
            .map_err(|err| without_quotas(name, err))
            .and_then(|()| failpoint::hit("engine.volume-filled").at("rename", &directory))
            .and_then(|()| self.name_volume(&row, &directory));
        if !matches!(made, Ok(true)) {
            discard(&directory)?;
        }
        self.end_volume(&beside)?;
        failpoint::hit("engine.volume-made").at("record", &directory)?;
        if made? {
            self.emit(&events::of("volume", "create", name, &[("driver", "local")]));
            return Ok(true);
        }
        Ok(false)
    }

    /// Writes the record of a volume, and gives its directory its name; unless the name is taken by now.
    fn name_volume(&self, row: &metadata::Volume, directory: &Path) -> Result<bool, Error> {
        let volumes = self.paths().volumes();
        let _lock = self.lock_volumes()?;
        let target = volumes.join(&row.name);
        if self.shared.db.read(|tx| tx.volume(&row.name))?.is_some() {
            return Ok(false);
        }
        // Without a record it is what somebody left who died as the volume went.
        if target.exists() {
            let aside = volumes.join(format!("{GONE}{}", name::hex::<8>()?));
            fs::rename(&target, &aside).at("rename", &target)?;
            discard(&aside)?;
        }
        let added = self.shared.db.write_durable(|tx| tx.insert_volume(row))?;
        failpoint::hit("engine.volume-named").at("rename", &target)?;
        fs::rename(directory, &target).at("rename", &target)?;
        Ok(added)
    }

    /// Removes a volume, unless containers other than `except` name it.
    pub(crate) fn unmake_volume(&self, name: &str, except: &[&str]) -> Result<Unmade, Error> {
        let volumes = self.paths().volumes();
        let (target, beside) = (volumes.join(name), format!("{GONE}{}", name::hex::<8>()?));
        let directory = volumes.join(&beside);
        failpoint::hit("engine.volume-remove").at("rmdir", &target)?;
        let lock = self.lock_volumes()?;
        let away = volume_caches::away_from_steps(&self.volume_data(name))?;
        if matches!(away, Away::Used) {
            return Ok(Unmade::Used(vec!["a build".to_owned()]));
        }
        let unmade = self.shared.db.write(|tx| {
            let mut users = users_of(tx, name)?;
            users.retain(|user| !except.contains(&user.as_str()));
            if !users.is_empty() {
                return Ok(Unmade::Used(users));
            }
            tx.begin_operation(&operation(&beside, name))?;
            tx.delete_volume(name)?;
            Ok::<_, Error>(Unmade::Done)
        })?;
        if unmade != Unmade::Done {
            return Ok(unmade);
        }
        failpoint::hit("engine.volume-removing").at("rename", &target)?;
        match fs::rename(&target, &directory) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.at("rename", &target)?,
        }
        drop((lock, away));
        discard(&directory)?;
        self.end_volume(&beside)?;
        failpoint::hit("engine.volume-removed").at("rmdir", &target)?;
        self.emit(&events::of("volume", "destroy", name, &[("driver", "local")]));
        Ok(Unmade::Done)
    }

    /// Held, while the names of volumes change.
    pub(crate) fn lock_volumes(&self) -> Result<Option<Lock>, Error> {
        let volumes = self.paths().volumes();
        make_dir(&volumes, 0o711)?;
        Lock::wait(&volumes)
    }

    fn begin_volume(&self, beside: &str, name: &str) -> Result<(), Error> {
        self.shared.db.write(|tx| Ok(tx.begin_operation(&operation(beside, name))?))
    }

    fn end_volume(&self, beside: &str) -> Result<(), Error> {
        self.shared.db.write(|tx| {
            tx.end_operation(beside, OPERATION)?;
            Ok(())
        })
    }

    /// Finishes, or takes back, what a process was about that died.
    pub(crate) fn recover_volume(&self, operation: &Operation) -> Result<(), Error> {
        let volumes = self.paths().volumes();
        let (directory, name) = (volumes.join(&operation.subject), &operation.detail);
        {
            let _lock = self.lock_volumes()?;
            let target = volumes.join(name);
            let has_record = self.shared.db.read(|tx| tx.volume(name))?.is_some();
            if has_record && !target.exists() && operation.subject.starts_with(NEW) {
                // It was filled before its record was written.
                if directory.exists() {
                    fs::rename(&directory, &target).at("rename", &target)?;
                }
            } else if !has_record && target.exists() && operation.subject.starts_with(GONE) {
                fs::rename(&target, &directory).at("rename", &target)?;
            }
        }
        discard(&directory)?;
        self.end_volume(&operation.subject)
    }
}

/// Makes the directory of a volume, with what it is to have at first.
fn fill_directory(
    directory: &Path,
    record: &Record,
    fill: &dyn Fn(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let make = |path: &Path, mode: u32| DirBuilder::new().mode(mode).create(path).at("mkdir", path);
    let data = directory.join("_data");
    make(directory, 0o711)?;
    make(&directory.join("holders"), 0o700)?;
    make(&data, 0o755)?;
    if let Some(bytes) = local::size(record.options.iter())? {
        snapshot::quota::limit(directory, &["", "_data"], bytes)?;
    }
    fill(&data)
}

/// That a volume cannot be limited, as Docker says it, with the reason.
fn without_quotas(name: &str, err: Error) -> Error {
    match err {
        Error::Snapshot(snapshot::Error::NoLimit { why }) => Error::Invalid(format!(
            "create {name}: quota size requested but no quota support: {why}"
        )),
        err => err,
    }
}

/// Removes the directory of a volume that is none (any more), with all in it.
fn discard(directory: &Path) -> Result<(), Error> {
    if directory.exists() {
        snapshot::quota::unlimit(directory)?;
    }
    remove_dir(directory)
}

fn operation(beside: &str, name: &str) -> Operation {
    Operation {
        subject: beside.into(),
        kind: OPERATION.into(),
        owner: intent::me(),
        detail: name.into(),
        started: clock::now(),
    }
}

/// Whether this is the directory of a volume, and not of one that comes or goes.
pub(crate) fn is_volume(folder: &str) -> bool {
    !folder.starts_with('.')
}
