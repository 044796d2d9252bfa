//! What there is to push of an image, held until it is pushed.

use std::collections::BTreeMap;

use oci::Digest;
use oci::image::{Descriptor, MAX_MANIFEST, Manifest, media_type};
use reference::Reference;

use crate::{Error, Images, now};

/// How long a push may take, in nanoseconds.
const LIFE: i64 = 24 * 3600 * 1_000_000_000;

/// An image that is to be pushed. Its blobs are in [`Images::content`].
#[derive(Clone, Debug)]
pub struct Push {
    /// The manifest, as it was made or pulled.
    pub manifest: Vec<u8>,
    /// What it is, by its own word.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Repositories of the same registry that are known to have a blob.
    pub elsewhere: BTreeMap<Digest, Vec<String>>,
    image: Digest,
    holder: String,
}

impl Images {
    /// The names to push for `name`: itself, or, for all tags, every tag of its repository.
    pub fn names_to_push(&self, name: &Reference, all: bool) -> Result<Vec<Reference>, Error> {
        if !all {
            return Ok(vec![name.clone().with_default_tag()]);
        }
        let tags = self.db.read(metadata::Read::tags)?;
        let names = tags.iter().filter_map(|tag| tag.reference.parse::<Reference>().ok());
        let names: Vec<_> = names.filter(|tag| tag.name() == name.name()).collect();
        if names.is_empty() {
            return Err(Error::NotInRepository(name.familiar_name()));
        }
        Ok(names)
    }

    /// Begins to push the image of this name, and holds its blobs.
    pub fn begin_push(&self, name: &Reference) -> Result<Push, Error> {
        let found = match self.find(&name.to_string()) {
            Err(Error::NoImage(_)) => return Err(Error::NotInRepository(name.familiar_name())),
            found => found?,
        };
        let image = self.get(&found.id)?;
        let missing = || Error::Invalid(format!("{} cannot be pushed", name.familiar()));
        let digest = image.manifest.ok_or_else(missing)?;
        let manifest = self.content.read(&digest, MAX_MANIFEST as u64)?;
        let read = Manifest::parse(&manifest)
            .map_err(|source| Error::Format { what: format!("read {digest}"), source })?;
        let holder = format!("push-{}-{}", std::process::id(), digest.hex());
        let blobs = read.layers.iter().map(|layer| &layer.digest);
        self.db.write(|tx| {
            // It may have gone since it was looked for.
            if tx.image(&image.id)?.is_none() {
                return Err(Error::NoImage(name.familiar()));
            }
            let held = blobs.chain([&image.id, &digest]);
            Ok(tx.hold(&holder, held, now().saturating_add(LIFE))?)
        })?;
        Ok(Push {
            media_type: read.media_type.unwrap_or_else(|| media_type::MANIFEST.into()),
            elsewhere: self.elsewhere(name)?,
            manifest,
            digest,
            config: read.config,
            layers: read.layers,
            image: image.id,
            holder,
        })
    }

    /// Notes that the image is at the registry now, if it is, and lets go of its blobs.
    pub fn end_push(&self, push: &Push, name: Option<&Reference>) -> Result<(), Error> {
        self.db.write(|tx| {
            if let Some(name) = name
                && tx.image(&push.image)?.is_some()
            {
                let called = format!("{}@{}", name.name(), push.digest);
                tx.set_repo_digest(&called, &push.image)?;
            }
            Ok(tx.let_go(&push.holder)?)
        })
    }

    /// Which repositories of the same registry have which blobs, as far as pulls and pushes tell.
    fn elsewhere(&self, name: &Reference) -> Result<BTreeMap<Digest, Vec<String>>, Error> {
        self.db.read(|tx| {
            let mut elsewhere: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
            for known in tx.repo_digests()? {
                let Ok(other) = known.reference.parse::<Reference>() else { continue };
                if other.domain() != name.domain() || other.path() == name.path() {
                    continue;
                }
                for layer in tx.image_layers(&known.image)? {
                    let paths = elsewhere.entry(layer.blob).or_default();
                    if !paths.iter().any(|path| path == other.path()) {
                        paths.push(other.path().to_owned());
                    }
                }
            }
            Ok(elsewhere)
        })
    }
}
