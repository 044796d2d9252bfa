//! Looking whether the store is as it should be: images, and what containers and volumes add.
//!
//! Containers come and go meanwhile. A record is made before what it names, and goes after it; so
//! what is there is asked first, then the records, and what is found is looked at once more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use docker::check::{Finding, Kind};
use images::{Checked, Checking, Tell};
use metadata::Dangling;
use oci::ChainId;
use snapshot::Key;

use crate::engine::Engine;
use crate::error::At as _;
use crate::record::Container;
use crate::{Error, clock, volume_store};

impl Engine {
    /// Checks images, containers and volumes; with `repair` puts right what can be put right without
    /// taking anything from anybody.
    pub fn check(&self, checking: Checking, tell: Tell<'_>) -> Result<Checked, Error> {
        let mut findings = self.check_records(checking.repair)?;
        let Checked { findings: of_images, mut summary } = self.images.check(checking, tell)?;
        let (of_containers, n_containers) = self.check_containers(&of_images, checking.repair)?;
        findings.extend(of_images);
        findings.extend(of_containers);
        findings.extend(self.check_volumes()?);
        if checking.repair {
            for finding in &mut findings {
                if finding.repair.is_empty() && !finding.fixed {
                    why_left(finding.kind).clone_into(&mut finding.repair);
                }
            }
        }
        summary.containers = n_containers;
        summary.findings = findings.len() as u64;
        summary.fixed = findings.iter().filter(|finding| finding.fixed).count() as u64;
        Ok(Checked { findings, summary })
    }

    /// The database by itself.
    fn check_records(&self, repair: bool) -> Result<Vec<Finding>, Error> {
        let db = &self.shared.db;
        let (wrong, dangling) = db.read(|tx| Ok::<_, Error>((tx.integrity()?, tx.dangling()?)))?;
        let mut findings: Vec<Finding> = wrong
            .into_iter()
            .map(|why| {
                let mut finding = Finding::new(Kind::Database, "dhow.db", why);
                if repair {
                    "left alone: restore it from a copy".clone_into(&mut finding.repair);
                }
                finding
            })
            .collect();
        for row in &dangling {
            let (subject, why) = match row {
                Dangling::Lease { address, container, .. } => {
                    (format!("address {address}"), format!("container {container} has no record"))
                }
                Dangling::Port { protocol, port, container } => (
                    format!("port {port}/{protocol}"),
                    format!("container {container} has no record"),
                ),
                Dangling::Image { container, image } => {
                    (format!("container {container}"), format!("image {image} has no record"))
                }
            };
            let mut finding = Finding::new(Kind::Database, subject, why);
            if repair && !matches!(row, Dangling::Image { .. }) {
                "released".clone_into(&mut finding.repair);
                finding.fixed = true;
            }
            findings.push(finding);
        }
        if repair && findings.iter().any(|finding| finding.fixed) {
            db.write(|tx| tx.release_dangling(clock::now()))?;
        }
        Ok(findings)
    }

