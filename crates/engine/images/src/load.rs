//! Loading images from an archive: an OCI image layout, or what `docker save` wrote before that, or before that.

use std::collections::HashSet;
use std::io::Read;

use oci::Digest;
use oci::image::platform::choose;
use oci::image::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, Index, MAX_CONFIG, MAX_MANIFEST,
    Manifest, Platform, media_type,
};
use reference::Reference;
use serde::Deserialize;

use crate::archive::{Pieces, blob_path};
use crate::install::{LayerSource, Names, layer_type, parse_config, to_json};
use crate::resolve::Found;
use crate::target::{IndexDocument, MAX_DEPTH, MAX_DOCUMENTS, Within, attests, platform_of};
use crate::{Error, Image, Images, check_target, host, load_v1};

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An image that was in an archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The image.
    pub image: Image,
    /// The other one that had its name until then.
    pub replaced: Option<Digest>,
}

impl Images {
    /// Loads every image of an archive (plain or compressed), which is read to its end; of an index
    /// all that is there of it. Images are returned once for each name.
    pub fn load(&self, archive: &mut dyn Read) -> Result<Vec<Image>, Error> {
        let loaded = self.load_for(archive, &[])?;
        Ok(loaded.into_iter().map(|one| one.image).collect())
    }

    /// The same, but only what is for these platforms, where any are named; and which images lose their names.
    pub fn load_for(
        &self,
        archive: &mut dyn Read,
        platforms: &[Platform],
    ) -> Result<Vec<Loaded>, Error> {
        let pieces = Pieces::read(archive, &self.content)?;
        self.load_pieces(&pieces, None, platforms)
    }

    /// Where `name` is given, the images are called that, whatever the archive says.
    pub(crate) fn load_pieces(
        &self,
        pieces: &Pieces,
        name: Option<&Reference>,
        platforms: &[Platform],
    ) -> Result<Vec<Loaded>, Error> {
        if pieces.has("index.json") {
            return self.load_layout(pieces, name, platforms);
        }
        if pieces.has("manifest.json") {
            return self.load_docker(pieces, platforms);
        }
        if pieces.has(load_v1::NAMES) {
            return self.load_v1(pieces, platforms);
        }
        let why = "the archive has neither index.json nor manifest.json: it is no archive of \
                   images (a root file system is for `import`)";
        Err(Error::Invalid(why.into()))
    }

    /// Loads one image, and notes which other one has its name until then.
    pub(crate) fn load_named(
        &self,
        name: Option<&Reference>,
        load: impl FnOnce() -> Result<Image, Error>,
    ) -> Result<Loaded, Error> {
        let meant = || {
            let Some(name) = name else { return Ok::<_, Error>(None) };
            let image = self.db.read(|tx| tx.tagged_image(&name.to_string()))?;
            Ok(image.map(|image| image.id))
        };
        let before = meant()?;
        let image = load()?;
        let replaced = match before {
            Some(before) if meant()?.is_some_and(|now| now != before) => Some(before),
            _ => None,
        };
        Ok(Loaded { image, replaced })
    }

    fn load_layout(
        &self,
        pieces: &Pieces,
        name: Option<&Reference>,
        platforms: &[Platform],
    ) -> Result<Vec<Loaded>, Error> {
        let index = pieces.document("index.json", MAX_MANIFEST)?;
        let index = Index::parse(&index)
            .map_err(|source| Error::Format { what: "read \"index.json\"".into(), source })?;
        if index.manifests.len() > MAX_DOCUMENTS {
            return Err(Error::Invalid("too many indexes and manifests in one archive".into()));
        }
        let mut images = Vec::new();
        for root in roots(&index, pieces) {
            let name = name.cloned().or_else(|| own_name(root));
            let name = name.as_ref();
            let load = || {
                if media_type::is_manifest(&root.media_type) {
                    self.load_one(pieces, &root.digest, name, platforms)
                } else if media_type::is_index(&root.media_type) {
                    self.load_index(pieces, root, name, platforms)
                } else {
                    let kind = &root.media_type;
                    Err(Error::Invalid(format!("media type `{kind}` in an index")))
                }
            };
            images.push(self.load_named(name, load)?);
        }
        if images.is_empty() {
            return Err(none_for(platforms));
        }
        Ok(images)
    }

