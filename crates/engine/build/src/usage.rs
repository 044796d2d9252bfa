//! What the build cache holds, and making room in it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use metadata::BuildRecord;
use oci::ChainId;

use crate::builder::Builder;
use crate::cache::{let_go_of_dead, now};
use crate::{Error, Pruning};

/// One thing in the build cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRecord {
    /// Its name.
    pub id: String,
    /// `regular`, `source.local`, `exec.cachemount`, ...
    pub kind: String,
    /// What people call it.
    pub description: String,
    /// What it lies on.
    pub parents: Vec<String>,
    /// It is written to, build by build.
    pub mutable: bool,
    /// A build uses it.
    pub in_use: bool,
    /// An image has it, too.
    pub shared: bool,
    /// Bytes, without what it lies on.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Nanoseconds since 1970.
    pub used: i64,
    /// How often.
    pub uses: u64,
}

/// How large directories of the builder's are, by name: each is measured once.
pub(crate) type Sizes = HashMap<String, u64>;

/// What a prune has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunedCache {
    /// What is gone.
    pub removed: Vec<CacheRecord>,
    /// Bytes that are free again.
    pub reclaimed: u64,
}

impl Builder {
    /// All that is in the build cache, what was used last first.
    pub fn usage(&self) -> Result<Vec<CacheRecord>, Error> {
        self.usage_knowing(&mut Sizes::new())
    }

    fn usage_knowing(&self, sizes: &mut Sizes) -> Result<Vec<CacheRecord>, Error> {
        let db = self.engine.db();
        let (records, shared, held, parents) = db.read(|tx| {
            let records = tx.build_records()?;
            let (mut shared, mut held) = (HashSet::new(), HashSet::new());
            let mut parents = HashMap::new();
            for chain in records.iter().filter_map(|record| record.chain.as_ref()) {
                if tx.layer_users(chain)? > 0 {
                    shared.insert(chain.clone());
                }
                if tx.is_held(chain.digest())? {
                    held.insert(chain.clone());
                }
                if let Some(parent) = tx.layer(chain)?.and_then(|layer| layer.parent) {
                    parents.insert(chain.clone(), parent);
                }
            }
            Ok::<_, metadata::Error>((records, shared, held, parents))
        })?;
        let by_chain = |chain: &ChainId| {
            let found = records.iter().find(|record| record.chain.as_ref() == Some(chain));
            found.map(|record| record.id.clone())
        };
        let describe = |record: &BuildRecord| {
            let chain = record.chain.as_ref();
            let is_layer = record.kind == "regular";
            let in_use = match chain {
                Some(chain) => held.contains(chain),
                None => !is_layer && self.store.is_used(&record.id)?,
            };
            let measure = || self.store.size(&record.id);
            let size = if is_layer {
                record.size
            } else {
                *sizes.entry(record.id.clone()).or_insert_with(measure)
            };
            Ok(CacheRecord {
                id: record.id.clone(),
                kind: record.kind.clone(),
                description: record.description.clone(),
                parents: chain
                    .and_then(|chain| parents.get(chain))
                    .and_then(by_chain)
                    .into_iter()
                    .collect(),
                mutable: !is_layer,
                in_use,
                shared: chain.is_some_and(|chain| shared.contains(chain)),
                size,
                created: record.created,
                used: record.used,
                uses: record.uses,
            })
        };
        let mut all = records.iter().map(describe).collect::<Result<Vec<_>, Error>>()?;
        all.sort_by_key(|record| std::cmp::Reverse(record.used));
        Ok(all)
    }

    /// Removes from the build cache what nothing uses and `pruning` does not keep: what was used
    /// longest ago first. What images have stays in them.
    pub fn prune(&self, pruning: &Pruning) -> Result<PrunedCache, Error> {
        self.prune_knowing(pruning, &mut Sizes::new())
    }

