//! Loading images from an archive: an OCI image layout, or what `docker save` wrote before that.

use std::collections::HashSet;
use std::io::Read;

use oci::Digest;
use oci::image::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, Index, MAX_CONFIG, MAX_MANIFEST,
    Manifest, Platform, media_type,
};
use reference::Reference;
use serde::Deserialize;

use crate::archive::{Pieces, blob_path};
use crate::install::{LayerSource, layer_type, parse_config, to_json};
use crate::{Error, Image, Images, check_target};

/// Indexes in indexes go no deeper.
const MAX_DEPTH: usize = 4;
/// Nor is more than this looked at in one archive.
const MAX_DOCUMENTS: usize = 1000;

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

/// An image in a layout, before anything of it is unpacked.
struct Listed {
    manifest: Descriptor,
    name: Option<Reference>,
}

impl Images {
    /// Loads every image of an archive (plain or compressed), which is read to its end. Images are
    /// returned once for each name.
    pub fn load(&self, archive: &mut dyn Read) -> Result<Vec<Image>, Error> {
        let pieces = Pieces::read(archive, &self.content)?;
        self.load_pieces(&pieces, None)
    }

    /// Where `name` is given, the images are called that, whatever the archive says.
    pub(crate) fn load_pieces(
        &self,
        pieces: &Pieces,
        name: Option<&Reference>,
    ) -> Result<Vec<Image>, Error> {
        if pieces.has("index.json") {
            return self.load_layout(pieces, name);
        }
        if pieces.has("manifest.json") {
            return self.load_docker(pieces);
        }
        let why = "the archive has neither index.json nor manifest.json: it is no archive of \
                   images (a root file system is for `import`)";
        Err(Error::Invalid(why.into()))
    }

    fn load_layout(&self, pieces: &Pieces, name: Option<&Reference>) -> Result<Vec<Image>, Error> {
        let index = pieces.document("index.json", MAX_MANIFEST)?;
        let index = Index::parse(&index)
            .map_err(|source| Error::Format { what: "read \"index.json\"".into(), source })?;
        let mut listed = Vec::new();
        let mut seen = HashSet::new();
        collect(pieces, &index, None, 0, &mut seen, &mut listed)?;
        let mut images = Vec::new();
        for one in listed {
            let name = name.cloned().or(one.name);
            images.push(self.load_manifest(pieces, &one.manifest, name.as_ref())?);
        }
        if images.is_empty() {
            let wanted = Platform::native();
            return Err(Error::Invalid(format!(
                "the archive has no image for {}/{}",
                wanted.os, wanted.architecture
            )));
        }
        Ok(images)
    }

    fn load_manifest(
        &self,
        pieces: &Pieces,
        descriptor: &Descriptor,
        name: Option<&Reference>,
    ) -> Result<Image, Error> {
        let bytes = pieces.blob_document(&descriptor.digest, MAX_MANIFEST)?;
        let manifest = parse_manifest(&bytes, &descriptor.digest)?;
        if !media_type::is_config(&manifest.config.media_type) {
            let kind = &manifest.config.media_type;
            return Err(Error::Invalid(format!("an artifact of type `{kind}`, not an image")));
        }
        let config = pieces.blob_document(&manifest.config.digest, MAX_CONFIG)?;
        let mut layers: Vec<Box<dyn LayerSource + '_>> = Vec::new();
        for layer in &manifest.layers {
            if !media_type::is_layer(&layer.media_type) {
                return Err(Error::Invalid(format!("a layer of type `{}`", layer.media_type)));
            }
            let expected = Some((layer.digest.clone(), layer.size));
            layers.push(Box::new(pieces.layer(&blob_path(&layer.digest), expected)?));
        }
        self.install_foreign(&bytes, &config, &layers, name)
    }

    fn load_docker(&self, pieces: &Pieces) -> Result<Vec<Image>, Error> {
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
            parse_config(&config)?;
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
                let installed = self.install_foreign(&manifest, &config, &layers, name.as_ref());
                images.push(installed?);
            }
        }
        Ok(images)
    }
}

fn parse_manifest(bytes: &[u8], digest: &Digest) -> Result<Manifest, Error> {
    let what = || format!("read manifest {digest}");
    Manifest::parse(bytes).map_err(|source| Error::Format { what: what(), source })
}

/// The images of an index for this machine. What was looked at is not looked at again: an index
/// that names itself, or a fan of shared ones, ends.
fn collect(
    pieces: &Pieces,
    index: &Index,
    name: Option<&Reference>,
    depth: usize,
    seen: &mut HashSet<(Digest, Option<String>)>,
    listed: &mut Vec<Listed>,
) -> Result<(), Error> {
    let native = Platform::native();
    for descriptor in &index.manifests {
        let fits = descriptor.platform.as_ref().is_none_or(|platform| {
            (&platform.os, &platform.architecture) == (&native.os, &native.architecture)
        });
        let name = own_name(descriptor).or_else(|| name.cloned());
        let key = (descriptor.digest.clone(), name.as_ref().map(ToString::to_string));
        if !fits || !seen.insert(key) {
            continue;
        }
        if seen.len() > MAX_DOCUMENTS || depth > MAX_DEPTH {
            return Err(Error::Invalid("too many indexes and manifests in one archive".into()));
        }
        if media_type::is_manifest(&descriptor.media_type) {
            // An archive may name platforms that it does not hold.
            if descriptor.platform.is_none() || pieces.has(&blob_path(&descriptor.digest)) {
                listed.push(Listed { manifest: descriptor.clone(), name });
            }
        } else if media_type::is_index(&descriptor.media_type) {
            let bytes = pieces.blob_document(&descriptor.digest, MAX_MANIFEST)?;
            let what = || format!("read index {}", descriptor.digest);
            let inner =
                Index::parse(&bytes).map_err(|source| Error::Format { what: what(), source })?;
            collect(pieces, &inner, name.as_ref(), depth + 1, seen, listed)?;
        } else {
            let kind = &descriptor.media_type;
            return Err(Error::Invalid(format!("media type `{kind}` in an index")));
        }
    }
    Ok(())
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
