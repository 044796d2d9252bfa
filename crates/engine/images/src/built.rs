//! What builds make: layers of what steps have written, and images of those.
//!
//! A layer of a step is not copied: the directory that the step wrote to becomes the layer. Its
//! archive is only read through for its digest, and written when an image is made that has it
//! (`built_image`).

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use diff::Packed;
use metadata::{ImageLayer, Write};
use oci::image::{Descriptor, media_type};
use oci::{ChainId, DiffId};
use snapshot::{Key, Mounts};
use tree::Change;

use crate::commit::Kept;
use crate::install::{insert_layer, layer_type};
use crate::{Error, Images};

/// A layer that a step has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The layer, with those below it.
    pub chain: ChainId,
    /// The layer alone.
    pub diff: DiffId,
    /// Of its files, in bytes.
    pub size: u64,
}

/// What becomes of a snapshot in which nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfNothing {
    /// It goes: there is no layer.
    Drop,
    /// A layer in which nothing is.
    Layer,
}

/// The layers of an image whose archives are in their places.
#[derive(Default)]
pub(crate) struct KeptLayers {
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) rows: Vec<ImageLayer>,
    /// Of their files, in bytes.
    pub(crate) size: u64,
}

/// Hashes what is written, and drops it.
struct Hash(oci::Hasher);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the layer that was written in `mounts`.
fn pack<W: io::Write>(
    mounts: &Mounts,
    mountpoints: Option<&Path>,
    out: &mut W,
) -> Result<Packed, Error> {
    let (root, before, since) = match mounts {
        Mounts::Overlay { upper, lower, .. } => return Ok(diff::pack(upper, lower, out)?),
        Mounts::Directory { root, before, since } => (root, before, since),
    };
    let changes = |ignored| {
        let before = before.as_deref();
        let what = tree::Compare { before, now: root, since: Some(*since), ignored };
        tree::compare(&what).map_err(snapshot::Error::from)
    };
    let wanted = changes(mountpoints)?;
    if mountpoints.is_some() {
        drop_mountpoints(root, &wanted, &changes(None)?)?;
    }
    Ok(diff::pack_changes(root, &wanted, out)?)
}