    /// The same, where it may be known how large directories are; what is not is noted.
    pub(crate) fn prune_knowing(
        &self,
        pruning: &Pruning,
        sizes: &mut Sizes,
    ) -> Result<PrunedCache, Error> {
        let_go_of_dead(self.engine.db())?;
        let mut all = self.usage_knowing(sizes)?;
        all.reverse();
        let mut total: u64 = all.iter().map(|record| record.size).sum();
        let mut pruned = PrunedCache::default();
        for record in all {
            if record.in_use || !pruning.takes(&record, now()) {
                continue;
            }
            if !pruning.wants_room(total, || free(self.engine.root())) {
                break;
            }
            let Some(reclaimed) = self.remove(&record)? else { continue };
            total = total.saturating_sub(record.size);
            pruned.reclaimed += reclaimed;
            pruned.removed.push(record);
        }
        Ok(pruned)
    }

    /// Removes a record; `None` where somebody uses it by now. Bytes that are free again.
    fn remove(&self, record: &CacheRecord) -> Result<Option<u64>, Error> {
        if record.mutable {
            return Ok(self.store.remove(&record.id)?.then_some(record.size));
        }
        let found = self.engine.db().read(|tx| tx.build_record(&record.id))?;
        let Some(found) = found else { return Ok(None) };
        let chain: Vec<ChainId> = found.chain.into_iter().collect();
        let forget = |tx: &metadata::Write| tx.delete_build_record(&record.id).map(drop);
        Ok(Some(self.images().unseal(&chain, forget)?))
    }
}

/// What a block is that `stat(2)` counts, in bytes.
const BLOCK: u64 = 512;

/// Bytes that are free on a disk.
fn free(root: &Path) -> u64 {
    rustix::fs::statvfs(root).map_or(u64::MAX, |found| found.f_bavail * found.f_frsize)
}

/// Bytes on the disk of all that is in a directory, and of itself; as far as it can be looked at. A file of several
/// names counts once.
pub(crate) fn bytes_of(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    let mut bytes = found.blocks() * BLOCK;
    let mut linked = HashSet::new();
    // However deep it is, which steps say: one directory is open at a time, and none calls itself for the next.
    let mut rest: Vec<PathBuf> = found.is_dir().then(|| path.to_owned()).into_iter().collect();
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            // By its name in the directory, not by the whole path.
            let Ok(found) = entry.metadata() else { continue };
            let is_linked = !found.is_dir() && found.nlink() > 1;
            if is_linked && !linked.insert((found.dev(), found.ino())) {
                continue;
            }
            bytes += found.blocks() * BLOCK;
            if found.is_dir() {
                rest.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What `du` says of a directory.
    fn said(dir: &Path) -> u64 {
        let output = Command::new("du").args(["-sB1", "."]).current_dir(dir).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// A step may make one as deep as paths are long, and the stack of who measures it has an end.
    #[test]
    fn a_deep_directory_is_measured_as_well() {
        let dir = std::env::temp_dir().join(format!("dhow-usage-deep-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let mut deepest = dir.clone();
        for _ in 0..1900 {
            deepest.push("d");
            fs::create_dir(&deepest).unwrap();
        }
        fs::write(deepest.join("f"), vec![1; 100_000]).unwrap();
        let small = std::thread::Builder::new().stack_size(128 << 10);
        let measured = dir.clone();
        let found = small.spawn(move || bytes_of(&measured)).unwrap().join().unwrap();
        assert_eq!(found, said(&dir));
        // Which the standard library removes with as many open at a time.
        assert!(Command::new("rm").arg("-r").arg(&dir).status().unwrap().success());
    }

    #[test]
    fn a_directory_is_as_large_as_du_says() {
        let dir = std::env::temp_dir().join(format!("dhow-usage-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("large"), vec![1; 100_000]).unwrap();
        fs::hard_link(dir.join("large"), dir.join("a/again")).unwrap();
        fs::write(dir.join("a/b/small"), "x").unwrap();
        std::os::unix::fs::symlink("/", dir.join("a/link")).unwrap();
        assert_eq!(bytes_of(&dir), said(&dir));
        assert_eq!(bytes_of(&dir.join("missing")), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
