//! Images that come from a registry, whoever speaks to it: blobs are unpacked while they come, and
//! what has come is kept for the next attempt.
//!
//! ```text
//! begin_pull   hold what is there and what will come ─▶ PullBlob for each that is missing
//!     ├─ whoever fetches: PullBlob::take ─▶ content::Incoming ─▶ finish
//!     └─ finish_pull, meanwhile: unpack the layers, several at once, then record, then let go
//! ```
//!
//! No lock is held while a pull waits for the network: what it counts on is held in the database
//! ([`metadata::Write::hold`]), for a day at most if its process dies.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use content::{Follower, Incoming};
use metadata::ImageLayer;
use oci::image::{Descriptor, ImageConfig, Manifest, media_type};
use oci::{ChainId, DiffId, Digest};
use reference::Reference;

use crate::install::{Names, parse_config};
use crate::target::{IndexDocument, Within};
use crate::unpack::Source;
use crate::{Error, Image, Images, now};

/// How long what a pull has brought is kept for the next one, in nanoseconds.
pub(crate) const LIFE: i64 = 24 * 3600 * 1_000_000_000;
/// The largest blob that is taken.
pub(crate) const MAX_BLOB: u64 = 1 << 40;
/// No image has more layers that could be stacked.
const MAX_LAYERS: usize = 1000;

/// An image that is on its way.
#[derive(Debug)]
pub struct Pull {
    manifest: Vec<u8>,
    config: Vec<u8>,
    parsed: ImageConfig,
    id: Digest,
    digest: Digest,
    indexes: Vec<IndexDocument>,
    others: Vec<Digest>,
    holder: Holder,
    chain: Vec<ChainId>,
    layers: Vec<Arc<PullBlob>>,
    /// The image is there already, perhaps under another name.
    is_known: bool,
}

/// The blob of a layer that is on its way, or there.
#[derive(Debug)]
pub struct PullBlob {
    descriptor: Descriptor,
    coming: Option<Coming>,
}

#[derive(Debug)]
struct Coming {
    follower: Follower,
    incoming: Mutex<Option<Incoming>>,
}

/// How far the unpacking of a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of its archive have been unpacked.
    Unpacked(u64),
    /// It is in its place.
    Done,
}

impl PullBlob {
    /// What it is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Whether it has to be fetched.
    pub fn is_missing(&self) -> bool {
        self.coming.is_some()
    }

    /// Where what is fetched goes; `None` where there is nothing to fetch, or somebody does. Whoever
    /// takes it has to finish or to drop it: the unpacking waits for that.
    pub fn take(&self) -> Option<Incoming> {
        let coming = self.coming.as_ref()?;
        coming.incoming.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads it from its start, as far as it is there.
    fn open(&self, content: &content::Store) -> Result<Box<dyn Read + Send>, Error> {
        match &self.coming {
            Some(coming) => Ok(Box::new(coming.follower.clone())),
            None => Ok(Box::new(content.reader(&self.descriptor.digest)?)),
        }
    }
}

impl Pull {
    /// The layers' blobs, lowest first. One that comes twice is the same one.
    pub fn layers(&self) -> &[Arc<PullBlob>] {
        &self.layers
    }

    /// The image's id.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// Whether the image is there already.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Says in which indexes the image comes, the outermost first. They are kept with it.
    #[must_use]
    pub fn within(self, indexes: Vec<IndexDocument>) -> Self {
        Self { indexes, ..self }
    }

    /// Says what else of the indexes is here, to be kept as long as the image is.
    #[must_use]
    pub(crate) fn with(self, others: Vec<Digest>) -> Self {
        Self { others, ..self }
    }

