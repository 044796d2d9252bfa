//! What there is to push of an image, held until it is pushed.

use std::collections::BTreeMap;

use oci::Digest;
use oci::image::platform::choose;
use oci::image::{Descriptor, Index, MAX_MANIFEST, Manifest, Platform, media_type};
use reference::Reference;

use crate::pull::is_alive;
use crate::resolve::Found;
use crate::target::{Match, attests};
use crate::{Error, Images, host, now};

/// How long a push may take, in nanoseconds.
const LIFE: i64 = 24 * 3600 * 1_000_000_000;

/// A manifest or an index that is to be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushDocument {
    /// The document, as it was made or pulled.
    pub bytes: Vec<u8>,
    /// What it is, by its own word.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
}

/// What is to be pushed under a name. Its blobs are in [`Images::content`].
#[derive(Clone, Debug)]
pub struct Push {
    /// What the name means.
    pub root: PushDocument,
    /// What it names and is here: manifests, and indexes after what they name.
    pub documents: Vec<PushDocument>,
    /// Configurations, and what else is no layer of an image.
    pub configs: Vec<Descriptor>,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Manifests that an index names and that are not here, or not whole.
    pub missing: Vec<Descriptor>,
    /// What to push where the registry does not have those either: the one image that is here.
    pub instead: Option<Box<Push>>,
    /// Repositories of the same registry that are known to have a blob.
    pub elsewhere: BTreeMap<Digest, Vec<String>>,
    image: Digest,
    /// The image that was looked for: what is held is held as long as it is there.
    held_image: Digest,
    holder: String,
}

impl Push {
    /// The descriptor of what the name means.
    pub fn descriptor(&self) -> Descriptor {
        let root = &self.root;
        Descriptor::new(&root.media_type, root.digest.clone(), root.bytes.len() as u64)
    }
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

    /// Begins to push what this name means, and holds its blobs.
    pub fn begin_push(&self, name: &Reference) -> Result<Push, Error> {
        self.begin_push_for(name, None)
    }

    /// The same of this image, or of the target that it is in, for the repository of a name.
    pub fn begin_push_of(
        &self,
        name: &Reference,
        image: &Digest,
        root: &Digest,
    ) -> Result<Push, Error> {
        let found = Found { id: image.clone(), reference: None, target: Some(root.clone()) };
        let push = self.what_to_push(root, &found, self.elsewhere(name)?)?;
        self.hold_push(&push, name)?;
        Ok(push)
    }

    /// The same of its image for a platform.
    pub fn begin_push_for(
        &self,
        name: &Reference,
        wanted: Option<&Platform>,
    ) -> Result<Push, Error> {
        let found = match self.find(&name.to_string()) {
            Err(Error::NoImage(_)) => return Err(Error::NotInRepository(name.familiar_name())),
            found => found?,
        };
        let row = self.db.read(|tx| tx.image(&found.id))?;
        let row = row.ok_or_else(|| Error::NoImage(name.familiar()))?;
        let root = match wanted {
            Some(wanted) => match self.choose_manifest(&found, wanted, Match::Same)? {
                Some(manifest) => manifest,
                None => return Err(self.not_for(&name.familiar(), &found, wanted)?),
            },
            None => found.target.clone().unwrap_or(row.manifest),
        };
        let elsewhere = self.elsewhere(name)?;
        let mut push = self.what_to_push(&root, &found, elsewhere)?;
        if !push.missing.is_empty()
            && let Some(one) = self.only_one(&found)?
        {
            let elsewhere = push.elsewhere.clone();
            push.instead = Some(Box::new(self.what_to_push(&one, &found, elsewhere)?));
        }
        self.hold_push(&push, name)?;
        Ok(push)
    }

    /// Holds what is to be pushed.
    fn hold_push(&self, push: &Push, name: &Reference) -> Result<(), Error> {
        let blobs = push.layers.iter().chain(&push.configs).map(|blob| &blob.digest);
        let documents = push.documents.iter().map(|one| &one.digest).chain([&push.root.digest]);
        self.db.write(|tx| {
            // It may have gone since it was looked for.
            if tx.image(&push.held_image)?.is_none() {
                return Err(Error::NoImage(name.familiar()));
            }
            // What pushes have held whose processes have died.
            for holder in tx.holders()? {
                if holder.starts_with("push-") && !is_alive(&holder) {
                    tx.let_go(&holder)?;
                }
            }
            tx.hold(&push.holder, blobs.chain(documents), now().saturating_add(LIFE))?;
            Ok(())
        })?;
        let at = |source| Error::Io { call: "push", path: "push".into(), source };
        failpoint::hit("images.push-held").map_err(at)
    }

