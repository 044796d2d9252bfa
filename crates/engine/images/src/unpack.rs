//! Layers are unpacked at once, and appear in their order.
//!
//! ```text
//! workers: take the next layer ─▶ unpack it, under a name that nobody knows ─▶ leave it as ready
//!             ▲                                                                     │
//!             └── put in place what is ready, as long as all below it is there ◀────┘
//! ```
//!
//! So a crash leaves the lower part of a chain, of which the next attempt makes use, and never a layer
//! above a hole. Where a layer is laid over the tree of those below it ([`Form::Whole`]), one comes
//! after the other.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use oci::{ChainId, DiffId};
use snapshot::{Form, Unpacking};

use crate::{Error, Images};

/// Layers that are unpacked at once: more than a small machine has cores, since some wait for the
/// network; and not so many that their buffers count.
const WORKERS: std::ops::RangeInclusive<usize> = 4..=12;

/// Where the archives of a chain's layers are read from, and who is told of those that are there.
pub(crate) trait Source: Sync {
    /// Reads the archive of a layer, from its start.
    fn open(&self, layer_idx: usize) -> Result<Box<dyn Read + Send + '_>, Error>;

    /// This layer is in its place; those below it are.
    fn placed(&self, layer_idx: usize) -> Result<(), Error>;

    /// Something failed: whoever reads and waits for more gets an error instead.
    fn stop(&self) {}
}

impl Images {
    /// Unpacks the layers of a chain that are not there, several at once. The size of the files of
    /// all of them in bytes.
    pub(crate) fn unpack_chain(
        &self,
        chain: &[ChainId],
        diffs: &[DiffId],
        source: &dyn Source,
    ) -> Result<u64, Error> {
        let n_workers = match self.snapshots.form() {
            Form::Whole => 1,
            Form::Own => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                cores.clamp(*WORKERS.start(), *WORKERS.end()).min(chain.len())
            }
        };
        let job = Job {
            images: self,
            chain,
            diffs,
            source,
            progress: Mutex::default(),
            changed: Condvar::new(),
        };
        if n_workers <= 1 {
            job.work();
        } else {
            std::thread::scope(|scope| {
                for _ in 0..n_workers {
                    scope.spawn(|| job.work());
                }
            });
        }
        let progress = job.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        match progress.error {
            Some((_, error)) => Err(error),
            None => Ok(progress.size),
        }
    }
}

/// One chain that is being unpacked.
struct Job<'a> {
    images: &'a Images,
    chain: &'a [ChainId],
    diffs: &'a [DiffId],
    source: &'a dyn Source,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// The next layer that nobody has taken.
    next: usize,
    /// So many layers are in their places, the lowest first.
    n_placed: usize,
    /// What is done with, above a layer that is not.
    ready: BTreeMap<usize, Ready>,
    /// Somebody puts layers in their places.
    is_placing: bool,
    /// Bytes of the files of those in their places.
    size: u64,
    /// The lowest layer that failed.
    error: Option<(usize, Error)>,
}

enum Ready {
    /// It was there already; the size of its files in bytes.
    There(u64),
    Unpacked(Unpacking, u64),
}

impl Job<'_> {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one worker does, to the end of the chain or the first failure of anybody.
    fn work(&self) {
        while let Some(layer_idx) = self.take() {
            match self.unpack(layer_idx) {
                Ok(ready) => {
                    self.lock().ready.insert(layer_idx, ready);
                    self.place();
                }
                Err(error) => self.fail(layer_idx, error),
            }
        }
    }

    fn take(&self) -> Option<usize> {
        let mut progress = self.lock();
        let layer_idx = progress.next;
        if progress.error.is_some() || layer_idx == self.chain.len() {
            return None;
        }
        progress.next += 1;
        Some(layer_idx)
    }

    fn fail(&self, layer_idx: usize, error: Error) {
        let mut progress = self.lock();
        // One that waited for lower ones fails because of them.
        if progress.error.as_ref().is_none_or(|(lowest, _)| layer_idx < *lowest) {
            progress.error = Some((layer_idx, error));
        }
        drop(progress);
        self.changed.notify_all();
        self.source.stop();
    }

    fn unpack(&self, layer_idx: usize) -> Result<Ready, Error> {
        let here = &self.chain[layer_idx];
        if let Some(row) = self.images.db.read(|tx| tx.layer(here))?
            && self.images.snapshots.has_layer(here)?
        {
            return Ok(Ready::There(row.size));
        }
        let open = || self.source.open(layer_idx);
        let wait = || self.wait_for(layer_idx);
        let stop = || self.source.stop();
        let (unpacking, size) = self.images.unpack_above(
            self.chain,
            &self.diffs[layer_idx],
            layer_idx,
            open,
            &wait,
            &stop,
        )?;
        Ok(Ready::Unpacked(unpacking, size))
    }

    /// Waits until all layers below this one are in their places. `false`: they will not be.
    fn wait_for(&self, layer_idx: usize) -> bool {
        let mut progress = self.lock();
        let failed_below = |progress: &Progress| {
            progress.error.as_ref().is_some_and(|(lowest, _)| *lowest < layer_idx)
        };
        while progress.n_placed < layer_idx && !failed_below(&progress) {
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        progress.n_placed >= layer_idx
    }

    /// Puts in place what is ready and has nothing missing below it, unless somebody does that.
    fn place(&self) {
        let mut progress = self.lock();
        while !progress.is_placing {
            let layer_idx = progress.n_placed;
            let Some(ready) = progress.ready.remove(&layer_idx) else { return };
            progress.is_placing = true;
            drop(progress);
            let placed = self.place_one(layer_idx, ready);
            match placed {
                Ok(size) => {
                    progress = self.lock();
                    progress.size += size;
                }
                // `is_placing` stays set: nothing is put above it any more.
                Err(error) => return self.fail(layer_idx, error),
            }
            progress.is_placing = false;
            progress.n_placed += 1;
            self.changed.notify_all();
        }
    }

    fn place_one(&self, layer_idx: usize, ready: Ready) -> Result<u64, Error> {
        let size = match ready {
            Ready::There(size) => size,
            Ready::Unpacked(unpacking, size) => {
                self.images.place_layer(
                    unpacking,
                    &self.chain[..=layer_idx],
                    &self.diffs[layer_idx],
                    size,
                )?;
                size
            }
        };
        self.source.placed(layer_idx)?;
        Ok(size)
    }
}