    /// A manifest that the archive has by itself.
    fn load_one(
        &self,
        pieces: &Pieces,
        digest: &Digest,
        name: Option<&Reference>,
        platforms: &[Platform],
    ) -> Result<Image, Error> {
        let bytes = pieces.blob_document(digest, MAX_MANIFEST)?;
        let manifest = parse_manifest(&bytes, digest)?;
        if !manifest.is_image() {
            let _lock = self.content.lock_shared()?;
            return self.with_note(|| {
                self.keep_parts(pieces, digest)?;
                self.record_artifact(&bytes, name.into())
            });
        }
        if !platforms.is_empty() {
            let config = pieces.blob_document(&manifest.config.digest, MAX_CONFIG)?;
            let found = platform_of(&parse_config(&config)?).unwrap_or_default();
            if !platforms.iter().any(|wanted| wanted.is(&found)) {
                return Err(none_for(platforms));
            }
        }
        self.load_manifest(pieces, &bytes, &manifest, name.into())
    }

    fn load_manifest(
        &self,
        pieces: &Pieces,
        bytes: &[u8],
        manifest: &Manifest,
        names: Names<'_>,
    ) -> Result<Image, Error> {
        let config = pieces.blob_document(&manifest.config.digest, MAX_CONFIG)?;
        let mut layers: Vec<Box<dyn LayerSource + '_>> = Vec::new();
        for layer in &manifest.layers {
            if !media_type::is_layer(&layer.media_type) {
                return Err(Error::Invalid(format!(
                    "unsupported media type `{}` of the layer {}",
                    layer.media_type, layer.digest
                )));
            }
            let expected = Some((layer.digest.clone(), layer.size));
            layers.push(Box::new(pieces.layer(&blob_path(&layer.digest), expected)?));
        }
        self.install_foreign(bytes, &config, &layers, names)
    }

