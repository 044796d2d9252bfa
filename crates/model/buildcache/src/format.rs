//! The documents.

use std::collections::{BTreeMap, HashMap};

use data_encoding::BASE64;
use docker::timestamp::Timestamp;
use oci::image::{Descriptor, media_type};
use oci::{ChainId, DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::{Cache, Error, MAX_BLOB, MAX_BYTES, MAX_DEPTH, MAX_LAYERS};

#[derive(Default, Serialize, Deserialize)]
struct Config {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<ConfigLayer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Record>>,
}

#[derive(Serialize, Deserialize)]
struct ConfigLayer {
    blob: Digest,
    /// -1: none.
    #[serde(default)]
    parent: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(rename = "diffID", default, skip_serializing_if = "Option::is_none")]
    diff: Option<DiffId>,
    #[serde(default)]
    size: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Made>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<serde_json::Value>>,
    /// Ours: layers that are not in the cache.
    #[serde(rename = "dhow.diffids", default, skip_serializing_if = "Option::is_none")]
    diffs: Option<Vec<DiffId>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    layer: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

fn wrong(why: impl Into<String>) -> Error {
    Error::Wrong(why.into())
}

fn nanos(text: Option<&str>) -> i64 {
    text.and_then(|text| Timestamp::parse(text).ok()).map_or(0, Timestamp::as_nanos)
}

fn time(nanos: i64) -> Option<String> {
    (nanos > 0).then(|| Timestamp::from_nanos(nanos).to_string())
}

/// Reads a cache. `archives` are the blobs that its manifest names: a layer whose archive is not among
/// them is not in the cache.
///
/// # Errors
///
/// It is no cache, or cannot be one.
pub fn parse(bytes: &[u8], archives: &[Descriptor]) -> Result<Cache, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge(bytes.len()));
    }
    // serde would also take an array of the fields' values for an object.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(wrong("it is no JSON object"));
    }
    let config: Config = serde_json::from_slice(bytes)?;
    let layers = config.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        return Err(wrong(format!("{} layers, more than {MAX_LAYERS}", layers.len())));
    }
    let archives: HashMap<&Digest, &Descriptor> =
        archives.iter().map(|one| (&one.digest, one)).collect();
    let mut cache = Cache::default();
    let mut chains: Vec<Option<(ChainId, usize)>> = vec![None; layers.len()];
    for idx in 0..layers.len() {
        place(idx, &layers, &archives, &mut chains, &mut cache)?;
    }
    for record in config.records.unwrap_or_default() {
        take(record, &mut cache, |layer| {
            let idx = usize::try_from(layer).ok().filter(|idx| *idx < chains.len());
            let idx = idx.ok_or_else(|| wrong(format!("a result in layer {layer}")))?;
            let found = chains[idx].as_ref().map(|(chain, _)| chain.clone());
            found.ok_or_else(|| wrong(format!("layer {idx} is nowhere")))
        })?;
    }
    Ok(cache)
}

/// Finds the place of a layer, and of those below it: each layer's chain, and how many layers it has.
fn place(
    idx: usize,
    layers: &[ConfigLayer],
    archives: &HashMap<&Digest, &Descriptor>,
    chains: &mut [Option<(ChainId, usize)>],
    cache: &mut Cache,
) -> Result<(), Error> {
    let mut path = vec![idx];
    loop {
        let at = path[path.len() - 1];
        let parent = match layers[at].parent {
            -1 => break,
            parent => usize::try_from(parent).ok().filter(|parent| *parent < layers.len()),
        };
        let parent = parent.ok_or_else(|| wrong(format!("layer {at} lies on none that is")))?;
        if chains[parent].is_some() {
            path.push(parent);
            break;
        }
        if path.len() > MAX_DEPTH {
            return Err(wrong(format!("layer {idx} lies on more than {MAX_DEPTH}, or on itself")));
        }
        path.push(parent);
    }
    let (mut below, mut depth): (Option<ChainId>, usize) = (None, 0);
    for at in path.into_iter().rev() {
        if let Some((known, n_layers)) = &chains[at] {
            (below, depth) = (Some(known.clone()), *n_layers);
            continue;
        }
        depth += 1;
        if depth > MAX_DEPTH {
            return Err(wrong(format!("layer {at} lies on more than {MAX_DEPTH}")));
        }
        let layer = &layers[at];
        let about = layer.annotations.as_ref();
        let diff = about.and_then(|about| about.diff.clone());
        let diff = diff.ok_or_else(|| wrong(format!("layer {at} does not say what it is")))?;
        let archive = archives.get(&layer.blob).map(|one| (*one).clone());
        if let Some(archive) = &archive {
            check(archive)?;
        }
        let created = nanos(about.and_then(|about| about.created_at.as_deref()));
        let chain = ChainId::of(below.as_ref(), &diff);
        let parent = below.replace(chain.clone());
        cache.insert(crate::Layer { chain: chain.clone(), diff, parent, archive, created });
        chains[at] = Some((chain, depth));
    }
    Ok(())
}

fn check(archive: &Descriptor) -> Result<(), Error> {
    let Descriptor { media_type, digest, size, .. } = archive;
    if !media_type::is_layer(media_type) {
        return Err(wrong(format!("{digest} is of type `{}`", media_type.escape_debug())));
    }
    if *size > MAX_BLOB {
        return Err(wrong(format!("{digest} is said to have {size} bytes")));
    }
    Ok(())
}