    /// The manifest that can be pushed in place of an index of which something is not here: the only
    /// image that is here, or else this machine's.
    fn only_one(&self, found: &Found) -> Result<Option<Digest>, Error> {
        let mut here = Vec::new();
        for entry in self.entries(found)? {
            let is_image = attests(&entry).is_none()
                && entry.platform.as_ref().is_none_or(|platform| !platform.is_unknown());
            if is_image && self.is_available(&entry.digest)? {
                here.push(entry);
            }
        }
        let own = choose(&here, host::platform()).first().map(|entry| entry.digest.clone());
        Ok(match here.as_slice() {
            [one] => Some(one.digest.clone()),
            _ => own,
        })
    }

    fn push_document(&self, digest: &Digest) -> Result<PushDocument, Error> {
        let bytes = self.content.read(digest, MAX_MANIFEST as u64)?;
        let stated = match Manifest::parse(&bytes) {
            Ok(manifest) => manifest.media_type,
            Err(_) => Index::parse(&bytes).ok().and_then(|index| index.media_type),
        };
        let recorded = self.db.read(|tx| tx.target(digest))?.map(|target| target.media_type);
        let media_type = stated.or(recorded).unwrap_or_else(|| media_type::MANIFEST.into());
        Ok(PushDocument { bytes, media_type, digest: digest.clone() })
    }

    fn what_to_push(
        &self,
        root: &Digest,
        found: &Found,
        elsewhere: BTreeMap<Digest, Vec<String>>,
    ) -> Result<Push, Error> {
        let document = self.push_document(root)?;
        let (mut documents, mut missing) = (Vec::new(), Vec::new());
        let mut manifests = Vec::new();
        if media_type::is_index(&document.media_type) {
            let (indexes, entries) = self.index_tree(root)?;
            for entry in entries {
                if self.is_available(&entry.digest)? {
                    documents.push(self.push_document(&entry.digest)?);
                    manifests.push(entry.digest);
                } else {
                    missing.push(entry);
                }
            }
            // Those deepest inside have to be there first.
            for index in indexes.iter().rev().filter(|index| *index != root) {
                documents.push(self.push_document(index)?);
            }
        } else {
            manifests.push(root.clone());
        }
        let (mut configs, mut layers) = (BTreeMap::new(), Vec::<Descriptor>::new());
        for digest in &manifests {
            let Some((manifest, _)) = self.manifest(digest)? else { continue };
            for layer in manifest.layers {
                match layers.iter_mut().find(|known| known.digest == layer.digest) {
                    None => layers.push(layer),
                    // It may stay elsewhere only where all of them say so.
                    Some(known) if known.is_foreign() => *known = layer,
                    Some(_) => {}
                }
            }
            configs.insert(manifest.config.digest.clone(), manifest.config);
        }
        let of_manifest = self.image_of_manifest(root)?;
        Ok(Push {
            holder: format!("push-{}-{}", std::process::id(), root.hex()),
            root: document,
            documents,
            configs: configs.into_values().collect(),
            layers,
            missing,
            instead: None,
            elsewhere,
            image: of_manifest.unwrap_or_else(|| found.id.clone()),
            held_image: found.id.clone(),
        })
    }

    /// Notes that the image is at the registry now, if it is, and lets go of its blobs.
    pub fn end_push(&self, push: &Push, name: Option<&Reference>) -> Result<(), Error> {
        let at = |source| Error::Io { call: "push", path: "push".into(), source };
        failpoint::hit("images.push-end").map_err(at)?;
        self.db.write(|tx| {
            if let Some(name) = name {
                let digest = &push.root.digest;
                let target = tx.target(digest)?.map(|target| target.image);
                let image = target.unwrap_or_else(|| push.image.clone());
                if tx.image(&image)?.is_some() {
                    tx.set_repo_digest(&format!("{}@{digest}", name.name()), &image)?;
                }
            }
            Ok::<_, Error>(tx.let_go(&push.holder)?)
        })?;
        failpoint::hit("images.push-ended").map_err(at)
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
                let layers = tx.image_layers(&known.image)?.into_iter().map(|layer| layer.blob);
                let parts = match other.digest() {
                    Some(digest) => tx.target_parts(digest)?,
                    None => Vec::new(),
                };
                for blob in layers.chain(parts) {
                    let paths = elsewhere.entry(blob).or_default();
                    if !paths.iter().any(|path| path == other.path()) {
                        paths.push(other.path().to_owned());
                    }
                }
            }
            Ok(elsewhere)
        })
    }
}
