//! What a registry of our own serves: the images of this root, and what is pushed beside them.
//!
//! A repository is an image's name in full without a tag, `localhost:5000/me/app`. In it are
//!
//! - the engine's images of that name, under their tags and by the digests of their manifests;
//! - what was pushed to it ([`metadata::Served`]): manifests of any kind, byte for byte. One that
//!   is an image, under a tag, becomes an image of the engine, unpacked and ready to be run; of an
//!   index the one for this machine does. Its name is the repository's, so that nobody who may push
//!   can change what another name means.
//!
//! Where an engine's name goes (`rmi`, `prune`), or is given to another image, so does what was
//! pushed under it. A blob that was pushed, or that a client was told is there, is held for a day,
//! until a manifest names it.

use docker::error::chain;
use std::io::Write as _;

use content::Finished;
use metadata::{Served, ServedTag};
use oci::image::platform::choose;
use oci::image::{Descriptor, Index, MAX_CONFIG, MAX_MANIFEST, Manifest, media_type};
use oci::{Algorithm, Digest};
use reference::Reference;

use crate::target::IndexDocument;
use crate::{Class, Error, Images, host, now};

mod document;
mod unserve;

use document::{Body, Document};

/// How long a blob waits for its manifest, in nanoseconds.
const LIFE: i64 = 24 * 3600 * 1_000_000_000;