    /// Gives up what nobody has taken, so that nobody waits for it.
    pub fn give_up(&self) {
        for layer in &self.layers {
            drop(layer.take());
        }
    }
}

impl Images {
    /// The id of the image of this name, if there is one.
    pub fn id_of(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        match self.find(&reference.to_string()) {
            Ok(found) => Ok(Some(found.id)),
            Err(Error::NoImage(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to take an image of which the manifest and the configuration have come; both are what
    /// their digests say. Hashes what an earlier pull has left of the layers.
    pub fn begin_pull(&self, manifest: Vec<u8>, config: Vec<u8>) -> Result<Pull, Error> {
        let digest = Digest::sha256(&manifest);
        let what = || format!("read manifest {digest}");
        let read =
            Manifest::parse(&manifest).map_err(|source| Error::Format { what: what(), source })?;
        let parsed = check(&read, &config)?;
        let diffs = &parsed.rootfs.diff_ids;
        let chain = ChainId::chain(diffs);
        let id = read.config.digest.clone();
        let holder = Holder::new(&digest);
        let is_recorded = {
            // Nobody who deletes has looked already and not deleted yet.
            let _lock = self.content.lock_shared()?;
            let blobs = read.layers.iter().map(|layer| &layer.digest);
            let held = chain.iter().map(ChainId::digest).chain(blobs).chain([&id, &digest]);
            self.db.write(|tx| {
                tx.hold(&holder.name, held, now().saturating_add(LIFE))?;
                // What is there may have come by another manifest, its layers compressed otherwise.
                let own = tx.image(&id)?.is_some_and(|row| row.manifest == digest);
                Ok::<_, Error>(own || tx.image_with_manifest(&digest)?.as_ref() == Some(&id))
            })?
        };
        // One of which something was lost is brought again.
        let mut is_known = is_recorded && self.is_whole(&id)?;
        for layer in &read.layers {
            is_known = is_known && self.content.size(&layer.digest)? == Some(layer.size);
        }
        let mut blobs: BTreeMap<Digest, Arc<PullBlob>> = BTreeMap::new();
        let mut layers = Vec::new();
        for descriptor in &read.layers {
            let blob = match blobs.get(&descriptor.digest) {
                Some(blob) => Arc::clone(blob),
                None => Arc::new(self.pull_blob(descriptor)?),
            };
            blobs.insert(descriptor.digest.clone(), Arc::clone(&blob));
            layers.push(blob);
        }
        let indexes = Vec::new();
        Ok(Pull {
            manifest,
            config,
            parsed,
            id,
            digest,
            indexes,
            others: Vec::new(),
            holder,
            chain,
            layers,
            is_known,
        })
    }

    pub(crate) fn pull_blob(&self, descriptor: &Descriptor) -> Result<PullBlob, Error> {
        let is_there = self.content.size(&descriptor.digest)? == Some(descriptor.size);
        let coming = if is_there {
            None
        } else {
            let incoming = self.content.incoming(&descriptor.digest, descriptor.size)?;
            let follower = incoming.follow();
            Some(Coming { follower, incoming: Mutex::new(Some(incoming)) })
        };
        Ok(PullBlob { descriptor: descriptor.clone(), coming })
    }

    /// Unpacks the layers while they come, several at once, and records the image: as `name`, and
    /// as what the registry calls it, `digest` of the same repository.
    pub fn finish_pull(
        &self,
        pull: &Pull,
        name: &Reference,
        digest: &Digest,
        on_step: &(dyn Fn(usize, Step) + Sync),
    ) -> Result<Image, Error> {
        // One that was asked for by digest is known by its digest, whatever its tag is at the moment.
        let tag = Some(name).filter(|name| name.tag().is_some() && name.digest().is_none());
        let called = format!("{}@{digest}", name.name());
        let within = Within::Indexes(&pull.indexes, &pull.others);
        let names =
            Names { tag, pulled: Some((&called, &pull.holder)), within, ..Names::default() };
        let rows = if pull.is_known { Vec::new() } else { self.unpack(pull, on_step)? };
        let _lock = self.content.lock_shared()?;
        let image = self.with_note(|| {
            if pull.is_known {
                let within = self.keep_target(names.within, &pull.digest, &pull.id)?;
                let alone = self.single_target(&pull.digest, &pull.id)?;
                // It may have gone since it was looked for.
                self.db.write_durable(|tx| match tx.image(&pull.id)? {
                    Some(row) => {
                        let alone = Some(&alone).filter(|_| row.manifest != pull.digest);
                        let within = within.as_ref().or(alone);
                        Ok(names.set(tx, &pull.id, &pull.digest, within)?)
                    }
                    None => Err(Error::NoImage(name.familiar())),
                })?;
                self.write_index()?;
                return self.get(&pull.id);
            }
            let size = self.size_of(&pull.chain)?;
            self.record(&pull.config, &pull.manifest, &rows, names, |_| Ok(size))
        })?;
        Ok(Image { reference: Some(name.clone()), ..image })
    }

    fn unpack(
        &self,
        pull: &Pull,
        on_step: &(dyn Fn(usize, Step) + Sync),
    ) -> Result<Vec<ImageLayer>, Error> {
        let diffs = &pull.parsed.rootfs.diff_ids;
        let source = Fetched { pull, content: &self.content, on_step };
        self.unpack_chain(&pull.chain, diffs, &source)?;
        let layers = pull.layers.iter().zip(&pull.chain).zip(diffs);
        let row = |((blob, chain), diff): ((&Arc<PullBlob>, &ChainId), &DiffId)| ImageLayer {
            chain: chain.clone(),
            diff: diff.clone(),
            blob: blob.descriptor.digest.clone(),
        };
        Ok(layers.map(row).collect())
    }

    /// Whether all that a recorded image needs is there.
    pub(crate) fn is_whole(&self, id: &Digest) -> Result<bool, Error> {
        let (row, layers) =
            self.db.read(|tx| Ok::<_, Error>((tx.image(id)?, tx.image_layers(id)?)))?;
        let Some(row) = row else { return Ok(false) };
        let blobs = layers.iter().map(|layer| &layer.blob).chain([&row.id, &row.manifest]);
        for blob in blobs {
            if self.content.size(blob)?.is_none() {
                return Ok(false);
            }
        }
        for layer in &layers {
            if !self.snapshots.has_layer(&layer.chain)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Of all files of these layers, in bytes.
    fn size_of(&self, chain: &[ChainId]) -> Result<u64, Error> {
        self.db.read(|tx| {
            let sizes = chain.iter().map(|layer| Ok(tx.layer(layer)?.map_or(0, |row| row.size)));
            sizes.sum()
        })
    }
}

/// Who holds what an image needs until it is recorded: a process, for one manifest.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) name: String,
    manifest: String,
}

impl Holder {
    pub(crate) fn new(manifest: &Digest) -> Self {
        let manifest = format!("-{}", manifest.hex());
        Self { name: format!("pull-{}{manifest}", std::process::id()), manifest }
    }

    /// Lets go; also of what earlier pulls of the same held, whose processes have died.
    pub(crate) fn let_go(&self, tx: &metadata::Write) -> Result<(), metadata::Error> {
        for holder in tx.holders()? {
            let pid = holder
                .strip_prefix("pull-")
                .and_then(|rest| rest.strip_suffix(self.manifest.as_str()));
            let is_dead = pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
            if is_dead || holder == self.name {
                tx.let_go(&holder)?;
            }
        }
        Ok(())
    }
}

/// Whether the process of a holder lives.
pub(crate) fn is_alive(holder: &str) -> bool {
    let rest = holder.strip_prefix("pull-").or_else(|| holder.strip_prefix("push-"));
    let pid = rest.and_then(|rest| rest.split('-').next());
    pid.is_some_and(|pid| Path::new("/proc").join(pid).exists())
}

/// What can be known before a layer comes. The configuration, read.
fn check(manifest: &Manifest, config: &[u8]) -> Result<ImageConfig, Error> {
    if !media_type::is_config(&manifest.config.media_type) {
        let kind = &manifest.config.media_type;
        return Err(Error::Invalid(format!("an artifact of type `{kind}`, not an image")));
    }
    for layer in &manifest.layers {
        if !media_type::is_layer(&layer.media_type) {
            return Err(Error::Invalid(format!(
                "unsupported media type `{}` of the layer {}",
                layer.media_type, layer.digest
            )));
        }
        if layer.size > MAX_BLOB {
            let (digest, size) = (&layer.digest, layer.size);
            return Err(Error::Invalid(format!("layer {digest} is said to have {size} bytes")));
        }
    }
    let parsed = parse_config(config)?;
    let (n_diffs, n_layers) = (parsed.rootfs.diff_ids.len(), manifest.layers.len());
    if n_diffs != n_layers || n_layers > MAX_LAYERS {
        return Err(Error::Invalid(format!(
            "the image's configuration has {n_diffs} layers, its manifest {n_layers}"
        )));
    }
    Ok(parsed)
}

/// Layers that are being fetched, or are there.
struct Fetched<'a> {
    pull: &'a Pull,
    content: &'a content::Store,
    on_step: &'a (dyn Fn(usize, Step) + Sync),
}

impl Source for Fetched<'_> {
    fn open(&self, layer_idx: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        let inner = self.pull.layers[layer_idx].open(self.content)?;
        let reader = Counting { inner, n: 0, layer_idx, on_step: self.on_step };
        Ok(Box::new(BufReader::with_capacity(128 << 10, reader)))
    }

    fn placed(&self, layer_idx: usize) -> Result<(), Error> {
        if let Some(coming) = &self.pull.layers[layer_idx].coming {
            coming.follower.wait().map_err(diff::Error::Read)?;
        }
        (self.on_step)(layer_idx, Step::Done);
        Ok(())
    }

    fn stop(&self) {
        for coming in self.pull.layers.iter().filter_map(|layer| layer.coming.as_ref()) {
            coming.follower.stop();
        }
    }
}

/// Tells how much has been read.
struct Counting<'a> {
    inner: Box<dyn Read + Send>,
    n: u64,
    layer_idx: usize,
    on_step: &'a (dyn Fn(usize, Step) + Sync),
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.n += n_read as u64;
        (self.on_step)(self.layer_idx, Step::Unpacked(self.n));
        Ok(n_read)
    }
}
