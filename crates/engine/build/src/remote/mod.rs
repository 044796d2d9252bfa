//! Caches elsewhere: at a registry, in a directory of the client's, in images (`--cache-from`,
//! `--cache-to`).
//!
//! ```text
//! import   manifest ─▶ keys and layers, nothing of which is fetched
//! a step   key ─▶ layers that are known by their digests only ("lazy")
//! bring    what lies on them has to be made, or they are exported: blobs ─▶ layers, as of a pull
//! ```
//!
//! Nothing that is imported is believed. A result has to lie on what its step works on, a blob is what its
//! digest says, and a layer what its own says. What cannot be had is given up: its cache counts for nothing
//! from then on, and what was found in it is made.

mod export;
mod import;
mod lazy;
mod mounts;
mod packing;
mod place;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::image::Descriptor;
use oci::{ChainId, DiffId, Digest};
use tokio::sync::OnceCell;

use crate::Error;
use crate::caches::Name;
use crate::error::GoneFrom;
use crate::request::CacheOption;

pub(crate) use export::{export, inline, send_to_client};
pub(crate) use packing::{Packing, archive, foreign_archive};
pub(crate) use place::Place;

/// What a build has to do with caches elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Remote {
    imports: Mutex<Vec<Arc<Import>>>,
    lazy: Mutex<HashMap<ChainId, Lazy>>,
    /// What the steps of the build are found by.
    keyed: Mutex<Vec<Keyed>>,
    /// The cache mounts of the build's steps, by all that makes them the ones that they are.
    mounts: Mutex<BTreeMap<String, Name>>,
    /// Archives that were fetched, as layers like any other.
    archives: Mutex<BTreeMap<ChainId, Descriptor>>,
    /// Layers come one chain after the other.
    turn: tokio::sync::Mutex<()>,
    /// Results whose layers are in no cache count for nothing any more.
    only_whole: AtomicBool,
}

/// A cache that is asked, once.
#[derive(Debug)]
struct Import {
    option: CacheOption,
    found: OnceCell<Option<Arc<Imported>>>,
}

/// A cache that was imported.
#[derive(Debug)]
pub(crate) struct Imported {
    /// What people call it.
    name: String,
    place: Arc<Place>,
    cache: buildcache::Cache,
    /// Archives of cache mounts, by all that makes these the ones that they are.
    mounts: BTreeMap<String, Descriptor>,
    /// Something of it could not be had.
    is_bad: AtomicBool,
}

/// A layer that is not here.
#[derive(Clone, Debug)]
struct Lazy {
    layer: buildcache::Layer,
    from: Arc<Imported>,
}

/// An archive that is to be fetched, of the layer that it is of.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) chain: ChainId,
    pub(crate) archive: Descriptor,
    pub(crate) place: Arc<Place>,
}

/// What a step of this build is found by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Keyed {
    pub(crate) keys: Vec<Digest>,
    pub(crate) chain: Vec<ChainId>,
    /// What people call the step.
    pub(crate) description: String,
    /// It was found elsewhere, and there is no record of it here.
    pub(crate) is_new: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remote {
    /// Notes what a step is found by, and what it has come to.
    pub(crate) fn note(&self, keyed: Keyed) {
        let mut all = lock(&self.keyed);
        match all
            .iter_mut()
            .find(|one| one.chain == keyed.chain && one.description == keyed.description)
        {
            Some(known) => {
                let new = keyed.keys.into_iter().filter(|key| !known.keys.contains(key));
                let new: Vec<_> = new.collect();
                known.keys.extend(new);
            }
            None => all.push(keyed),
        }
    }

    /// Archives that layers have come in.
    pub(crate) fn archives(&self) -> BTreeMap<ChainId, Descriptor> {
        lock(&self.archives).clone()
    }

    fn lazy(&self, chain: &ChainId) -> Option<Lazy> {
        lock(&self.lazy).get(chain).cloned()
    }

    /// Whether any of these layers may not be here.
    pub(crate) fn is_lazy(&self, chain: &[ChainId]) -> bool {
        let lazy = lock(&self.lazy);
        !lazy.is_empty() && chain.iter().any(|layer| lazy.contains_key(layer))
    }

    /// After an error: whether the build can go on without what failed. From then on it counts for nothing.
    pub(crate) fn give_up(&self, error: &Error) -> bool {
        let Some(from) = error.gone() else { return false };
        // Each can be given up once, so this ends.
        let was = match from {
            GoneFrom::Cache(import) => import.is_bad.swap(true, Ordering::Relaxed),
            GoneFrom::All => self.only_whole.swap(true, Ordering::Relaxed),
        };
        if was {
            return false;
        }
        lock(&self.lazy).clear();
        lock(&self.keyed).retain(|one| !one.is_new);
        true
    }
}

/// The layers that are here of a chain say what they are; of others the caches do.
fn diff_of(remote: &Remote, tx: &metadata::Read, chain: &ChainId) -> Result<Option<DiffId>, Error> {
    if let Some(row) = tx.layer(chain)? {
        return Ok(Some(row.diff));
    }
    Ok(remote.lazy(chain).map(|lazy| lazy.layer.diff))
}