/// Removes from a tree the mount points that are no part of the layer: what is in `all`, and not in
/// `wanted`. The innermost come last, so they go first.
fn drop_mountpoints(root: &Path, wanted: &[Change], all: &[Change]) -> Result<(), Error> {
    let wanted: HashSet<&Path> = wanted.iter().map(|change| change.path.as_path()).collect();
    for change in all.iter().rev().filter(|change| !wanted.contains(change.path.as_path())) {
        let path = root.join(&change.path);
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        let removed = if is_directory { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        removed.map_err(|source| Error::Io { call: "remove", path, source })?;
    }
    Ok(())
}

impl Images {
    /// Makes a layer of the snapshot `key` on `below` (lowest first), to which nobody writes any more;
    /// where nothing was written, what `if_nothing` says. `record` says, in the same change of the
    /// database, what it is for: a layer that nothing needs is deleted. Empty mount points as in the
    /// tree `mountpoints` are not taken for something new.
    pub fn seal(
        &self,
        key: &Key,
        below: &[ChainId],
        mountpoints: Option<&Path>,
        if_nothing: IfNothing,
        record: impl FnOnce(&Write, Option<&Sealed>) -> Result<(), metadata::Error>,
    ) -> Result<Option<Sealed>, Error> {
        let mounts = self.snapshots.mounts(key, below)?;
        if let Mounts::Overlay { upper, lower, .. } = &mounts {
            let diff::Unmarked { marked, copied } = diff::unmark(upper, lower)?;
            diff::drop_same(upper, lower, &copied)?;
            diff::spell_out(upper, lower, &marked)?;
        }
        let mut hash = Hash(oci::Hasher::new(oci::Algorithm::Sha256));
        let packed = pack(&mounts, mountpoints, &mut hash)?;
        if packed.n_entries == 0 && if_nothing == IfNothing::Drop {
            self.snapshots.remove(key)?;
            self.db.write(|tx| record(tx, None))?;
            return Ok(None);
        }
        let diff = DiffId(hash.0.finish());
        let chain = ChainId::of(below.last(), &diff);
        let sealed = Sealed { chain, diff, size: packed.size };
        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            self.snapshots.seal(key, &sealed.chain)?;
            self.db.write(|tx| {
                let parent = below.last().cloned();
                insert_layer(tx, &sealed.chain, &sealed.diff, parent, sealed.size)?;
                record(tx, Some(&sealed))
            })?;
            Ok(())
        })?;
        Ok(Some(sealed))
    }

    /// Lays the layers of one result (lowest first), without the lowest `n_left_out` of them, on those of
    /// another one. The whole chain, lowest first. Nothing is copied where layers hold their own files: a layer that lies on something
    /// else has the same files, under another name. Afterwards they are `hold`'s, in the same change
    /// of the database.
    pub fn restack(
        &self,
        onto: &[ChainId],
        layers: &[ChainId],
        n_left_out: usize,
        hold: impl FnOnce(&Write, &[ChainId]) -> Result<(), metadata::Error>,
    ) -> Result<Vec<ChainId>, Error> {
        let mut chain = onto.to_vec();
        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            for (layer_idx, from) in layers.iter().enumerate().skip(n_left_out) {
                let row = self.db.read(|tx| tx.layer(from))?.ok_or_else(|| missing(from))?;
                let here = ChainId::of(chain.last(), &row.diff);
                let is_here = self.db.read(|tx| tx.layer(&here))?.is_some();
                if !is_here || !self.snapshots.has_layer(&here)? {
                    let unpacking = self.copy_of(&layers[..=layer_idx], &chain, &row.diff)?;
                    self.snapshots.commit(unpacking, &here)?;
                }
                let parent = chain.last().cloned();
                self.db.write(|tx| insert_layer(tx, &here, &row.diff, parent, row.size))?;
                chain.push(here);
            }
            self.db.write(|tx| hold(tx, &chain))?;
            Ok(())
        })?;
        Ok(chain)
    }

    /// The topmost of `layers`, to be put on `onto`.
    fn copy_of(
        &self,
        layers: &[ChainId],
        onto: &[ChainId],
        diff: &DiffId,
    ) -> Result<snapshot::Unpacking, Error> {
        if self.snapshots.form() == snapshot::Form::Own {
            let unpacking = self.snapshots.begin(onto)?;
            let from = self.snapshots.layer_paths(layers).pop().unwrap_or_default();
            tree::copy_layer(&from, &unpacking.path()).map_err(snapshot::Error::from)?;
            return Ok(unpacking);
        }
        let archive = self.pack_layer(layers)?;
        let mut chain = onto.to_vec();
        chain.push(ChainId::of(onto.last(), diff));
        let open = || Ok(Box::new(archive.open()?) as Box<dyn io::Read + Send>);
        Ok(self.unpack_layer(&chain, diff, onto.len(), open)?.0)
    }

    /// A layer and those below it, lowest first; `None` where one of them is gone.
    pub fn chain_below(&self, top: &ChainId) -> Result<Option<Vec<ChainId>>, Error> {
        let Some(layers) = self.db.read(|tx| tx.layers_below(top))? else { return Ok(None) };
        let chain: Vec<ChainId> = layers.into_iter().map(|layer| layer.chain).collect();
        for layer in &chain {
            if !self.snapshots.has_layer(layer)? {
                return Ok(None);
            }
        }
        Ok(Some(chain))
    }

    /// Deletes the layers of `tops` and those below them, as far as nothing needs them any more.
    /// Bytes that are free again. `forget` takes out, in the same change, what needed them.
    pub fn unseal(
        &self,
        tops: &[ChainId],
        forget: impl FnOnce(&Write) -> Result<(), metadata::Error>,
    ) -> Result<u64, Error> {
        let _lock = self.content.lock_alone()?;
        self.with_note(|| {
            let mut reclaimed = 0;
            let mut gone = Vec::new();
            self.db.write_durable(|tx| {
                forget(tx)?;
                for top in tops {
                    let mut next = Some(top.clone());
                    while let Some(chain) = next.take() {
                        let Some(layer) = tx.layer(&chain)? else { break };
                        if tx.delete_unused_layer(&chain)? {
                            reclaimed += layer.size;
                            gone.push(chain);
                            next = layer.parent;
                        }
                    }
                }
                Ok::<_, Error>(())
            })?;
            for chain in &gone {
                self.snapshots.remove_layer(chain)?;
            }
            Ok(reclaimed)
        })
    }

    /// Puts the archives of an image's layers in their places. Only with the lock, and a note.
    pub(crate) fn keep_archives(
        &self,
        chain: &[ChainId],
        diffs: &[DiffId],
        archives: Vec<Archive>,
    ) -> Result<KeptLayers, Error> {
        let mut kept = KeptLayers::default();
        for (layer_idx, archive) in archives.into_iter().enumerate() {
            let here = &chain[layer_idx];
            let row = self.db.read(|tx| tx.layer(here))?;
            kept.size += row.ok_or_else(|| missing(here))?.size;
            let descriptor = match archive {
                Archive::Kept(descriptor) => {
                    if self.content.size(&descriptor.digest)?.is_none() {
                        return Err(missing(here));
                    }
                    descriptor
                }
                Archive::New(blob) => {
                    let (digest, size) = blob.commit(None)?;
                    Descriptor::new(media_type::LAYER, digest, size)
                }
            };
            let (blob, diff) = (descriptor.digest.clone(), diffs[layer_idx].clone());
            kept.rows.push(ImageLayer { chain: here.clone(), diff, blob });
            kept.descriptors.push(descriptor);
        }
        Ok(kept)
    }

    /// The archive of every layer: the one that was chosen, or one that is here, or a new one.
    pub(crate) fn pack_missing(
        &self,
        chain: &[ChainId],
        chosen: &BTreeMap<ChainId, Descriptor>,
    ) -> Result<Vec<Archive>, Error> {
        let mut archives = Vec::new();
        for layer_idx in 0..chain.len() {
            let chosen = chosen.get(&chain[layer_idx]).cloned();
            let kept = match chosen {
                Some(chosen) => Some(chosen),
                None => self.kept_archive(&chain[layer_idx])?,
            };
            let archive = match kept {
                Some(kept) => Archive::Kept(kept),
                None => Archive::New(self.pack_layer(&chain[..=layer_idx])?),
            };
            archives.push(archive);
        }
        Ok(archives)
    }

    /// The archive that some image has of a layer.
    pub(crate) fn kept_archive(&self, chain: &ChainId) -> Result<Option<Descriptor>, Error> {
        let (layer, blob) =
            self.db.read(|tx| Ok::<_, Error>((tx.layer(chain)?, tx.layer_blob(chain)?)))?;
        let layer = layer.ok_or_else(|| missing(chain))?;
        // Of a build that ended before its image was recorded the archive may be here, too; and a layer that
        // was laid on others has the one that it had.
        let mut digest = blob.unwrap_or_else(|| layer.diff.0.clone());
        if self.content.size(&digest)?.is_none() {
            digest = self.db.read(|tx| tx.diff_blob(&layer.diff))?.unwrap_or(digest);
        }
        let Some(size) = self.content.size(&digest)? else { return Ok(None) };
        let kind = if digest == layer.diff.0 {
            media_type::LAYER
        } else {
            use crate::install::LayerSource as _;
            let kept = Kept { digest: digest.clone(), content: &self.content };
            layer_type(diff::compression(&mut *kept.open()?)?)
        };
        Ok(Some(Descriptor::new(kind, digest, size)))
    }

    /// Writes the archive of the topmost of these layers, which must come to what it was made of.
    pub(crate) fn pack_layer(&self, chain: &[ChainId]) -> Result<content::Finished, Error> {
        let Some((here, below)) = chain.split_last() else {
            return Err(Error::Invalid("no layer to pack".into()));
        };
        let layer = self.db.read(|tx| tx.layer(here))?.ok_or_else(|| missing(here))?;
        let mut paths = self.snapshots.layer_paths(chain);
        let mut archive = self.content.writer(diff::Limits::default().stream)?;
        let upper = paths.pop().unwrap_or_default();
        paths.reverse();
        match self.snapshots.form() {
            snapshot::Form::Own => diff::pack_layer(&upper, &paths, &mut archive)?,
            snapshot::Form::Whole => {
                let before = (!below.is_empty()).then(|| paths.first()).flatten();
                let changes = tree::compare(&tree::Compare {
                    before: before.map(std::path::PathBuf::as_path),
                    now: &upper,
                    since: None,
                    ignored: None,
                })
                .map_err(snapshot::Error::from)?;
                diff::pack_changes(&upper, &changes, &mut archive)?
            }
        };
        archive.flush().map_err(|source| Error::Io {
            call: "write",
            path: archive.path().into(),
            source,
        })?;
        let archive = archive.finish()?;
        if *archive.digest() != layer.diff.0 {
            return Err(content::Error::WrongDigest {
                expected: layer.diff.0,
                found: archive.digest().clone(),
            }
            .into());
        }
        Ok(archive)
    }
}

/// The archive of a layer.
pub(crate) enum Archive {
    Kept(Descriptor),
    New(content::Finished),
}

fn missing(chain: &ChainId) -> Error {
    Error::Invalid(format!("the layer {chain} is gone: build again"))
}
