//! Layers that builds take from elsewhere, or make of others: with other times, or several as one.

use std::io::{self, Read, Write as _};
use std::path::Path;

use diff::{Compression, Decoder, Encoder, Limits};
use metadata::Write;
use oci::image::{Descriptor, media_type};
use oci::{ChainId, DiffId, Digest};
use tarstream::{Reader, Time, Writer};

use crate::built::Sealed;
use crate::install::layer_type;
use crate::unpack::Source;
use crate::{Error, Images, PullBlob};

/// A layer that was made elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct ElsewhereLayer {
    /// What it has to be.
    pub diff: DiffId,
    /// Its archive, which is here; `None`: the layer is.
    pub archive: Option<Digest>,
    /// When it was made, nanoseconds since 1970; 0: now.
    pub created: i64,
}

struct Elsewhere<'a> {
    layers: &'a [ElsewhereLayer],
    content: &'a content::Store,
}

impl Source for Elsewhere<'_> {
    fn open(&self, layer_idx: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        match &self.layers[layer_idx].archive {
            Some(archive) => Ok(Box::new(self.content.reader(archive)?)),
            None => Err(Error::Invalid(format!("layer {layer_idx} is gone: build again"))),
        }
    }

    fn placed(&self, _: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// The data of an entry.
struct Data<'a, R: Read>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_data(buffer).map_err(io::Error::other)
    }
}

