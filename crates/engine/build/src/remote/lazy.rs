//! Bringing layers that were found elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use images::{ElsewhereLayer, PullBlob};
use oci::{ChainId, Digest};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Keyed, Place, Wanted, lock};
use crate::Error;
use crate::build::Shared;
use crate::cache::{NewRecord, now};
use crate::error::Gone;
use crate::event::Status;
use crate::tell::{Listeners, phase_told};

/// So many blobs come at once.
const AT_ONCE: usize = 3;

impl Shared {
    /// Sees to it that these layers are here.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], where they cannot be had: they have to be made.
    pub(crate) async fn bring(self: &Arc<Self>, chain: &[ChainId]) -> Result<(), Error> {
        if !self.remote.is_lazy(chain) {
            return Ok(());
        }
        let _turn = self.remote.turn.lock().await;
        let missing = {
            let chain = chain.to_vec();
            self.blocking(move |build| build.missing(&chain)).await?
        };
        let Some(first) = missing.first().copied() else { return self.record(chain).await };
        let (mut wanted, mut from) = (Vec::new(), None);
        for here in &chain[first..] {
            let lazy = self.remote.lazy(here);
            let gone = || Error::Gone { import: None, why: format!("the layer {here} is gone") };
            let lazy = lazy.ok_or_else(gone)?;
            let archive = lazy.layer.archive.ok_or_else(|| Error::Gone {
                import: None,
                why: format!("the layer {here} is in no cache"),
            })?;
            let place = Arc::clone(&lazy.from.place);
            wanted.push(Wanted { chain: here.clone(), archive, place });
            from.get_or_insert(lazy.from);
        }
        let Some(from) = from else { return Ok(()) };
        let name = format!("loading layers from the cache {}", from.name);
        let fetched = phase_told(self, &name, |listeners| self.fetch(wanted, listeners)).await;
        let gone = |error: Error| match error {
            Error::Cancelled => Error::Cancelled,
            error @ Error::Gone { .. } => error,
            error => Error::Gone {
                import: Some(Gone(Arc::clone(&from))),
                why: docker::error::chain(&error),
            },
        };
        fetched.map_err(gone)?;
        let chain_of = chain.to_vec();
        let placed = self.blocking(move |build| build.place(&chain_of)).await;
        placed.map_err(gone)?;
        self.record(chain).await
    }

    /// The layers of a chain that are not here, by their numbers; from then on those that are here stay.
    fn missing(&self, chain: &[ChainId]) -> Result<Vec<usize>, Error> {
        let images = self.builder.images();
        self.builder
            .engine
            .db()
            .write(|tx| chain.iter().try_for_each(|layer| self.lease.keep(tx, layer.digest())))?;
        let mut missing = Vec::new();
        for (idx, layer) in chain.iter().enumerate() {
            let is_known = self.builder.engine.db().read(|tx| tx.layer(layer))?.is_some();
            if !is_known || !images.snapshots().has_layer(layer)? {
                missing.push(idx);
            }
        }
        Ok(missing)
    }

    /// Fetches the archives of layers.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        wanted: Vec<Wanted>,
        listeners: Listeners,
    ) -> Result<(), Error> {
        let mut blobs: BTreeMap<Digest, (PullBlob, Arc<Place>)> = BTreeMap::new();
        let mut archives = Vec::new();
        for Wanted { chain, archive, place } in wanted {
            archives.push((chain, archive.clone().into_ordinary()));
            if blobs.contains_key(&archive.digest) {
                continue;
            }
            let blob = self.blocking(move |build| {
                let db = build.builder.engine.db();
                db.write(|tx| build.lease.keep(tx, &archive.digest))?;
                Ok((archive.digest.clone(), build.builder.images().blob(&archive)?))
            });
            let (digest, blob) = blob.await?;
            blobs.insert(digest, (blob, place));
        }
        let events: Arc<transfer::Events> = Arc::new(move |event| {
            if let transfer::Event::Layer { id, layer } = event {
                tell(&listeners, &id, &layer);
            }
        });
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut fetching = JoinSet::new();
        for (blob, place) in blobs.into_values() {
            let (turns, events) = (Arc::clone(&turns), Arc::clone(&events));
            fetching.spawn(async move {
                // Nobody closes it.
                let _turn = turns.acquire().await;
                place.fetch(&blob, &events).await
            });
        }
        while let Some(fetched) = fetching.join_next().await {
            fetched.map_err(|_| Error::Lost("a download"))??;
        }
        lock(&self.remote.archives).extend(archives);
        Ok(())
    }

    /// Unpacks layers whose archives have come.
    fn place(&self, chain: &[ChainId]) -> Result<(), Error> {
        let archives = self.remote.archives();
        let mut layers = Vec::new();
        for here in chain {
            let diff =
                self.builder.engine.db().read(|tx| super::diff_of(&self.remote, tx, here))?;
            let diff = diff.ok_or_else(|| Error::NotFound(format!("the layer {here} is gone")))?;
            let archive = archives.get(here).map(|archive| archive.digest.clone());
            let created = self.remote.lazy(here).map_or(0, |lazy| lazy.layer.created);
            layers.push(ElsewhereLayer { diff, archive, created });
        }
        let placed = self.builder.images().place_layers(&layers)?;
        if placed == *chain {
            return Ok(());
        }
        Err(Error::Invalid("the layers of the cache are not what they were said to be".into()))
    }

    /// Has what is here by now found by the builds that come.
    async fn record(self: &Arc<Self>, chain: &[ChainId]) -> Result<(), Error> {
        let here: Vec<Keyed> = {
            let mut all = lock(&self.remote.keyed);
            let is_it = |one: &&mut Keyed| one.is_new && chain.starts_with(&one.chain);
            let mark = |one: &mut Keyed| {
                one.is_new = false;
                one.clone()
            };
            all.iter_mut().filter(is_it).map(mark).collect()
        };
        lock(&self.remote.lazy).retain(|layer, _| !chain.contains(layer));
        if here.is_empty() {
            return Ok(());
        }
        let write = |build: &Arc<Self>| {
            for keyed in here {
                let Some((first, rest)) = keyed.keys.split_first() else { continue };
                let top = keyed.chain.last();
                let record = NewRecord {
                    key: first,
                    description: &keyed.description,
                    below: top,
                    lease: &build.lease,
                };
                build.builder.engine.db().write(|tx| {
                    let size = match top {
                        Some(top) => tx.layer(top)?.map_or(0, |layer| layer.size),
                        None => 0,
                    };
                    record.write_brought(tx, size)
                })?;
                for other in rest {
                    build.builder.cache.also(other, first)?;
                }
            }
            Ok(())
        };
        self.blocking(write).await
    }
}

/// Says how far a layer is.
fn tell(listeners: &Listeners, id: &str, layer: &transfer::Layer) {
    let time = now();
    let (current, total, is_done) = match *layer {
        transfer::Layer::Downloading(current, total) => (current, total, false),
        transfer::Layer::Downloaded => (0, 0, true),
        _ => return,
    };
    listeners.status(Status {
        id: id.to_owned(),
        vertex: None,
        name: id.to_owned(),
        current: i64::try_from(current).unwrap_or(i64::MAX),
        total: i64::try_from(total).unwrap_or(i64::MAX),
        time,
        started: Some(time),
        completed: is_done.then_some(time),
    });
}
