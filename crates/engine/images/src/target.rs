//! What a name means: one image, or an index of several, an artifact, another manifest of an image
//! that is there. All but the first is a target ([`metadata::Target`]), whose documents are kept
//! byte for byte.
//!
//! Of an index's images those are unpacked that this machine or a person wanted; of the others there
//! may be the blobs, and then they are unpacked when they are first run.

use std::collections::BTreeSet;

use metadata::{Target, Write};
use oci::Digest;
use oci::image::platform::choose;
use oci::image::{
    Descriptor, ImageConfig, Index, MAX_CONFIG, MAX_MANIFEST, Manifest, Platform, media_type,
};

use reference::Reference;

use crate::commit::Kept;
use crate::install::{LayerSource, Names, parse_config};
use crate::resolve::Found;
use crate::{Error, Image, Images, host, now};

/// Indexes in indexes go no deeper.
pub(crate) const MAX_DEPTH: usize = 4;
/// Nor is more than this looked at in one of them.
pub(crate) const MAX_DOCUMENTS: usize = 1000;

/// BuildKit's mark of a manifest that says something about another one.
pub(crate) const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
pub(crate) const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// An index, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDocument {
    /// What it is.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// What a manifest of an index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// Something that can be run.
    Image {
        /// On what.
        platform: Platform,
        /// The containers made of it, by their ids.
        containers: Vec<String>,
        /// Bytes of its files, where it is unpacked.
        unpacked: u64,
    },
    /// What BuildKit says about the image with this manifest.
    Attestation {
        /// The digest of that manifest.
        about: Digest,
    },
    /// Something else.
    Unknown,
}

/// One manifest of what a name means.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestSummary {
    /// The manifest, as the index names it.
    pub descriptor: Descriptor,
    /// Whether all that it names is here.
    pub is_available: bool,
    /// Bytes of what is here of it in the content store.
    pub content: u64,
    /// What it is.
    pub kind: ManifestKind,
}

impl ManifestSummary {
    /// Bytes of all that is here of it.
    pub fn total(&self) -> u64 {
        match &self.kind {
            ManifestKind::Image { unpacked, .. } => self.content + unpacked,
            _ => self.content,
        }
    }
}

/// Which platforms are good for one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// All that run on it.
    Runs,
    /// The very same.
    Same,
}

/// Whether a descriptor of an index is of what BuildKit says about an image; of which.
pub(crate) fn attests(descriptor: &Descriptor) -> Option<Digest> {
    let kind = descriptor.annotations.get(REFERENCE_TYPE)?;
    let about = descriptor.annotations.get(REFERENCE_DIGEST)?;
    (kind == "attestation-manifest").then(|| about.parse().ok()).flatten()
}