    /// An index: the best of its images is unpacked, of all others the blobs are kept.
    fn load_index(
        &self,
        pieces: &Pieces,
        root: &Descriptor,
        name: Option<&Reference>,
        platforms: &[Platform],
    ) -> Result<Image, Error> {
        let (documents, entries) = read_indexes(pieces, root)?;
        let (mut images, mut others) = (Vec::new(), Vec::new());
        for mut entry in entries {
            if !pieces.has(&blob_path(&entry.digest)) {
                continue; // An archive may name platforms that it does not hold.
            }
            let bytes = pieces.blob_document(&entry.digest, MAX_MANIFEST)?;
            let manifest = parse_manifest(&bytes, &entry.digest)?;
            let blobs = [&manifest.config].into_iter().chain(&manifest.layers);
            if !blobs.clone().all(|blob| pieces.has(&blob_path(&blob.digest))) {
                continue;
            }
            if !manifest.is_image() || attests(&entry).is_some() {
                others.push(entry);
                continue;
            }
            if entry.platform.is_none() {
                let config = pieces.blob_document(&manifest.config.digest, MAX_CONFIG)?;
                entry.platform = platform_of(&parse_config(&config)?);
            }
            let is_wanted = |platform: &Platform| {
                entry.platform.as_ref().is_some_and(|found| platform.is(found))
            };
            if platforms.is_empty() || platforms.iter().any(is_wanted) {
                images.push(entry);
            }
        }
        if !platforms.is_empty() {
            // What is said about an image that is not wanted is not wanted.
            others.retain(|one| {
                attests(one).is_some_and(|about| images.iter().any(|image| image.digest == about))
            });
        }
        let best = choose(&images, host::platform()).first().copied().or(images.first());
        let best = best.ok_or_else(|| none_for(platforms))?.digest.clone();
        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            let mut parts = Vec::new();
            for entry in images.iter().chain(&others).filter(|entry| entry.digest != best) {
                parts.extend(self.keep_parts(pieces, &entry.digest)?);
            }
            let bytes = pieces.blob_document(&best, MAX_MANIFEST)?;
            let within = Within::Indexes(&documents, &parts);
            let names = Names { tag: name, within, ..Names::default() };
            self.load_manifest(pieces, &bytes, &parse_manifest(&bytes, &best)?, names)
        })
    }

    /// Puts all that a manifest consists of into the content store, with itself. Their digests.
    fn keep_parts(&self, pieces: &Pieces, digest: &Digest) -> Result<Vec<Digest>, Error> {
        let bytes = pieces.blob_document(digest, MAX_MANIFEST)?;
        let manifest = parse_manifest(&bytes, digest)?;
        let mut kept = Vec::new();
        for blob in [&manifest.config].into_iter().chain(&manifest.layers) {
            let expected = Some((blob.digest.clone(), blob.size));
            pieces.layer(&blob_path(&blob.digest), expected)?.keep(&self.content)?;
            kept.push(blob.digest.clone());
        }
        kept.push(self.content.put(media_type::MANIFEST, &bytes)?.digest);
        Ok(kept)
    }

    fn load_docker(&self, pieces: &Pieces, platforms: &[Platform]) -> Result<Vec<Loaded>, Error> {
        let bytes = pieces.document("manifest.json", MAX_MANIFEST)?;
        let listed: Vec<DockerImage> = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Invalid(format!("read \"manifest.json\": {error}")))?;
        let mut images = Vec::new();
        for one in listed {
            let config = pieces.document(&one.config, MAX_CONFIG)?;
            let mut layers: Vec<Box<dyn LayerSource + '_>> = Vec::new();
            let mut descriptors = Vec::new();
            for path in one.layers.unwrap_or_default() {
                let layer = pieces.layer(&path, None)?;
                let kind = layer_type(diff::compression(&mut *layer.open()?)?);
                descriptors.push(Descriptor::new(kind, layer.digest.clone(), layer.size));
                layers.push(Box::new(layer));
            }
            let parsed = parse_config(&config)?;
            let found = platform_of(&parsed).unwrap_or_default();
            if !platforms.is_empty() && !platforms.iter().any(|wanted| wanted.is(&found)) {
                continue;
            }
            let descriptor = Descriptor::of(media_type::CONFIG, &config);
            let manifest = to_json("the manifest", &Manifest::new(descriptor, descriptors))?;
            let mut names = Vec::new();
            for name in one.repo_tags.unwrap_or_default() {
                names.push(Some(check_target(name.parse()?)?));
            }
            if names.is_empty() {
                names.push(None);
            }
            for name in names {
                let load = || self.load_as(&manifest, &config, &layers, name.as_ref());
                images.push(self.load_named(name.as_ref(), load)?);
            }
        }
        if images.is_empty() && !platforms.is_empty() {
            return Err(none_for(platforms));
        }
        Ok(images)
    }

    /// Loads an image for which the archive has no manifest: one that is there keeps its own.
    pub(crate) fn load_as(
        &self,
        manifest: &[u8],
        config: &[u8],
        layers: &[Box<dyn LayerSource + '_>],
        name: Option<&Reference>,
    ) -> Result<Image, Error> {
        let id = Digest::sha256(config);
        if !self.is_whole(&id)? {
            return self.install_foreign(manifest, config, layers, name);
        }
        let _lock = self.content.lock_shared()?;
        if let Some(name) = name {
            let found = Found { id: id.clone(), reference: None, target: None };
            self.with_note(|| {
                self.set_tag(name, &found)?;
                self.write_index()
            })?;
        }
        Ok(Image { reference: name.cloned(), ..self.get(&id)? })
    }
}

