//! Exporting: what this build's steps are found by, and what they have made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use buildcache::Cache;
use oci::image::Descriptor;
use oci::{ChainId, DiffId, Digest};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Packing, Place, archive, diff_of, lock, mounts};
use crate::Error;
use crate::build::Shared;
use crate::request::CacheOption;
use crate::tell::phase;

/// So many blobs go at once.
const AT_ONCE: usize = 3;
/// The option by which a client of ours says what is in its directory.
const KNOWN: &str = "dhow.known";

type Response = BTreeMap<String, String>;

/// Which layers go with the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Those of the results.
    Min,
    /// Those of all steps.
    Max,
}

fn mode(option: &CacheOption) -> Result<Mode, Error> {
    match option.options.get("mode").map(String::as_str) {
        None | Some("" | "min") => Ok(Mode::Min),
        Some("max") => Ok(Mode::Max),
        Some(other) => Err(Error::Invalid(format!("unsupported cache mode {other:?}"))),
    }
}

fn flag(option: &CacheOption, key: &str, usual: bool) -> Result<bool, Error> {
    match option.options.get(key).map(String::as_str) {
        None | Some("") => Ok(usual),
        Some("true" | "1" | "t") => Ok(true),
        Some("false" | "0" | "f") => Ok(false),
        Some(other) => Err(Error::Invalid(format!("non-bool value for {key}: {other}"))),
    }
}

/// Writes the build's cache where it was asked for; `results` are the layers of its results.
pub(crate) async fn export(
    build: &Arc<Shared>,
    results: &[Vec<ChainId>],
) -> Result<Response, Error> {
    let mut response = Response::new();
    for option in build.request.cache_to.iter().filter(|option| option.kind != "inline") {
        let what = match option.kind.as_str() {
            "local" => "exporting cache to client directory".to_owned(),
            kind => format!("exporting cache to {kind}"),
        };
        let exporting = Box::pin(export_one(build, option, results));
        let exported = phase(build, &what, exporting).await;
        match exported {
            Ok(more) => response.extend(more),
            // It was told with the phase.
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(_) if flag(option, "ignore-error", false)? => {}
            Err(error) => return Err(error),
        }
    }
    Ok(response)
}

async fn export_one(
    build: &Arc<Shared>,
    option: &CacheOption,
    results: &[Vec<ChainId>],
) -> Result<Response, Error> {
    let place = match option.kind.as_str() {
        "registry" => Place::registry(build, option).await?,
        "local" => {
            let dest = option.options.get("dest").map(String::as_str).unwrap_or_default();
            if dest.is_empty() {
                return Err(Error::Invalid("local cache exporter requires dest".into()));
            }
            let (client, store) = (Arc::clone(&build.client), format!("local:{dest}"));
            Place::Client { client, store }
        }
        other => return Err(Error::Invalid(format!("a cache of type {other:?}"))),
    };
    let place = Arc::new(place);
    let oci_types = flag(option, "oci-mediatypes", true)?;
    let as_image = flag(option, "image-manifest", oci_types)?;
    if as_image && !oci_types {
        return Err(Error::Invalid("image-manifest=true needs oci-mediatypes=true".into()));
    }
    let packing = Packing::of(&option.options)?.unwrap_or_else(Packing::usual);
    let there = there(&place, option).await;
    let wanted = wanted(build, mode(option)?, results);
    let archives = archives(build, &place, wanted, &there, packing).await?;
    let cache = {
        let archives = archives.clone();
        build.blocking(move |build| build.cache_of(&archives, None)).await?
    };
    let (config, layers) = buildcache::write(&cache)?;
    send(build, &place, &layers).await?;
    let kept = build.blocking(move |build| {
        let blob = Descriptor::of(buildcache::CONFIG, &config);
        build.builder.engine.db().write(|tx| build.lease.keep(tx, &blob.digest))?;
        let content = build.builder.images().content();
        Ok(content.put(buildcache::CONFIG, &config).map_err(images::Error::from)?)
    });
    let config = kept.await?;
    send(build, &place, std::slice::from_ref(&config)).await?;
    let mut layers = layers;
    if option.has_mounts().map_err(Error::Invalid)? {
        let mounts = mounts::pack(build, &place, packing).await?;
        send(build, &place, &mounts).await?;
        layers.extend(mounts);
    }
    let written = buildcache::manifest(config, layers, as_image, oci_types)?;
    let descriptor = Descriptor::of(written.media_type, &written.bytes);
    place.put(written.media_type, written.bytes).await?;
    let text = serde_json::to_string(&descriptor)
        .map_err(|error| Error::Invalid(format!("the cache's manifest: {error}")))?;
    Ok([("cache.manifest".to_owned(), text)].into())
}

/// The layers that are in the cache of this name already, with their archives: they need not be packed
/// again, nor be here. Of a directory its client says which manifest has them.
async fn there(place: &Place, option: &CacheOption) -> HashMap<ChainId, Descriptor> {
    let known = option.options.get(KNOWN).and_then(|text| text.parse::<Digest>().ok());
    if known.is_none() && !matches!(place, Place::Registry(_)) {
        return HashMap::new();
    }
    let read = async {
        let document = match place {
            Place::Registry(_) => place.document(None).await?,
            Place::Client { .. } => place.document(known.as_ref()).await?,
        };
        let buildcache::Kind::Cache(config, layers) = buildcache::kind(&document)? else {
            return Ok(HashMap::new());
        };
        let cache = buildcache::parse(&place.small(&config).await?, &layers)?;
        let known = cache.layers();
        let known = known.filter_map(|layer| Some((layer.chain.clone(), layer.archive.clone()?)));
        Ok::<_, Error>(known.collect())
    };
    // There may be none yet, or something else.
    read.await.unwrap_or_default()
}