impl Images {
    /// A manifest out of the content store; `None` where it is not there.
    pub(crate) fn manifest(&self, digest: &Digest) -> Result<Option<(Manifest, u64)>, Error> {
        let bytes = match self.content.read(digest, MAX_MANIFEST as u64) {
            Ok(bytes) => bytes,
            Err(content::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let size = bytes.len() as u64;
        let what = || format!("read manifest {digest}");
        let read =
            Manifest::parse(&bytes).map_err(|source| Error::Format { what: what(), source })?;
        Ok(Some((read, size)))
    }

    /// The manifests of an index and of the indexes in it, as far as they are here.
    pub(crate) fn index_entries(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        Ok(self.index_tree(digest)?.1)
    }

    /// An index and the indexes in it, as far as they are here, each before those in it; and all
    /// their manifests.
    pub(crate) fn index_tree(
        &self,
        digest: &Digest,
    ) -> Result<(Vec<Digest>, Vec<Descriptor>), Error> {
        let mut documents = Vec::new();
        let mut entries = Vec::new();
        let mut rest = vec![(digest.clone(), 0)];
        let mut seen = BTreeSet::new();
        while let Some((digest, depth)) = rest.pop() {
            if !seen.insert(digest.clone()) {
                continue;
            }
            let bytes = match self.content.read(&digest, MAX_MANIFEST as u64) {
                Err(content::Error::NotFound { .. }) if depth > 0 => continue,
                bytes => bytes?,
            };
            let what = || format!("read index {digest}");
            let index =
                Index::parse(&bytes).map_err(|source| Error::Format { what: what(), source })?;
            documents.push(digest);
            for entry in index.manifests {
                if !media_type::is_index(&entry.media_type) {
                    entries.push(entry);
                } else if depth < MAX_DEPTH {
                    rest.push((entry.digest, depth + 1));
                }
            }
            if entries.len() > MAX_DOCUMENTS || seen.len() > MAX_DOCUMENTS {
                return Err(Error::Invalid("too many manifests in one index".into()));
            }
        }
        Ok((documents, entries))
    }

    /// The manifests of what was found: those of an index, or the one that there is.
    pub(crate) fn entries(&self, found: &Found) -> Result<Vec<Descriptor>, Error> {
        let target = match &found.target {
            Some(digest) => self.db.read(|tx| tx.target(digest))?,
            None => None,
        };
        if let Some(target) = &target
            && media_type::is_index(&target.media_type)
        {
            return self.index_entries(&target.digest);
        }
        let digest = match target {
            Some(target) => target.digest,
            None => match self.db.read(|tx| tx.image(&found.id))? {
                Some(row) => row.manifest,
                None => return Ok(Vec::new()),
            },
        };
        let Some((manifest, size)) = self.manifest(&digest)? else { return Ok(Vec::new()) };
        let kind = manifest.media_type.unwrap_or_else(|| media_type::MANIFEST.into());
        let mut entry = Descriptor::new(&kind, digest, size);
        entry.artifact_type.clone_from(&manifest.artifact_type);
        Ok(vec![entry])
    }

    /// Everything that a manifest consists of, with itself.
    pub(crate) fn parts_of(&self, digest: &Digest) -> Result<Vec<Digest>, Error> {
        let mut parts = vec![digest.clone()];
        if let Some((manifest, _)) = self.manifest(digest)? {
            parts.push(manifest.config.digest);
            parts.extend(manifest.layers.into_iter().map(|layer| layer.digest));
        }
        Ok(parts)
    }

    /// Whether all that a manifest consists of is here.
    pub(crate) fn is_available(&self, digest: &Digest) -> Result<bool, Error> {
        for part in self.parts_of(digest)? {
            if self.content.size(&part)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The manifest among what was found that is for this platform, the best first, and here.
    pub(crate) fn choose_manifest(
        &self,
        found: &Found,
        wanted: &Platform,
        how: Match,
    ) -> Result<Option<Digest>, Error> {
        Ok(self.choose_entry(found, wanted, how)?.map(|entry| entry.digest))
    }

    /// The same as its index describes it, with its platform.
    pub(crate) fn choose_entry(
        &self,
        found: &Found,
        wanted: &Platform,
        how: Match,
    ) -> Result<Option<Descriptor>, Error> {
        let mut entries = self.entries(found)?;
        for entry in &mut entries {
            if entry.platform.is_none() {
                entry.platform = self.stated_platform(&entry.digest)?;
            }
        }
        for entry in choose(&entries, wanted) {
            let Some(platform) = &entry.platform else { continue };
            if how == Match::Same && !wanted.is(platform) {
                continue;
            }
            let is_unpacked = self.image_of_manifest(&entry.digest)?.is_some();
            if is_unpacked || self.is_available(&entry.digest)? {
                return Ok(Some(entry.clone()));
            }
        }
        Ok(None)
    }

    /// What a manifest's configuration says that it runs on.
    pub(crate) fn stated_platform(&self, manifest: &Digest) -> Result<Option<Platform>, Error> {
        let Some((manifest, _)) = self.manifest(manifest)? else { return Ok(None) };
        if !manifest.is_image() {
            return Ok(None);
        }
        let config = match self.content.read(&manifest.config.digest, MAX_CONFIG as u64) {
            Ok(bytes) => parse_config(&bytes)?,
            Err(content::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(platform_of(&config))
    }

    /// A manifest that is here, described as in an index, with what its configuration says that it runs on.
    pub fn manifest_descriptor(&self, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        let Some((manifest, size)) = self.manifest(digest)? else { return Ok(None) };
        let kind = manifest.media_type.unwrap_or_else(|| media_type::MANIFEST.into());
        let mut descriptor = Descriptor::new(&kind, digest.clone(), size);
        descriptor.platform = self.stated_platform(digest)?;
        Ok(Some(descriptor))
    }

    /// The image that has this manifest, unpacked.
    pub(crate) fn image_of_manifest(&self, manifest: &Digest) -> Result<Option<Digest>, Error> {
        self.db.read(|tx| {
            let own = tx.image_by_manifest(manifest)?.map(|row| row.id);
            Ok(own.or(tx.image_with_manifest(manifest)?))
        })
    }

    /// The image of this name, if it is what its registry means by it: this digest, and of an index
    /// the image that this machine runs best.
    pub fn current(&self, name: &Reference, digest: &Digest) -> Result<Option<Image>, Error> {
        let found = match self.find(&name.to_string()) {
            Err(Error::NoImage(_)) => return Ok(None),
            found => found?,
        };
        let called = format!("{}@{digest}", name.name());
        let (is_called, row, target) = self.db.read(|tx| {
            let is_called = tx.image_by_repo_digest(&called)?.is_some_and(|row| row.id == found.id);
            Ok::<_, Error>((is_called, tx.image(&found.id)?, tx.target(digest)?))
        })?;
        let Some(row) = row.filter(|_| is_called) else { return Ok(None) };
        let meant = found.target.as_ref().unwrap_or(&row.manifest);
        if meant != digest {
            return Ok(None);
        }
        if target.is_some_and(|target| media_type::is_index(&target.media_type)) {
            let entries = self.index_entries(digest)?;
            let best = choose(&entries, host::platform()).first().map(|one| one.digest.clone());
            let unpacked = best.map(|best| self.image_of_manifest(&best)).transpose()?.flatten();
            if unpacked.as_ref() != Some(&found.id) {
                return Ok(None);
            }
        }
        Ok(Some(self.get(&found.id)?))
    }

    /// Unpacks an image of a target of which only the blobs are here.
    pub(crate) fn unpack_manifest(
        &self,
        target: &Digest,
        manifest: &Digest,
    ) -> Result<Image, Error> {
        let bytes = self.content.read(manifest, MAX_MANIFEST as u64)?;
        let what = || format!("read manifest {manifest}");
        let read =
            Manifest::parse(&bytes).map_err(|source| Error::Format { what: what(), source })?;
        let config = self.content.read(&read.config.digest, MAX_CONFIG as u64)?;
        let layers: Vec<Box<dyn LayerSource + '_>> = read
            .layers
            .iter()
            .map(|layer| {
                let kept = Kept { digest: layer.digest.clone(), content: &self.content };
                Box::new(kept) as Box<dyn LayerSource + '_>
            })
            .collect();
        let names = Names { within: Within::Known(target), ..Names::default() };
        self.install_foreign(&bytes, &config, &layers, names)
    }

    /// What there is of everything that a name means, manifest by manifest.
    pub fn manifests(&self, name: &str) -> Result<Vec<ManifestSummary>, Error> {
        self.ensure_embedded(name)?;
        let found = self.find(name)?;
        self.summaries(&found)
    }

    pub(crate) fn summaries(&self, found: &Found) -> Result<Vec<ManifestSummary>, Error> {
        let mut summaries = Vec::new();
        for descriptor in self.entries(found)? {
            summaries.push(self.manifest_summary(descriptor)?);
        }
        Ok(summaries)
    }

    fn manifest_summary(&self, descriptor: Descriptor) -> Result<ManifestSummary, Error> {
        let parts = self.parts_of(&descriptor.digest)?;
        let (mut content, mut is_available) = (0, true);
        for part in parts.iter().collect::<BTreeSet<_>>() {
            match self.content.size(part)? {
                Some(size) => content += size,
                None => is_available = false,
            }
        }
        let kind = self.kind_of(&descriptor)?;
        Ok(ManifestSummary { descriptor, is_available, content, kind })
    }

    fn kind_of(&self, descriptor: &Descriptor) -> Result<ManifestKind, Error> {
        if let Some(about) = attests(descriptor) {
            return Ok(ManifestKind::Attestation { about });
        }
        let here = self.manifest(&descriptor.digest)?;
        let is_other = here.as_ref().is_some_and(|(manifest, _)| !manifest.is_image());
        let stated = match &descriptor.platform {
            Some(platform) => Some(platform.clone()),
            None => self.stated_platform(&descriptor.digest)?,
        };
        let Some(platform) = stated.filter(|one| !is_other && !one.is_unknown()) else {
            return Ok(ManifestKind::Unknown);
        };
        let id = self.image_of_manifest(&descriptor.digest)?;
        let (containers, unpacked) = match &id {
            Some(id) => self.db.read(|tx| {
                let containers = tx.containers_of_image(id)?;
                let size = tx.image(id)?.map_or(0, |row| row.size);
                Ok::<_, Error>((containers.into_iter().map(|one| one.id).collect(), size))
            })?,
            None => (Vec::new(), 0),
        };
        Ok(ManifestKind::Image { platform, containers, unpacked })
    }
}

/// What a configuration says that its image runs on.
pub(crate) fn platform_of(config: &ImageConfig) -> Option<Platform> {
    (!config.os.is_empty() || !config.architecture.is_empty()).then(|| Platform {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        os_features: Vec::new(),
        variant: config.variant.clone(),
    })
}

/// In what an image came.
#[derive(Clone, Copy, Default)]
pub(crate) enum Within<'a> {
    /// By itself.
    #[default]
    Nothing,
    /// In these indexes, the outermost first; with what else of them is here.
    Indexes(&'a [IndexDocument], &'a [Digest]),
    /// In a target that is here.
    Known(&'a Digest),
}

/// A target that an image is recorded in.
pub(crate) struct Recorded {
    pub(crate) target: Target,
    parts: Vec<Digest>,
    entries: Vec<Descriptor>,
}

impl Images {
    /// Keeps the documents in which an image has come; what there is to be recorded of them, once
    /// it is known whether the image was there before.
    pub(crate) fn keep_target(
        &self,
        within: Within<'_>,
        manifest: &Digest,
        image: &Digest,
    ) -> Result<Option<Recorded>, Error> {
        let (digest, media_type, mut parts) = match within {
            Within::Nothing | Within::Indexes([], _) => return Ok(None),
            Within::Indexes(documents, others) => {
                let mut parts = others.to_vec();
                for document in documents {
                    parts.push(self.content.put(&document.media_type, &document.bytes)?.digest);
                }
                let root = &documents[0];
                (Digest::sha256(&root.bytes), root.media_type.clone(), parts)
            }
            Within::Known(digest) => match self.db.read(|tx| tx.target(digest))? {
                Some(target) => (target.digest, target.media_type, Vec::new()),
                None => return Err(Error::NoImage(digest.to_string())),
            },
        };
        parts.extend(self.parts_of(manifest)?);
        let entries = if media_type::is_index(&media_type) {
            self.index_entries(&digest)?
        } else {
            Vec::new()
        };
        let target = Target { digest, media_type, image: image.clone(), added: now() };
        Ok(Some(Recorded { target, parts, entries }))
    }

    /// A target of a single manifest: of an image that has another one, or of an artifact.
    pub(crate) fn single_target(
        &self,
        manifest: &Digest,
        image: &Digest,
    ) -> Result<Recorded, Error> {
        let read = self.manifest(manifest)?.and_then(|(read, _)| read.media_type);
        let media_type = read.unwrap_or_else(|| media_type::MANIFEST.into());
        let (digest, image) = (manifest.clone(), image.clone());
        Ok(Recorded {
            target: Target { digest, media_type, image, added: now() },
            parts: self.parts_of(manifest)?,
            entries: Vec::new(),
        })
    }
}

impl Recorded {
    /// Records it, with an image of it. What its names mean is the best of its images that are here.
    pub(crate) fn insert(
        &self,
        tx: &Write,
        manifest: &Digest,
        image: &Digest,
    ) -> Result<Digest, metadata::Error> {
        let mut there = tx.target_images(&self.target.digest)?;
        there.retain(|one| one.manifest != *manifest);
        let mut here: Vec<(&Digest, &Digest)> =
            there.iter().map(|one| (&one.manifest, &one.image)).collect();
        here.push((manifest, image));
        let best = choose(&self.entries, host::platform())
            .into_iter()
            .find_map(|entry| here.iter().find(|(manifest, _)| **manifest == entry.digest));
        let best = best.map_or(here[0].1, |(_, image)| image).clone();
        let target = Target { image: best.clone(), ..self.target.clone() };
        tx.insert_target(&target, &self.parts, &[(manifest.clone(), image.clone())])?;
        Ok(best)
    }
}