/// Why what was pushed is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The manifest is none, or not of a kind that is known.
    #[error("{0}")]
    Invalid(String),
    /// It names something that the repository does not have.
    #[error("{0} is not in the repository")]
    Unknown(Digest),
    /// It names something with another size than it has.
    #[error("{digest} has {found} bytes, the manifest says {stated}")]
    Size {
        /// Of what.
        digest: Digest,
        /// What the manifest says.
        stated: u64,
        /// What there is.
        found: u64,
    },
    /// It is not what was announced.
    #[error("the content has digest {found}, not {expected}")]
    Digest {
        /// What was announced.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The blob is a part of a manifest.
    #[error("{0} is a part of a manifest: delete that")]
    InUse(Digest),
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<metadata::Error> for Refused {
    fn from(error: metadata::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<content::Error> for Refused {
    fn from(error: content::Error) -> Self {
        Self::Store(error.into())
    }
}

/// How a manifest is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// By a tag.
    Tag(String),
    /// By its digest.
    Digest(Digest),
}

/// Which referrers are wanted.
#[derive(Clone, Debug, Default)]
pub struct Referrers {
    /// Only those of this type.
    pub artifact: Option<String>,
    /// Only those after this one.
    pub after: Option<Digest>,
    /// No more of them.
    pub limit: usize,
}

/// A manifest that is pushed.
#[derive(Clone, Debug)]
pub struct NewManifest {
    /// The digest that it is said to have.
    pub digest: Option<Digest>,
    /// The tags that it is to have.
    pub tags: Vec<String>,
    /// What it is said to be, without parameters.
    pub media_type: Option<String>,
    /// The document.
    pub bytes: Vec<u8>,
}

/// What came of a manifest that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its digest.
    pub digest: Digest,
    /// The manifest that it is about.
    pub subject: Option<Digest>,
    /// Why it is no image of the engine, if it was to be one.
    pub no_image: Option<String>,
}

impl Images {
    /// Every repository that has something, in order.
    pub fn repositories(&self) -> Result<Vec<String>, Error> {
        let mut names = self.db.read(|tx| {
            let mut names = tx.served_repositories()?;
            let tags = tx.tags()?.into_iter().map(|tag| tag.reference);
            let called = tx.repo_digests()?.into_iter().map(|called| called.reference);
            let references = tags.chain(called).filter_map(|name| name.parse::<Reference>().ok());
            names.extend(references.map(|reference| reference.name()));
            Ok::<_, Error>(names)
        })?;
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The tags of a repository, in the order of their bytes; `None` where there is no such
    /// repository.
    pub fn tags_of_repository(&self, repository: &str) -> Result<Option<Vec<String>>, Error> {
        self.db.read(|tx| {
            let own = tx.tags_in(repository)?.into_iter().map(|(tag, _)| tag);
            let mut tags: Vec<_> =
                tx.served_tags(repository)?.into_iter().map(|row| row.tag).chain(own).collect();
            tags.sort_unstable();
            tags.dedup();
            let is_there = !tags.is_empty() || tx.has_repository(repository)?;
            Ok(is_there.then_some(tags))
        })
    }

    /// The manifest of this name in a repository: what it is, and its bytes' digest and size.
    pub fn manifest_of(&self, repository: &str, key: &Key) -> Result<Option<Descriptor>, Error> {
        let found = self.db.read(|tx| {
            let served = match key {
                Key::Tag(tag) => match tx.served_tag(repository, tag)? {
                    Some(row) => tx.served(repository, &row.manifest)?,
                    None => None,
                },
                Key::Digest(digest) => tx.served(repository, digest)?,
            };
            if let Some(row) = served {
                return Ok::<_, Error>(Some((row.digest, Some(row.media_type))));
            }
            let digest = match key {
                Key::Tag(tag) => {
                    let tagged = tx.tagged(&format!("{repository}:{tag}"))?;
                    tagged.map(|(image, target)| target.unwrap_or(image.manifest))
                }
                Key::Digest(digest) => {
                    let own = tx.image_in(repository, digest)?.map(|image| image.manifest);
                    let mut is_part = false;
                    if own.is_none() {
                        for target in tx.targets_in(repository)? {
                            is_part |= tx.target_parts(&target)?.contains(digest);
                        }
                    }
                    own.or(Some(digest.clone()).filter(|_| is_part))
                }
            };
            let Some(digest) = digest else { return Ok(None) };
            let kind = tx.target(&digest)?.map(|target| target.media_type);
            Ok(Some((digest, kind)))
        })?;
        let Some((digest, kind)) = found else { return Ok(None) };
        let Some(size) = self.content.size(&digest)? else { return Ok(None) };
        let kind = if let Some(kind) = kind {
            kind
        } else {
            // A blob that is no manifest, but a part of one, is none here.
            let bytes = match self.content.read(&digest, MAX_MANIFEST as u64) {
                Err(content::Error::TooLarge { .. }) => return Ok(None),
                bytes => bytes?,
            };
            match (Manifest::parse(&bytes), Index::parse(&bytes)) {
                (Ok(read), _) => read.media_type.unwrap_or_else(|| media_type::MANIFEST.into()),
                (_, Ok(read)) => read.media_type.unwrap_or_else(|| media_type::INDEX.into()),
                _ => return Ok(None),
            }
        };
        Ok(Some(Descriptor::new(&kind, digest, size)))
    }

    /// The size of a blob, if the repository has it. With `keep` it is there for a day at least,
    /// since whoever asks may count on it.
    pub fn blob_of(
        &self,
        repository: &str,
        digest: &Digest,
        keep: bool,
    ) -> Result<Option<u64>, Error> {
        let _lock = if keep { Some(self.content.lock_shared()?) } else { None };
        if !self.db.read(|tx| tx.has_blob(repository, digest))? {
            return Ok(None);
        }
        let size = self.content.size(digest)?;
        if keep && size.is_some() {
            let until = now().saturating_add(LIFE);
            self.db.write(|tx| tx.hold_for(repository, digest, until))?;
        }
        Ok(size)
    }

    /// The manifests of a repository that are about another one, the oldest first; and whether
    /// there are more than were wanted.
    pub fn referrers_of(
        &self,
        repository: &str,
        subject: &Digest,
        wanted: &Referrers,
    ) -> Result<(Vec<Descriptor>, bool), Error> {
        let mut rows = self.db.read(|tx| tx.served_referrers(repository, subject))?;
        if let Some(after) = &wanted.after {
            let start = rows.iter().position(|row| row.digest == *after).map_or(0, |idx| idx + 1);
            rows.drain(..start);
        }
        if wanted.artifact.is_some() {
            rows.retain(|row| row.artifact == wanted.artifact);
        }
        let has_more = rows.len() > wanted.limit;
        rows.truncate(wanted.limit);
        let mut referrers = Vec::new();
        for row in rows {
            let bytes = match self.content.read(&row.digest, MAX_MANIFEST as u64) {
                Ok(bytes) => bytes,
                // It may have gone since it was looked for.
                Err(content::Error::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut found = Descriptor::new(&row.media_type, row.digest, bytes.len() as u64);
            found.artifact_type = row.artifact;
            if let Ok(document) = Document::read(Some(&row.media_type), &bytes) {
                found.annotations = document.annotations();
            }
            referrers.push(found);
        }
        Ok((referrers, has_more))
    }

    /// Keeps a blob that was pushed to a repository, if it is what was announced.
    pub fn take_blob(
        &self,
        repository: &str,
        blob: Finished,
        digest: &Digest,
    ) -> Result<(), Refused> {
        let blob = if blob.digest().algorithm() == digest.algorithm() {
            blob
        } else {
            blob.rehash(digest.algorithm())?
        };
        if blob.digest() != digest {
            let (expected, found) = (digest.clone(), blob.digest().clone());
            return Err(Refused::Digest { expected, found });
        }
        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            blob.commit(None)?;
            self.hold_blob(repository, digest)
        })?;
        Ok(())
    }

    /// Takes over a blob that another repository has. Whether it has it.
    pub fn mount_blob(&self, repository: &str, from: &str, digest: &Digest) -> Result<bool, Error> {
        let _lock = self.content.lock_shared()?;
        let is_there = self.db.read(|tx| tx.has_blob(from, digest))?;
        if !is_there || self.content.size(digest)?.is_none() {
            return Ok(false);
        }
        self.hold_blob(repository, digest)?;
        Ok(true)
    }

    fn hold_blob(&self, repository: &str, digest: &Digest) -> Result<(), Error> {
        let until = now().saturating_add(LIFE);
        Ok(self.db.write_durable(|tx| tx.hold_for(repository, digest, until))?)
    }

    /// Keeps a manifest that was pushed to a repository, if all that it names is there. Under a tag,
    /// an image becomes an image of the engine.
    pub fn take_manifest(&self, repository: &str, new: &NewManifest) -> Result<Taken, Refused> {
        let document = Document::read(new.media_type.as_deref(), &new.bytes)?;
        let names: Result<Vec<Reference>, _> =
            new.tags.iter().map(|tag| format!("{repository}:{tag}").parse()).collect();
        let names = names.map_err(|error: reference::Error| Refused::Invalid(error.to_string()))?;
        let digest = self.keep_manifest(repository, new, &document)?;
        let (mut image, mut no_image) = (None, None);
        for name in &names {
            match self.become_image(repository, name, &digest, &document) {
                Ok(found) => image = found,
                // Nothing that it could be unpacked to: then it is served, and no more.
                Err(error) if error.class() == Class::Invalid => no_image = Some(chain(&error)),
                Err(error) => return Err(error.into()),
            }
        }
        for (tag, name) in new.tags.iter().zip(&names) {
            self.db.write_durable(|tx| {
                if image.is_none() {
                    // The name means no image any more; what it meant is still there by digest.
                    tx.delete_served_tag(repository, tag)?;
                    tx.delete_tag(&name.to_string())?;
                }
                tx.set_served_tag(&ServedTag {
                    repository: repository.into(),
                    tag: tag.clone(),
                    manifest: digest.clone(),
                    image: image.clone(),
                    updated: now(),
                })
            })?;
        }
        if !names.is_empty() && image.is_none() {
            let _lock = self.content.lock_shared()?;
            self.write_index()?;
        }
        Ok(Taken { digest, subject: document.subject, no_image })
    }

    fn keep_manifest(
        &self,
        repository: &str,
        new: &NewManifest,
        document: &Document,
    ) -> Result<Digest, Refused> {
        let algorithm = new.digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let mut writer = self.content.writer_of(algorithm, MAX_MANIFEST as u64)?;
        let at = |source| Error::Io { call: "write", path: "a manifest".into(), source };
        writer.write_all(&new.bytes).map_err(at)?;
        let written = writer.finish()?;
        let digest = written.digest().clone();
        if let Some(expected) = new.digest.as_ref().filter(|expected| **expected != digest) {
            return Err(Refused::Digest { expected: expected.clone(), found: digest });
        }
        let _lock = self.content.lock_shared()?;
        let mut parts = Vec::new();
        for part in document.parts() {
            let size = if self.db.read(|tx| tx.has_blob(repository, &part.digest))? {
                self.content.size(&part.digest)?
            } else {
                None
            };
            match size {
                Some(found) if found != part.size => {
                    let (digest, stated) = (part.digest.clone(), part.size);
                    return Err(Refused::Size { digest, stated, found });
                }
                Some(_) => parts.push(part.digest.clone()),
                // It is to be fetched from elsewhere.
                None if !part.urls.is_empty() => {}
                None => return Err(Refused::Unknown(part.digest.clone())),
            }
        }
        let row = Served {
            repository: repository.into(),
            digest: digest.clone(),
            media_type: document.media_type.clone(),
            artifact: document.artifact.clone(),
            subject: document.subject.clone(),
            image: None,
            added: now(),
        };
        self.with_note(|| {
            written.commit(None)?;
            failpoint::hit("images.serve").map_err(at)?;
            self.db.write_durable(|tx| tx.insert_served(&row, &parts))?;
            failpoint::hit("images.served").map_err(at)
        })?;
        Ok(digest)
    }

    /// Makes an image of the engine of what was pushed, if it is one. Its id.
    fn become_image(
        &self,
        repository: &str,
        name: &Reference,
        digest: &Digest,
        document: &Document,
    ) -> Result<Option<Digest>, Error> {
        let read;
        let (mut indexes, mut others) = (Vec::new(), Vec::new());
        let (child, manifest) = match &document.body {
            Body::Image(manifest) => (digest, &**manifest),
            Body::Index(index) => {
                let is_named = |one: &&&Descriptor| one.platform.is_some();
                let own = choose(&index.manifests, host::platform());
                let own = own.iter().find(is_named).copied();
                let is_manifest = |one: &&Descriptor| media_type::is_manifest(&one.media_type);
                let Some(child) = own.filter(is_manifest) else { return Ok(None) };
                let bytes = self.content.read(digest, MAX_MANIFEST as u64)?;
                let media_type = document.media_type.clone();
                indexes.push(IndexDocument { media_type, bytes });
                for entry in &index.manifests {
                    if media_type::is_manifest(&entry.media_type) {
                        others.extend(self.parts_of(&entry.digest)?);
                    }
                }
                let bytes = self.content.read(&child.digest, MAX_MANIFEST as u64)?;
                read = Manifest::parse(&bytes).map_err(|source| Error::Format {
                    what: format!("read {}", child.digest),
                    source,
                })?;
                (&child.digest, &read)
            }
        };
        if !manifest.is_image() {
            return Ok(None);
        }
        let missing = || Error::Invalid("not all of its layers are here".into());
        for layer in &manifest.layers {
            if self.content.size(&layer.digest)? != Some(layer.size) {
                return Err(missing());
            }
        }
        let config = self.content.read(&manifest.config.digest, MAX_CONFIG as u64)?;
        let bytes = self.content.read(child, MAX_MANIFEST as u64)?;
        let mut here = Vec::new();
        for part in others {
            if self.content.size(&part)?.is_some() {
                here.push(part);
            }
        }
        let pull = self.begin_pull(bytes, config)?.within(indexes).with(here);
        // Whatever is not here nobody will send.
        pull.give_up();
        let image = self.finish_pull(&pull, name, digest, &|_, _| ())?;
        self.db.write(|tx| {
            tx.set_served_image(repository, child, &image.id)?;
            tx.set_served_image(repository, digest, &image.id)
        })?;
        Ok(Some(image.id))
    }
}