/// Takes a record, if it is one of ours.
fn take(
    record: Record,
    cache: &mut Cache,
    layer: impl Fn(i64) -> Result<ChainId, Error>,
) -> Result<(), Error> {
    if record.inputs.is_some_and(|inputs| !inputs.is_empty()) {
        return Ok(());
    }
    for made in record.layers.unwrap_or_default() {
        cache.add_record(record.digest.clone(), Some(layer(made.layer)?));
    }
    let Some(diffs) = record.diffs else { return Ok(()) };
    if diffs.len() > MAX_DEPTH {
        return Err(wrong(format!("a result of {} layers", diffs.len())));
    }
    let top = cache.add_layers(diffs.into_iter().map(|diff| (diff, None, 0)));
    if cache.layers.len() > 2 * MAX_LAYERS {
        return Err(wrong(format!("more than {} layers", 2 * MAX_LAYERS)));
    }
    cache.add_record(record.digest, top);
    Ok(())
}

/// Writes a cache: the document, and the archives that its manifest has to name. The same for the same.
///
/// # Errors
///
/// None that could be.
pub fn write(cache: &Cache) -> Result<(Vec<u8>, Vec<Descriptor>), Error> {
    let mut order: Vec<&crate::Layer> =
        cache.layers.values().filter(|layer| layer.archive.is_some()).collect();
    let depth = |layer: &crate::Layer| cache.chain(Some(&layer.chain)).len();
    order.sort_by_cached_key(|layer| (depth(layer), layer.chain.to_string()));
    let (mut numbers, mut layers, mut archives) = (HashMap::new(), Vec::new(), Vec::new());
    for layer in order {
        let Some(archive) = &layer.archive else { continue };
        let parent = match &layer.parent {
            None => -1,
            // One whose lower part is not in the cache cannot be had from it.
            Some(parent) => match numbers.get(parent) {
                Some(number) => *number,
                None => continue,
            },
        };
        numbers.insert(layer.chain.clone(), layers.len() as i64);
        layers.push(ConfigLayer {
            blob: archive.digest.clone(),
            parent,
            annotations: Some(Annotations {
                media_type: Some(archive.media_type.clone()),
                diff: Some(layer.diff.clone()),
                size: i64::try_from(archive.size).unwrap_or(i64::MAX),
                created_at: time(layer.created),
            }),
        });
        if !archives.iter().any(|known: &Descriptor| known.digest == archive.digest) {
            archives.push(archive.clone());
        }
    }
    let records = records(cache, |chain| numbers.get(chain).copied());
    let config = Config { layers: Some(layers), records: Some(records) };
    Ok((serde_json::to_vec(&config)?, archives))
}

fn records(cache: &Cache, number: impl Fn(&ChainId) -> Option<i64>) -> Vec<Record> {
    let sorted: BTreeMap<&Digest, _> = cache.records.iter().collect();
    let mut records = Vec::new();
    for (key, tops) in sorted {
        for top in tops {
            let chain = cache.chain(top.as_ref());
            let layer = top.as_ref().and_then(&number);
            let layers = layer.map(|layer| {
                let created_at = chain.last().and_then(|layer| time(layer.created));
                vec![Made { layer, created_at }]
            });
            let all = || chain.iter().map(|layer| layer.diff.clone()).collect();
            let diffs = layers.is_none().then(all);
            records.push(Record { digest: key.clone(), layers, inputs: None, diffs });
        }
    }
    records
}

/// The value that goes into the configuration of an image of these layers.
///
/// # Errors
///
/// None that could be.
pub fn inline(cache: &Cache, image: &[ChainId]) -> Result<String, Error> {
    let number = |chain: &ChainId| {
        image.iter().position(|layer| layer == chain).and_then(|idx| i64::try_from(idx).ok())
    };
    Ok(BASE64.encode(&serde_json::to_vec(&records(cache, number))?))
}

#[derive(Deserialize)]
struct WithInline {
    #[serde(rename = "moby.buildkit.cache.v0", default)]
    cache: Option<String>,
    #[serde(default)]
    rootfs: oci::image::RootFs,
    #[serde(default)]
    history: Option<Vec<oci::image::History>>,
}

/// The cache in an image's configuration; `None`: there is none. `archives` are the layers of its manifest.
///
/// # Errors
///
/// It cannot be one.
pub fn inline_of(config: &[u8], archives: &[Descriptor]) -> Result<Option<Cache>, Error> {
    if config.len() > MAX_BYTES {
        return Err(Error::TooLarge(config.len()));
    }
    let read: WithInline = serde_json::from_slice(config)?;
    let Some(text) = read.cache else { return Ok(None) };
    let bytes =
        BASE64.decode(text.as_bytes()).map_err(|error| wrong(format!("in an image: {error}")))?;
    let records: Option<Vec<Record>> = serde_json::from_slice(&bytes)?;
    let diffs = read.rootfs.diff_ids;
    if diffs.len() != archives.len() || diffs.len() > MAX_DEPTH {
        return Err(wrong(format!("{} layers of {}", diffs.len(), archives.len())));
    }
    archives.iter().try_for_each(check)?;
    let history = read.history.unwrap_or_default();
    let with_layer = history.iter().filter(|entry| !entry.empty_layer);
    let mut times: Vec<i64> = with_layer.map(|entry| nanos(entry.created.as_deref())).collect();
    times.resize(diffs.len(), 0);
    let chain = ChainId::chain(&diffs);
    let mut cache = Cache::default();
    let parts = diffs.into_iter().zip(archives).zip(times);
    cache.add_layers(parts.map(|((diff, archive), time)| (diff, Some(archive.clone()), time)));
    for record in records.unwrap_or_default() {
        take(record, &mut cache, |layer| {
            let idx = usize::try_from(layer).ok().filter(|idx| *idx < chain.len());
            Ok(chain[idx.ok_or_else(|| wrong(format!("a result in layer {layer}")))?].clone())
        })?;
    }
    Ok(Some(cache))
}