impl Images {
    /// A blob by its descriptor: where what is fetched of it goes, where it is not here.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<PullBlob, Error> {
        self.pull_blob(descriptor)
    }

    /// Unpacks layers that were made elsewhere, the lowest first, where they are not here. Whoever asks holds
    /// them, by their chain ids, and their archives. Nothing is believed: a layer is what its digest says.
    pub fn place_layers(&self, layers: &[ElsewhereLayer]) -> Result<Vec<ChainId>, Error> {
        let diffs: Vec<DiffId> = layers.iter().map(|layer| layer.diff.clone()).collect();
        let chain = ChainId::chain(&diffs);
        let mut new = Vec::new();
        for (here, layer) in chain.iter().zip(layers) {
            if layer.created > 0 && self.db.read(|tx| tx.layer(here))?.is_none() {
                new.push((here, layer.created));
            }
        }
        let source = Elsewhere { layers, content: &self.content };
        self.with_note(|| self.unpack_chain(&chain, &diffs, &source).map(drop))?;
        self.db.write(|tx| {
            new.iter().try_for_each(|(here, created)| tx.set_layer_created(here, *created))
        })?;
        Ok(chain)
    }

    /// The archive of the topmost of these layers as it is here, if it is.
    pub fn archive(&self, chain: &[ChainId]) -> Result<Option<Descriptor>, Error> {
        match chain.last() {
            Some(here) => self.kept_archive(here),
            None => Ok(None),
        }
    }

    /// The archive of the topmost of these layers as an image here has it that says where else it is to be had
    /// (`urls`): as a layer that not everybody may pass on. `None`: no image says so, or the archive is not here.
    pub fn foreign_archive(&self, chain: &[ChainId]) -> Result<Option<Descriptor>, Error> {
        let Some((here, below)) = chain.split_last() else { return Ok(None) };
        let manifests = self.db.read(|tx| {
            let mut manifests = Vec::new();
            for image in tx.images_with_layer(here)? {
                let others = tx.targets_with(&image.id)?.into_iter().map(|other| other.manifest);
                manifests.push(image.manifest);
                manifests.extend(others);
            }
            Ok::<_, Error>(manifests)
        })?;
        for digest in manifests {
            let Some((manifest, _)) = self.manifest(&digest)? else { continue };
            let Some(layer) = manifest.layers.get(below.len()) else { continue };
            if layer.urls.is_empty() || self.content.size(&layer.digest)? != Some(layer.size) {
                continue;
            }
            let kind = media_type::foreign(&layer.media_type);
            let archive = Descriptor::new(kind, layer.digest.clone(), layer.size);
            return Ok(Some(Descriptor { urls: layer.urls.clone(), ..archive }));
        }
        Ok(None)
    }

    /// The archive of the topmost of these layers, compressed in this way: written where it is not here.
    /// `hold` keeps it, in a change of its own.
    pub fn archive_as(
        &self,
        chain: &[ChainId],
        how: Compression,
        level: Option<i32>,
        hold: impl Fn(&Write, &Digest) -> Result<(), metadata::Error>,
    ) -> Result<Descriptor, Error> {
        if level.is_none()
            && let Some(kept) = self.archive(chain)?
            && kept.media_type == layer_type(how)
        {
            self.db.write(|tx| hold(tx, &kept.digest))?;
            return Ok(kept);
        }
        let mut archive = self.open_archive(chain)?;
        let mut decoder = Decoder::new(&mut *archive, Limits::default())?;
        let out = self.content.writer(Limits::default().stream)?;
        let path = out.path().to_path_buf();
        let failed = |source| Error::Io { call: "write", path: path.clone(), source };
        let mut encoder = Encoder::new(out, how, level).map_err(failed)?;
        io::copy(&mut decoder, &mut encoder).map_err(failed)?;
        let written = encoder.finish().map_err(failed)?.finish()?;
        self.keep_blob(&written, &hold)?;
        Ok(Descriptor::new(layer_type(how), written.digest().clone(), written.size()))
    }

    /// Keeps an archive that is no layer's, compressed in this way, of what `write` writes. `hold` keeps it, in a
    /// change of its own.
    pub fn write_archive<E: From<Error>>(
        &self,
        how: Compression,
        level: Option<i32>,
        hold: impl Fn(&Write, &Digest) -> Result<(), metadata::Error>,
        write: impl FnOnce(&mut dyn io::Write) -> Result<(), E>,
    ) -> Result<Descriptor, E> {
        let out = self.content.writer(Limits::default().stream).map_err(Error::from)?;
        let path = out.path().to_path_buf();
        let failed = |source| Error::Io { call: "write", path: path.clone(), source };
        let mut encoder = Encoder::new(out, how, level).map_err(failed)?;
        write(&mut encoder)?;
        let written = encoder.finish().map_err(failed)?.finish().map_err(Error::from)?;
        self.keep_blob(&written, &hold)?;
        Ok(Descriptor::new(layer_type(how), written.digest().clone(), written.size()))
    }

    fn keep_blob(
        &self,
        written: &content::Finished,
        hold: &impl Fn(&Write, &Digest) -> Result<(), metadata::Error>,
    ) -> Result<(), Error> {
        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            self.db.write(|tx| hold(tx, written.digest()))?;
            written.keep(None)?;
            Ok(())
        })
    }

    /// Reads the archive of the topmost of these layers, as it is here, or as it would be written.
    fn open_archive(&self, chain: &[ChainId]) -> Result<Box<dyn Read + Send + '_>, Error> {
        match self.archive(chain)? {
            Some(kept) => Ok(Box::new(self.content.reader(&kept.digest)?)),
            None => Ok(Box::new(Packed::new(self.pack_layer(chain)?)?)),
        }
    }

    /// Makes a layer on `below` of the archive that `write` writes; none where nothing is in it. `hold`
    /// keeps the layer, and its archive, from before they are in their places.
    fn lay(
        &self,
        below: &[ChainId],
        write: impl FnOnce(&mut content::Writer) -> Result<u64, Error>,
        hold: &impl Fn(&Write, &Digest) -> Result<(), metadata::Error>,
    ) -> Result<Option<Sealed>, Error> {
        let mut out = self.content.writer(Limits::default().stream)?;
        if write(&mut out)? == 0 {
            return Ok(None);
        }
        let path = out.path().to_path_buf();
        out.flush().map_err(|source| Error::Io { call: "write", path, source })?;
        let archive = out.finish()?;
        let diff = DiffId(archive.digest().clone());
        let here = ChainId::of(below.last(), &diff);
        let mut chain = below.to_vec();
        chain.push(here.clone());
        self.db.write(|tx| hold(tx, here.digest()))?;
        self.keep_blob(&archive, hold)?;
        let known = self.db.read(|tx| tx.layer(&here))?;
        let size = match known {
            Some(row) if self.snapshots.has_layer(&here)? => row.size,
            _ => self.with_note(|| {
                let open = || archive.open();
                let (unpacking, size) = self.unpack_layer(&chain, &diff, below.len(), || {
                    Ok(Box::new(open()?) as Box<dyn Read + Send>)
                })?;
                self.place_layer(unpacking, &chain, &diff, size)?;
                Ok(size)
            })?,
        };
        Ok(Some(Sealed { chain: here, diff, size }))
    }

    /// One layer on `below` that makes of the tree `before` (nothing, where it is `None`) the tree `now`.
    pub fn lay_difference(
        &self,
        below: &[ChainId],
        before: Option<&Path>,
        now: &Path,
        hold: impl Fn(&Write, &Digest) -> Result<(), metadata::Error>,
    ) -> Result<Option<Sealed>, Error> {
        let what = tree::Compare { before, now, since: None, ignored: None };
        let changes = tree::compare(&what).map_err(snapshot::Error::from)?;
        self.lay(below, |out| Ok(diff::pack_changes(now, &changes, out)?.n_entries), &hold)
    }

    /// The same layers, in which nothing is later than `latest`, seconds since 1970; the first `n_kept` stay
    /// as they are. All of them, lowest first.
    pub fn clamp_times(
        &self,
        chain: &[ChainId],
        n_kept: usize,
        latest: i64,
        hold: impl Fn(&Write, &Digest) -> Result<(), metadata::Error>,
    ) -> Result<Vec<ChainId>, Error> {
        let mut clamped = chain[..n_kept.min(chain.len())].to_vec();
        for layer_idx in clamped.len()..chain.len() {
            let created = self.db.read(|tx| tx.layer(&chain[layer_idx]))?.map(|row| row.created);
            let mut archive = self.open_archive(&chain[..=layer_idx])?;
            let mut decoder = Decoder::new(&mut *archive, Limits::default())?;
            let rewrite = |out: &mut content::Writer| rewrite(&mut decoder, out, latest);
            if let Some(sealed) = self.lay(&clamped, rewrite, &hold)? {
                if let Some(created) = created {
                    self.db.write(|tx| tx.set_layer_created(&sealed.chain, created))?;
                }
                clamped.push(sealed.chain);
            }
        }
        Ok(clamped)
    }
}

/// An archive that was written beside the store, and goes when it was read.
struct Packed {
    file: std::fs::File,
    _archive: content::Finished,
}

impl Packed {
    fn new(archive: content::Finished) -> Result<Self, Error> {
        Ok(Self { file: archive.open()?, _archive: archive })
    }
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

/// Writes an archive anew. How many entries it has.
fn rewrite(archive: impl Read, out: &mut content::Writer, latest: i64) -> Result<u64, Error> {
    let latest = Time { seconds: latest, nanoseconds: 0 };
    let mut reader = Reader::new(archive);
    let mut writer = Writer::new(out);
    let mut n_entries = 0;
    while let Some(mut entry) =
        reader.next_entry().map_err(|error| Error::Write(io::Error::other(error)))?
    {
        if entry.sparse.is_some() {
            let name = String::from_utf8_lossy(&entry.path).into_owned();
            return Err(Error::Invalid(format!("{name} is sparse in its archive: its time stays")));
        }
        entry.mtime = entry.mtime.min(latest);
        writer.append(&entry, &mut Data(&mut reader)).map_err(Error::Write)?;
        n_entries += 1;
    }
    writer.finish().map_err(Error::Write)?;
    Ok(n_entries)
}
