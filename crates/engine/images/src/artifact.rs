//! Artifacts: manifests of something that is no image. They come and go, are saved, loaded, tagged
//! and removed like images, and cannot be run.
//!
//! An artifact has no configuration of its own (many share the empty one), so its id is the digest
//! of its manifest. It is recorded as an image without layers, in a target of its own that keeps its
//! blobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use docker::filters::Filters;
use oci::Digest;
use oci::image::{Descriptor, Manifest};
use reference::Reference;

use crate::install::Names;
use crate::pull::{Holder, LIFE, MAX_BLOB};
use crate::{Error, Image, Images, PullBlob, RootKind, now};

/// An artifact that is on its way.
#[derive(Debug)]
pub struct ArtifactPull {
    manifest: Vec<u8>,
    holder: Holder,
    blobs: Vec<Arc<PullBlob>>,
}

impl ArtifactPull {
    /// All that it consists of. One that comes twice is there once.
    pub fn blobs(&self) -> &[Arc<PullBlob>] {
        &self.blobs
    }
}

/// What an artifact says that it is.
pub(crate) fn kind_of(manifest: &Manifest) -> String {
    let stated = manifest.artifact_type.clone().filter(|kind| !kind.is_empty());
    stated.unwrap_or_else(|| manifest.config.media_type.clone())
}

impl Images {
    /// The type of the artifact with this manifest.
    pub(crate) fn artifact_type(&self, manifest: &Digest) -> Result<String, Error> {
        let read = self.manifest(manifest)?;
        Ok(read.map(|(manifest, _)| kind_of(&manifest)).unwrap_or_default())
    }

    /// What an artifact says of itself, if the filters want it.
    pub(crate) fn labels_of_artifact(
        &self,
        manifest: &Digest,
        filters: &Filters,
    ) -> Result<Option<BTreeMap<String, String>>, Error> {
        let read = self.manifest(manifest)?;
        let labels = read.map(|(manifest, _)| manifest.annotations).unwrap_or_default();
        let wanted = filters.labels("label", &labels) && filters.not_labels(&labels);
        Ok(wanted.then_some(labels))
    }

    /// Begins to take an artifact of which the manifest has come, which is what its digest says.
    pub fn begin_artifact(&self, manifest: Vec<u8>) -> Result<ArtifactPull, Error> {
        let digest = Digest::sha256(&manifest);
        let what = || format!("read manifest {digest}");
        let read =
            Manifest::parse(&manifest).map_err(|source| Error::Format { what: what(), source })?;
        let mut wanted: BTreeMap<&Digest, &Descriptor> = BTreeMap::new();
        for blob in [&read.config].into_iter().chain(&read.layers) {
            if blob.size > MAX_BLOB {
                let (digest, size) = (&blob.digest, blob.size);
                return Err(Error::Invalid(format!("blob {digest} is said to have {size} bytes")));
            }
            wanted.insert(&blob.digest, blob);
        }
        let holder = Holder::new(&digest);
        {
            let _lock = self.content.lock_shared()?;
            let held = wanted.keys().copied().chain([&digest]);
            self.db.write(|tx| tx.hold(&holder.name, held, now().saturating_add(LIFE)))?;
        }
        let blobs: Result<_, Error> =
            wanted.values().map(|blob| Ok(Arc::new(self.pull_blob(blob)?))).collect();
        Ok(ArtifactPull { manifest, holder, blobs: blobs? })
    }

    /// Records an artifact of which all blobs have come, as `name`, and as what the registry calls
    /// it.
    pub fn finish_artifact(
        &self,
        pull: &ArtifactPull,
        name: &Reference,
        digest: &Digest,
    ) -> Result<Image, Error> {
        let tag = Some(name).filter(|name| name.tag().is_some() && name.digest().is_none());
        let called = format!("{}@{digest}", name.name());
        let names = Names { tag, pulled: Some((&called, &pull.holder)), ..Names::default() };
        let _lock = self.content.lock_shared()?;
        self.with_note(|| self.record_artifact(&pull.manifest, names))
    }

    /// Records an artifact whose blobs are here. Only with the lock, and a note.
    pub(crate) fn record_artifact(&self, bytes: &[u8], names: Names<'_>) -> Result<Image, Error> {
        let id = self.content.put(oci::image::media_type::MANIFEST, bytes)?.digest;
        for part in self.parts_of(&id)? {
            if self.content.size(&part)?.is_none() {
                return Err(content::Error::NotFound { digest: part }.into());
            }
        }
        let alone = self.single_target(&id, &id)?;
        let row = metadata::Image {
            id: id.clone(),
            manifest: id.clone(),
            size: 0,
            created: 0,
            added: now(),
        };
        let at = |source| Error::Io { call: "record", path: id.to_string().into(), source };
        failpoint::hit("images.record").map_err(at)?;
        self.db.write_durable(|tx| {
            tx.insert_image(&row, &[])?;
            names.set(tx, &id, &id, Some(&alone))
        })?;
        failpoint::hit("images.recorded").map_err(at)?;
        self.write_index()?;
        let image = self.get(&id)?;
        Ok(Image { reference: names.tag.cloned(), root: RootKind::Layers, ..image })
    }
}
