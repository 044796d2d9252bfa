//! The cache of layers: what a step with what it worked on has made.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use images::Images;
use metadata::{BuildRecord, Db};
use oci::{ChainId, Digest};

use crate::Error;
use crate::output::Output;
use crate::store::short;

/// How long what a build uses is kept for it, should its process die: a day.
const LIFE: i64 = 24 * 3600 * 1_000_000_000;
/// A selection of files that was not asked for so long is forgotten: thirty days.
const FORGET: i64 = 30 * LIFE;

/// Makes names of one process differ.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What is in the cache, and what one build uses of it.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    images: Arc<Images>,
    db: Arc<Db>,
}

/// Has what a build uses kept as long as this lives.
#[derive(Debug)]
pub(crate) struct Lease {
    holder: String,
    db: Arc<Db>,
}

impl Lease {
    /// Has a blob, or a layer by its chain id, kept.
    pub(crate) fn keep(&self, tx: &metadata::Write, what: &Digest) -> Result<(), metadata::Error> {
        tx.hold_more(&self.holder, [what], now().saturating_add(LIFE))
    }

    /// No other build has it.
    pub(crate) fn name(&self) -> &str {
        &self.holder
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // One that stays ends by itself, a day later.
        let _ = self.db.write(|tx| tx.let_go(&self.holder));
    }
}

impl Cache {
    pub(crate) fn new(images: Arc<Images>, db: Arc<Db>) -> Self {
        Self { images, db }
    }

    /// Begins to use things.
    pub(crate) fn lease(&self) -> Lease {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let holder = format!("build-{}-{number}", std::process::id());
        Lease { holder, db: Arc::clone(&self.db) }
    }

    /// What is found by a key, with all its layers, lowest first; it is kept from now on. `None`: it
    /// has to be made.
    pub(crate) fn find(
        &self,
        lease: &Lease,
        key: &Digest,
    ) -> Result<Option<(BuildRecord, Vec<ChainId>)>, Error> {
        // Looked up before it is written: most are not there.
        if self.db.read(|tx| tx.build_record_by_key(&key.to_string()))?.is_none() {
            return Ok(None);
        }
        let now = now();
        let found = self.db.write(|tx| {
            let Some(record) = tx.build_record_by_key(&key.to_string())? else { return Ok(None) };
            tx.note_build_use(&record.id, now)?;
            if let Some(chain) = &record.chain {
                tx.hold_more(&lease.holder, [chain.digest()], now.saturating_add(LIFE))?;
            }
            Ok::<_, Error>(Some(record))
        })?;
        let Some(record) = found else { return Ok(None) };
        let chain = match &record.chain {
            None => Some(Vec::new()),
            Some(top) => self.images.chain_below(top)?,
        };
        if let Some(chain) = chain {
            return Ok(Some((record, chain)));
        }
        // A layer of it is gone: it is of no use to anybody.
        self.db.write(|tx| tx.delete_build_record(&record.id))?;
        Ok(None)
    }

    /// All results of a step, of which the first was found, by its record. `None`: the others are gone.
    pub(crate) fn whole(
        &self,
        lease: &Lease,
        record: &BuildRecord,
        first: Vec<ChainId>,
        n_kept: usize,
    ) -> Result<Option<Output>, Error> {
        if n_kept == 1 {
            return Ok(Some(Output::Layers(first)));
        }
        let mut chains = vec![first];
        for at in 1..n_kept {
            let Some((_, chain)) = self.find(lease, &part(&record.id, at))? else {
                return Ok(None);
            };
            chains.push(chain);
        }
        Ok(Some(Output::Parts(chains)))
    }

    /// The key of another result of the step whose first is found by `key`: it is that of what was made together
    /// with it, and of nothing else. `None`: the first is gone already.
    pub(crate) fn part(&self, key: &Digest, at: usize) -> Result<Option<Digest>, Error> {
        let found = self.db.read(|tx| tx.build_record_by_key(&key.to_string()))?;
        Ok(found.map(|record| part(&record.id, at)))
    }

    /// Keeps layers for a build: the top one keeps those below it.
    pub(crate) fn hold(&self, lease: &Lease, top: &ChainId) -> Result<(), Error> {
        let until = now().saturating_add(LIFE);
        self.db.write(|tx| tx.hold_more(&lease.holder, [top.digest()], until))?;
        Ok(())
    }

    /// Bytes of what is found by a key, without what it lies on; 0: there is nothing.
    pub(crate) fn size(&self, key: &Digest) -> Result<u64, Error> {
        let found = self.db.read(|tx| tx.build_record_by_key(&key.to_string()))?;
        Ok(found.map_or(0, |record| record.size))
    }

