//! Putting an image's pieces in their places: the order that a crash cannot break.

use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};

use content::Finished;
use diff::{Applied, Compression, Limits, Options, Origin};
use metadata::{ImageLayer, Layer, Operation, Write};
use oci::image::{Descriptor, ImageConfig, Manifest, media_type};
use oci::{ChainId, DiffId, Digest};
use reference::Reference;
use snapshot::{Form, Unpacking};

use crate::decoding::decoded;
use crate::pull::Holder;
use crate::target::{Recorded, Within};
use crate::unpack::Source;
use crate::{Error, Image, Images, RootKind, created, now};

/// The kind of the note that files may lie around that no record names.
const NOTE: &str = "image-files";

/// Makes notes of one process differ.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A layer that is unpacked and written, but not in its place yet.
pub(crate) struct NewLayer {
    pub(crate) unpacking: Unpacking,
    pub(crate) blob: Finished,
    pub(crate) applied: Applied,
}

impl NewLayer {
    /// The digest of the uncompressed archive.
    pub(crate) fn diff(&self) -> DiffId {
        self.applied.diff.clone().unwrap_or_else(|| DiffId(self.blob.digest().clone()))
    }

    pub(crate) fn media_type(&self) -> &'static str {
        layer_type(self.applied.compression)
    }
}

pub(crate) fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => media_type::LAYER,
        Compression::Gzip => media_type::LAYER_GZIP,
        Compression::Zstd => media_type::LAYER_ZSTD,
    }
}

/// A layer of an image that comes from elsewhere: where its archive can be read, or put in place.
pub(crate) trait LayerSource: Sync {
    /// Reads the archive, from its start.
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, Error>;

    /// The digest of the archive.
    fn digest(&self) -> &Digest;

    /// Puts the archive into the content store.
    fn keep(&self, content: &content::Store) -> Result<(), Error>;
}

/// Layers that come from elsewhere, one on the other.
struct Foreign<'a> {
    layers: &'a [Box<dyn LayerSource + 'a>],
    content: &'a content::Store,
}

impl Source for Foreign<'_> {
    fn open(&self, layer_idx: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        self.layers[layer_idx].open()
    }

    fn placed(&self, layer_idx: usize) -> Result<(), Error> {
        self.layers[layer_idx].keep(self.content)
    }
}

/// What an image is to be called, and in what it came.
#[derive(Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    pub(crate) tag: Option<&'a Reference>,
    /// What its registry calls it, and who has pulled it.
    pub(crate) pulled: Option<(&'a str, &'a Holder)>,
    pub(crate) within: Within<'a>,
    /// The image that it was made of.
    pub(crate) parent: Option<&'a Digest>,
}

impl<'a> From<Option<&'a Reference>> for Names<'a> {
    fn from(tag: Option<&'a Reference>) -> Self {
        Self { tag, ..Self::default() }
    }
}

impl Names<'_> {
    /// Gives an image its names, or what it came in; it is recorded, so nobody has to hold what it
    /// needs.
    pub(crate) fn set(
        &self,
        tx: &Write,
        id: &Digest,
        manifest: &Digest,
        within: Option<&Recorded>,
    ) -> Result<(), metadata::Error> {
        let (image, target) = match within {
            Some(recorded) => {
                let meant = recorded.insert(tx, manifest, id)?;
                (meant, Some(recorded.target.digest.clone()))
            }
            None => (id.clone(), None),
        };
        if let Some(parent) = self.parent {
            tx.set_parent(id, parent)?;
        }
        if let Some(tag) = self.tag {
            let reference = tag.to_string();
            let image = image.clone();
            tx.set_tag(&metadata::Tag { reference, image, target, updated: now() })?;
        }
        if let Some((called, holder)) = self.pulled {
            tx.set_repo_digest(called, &image)?;
            holder.let_go(tx)?;
        }
        Ok(())
    }
}

impl Images {
    /// Notes that files may lie around, for as long as `act` takes.
    pub(crate) fn with_note<T>(&self, act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let subject = format!("images-{}-{number}", std::process::id());
        self.db.write(|tx| tx.begin_operation(&note(&subject)))?;
        // Where it fails the note stays, and the next sweep looks at every file.
        let value = act()?;
        self.db.write(|tx| tx.end_operation(&subject, NOTE))?;
        Ok(value)
    }

    /// Whether a process died, or failed, with files in places that no record names.
    pub(crate) fn notes(&self) -> Result<Vec<Operation>, Error> {
        let mut notes = self.db.read(metadata::Read::operations)?;
        notes.retain(|operation| operation.kind == NOTE);
        Ok(notes)
    }

    pub(crate) fn forget(&self, notes: &[Operation]) -> Result<(), Error> {
        self.db.write(|tx| {
            for note in notes {
                tx.end_operation(&note.subject, NOTE)?;
            }
            Ok(())
        })
    }

