//! Importing: which keys a cache has, and what was made under them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use buildcache::{Cache, Kind};
use buildgraph::{Op, Vertex};
use oci::image::Descriptor;
use oci::{ChainId, Digest};

use super::{Import, Imported, Lazy, Place, Remote, lock, mounts};
use crate::Error;
use crate::build::Shared;
use crate::request::CacheOption;
use crate::tell::phase;

/// The note of what is in an index, and no image: it is about one.
const NO_IMAGE: &str = "vnd.docker.reference.type";
/// Of no more images of an index are caches read.
const MAX_IMAGES: usize = 32;

impl Remote {
    /// Has a cache be asked, too.
    pub(crate) fn add(&self, option: &CacheOption) {
        let mut imports = lock(&self.imports);
        if !imports.iter().any(|known| known.option == *option) {
            let (option, found) = (option.clone(), tokio::sync::OnceCell::new());
            imports.push(Arc::new(Import { option, found }));
        }
    }
}

impl Imported {
    fn is_good(&self) -> bool {
        !self.is_bad.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Reads the caches that were not read yet. One that cannot be read is told, and counts for nothing.
    pub(crate) async fn import(self: &Arc<Self>) {
        let imports = lock(&self.remote.imports).clone();
        for import in imports {
            import.found.get_or_init(|| self.import_one(&import.option)).await;
        }
    }

    async fn import_one(self: &Arc<Self>, option: &CacheOption) -> Option<Arc<Imported>> {
        let what = |key: &str| option.options.get(key).map(String::as_str).unwrap_or_default();
        let name = match option.kind.as_str() {
            "local" => what("src"),
            _ => what("ref"),
        };
        let read = async {
            let place = match option.kind.as_str() {
                "registry" => Place::registry(self, option).await?,
                "local" => Place::Client {
                    client: Arc::clone(&self.client),
                    store: format!("local:{name}"),
                },
                other => return Err(Error::Invalid(format!("a cache of type {other:?}"))),
            };
            let digest = match what("digest") {
                "" => None,
                text => Some(text.parse::<Digest>().map_err(|error| {
                    Error::Invalid(format!("the digest of the cache {text}: {error}"))
                })?),
            };
            let (cache, mounts) = read(&place, digest.as_ref()).await?;
            let has_mounts = option.has_mounts().map_err(Error::Invalid)?;
            Ok((place, cache, if has_mounts { mounts } else { BTreeMap::new() }))
        };
        // Why it cannot be read is told with the phase; a build can do without.
        let read = phase(self, &format!("importing cache manifest from {name}"), read).await;
        let (place, cache, mounts) = read.ok()?;
        let name = name.to_owned();
        Some(Arc::new(Imported {
            name,
            place: Arc::new(place),
            cache,
            mounts,
            is_bad: AtomicBool::new(false),
        }))
    }

    pub(super) fn imported(&self) -> Vec<Arc<Imported>> {
        let imports = lock(&self.remote.imports);
        let found = imports.iter().filter_map(|import| import.found.get().cloned().flatten());
        found.filter(|import| import.is_good()).collect()
    }

    /// What a step on `base` has made elsewhere under one of these keys: its layers, lowest first, some of
    /// which may not be here.
    pub(crate) fn find_elsewhere(
        &self,
        vertex: &Vertex,
        base: &[ChainId],
        key: &Digest,
    ) -> Option<Vec<ChainId>> {
        let mut known_only = None;
        for import in self.imported() {
            for layers in import.cache.find(key) {
                let chain: Vec<ChainId> = layers.iter().map(|layer| layer.chain.clone()).collect();
                if !fits(vertex, base, &chain) {
                    continue;
                }
                let above = &layers[base.len()..];
                let is_whole = above.iter().all(|layer| layer.archive.is_some());
                if !is_whole && self.remote.only_whole.load(Ordering::Relaxed) {
                    continue;
                }
                let lazy: Vec<(ChainId, Lazy)> = layers
                    .into_iter()
                    .map(|layer| {
                        let lazy = Lazy { layer: layer.clone(), from: Arc::clone(&import) };
                        (layer.chain.clone(), lazy)
                    })
                    .collect();
                if is_whole {
                    self.remember_lazy(lazy);
                    return Some(chain);
                }
                known_only.get_or_insert((chain, lazy));
            }
        }
        let (chain, lazy) = known_only?;
        self.remember_lazy(lazy);
        Some(chain)
    }

    /// All keys under which these layers were made elsewhere.
    pub(crate) fn keys_elsewhere(&self, chain: &[ChainId]) -> Vec<Digest> {
        let mut keys: Vec<Digest> =
            self.imported().iter().flat_map(|import| import.cache.keys(chain)).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn remember_lazy(&self, found: Vec<(ChainId, Lazy)>) {
        let mut all = lock(&self.remote.lazy);
        for (chain, lazy) in found {
            let known = all.get(&chain);
            if known.is_none_or(|known| known.layer.archive.is_none()) {
                all.insert(chain, lazy);
            }
        }
    }
}

/// Whether a step on `base` can have made these layers: what is below its own is what it works on.
fn fits(vertex: &Vertex, base: &[ChainId], chain: &[ChainId]) -> bool {
    let n_above = chain.len().checked_sub(base.len());
    let may_be = match vertex.op {
        Op::Merge => n_above.is_some(),
        _ => n_above.is_some_and(|n_above| n_above <= 1),
    };
    may_be && chain.starts_with(base)
}

/// A cache, and the archives of cache mounts beside it.
type Read = (Cache, BTreeMap<String, Descriptor>);

/// Reads a cache where its manifest is, or that of an image; of several platforms' images the caches of all.
async fn read(place: &Place, digest: Option<&Digest>) -> Result<Read, Error> {
    match buildcache::kind(&place.document(digest).await?)? {
        Kind::Images(entries) => {
            let mut all: Option<Cache> = None;
            let images = entries.iter().filter(|entry| !entry.annotations.contains_key(NO_IMAGE));
            for entry in images.take(MAX_IMAGES) {
                let kind = buildcache::kind(&place.document(Some(&entry.digest)).await?)?;
                let Kind::Image(config, layers) = kind else { continue };
                let found = buildcache::inline_of(&place.small(&config).await?, &layers)?;
                match (&mut all, found) {
                    (Some(all), Some(found)) => all.extend(found),
                    (None, found) => all = found,
                    (Some(_), None) => {}
                }
            }
            let none = || Error::NotFound("there is no cache in the images".into());
            Ok((all.ok_or_else(none)?, BTreeMap::new()))
        }
        Kind::Cache(config, layers) => {
            let cache = buildcache::parse(&place.small(&config).await?, &layers)?;
            Ok((cache, mounts::archives(&layers)?))
        }
        Kind::Image(config, layers) => {
            let found = buildcache::inline_of(&place.small(&config).await?, &layers)?;
            let none = || Error::NotFound("there is no cache in the image".into());
            Ok((found.ok_or_else(none)?, BTreeMap::new()))
        }
    }
}

#[cfg(test)]
mod tests {
    use buildgraph::{File, Graph, Shown};

    use super::*;

    /// Security row H13: a result that lies on something else than the step did is none.
    #[test]
    fn a_result_lies_on_what_its_step_works_on() {
        let layer = |name: &str| ChainId(Digest::sha256(name.as_bytes()));
        let mut graph = Graph::default();
        let op = Op::File(File::default());
        let idx = graph.add(op, vec![], None, false, Shown::default()).unwrap();
        let merge = graph.add(Op::Merge, vec![idx], None, false, Shown::default()).unwrap();
        let (file, merge) = (graph.get(idx), graph.get(merge));
        let [a, b, c] = ["a", "b", "c"].map(layer);
        let base = [a.clone()];
        assert!(fits(file, &base, &[a.clone(), b.clone()]) && fits(file, &base, &base));
        assert!(!fits(file, &base, std::slice::from_ref(&b)) && !fits(file, &base, &[]));
        assert!(!fits(file, &base, &[b.clone(), a.clone()]));
        assert!(!fits(file, &base, &[a.clone(), b.clone(), c.clone()]));
        assert!(fits(merge, &base, &[a, b, c]));
    }
}