    /// Containers, their writable layers and their folders. With how many there are.
    fn check_containers(
        &self,
        of_images: &[Finding],
        repair: bool,
    ) -> Result<(Vec<Finding>, u64), Error> {
        let snapshots = self.images.snapshots();
        let (keys, folders) = (snapshots.keys()?, names(&self.paths().containers())?);
        let (rows, steps, operations) = self
            .shared
            .db
            .read(|tx| Ok::<_, Error>((tx.containers()?, tx.steps()?, tx.operations()?)))?;
        let under_way: HashSet<String> =
            operations.into_iter().map(|operation| operation.subject).collect();
        let ids: HashSet<&str> = rows.iter().chain(&steps).map(|row| row.id.as_str()).collect();
        let mut findings = Vec::new();
        // A step of a build has more than one: `ID.1`.
        let owner = |key: &Key| key.as_str().split('.').next().unwrap_or_default().to_owned();
        for key in keys.iter().filter(|key| !ids.contains(owner(key).as_str())) {
            if let Ok(usage) = snapshots.usage(key) {
                let why = format!(
                    "no container has this writable layer of {} files and {} bytes",
                    usage.inodes.saturating_sub(1),
                    usage.bytes
                );
                let mut finding = Finding::new(Kind::OrphanContainer, key.as_str(), why);
                if repair && usage.inodes <= 1 && snapshots.remove(key)? {
                    "removed: it was empty".clone_into(&mut finding.repair);
                    finding.fixed = true;
                }
                findings.push(finding);
            }
        }
        for folder in folders.iter().filter(|folder| !ids.contains(folder.as_str())) {
            let path = self.paths().data(folder);
            if path.exists() {
                let why = "no container has this folder";
                findings.push(Finding::new(Kind::OrphanContainer, path.display().to_string(), why));
            }
        }
        let known: HashSet<&str> =
            of_images.iter().map(|finding| finding.subject.as_str()).collect();
        let mut missing: HashMap<ChainId, Vec<String>> = HashMap::new();
        let n_rows = rows.len() as u64;
        for row in rows {
            if under_way.contains(&row.id) {
                continue;
            }
            let id = row.id.clone();
            let container = match Container::from_row(row) {
                Ok(container) => container,
                Err(error) => {
                    let why = crate::error::chain(&error);
                    findings.push(Finding::new(Kind::Database, format!("container {id}"), why));
                    continue;
                }
            };
            findings.extend(self.check_container(&container)?);
            let mounted = container.record.mounts.iter().filter_map(|one| one.image.as_ref());
            let chains = mounted.map(|image| &image.chain);
            for layer in chains.chain([&container.record.chain]).flatten() {
                if !snapshots.has_layer(layer)? && !known.contains(layer.to_string().as_str()) {
                    missing.entry(layer.clone()).or_default().push(container.name.clone());
                }
            }
        }
        for (layer, mut containers) in missing {
            containers.sort();
            let mut finding =
                Finding::new(Kind::MissingLayer, layer.to_string(), "is not unpacked");
            finding.containers = containers;
            findings.push(finding);
        }
        Ok((findings, n_rows))
    }

    /// Whether a container has its writable layer and its folder.
    fn check_container(&self, container: &Container) -> Result<Option<Finding>, Error> {
        let id = &container.id;
        let key: Key = id.parse()?;
        let layer = || self.images.snapshots().mounts(&key, &container.record.chain);
        let mut lacks = Vec::new();
        if !self.paths().data(id).is_dir() {
            lacks.push("its folder");
        }
        if !container.record.host_root && layer().is_err() {
            lacks.push("its writable layer");
        }
        // It may have gone in this moment.
        if lacks.is_empty() || self.shared.db.read(|tx| tx.container(id))?.is_none() {
            return Ok(None);
        }
        let why = format!("{} is not there", lacks.join(" and "));
        Ok(Some(Finding::new(Kind::MissingContainer, &container.name, why)))
    }

    fn check_volumes(&self) -> Result<Vec<Finding>, Error> {
        let volumes = self.paths().volumes();
        let folders = names(&volumes)?;
        let rows = self.shared.db.read(metadata::Read::volumes)?;
        let mut findings = Vec::new();
        for folder in folders.iter().filter(|folder| volume_store::is_volume(folder)) {
            if !rows.iter().any(|row| row.name == *folder) && volumes.join(folder).exists() {
                let path = volumes.join(folder).display().to_string();
                let why = "no volume has this directory";
                findings.push(Finding::new(Kind::OrphanVolume, path, why));
            }
        }
        for row in rows {
            let gone = || {
                let again = self.shared.db.read(|tx| tx.volume(&row.name));
                again.map(|row| row.is_none())
            };
            if !self.volume_data(&row.name).is_dir() && !gone()? {
                let why = "its directory is not there";
                findings.push(Finding::new(Kind::MissingVolume, row.name, why));
            }
        }
        Ok(findings)
    }
}

/// Why a repair leaves it as it is.
fn why_left(kind: Kind) -> &'static str {
    match kind {
        Kind::OrphanContainer | Kind::OrphanVolume => "left alone: it may be somebody's only copy",
        Kind::MissingContainer => "left alone: remove the container, or restore what it lacks",
        Kind::MissingVolume => "left alone: remove the volume, or restore its directory",
        _ => "left alone: nothing here can make it right",
    }
}

/// The names in a folder, in order; none where it is not there.
fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("readdir", dir)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let path: PathBuf = entry.at("readdir", dir)?.path();
        names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