/// The chains whose layers go with the cache.
fn wanted(build: &Shared, mode: Mode, results: &[Vec<ChainId>]) -> BTreeSet<Vec<ChainId>> {
    let keyed = lock(&build.remote.keyed);
    let all = keyed.iter().map(|one| &one.chain).filter(|chain| !chain.is_empty());
    let is_wanted = |chain: &&Vec<ChainId>| {
        mode == Mode::Max || results.iter().any(|result| result.starts_with(chain))
    };
    all.filter(is_wanted).cloned().collect()
}

/// The archives of all layers of these chains.
async fn archives(
    build: &Arc<Shared>,
    place: &Place,
    wanted: BTreeSet<Vec<ChainId>>,
    there: &HashMap<ChainId, Descriptor>,
    packing: Packing,
) -> Result<BTreeMap<ChainId, Descriptor>, Error> {
    let mut archives = BTreeMap::new();
    for chain in wanted {
        for layer_idx in 0..chain.len() {
            let here = &chain[layer_idx];
            if archives.contains_key(here) {
                continue;
            }
            if let Some(known) = there.get(here).filter(|known| packing.takes(known))
                && place.has(known).await?
            {
                archives.insert(here.clone(), known.clone());
                continue;
            }
            let below = chain[..=layer_idx].to_vec();
            match Box::pin(build.bring(&below)).await {
                Ok(()) => {}
                // It is in no cache: only its keys go on.
                Err(Error::Gone { import: None, .. }) => break,
                Err(error) => return Err(error),
            }
            let packed = build.blocking(move |build| archive(build, &below, packing)).await?;
            archives.insert(here.clone(), packed);
        }
    }
    Ok(archives)
}

/// Sends blobs of the engine's store to a content store of the client's.
pub(crate) async fn send_to_client(
    build: &Arc<Shared>,
    store: &str,
    blobs: &[Descriptor],
) -> Result<(), Error> {
    let (client, store) = (Arc::clone(&build.client), store.to_owned());
    send(build, &Arc::new(Place::Client { client, store }), blobs).await
}

async fn send(build: &Arc<Shared>, place: &Arc<Place>, blobs: &[Descriptor]) -> Result<(), Error> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let events: Arc<transfer::Events> = Arc::new(|_| ());
    let mut sending = JoinSet::new();
    for blob in blobs.iter().cloned() {
        let (build, place) = (Arc::clone(build), Arc::clone(place));
        let (turns, events) = (Arc::clone(&turns), Arc::clone(&events));
        sending.spawn(async move {
            // Nobody closes it.
            let _turn = turns.acquire().await;
            let content = build.builder.images().content();
            let is_here = content.size(&blob.digest).map_err(images::Error::from)?.is_some();
            if !is_here && place.has(&blob).await? {
                return Ok(());
            }
            place.send(&build, &blob, &events).await
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent.map_err(|_| Error::Lost("an upload"))??;
    }
    Ok(())
}

/// The value that an image of these layers has in its configuration; nothing in it is later than `latest`,
/// seconds since 1970.
pub(crate) fn inline(
    build: &Arc<Shared>,
    image: &[ChainId],
    latest: Option<i64>,
) -> Result<Option<String>, Error> {
    if !build.request.cache_to.iter().any(|option| option.kind == "inline") {
        return Ok(None);
    }
    let cache = build.cache_of(&BTreeMap::new(), latest)?;
    Ok(Some(buildcache::inline(&cache, image)?))
}

impl Shared {
    /// All keys of this build, with what was made under them; the archives are those that go with it.
    fn cache_of(
        &self,
        archives: &BTreeMap<ChainId, Descriptor>,
        latest: Option<i64>,
    ) -> Result<Cache, Error> {
        let latest = latest.map_or(i64::MAX, |latest| latest.saturating_mul(1_000_000_000));
        let keyed = lock(&self.remote.keyed).clone();
        let mut cache = Cache::default();
        for one in keyed {
            let layers = self.builder.engine.db().read(|tx| {
                let mut layers: Vec<(DiffId, Option<Descriptor>, i64)> = Vec::new();
                for layer in &one.chain {
                    let Some(diff) = diff_of(&self.remote, tx, layer)? else { return Ok(None) };
                    let created = match tx.layer(layer)? {
                        Some(row) => row.created,
                        None => self.remote.lazy(layer).map_or(0, |lazy| lazy.layer.created),
                    };
                    layers.push((diff, archives.get(layer).cloned(), created.min(latest)));
                }
                Ok::<_, Error>(Some(layers))
            })?;
            let Some(layers) = layers else { continue };
            let top = cache.add_layers(layers);
            // What was found elsewhere by one key is not to lose the others.
            let elsewhere = self.keys_elsewhere(&one.chain);
            for key in one.keys.into_iter().chain(elsewhere) {
                cache.add_record(key, top.clone());
            }
        }
        Ok(cache)
    }
}