    /// An image of one layer that was unpacked already.
    pub(crate) fn install_new(
        &self,
        layer: NewLayer,
        config: &ImageConfig,
        reference: Option<&Reference>,
    ) -> Result<Image, Error> {
        let diff = layer.diff();
        let chain = ChainId::of(None, &diff);
        let size = layer.applied.size;
        let config_bytes = to_json("the image configuration", config)?;
        let config_descriptor = Descriptor::of(media_type::CONFIG, &config_bytes);
        let blob = layer.blob.digest().clone();
        let layer_descriptor = Descriptor::new(layer.media_type(), blob.clone(), layer.blob.size());
        let manifest = Manifest::new(config_descriptor, vec![layer_descriptor]);
        let manifest = to_json("the image manifest", &manifest)?;

        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            layer.blob.commit(None)?;
            self.snapshots.commit(layer.unpacking, &chain)?;
            let layers = [ImageLayer { chain: chain.clone(), diff: diff.clone(), blob }];
            self.record(&config_bytes, &manifest, &layers, reference, |tx| {
                insert_layer(tx, &chain, &diff, None, size)?;
                Ok(size)
            })
        })
    }

    /// An image from elsewhere, whose layers are still to be unpacked where they are not already.
    pub(crate) fn install_foreign<'a>(
        &self,
        manifest: &[u8],
        config: &[u8],
        layers: &[Box<dyn LayerSource + '_>],
        names: impl Into<Names<'a>>,
    ) -> Result<Image, Error> {
        let names = names.into();
        let parsed = parse_config(config)?;
        let diffs = &parsed.rootfs.diff_ids;
        if diffs.len() != layers.len() {
            let why = format!(
                "the image's configuration has {} layers, its manifest {}",
                diffs.len(),
                layers.len()
            );
            return Err(Error::Invalid(why));
        }
        let chain = ChainId::chain(diffs);
        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            let source = Foreign { layers, content: &self.content };
            let size = self.unpack_chain(&chain, diffs, &source)?;
            let row = |layer_idx: usize| ImageLayer {
                chain: chain[layer_idx].clone(),
                diff: diffs[layer_idx].clone(),
                blob: layers[layer_idx].digest().clone(),
            };
            let rows: Vec<_> = (0..layers.len()).map(row).collect();
            self.record(config, manifest, &rows, names, |_| Ok(size))
        })
    }

    /// Unpacks one layer of a chain, if it is not there. The size of its files in bytes.
    pub(crate) fn ensure_layer<'a>(
        &self,
        chain: &[ChainId],
        diffs: &[DiffId],
        layer_idx: usize,
        open: impl FnOnce() -> Result<Box<dyn Read + Send + 'a>, Error>,
    ) -> Result<u64, Error> {
        let (here, diff) = (&chain[layer_idx], &diffs[layer_idx]);
        let known = self.db.read(|tx| tx.layer(here))?;
        if let Some(row) = known
            && self.snapshots.has_layer(here)?
        {
            return Ok(row.size);
        }
        let (unpacking, size) = self.unpack_layer(chain, diff, layer_idx, open)?;
        self.place_layer(unpacking, &chain[..=layer_idx], diff, size)?;
        Ok(size)
    }

    /// Puts an unpacked layer in its place, on top of `chain`; those below it are in theirs.
    pub(crate) fn place_layer(
        &self,
        unpacking: Unpacking,
        chain: &[ChainId],
        diff: &DiffId,
        size: u64,
    ) -> Result<(), Error> {
        let Some((here, below)) = chain.split_last() else { return Ok(()) };
        self.snapshots.commit(unpacking, here)?;
        self.db.write(|tx| insert_layer(tx, here, diff, below.last().cloned(), size))?;
        Ok(())
    }

    /// Unpacks one layer of a chain, without putting it in its place. With the size of its files in
    /// bytes.
    pub(crate) fn unpack_layer<'a>(
        &self,
        chain: &[ChainId],
        diff: &DiffId,
        layer_idx: usize,
        open: impl FnOnce() -> Result<Box<dyn Read + Send + 'a>, Error>,
    ) -> Result<(Unpacking, u64), Error> {
        self.unpack_above(chain, diff, layer_idx, open, &|| true, &|| ())
    }

    /// [`Images::unpack_layer`], while the layers below may be on their way, for which `wait` waits.
    /// After `stop` nobody waits for more of the archive.
    pub(crate) fn unpack_above<'a>(
        &self,
        chain: &[ChainId],
        diff: &DiffId,
        layer_idx: usize,
        open: impl FnOnce() -> Result<Box<dyn Read + Send + 'a>, Error>,
        wait: &dyn Fn() -> bool,
        stop: &dyn Fn(),
    ) -> Result<(Unpacking, u64), Error> {
        let below = &chain[..layer_idx];
        let mut below_paths = self.snapshots.layer_paths(below);
        below_paths.reverse();
        let unpacking = match self.snapshots.form() {
            Form::Whole => {
                below_paths.truncate(1);
                self.snapshots.begin(below)?
            }
            // Those below need not be there yet.
            Form::Own => self.snapshots.begin(&[])?,
        };
        let options = Options {
            origin: Origin::Layer,
            below: &below_paths,
            whiteouts: self.whiteouts(),
            limits: Limits::default(),
        };
        let (unpacked, found) = decoded(open()?, options.limits, stop, |archive| {
            Ok(diff::unpack(archive, &unpacking.path(), &options, wait)?)
        })?;
        if found != *diff {
            return Err(
                content::Error::WrongDigest { expected: diff.0.clone(), found: found.0 }.into()
            );
        }
        Ok((unpacking, unpacked.size))
    }

    /// Writes the two documents, then the record, then the index. `more` adds to the same change, and says how
    /// large the image is.
    pub(crate) fn record<'a>(
        &self,
        config: &[u8],
        manifest: &[u8],
        layers: &[ImageLayer],
        names: impl Into<Names<'a>>,
        more: impl FnOnce(&Write) -> Result<u64, Error>,
    ) -> Result<Image, Error> {
        let names = names.into();
        let parsed = parse_config(config)?;
        let id = self.content.put(media_type::CONFIG, config)?.digest;
        let manifest = self.content.put(media_type::MANIFEST, manifest)?.digest;
        let within = self.keep_target(names.within, &manifest, &id)?;
        let alone = self.single_target(&manifest, &id)?;
        // One that lost something gets the pieces that have come now, which may be others: its layers
        // compressed in another way.
        let was_whole = self.is_whole(&id)?;
        failpoint::hit("images.record").map_err(|source| io_error("record", &id, source))?;
        let row = self.db.write_durable(|tx| {
            let size = more(tx)?;
            let row = metadata::Image {
                id: id.clone(),
                manifest: manifest.clone(),
                size,
                created: created(&parsed),
                added: now(),
            };
            if !was_whole && tx.replace_image(&row, layers)? {
                // What it had before may be needed by nothing now.
                tx.begin_operation(&note(&format!("images-{id}")))?;
            }
            tx.insert_image(&row, layers)?;
            // An image that was there keeps the manifest that it had; its new name means the new one.
            let row = tx.image(&id)?.unwrap_or(row);
            let is_named = names.tag.is_some() || names.pulled.is_some();
            let within = match &within {
                None if row.manifest != manifest && is_named => Some(&alone),
                within => within.as_ref(),
            };
            if within.is_none() && row.manifest != manifest {
                // Nobody asks for this one.
                tx.begin_operation(&note(&format!("images-{id}")))?;
            }
            names.set(tx, &id, &manifest, within)?;
            Ok::<_, Error>(row)
        })?;
        failpoint::hit("images.recorded").map_err(|source| io_error("record", &id, source))?;
        self.write_index()?;
        Ok(Image {
            id,
            manifest: Some(row.manifest),
            reference: names.tag.cloned(),
            created: created(&parsed),
            config: parsed,
            artifact: None,
            chain: layers.iter().map(|layer| layer.chain.clone()).collect(),
            root: RootKind::Layers,
            size: row.size,
        })
    }
}

