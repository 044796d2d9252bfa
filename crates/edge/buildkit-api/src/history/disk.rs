//! Records of builds on disk: `REF.record` and `REF.told`, messages as they are sent, and `REF.HEX.blob`, what is
//! attested of results, the whole of errors, and traces.
//!
//! The first one is written last, and is what a build is found by.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildkit::control::{BuildHistoryRecord, StatusResponse};
use oci::Digest;
use prost::Message;

use crate::status::Told;

/// So many records are kept, beside those that are pinned: as many as BuildKit keeps.
const RECORDS: usize = 50;
const RECORD: &str = "record";
const TOLD: &str = "told";
const BLOB: &str = "blob";

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path:?}")]
pub(crate) struct Error {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { doing, path: path.to_owned(), source }
}

#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
}

impl Disk {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, id: &str, kind: &str) -> PathBuf {
        self.dir.join(format!("{id}.{kind}"))
    }

    /// All records, the newest first. What cannot be read is none.
    pub(super) fn records(&self) -> Result<Vec<BuildHistoryRecord>, Error> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(at("read", &self.dir))?,
        };
        let mut records: Vec<BuildHistoryRecord> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == RECORD))
            .filter_map(|path| BuildHistoryRecord::decode(fs::read(path).ok()?.as_slice()).ok())
            .collect();
        let began = |record: &BuildHistoryRecord| {
            record.created_at.as_ref().map(|at| (at.seconds, at.nanos)).unwrap_or_default()
        };
        records.sort_by_key(|record| std::cmp::Reverse(began(record)));
        Ok(records)
    }

    fn record(&self, id: &str) -> Result<Option<BuildHistoryRecord>, Error> {
        let path = self.path(id, RECORD);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(at("read", &path))?,
        };
        Ok(BuildHistoryRecord::decode(bytes.as_slice()).ok())
    }

    /// What a build told.
    pub(super) fn told(&self, id: &str) -> Result<Option<Arc<Told>>, Error> {
        if self.record(id)?.is_none() {
            return Ok(None);
        }
        let path = self.path(id, TOLD);
        let bytes = fs::read(&path).map_err(at("read", &path))?;
        let (mut bytes, mut responses) = (bytes.as_slice(), Vec::new());
        while !bytes.is_empty() {
            match StatusResponse::decode_length_delimited(&mut bytes) {
                Ok(response) => responses.push(Arc::new(response)),
                Err(_) => break,
            }
        }
        Ok(Some(Arc::new(Told::over(responses))))
    }

    /// Adds a record, and forgets the oldest ones.
    pub(super) fn write(
        &self,
        record: &BuildHistoryRecord,
        told: &[Arc<StatusResponse>],
        blobs: &[Vec<u8>],
    ) -> Result<(), Error> {
        fs::create_dir_all(&self.dir).map_err(at("make", &self.dir))?;
        let all = told.iter().flat_map(|response| response.encode_length_delimited_to_vec());
        self.put(&record.r#ref, TOLD, &all.collect::<Vec<_>>())?;
        for blob in blobs {
            self.put(&record.r#ref, &blob_of(&Digest::sha256(blob)), blob)?;
        }
        self.put(&record.r#ref, RECORD, &record.encode_to_vec())?;
        let unpinned = self.records()?.into_iter().filter(|record| !record.pinned);
        for old in unpinned.skip(RECORDS) {
            self.remove(&old.r#ref)?;
        }
        Ok(())
    }

    fn put(&self, id: &str, kind: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(id, kind);
        // Another process may write the history, too; but no other build has this name.
        let new = self.path(id, &format!("{kind}.new"));
        fs::write(&new, bytes).map_err(at("write", &new))?;
        fs::rename(&new, &path).map_err(at("rename", &new))
    }

    /// Removes a record; `None`: there is none.
    pub(super) fn remove(&self, id: &str) -> Result<Option<BuildHistoryRecord>, Error> {
        let found = self.record(id)?;
        let blobs = found.iter().flat_map(named).map(|digest| blob_of(&digest));
        for kind in [RECORD.to_owned(), TOLD.to_owned()].into_iter().chain(blobs) {
            let path = self.path(id, &kind);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.map_err(at("remove", &path))?,
            }
        }
        Ok(found)
    }

    /// What a record in the history has beside it, by its digest; `None`: there is none.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let has = |record: &BuildHistoryRecord| named(record).any(|one| one == *digest);
        let Some(record) = self.records()?.into_iter().find(has) else { return Ok(None) };
        let path = self.path(&record.r#ref, &blob_of(digest));
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(at("read", &path)),
        }
    }

    /// Has a record kept, or not kept any more.
    pub(super) fn pin(&self, id: &str, pinned: bool) -> Result<Option<BuildHistoryRecord>, Error> {
        let Some(mut record) = self.record(id)? else { return Ok(None) };
        record.pinned = pinned;
        record.generation = record.generation.saturating_add(1);
        self.put(id, RECORD, &record.encode_to_vec())?;
        Ok(Some(record))
    }
}

/// The end of a blob's file name.
fn blob_of(digest: &Digest) -> String {
    format!("{}.{BLOB}", digest.hex())
}

/// The digests of what is beside a record: documents of its results, what is attested of them, its error, and its trace.
fn named(record: &BuildHistoryRecord) -> impl Iterator<Item = Digest> {
    let all = record.result.iter().chain(record.results.values());
    let results = all.flat_map(|one| one.results.values().chain(&one.attestations));
    results
        .chain(&record.external_error)
        .chain(&record.trace)
        .filter_map(|one| one.digest.parse().ok())
}