fn parse_manifest(bytes: &[u8], digest: &Digest) -> Result<Manifest, Error> {
    let what = || format!("read manifest {digest}");
    Manifest::parse(bytes).map_err(|source| Error::Format { what: what(), source })
}

pub(crate) fn none_for(platforms: &[Platform]) -> Error {
    let own = [host::platform().clone()];
    let wanted = if platforms.is_empty() { &own } else { platforms };
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    Error::Invalid(format!("the archive has no image for {}", wanted.join(", ")))
}

/// What an archive holds by name. Of several manifests of one name those count that this machine
/// runs best, or else all.
fn roots<'a>(index: &'a Index, pieces: &Pieces) -> Vec<&'a Descriptor> {
    let is_there = |one: &&Descriptor| {
        one.platform.is_none()
            || media_type::is_index(&one.media_type)
            || pieces.has(&blob_path(&one.digest))
    };
    let mut roots: Vec<&Descriptor> = Vec::new();
    let mut seen = HashSet::new();
    for descriptor in index.manifests.iter().filter(is_there) {
        let name = own_name(descriptor);
        if !seen.insert((&descriptor.digest, name.clone())) {
            continue;
        }
        let Some(platform) = &descriptor.platform else {
            roots.push(descriptor);
            continue;
        };
        let rank = |platform: &Platform| host::platform().distance(platform).unwrap_or(usize::MAX);
        let rival = roots.iter_mut().find(|one| one.platform.is_some() && own_name(one) == name);
        match rival {
            Some(rival) => {
                if rival.platform.as_ref().is_some_and(|other| rank(platform) < rank(other)) {
                    *rival = descriptor;
                }
            }
            None => roots.push(descriptor),
        }
    }
    roots
}

/// An index and those in it, as far as the archive has them; and all their manifests. What was
/// looked at is not looked at again: an index that names itself, or a fan of shared ones, ends.
fn read_indexes(
    pieces: &Pieces,
    root: &Descriptor,
) -> Result<(Vec<IndexDocument>, Vec<Descriptor>), Error> {
    let (mut documents, mut entries) = (Vec::new(), Vec::new());
    let mut seen = HashSet::from([root.digest.clone()]);
    let mut rest = vec![(root.clone(), 0)];
    while let Some((index, depth)) = rest.pop() {
        if depth > 0 && !pieces.has(&blob_path(&index.digest)) {
            continue;
        }
        let bytes = pieces.blob_document(&index.digest, MAX_MANIFEST)?;
        let what = || format!("read index {}", index.digest);
        let read = Index::parse(&bytes).map_err(|source| Error::Format { what: what(), source })?;
        documents.push(IndexDocument { media_type: index.media_type, bytes });
        for entry in read.manifests {
            if !seen.insert(entry.digest.clone()) {
                continue;
            }
            if seen.len() > MAX_DOCUMENTS || depth > MAX_DEPTH {
                return Err(Error::Invalid("too many indexes and manifests in one archive".into()));
            }
            if media_type::is_index(&entry.media_type) {
                rest.push((entry, depth + 1));
            } else if media_type::is_manifest(&entry.media_type) {
                entries.push(entry);
            }
        }
    }
    Ok((documents, entries))
}

/// The name that an index gives to a manifest. A bare tag names nothing.
fn own_name(descriptor: &Descriptor) -> Option<Reference> {
    let annotation = |key| descriptor.annotations.get(key);
    let is_whole = |name: &&String| name.contains([':', '/']);
    let name = annotation(ANNOTATION_IMAGE_NAME)
        .or_else(|| annotation(ANNOTATION_REF_NAME).filter(is_whole))?;
    let reference: Reference = name.parse().ok()?;
    check_target(reference.without_digest()).ok()
}