    /// All keys of a record.
    pub(crate) fn keys(&self, record: &BuildRecord) -> Result<Vec<Digest>, Error> {
        let keys = self.db.read(|tx| tx.build_keys(&record.id))?;
        Ok(keys.iter().filter_map(|key| key.parse().ok()).collect())
    }

    /// Has what is found by one key found by another one, too.
    pub(crate) fn also(&self, key: &Digest, found_by: &Digest) -> Result<(), Error> {
        self.db.write(|tx| match tx.build_record_by_key(&found_by.to_string())? {
            Some(record) => tx.set_build_key(&key.to_string(), &record.id),
            None => Ok(()),
        })?;
        Ok(())
    }

    /// What a selection of files of something comes to, if that was asked before.
    pub(crate) fn digest(&self, identity: &str, selection: &str) -> Result<Option<Digest>, Error> {
        let found = self.db.read(|tx| tx.build_digest(identity, selection))?;
        Ok(found.and_then(|text| text.parse().ok()))
    }

    /// Remembers it.
    pub(crate) fn set_digest(
        &self,
        identity: &str,
        selection: &str,
        digest: &Digest,
    ) -> Result<(), Error> {
        let now = now();
        self.db.write(|tx| {
            tx.set_build_digest(identity, selection, &digest.to_string(), now)?;
            tx.forget_build_digests(now - FORGET)
        })?;
        Ok(())
    }
}

fn part(record: &str, at: usize) -> Digest {
    Digest::sha256(format!("result {at} of {record}").as_bytes())
}

/// The record of what a step has made.
pub(crate) struct NewRecord<'a> {
    /// What it is found by.
    pub(crate) key: &'a Digest,
    /// What people call the step.
    pub(crate) description: &'a str,
    /// The layer that it worked on, with those below it.
    pub(crate) below: Option<&'a ChainId>,
    /// Who uses it.
    pub(crate) lease: &'a Lease,
}

impl NewRecord<'_> {
    /// Has a layer kept before there is a record of it.
    pub(crate) fn hold(
        &self,
        tx: &metadata::Write,
        top: Option<&ChainId>,
    ) -> Result<(), metadata::Error> {
        tx.hold_more(&self.lease.holder, top.map(ChainId::digest), now().saturating_add(LIFE))
    }

    /// Writes it, in the change that records the layer; there is none where the step has changed
    /// nothing. What was found by the key before stays, and is found no more.
    pub(crate) fn write(
        &self,
        tx: &metadata::Write,
        sealed: Option<&images::Sealed>,
    ) -> Result<(), metadata::Error> {
        let chain = sealed.map(|sealed| &sealed.chain).or(self.below);
        self.insert(tx, chain, sealed.map_or(0, |sealed| sealed.size))
    }

    /// The same of a layer that has come from elsewhere, of so many bytes: the topmost of those below.
    pub(crate) fn write_brought(
        &self,
        tx: &metadata::Write,
        size: u64,
    ) -> Result<(), metadata::Error> {
        self.insert(tx, self.below, size)
    }

    fn insert(
        &self,
        tx: &metadata::Write,
        chain: Option<&ChainId>,
        size: u64,
    ) -> Result<(), metadata::Error> {
        let now = now();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("{} {} {now} {number}", self.key, std::process::id());
        let id = short(&Digest::sha256(unique.as_bytes()));
        tx.insert_build_record(&BuildRecord {
            id: id.clone(),
            kind: "regular".into(),
            chain: chain.cloned(),
            identity: chain.map_or_else(|| "scratch".into(), ToString::to_string),
            description: self.description.into(),
            size,
            created: now,
            used: now,
            uses: 1,
            detail: String::new(),
        })?;
        tx.set_build_key(&self.key.to_string(), &id)?;
        let held = chain.map(ChainId::digest);
        tx.hold_more(&self.lease.holder, held, now.saturating_add(LIFE))
    }
}

/// Lets go of what builds held whose processes are dead.
pub(crate) fn let_go_of_dead(db: &Db) -> Result<(), Error> {
    let is_dead = |holder: &str| {
        let pid = holder.strip_prefix("build-").and_then(|rest| rest.split('-').next());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    let holders = db.read(metadata::Read::holders)?;
    if holders.iter().any(|holder| is_dead(holder)) {
        db.write(|tx| {
            holders.iter().filter(|one| is_dead(one)).try_for_each(|holder| tx.let_go(holder))
        })?;
    }
    Ok(())
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