/// The note that files may lie around that no record names.
fn note(subject: &str) -> Operation {
    Operation {
        subject: subject.into(),
        kind: NOTE.into(),
        owner: std::process::id().to_string(),
        detail: String::new(),
        started: now(),
    }
}

pub(crate) fn insert_layer(
    tx: &Write,
    chain: &ChainId,
    diff: &DiffId,
    parent: Option<ChainId>,
    size: u64,
) -> Result<(), metadata::Error> {
    tx.insert_layer(&Layer {
        chain: chain.clone(),
        diff: diff.clone(),
        parent,
        size,
        created: now(),
    })
}

fn io_error(call: &'static str, id: &Digest, source: std::io::Error) -> Error {
    Error::Io { call, path: id.to_string().into(), source }
}

pub(crate) fn parse_config(bytes: &[u8]) -> Result<ImageConfig, Error> {
    ImageConfig::parse(bytes)
        .map_err(|source| Error::Format { what: "not an image".into(), source })
}

pub(crate) fn to_json<T: serde::Serialize>(
    what: &'static str,
    value: &T,
) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|source| Error::Json { what, source })
}

/// Hashes what is read.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: oci::Hasher,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: oci::Hasher::new(oci::Algorithm::Sha256) }
    }

    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n_read]);
        Ok(n_read)
    }
}
