#![allow(clippy::unwrap_used, reason = "a test")]

use oci::image::{Descriptor, media_type};
use oci::{ChainId, DiffId, Digest};
use serde_json::json;

use super::*;

fn digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

fn archive(name: &str) -> Descriptor {
    Descriptor::new(media_type::LAYER_GZIP, digest(&format!("blob {name}")), 10)
}

fn layers(names: &[&str]) -> Vec<(DiffId, Option<Descriptor>, i64)> {
    let layer = |name: &&str| (DiffId(digest(name)), Some(archive(name)), 1_000_000_000);
    names.iter().map(layer).collect()
}

fn names(found: &[&Layer]) -> Vec<(String, bool)> {
    found.iter().map(|layer| (layer.diff.to_string(), layer.archive.is_some())).collect()
}

fn sample() -> Cache {
    let mut cache = Cache::default();
    let two = cache.add_layers(layers(&["a", "b"]));
    let one = cache.add_layers(layers(&["a"]));
    cache.add_record(digest("key two"), two);
    cache.add_record(digest("key one"), one);
    cache.add_record(digest("key nothing"), None);
    let elsewhere =
        cache.add_layers([(DiffId(digest("c")), None, 0), (DiffId(digest("d")), None, 0)]);
    cache.add_record(digest("key elsewhere"), elsewhere);
    cache
}

#[test]
fn what_is_written_is_read() {
    let (bytes, archives) = write(&sample()).unwrap();
    assert_eq!(write(&sample()).unwrap().0, bytes, "the same bytes for the same cache");
    assert_eq!(archives, [archive("a"), archive("b")]);
    let read = parse(&bytes, &archives).unwrap();
    let found: Vec<_> = read.find(&digest("key two")).collect();
    let want = vec![(digest("a").to_string(), true), (digest("b").to_string(), true)];
    assert_eq!(names(&found[0]), want);
    assert_eq!(found[0][1].chain, ChainId::of(Some(&found[0][0].chain), &found[0][1].diff));
    assert_eq!(found[0][0].created, 1_000_000_000);
    assert_eq!(read.find(&digest("key nothing")).next().unwrap().len(), 0);
    let elsewhere = read.find(&digest("key elsewhere")).next().unwrap();
    let want = vec![(digest("c").to_string(), false), (digest("d").to_string(), false)];
    assert_eq!(names(&elsewhere), want);
    assert!(read.find(&digest("other")).next().is_none());
    // What the manifest does not name is not there.
    let read = parse(&bytes, &archives[..1]).unwrap();
    let found = read.find(&digest("key two")).next().unwrap();
    assert!(found[0].archive.is_some() && found[1].archive.is_none());
}

#[test]
fn what_is_in_an_image_means_its_layers() {
    let cache = sample();
    let diffs = [DiffId(digest("a")), DiffId(digest("b"))];
    let value = inline(&cache, &ChainId::chain(&diffs)).unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux", INLINE: value,
        "rootfs": {"type": "layers", "diff_ids": diffs},
        "history": [{"created": "1970-01-01T00:00:05Z"}, {"empty_layer": true}],
    });
    let archives = [archive("a"), archive("b")];
    let bytes = serde_json::to_vec(&config).unwrap();
    let read = inline_of(&bytes, &archives).unwrap().unwrap();
    let found = read.find(&digest("key two")).next().unwrap();
    assert_eq!(found[1].archive.as_ref().unwrap(), &archives[1]);
    assert_eq!(found[0].created, 5_000_000_000);
    assert_eq!(read.find(&digest("key elsewhere")).next().unwrap().len(), 2);
    assert!(inline_of(b"{}", &[]).unwrap().is_none());
    assert!(inline_of(&bytes, &archives[..1]).is_err());
}

/// As BuildKit 0.25 writes it: records with inputs are not ours, and not an error.
#[test]
fn a_cache_of_buildkits_is_read() {
    let config = json!({
        "layers": [
            {"blob": digest("blob b"), "annotations": {"mediaType": media_type::LAYER_GZIP,
                "diffID": digest("b"), "size": 10, "createdAt": "2025-01-01T00:00:00.5Z"}, "parent": 1},
            {"blob": digest("blob a"), "parent": -1, "annotations": {"diffID": digest("a")}},
        ],
        "records": [
            {"digest": digest("root")},
            {"digest": digest("k"), "layers": [{"layer": 0, "createdAt": "2025-01-01T00:00:00Z"}]},
            {"digest": digest("other"), "layers": [{"layer": 0}], "inputs": [[{"link": 0}]]},
        ],
    });
    let read = parse(&serde_json::to_vec(&config).unwrap(), &[archive("a"), archive("b")]).unwrap();
    assert_eq!(read.find(&digest("k")).next().unwrap().len(), 2);
    assert!(read.find(&digest("other")).next().is_none());
    assert!(read.find(&digest("root")).next().is_none());
}

/// Security row H13: a cache that lies is an error.
#[test]
fn hostile_caches_are_refused() {
    let layer = |parent: i64| json!({"blob": digest("x"), "parent": parent, "annotations": {"diffID": digest("x")}});
    let made = |idx: i64| json!([{"digest": digest("k"), "layers": [{"layer": idx}]}]);
    for config in [
        json!({"layers": [layer(0)]}),
        json!({"layers": [layer(1), layer(0)]}),
        json!({"layers": [layer(7)]}),
        json!({"layers": [layer(-2)]}),
        json!({"layers": [{"blob": digest("x"), "parent": -1}]}),
        json!({"layers": [{"blob": "sha256:../../etc", "parent": -1}]}),
        json!({"layers": [layer(-1)], "records": made(1)}),
        json!({"layers": [layer(-1)], "records": made(-1)}),
        json!({"layers": [layer(-1)], "records": made(i64::MAX)}),
        json!({"records": [{"digest": "k", "layers": []}]}),
        json!({"records": [{"digest": digest("k"), "dhow.diffids": vec![digest("d"); MAX_DEPTH + 1]}]}),
        json!({"layers": vec![layer(-1); MAX_LAYERS + 1]}),
        json!([]),
        json!({"layers": (0..2000).map(|idx| layer(idx - 1)).collect::<Vec<_>>()}),
    ] {
        let text = serde_json::to_vec(&config).unwrap();
        assert!(parse(&text, &[]).is_err(), "{config}");
    }
    assert!(parse(&vec![b' '; MAX_BYTES + 1], &[]).is_err());
    let ok = json!({"layers": [layer(-1)]});
    let text = serde_json::to_vec(&ok).unwrap();
    let other = Descriptor { media_type: "text/html".into(), digest: digest("x"), ..archive("x") };
    assert!(parse(&text, &[other]).is_err());
    let large = Descriptor { digest: digest("x"), size: u64::MAX, ..archive("x") };
    assert!(parse(&text, &[large]).is_err());
    let bad = json!({INLINE: "!", "rootfs": {"type": "layers", "diff_ids": []}});
    assert!(inline_of(&serde_json::to_vec(&bad).unwrap(), &[]).is_err());
}

#[test]
fn manifests_are_of_two_kinds() {
    let config = Descriptor::of(CONFIG, b"{}");
    for (as_image, oci, name) in [
        (true, true, media_type::MANIFEST),
        (false, true, media_type::INDEX),
        (false, false, media_type::DOCKER_INDEX),
    ] {
        let written = manifest(config.clone(), vec![archive("a")], as_image, oci).unwrap();
        assert_eq!(written.media_type, name);
        let Kind::Cache(found, layers) = kind(&written.bytes).unwrap() else { panic!() };
        assert_eq!((&*found, layers[0].digest.clone()), (&config, archive("a").digest));
    }
    assert!(kind(b"{}").is_err());
}

#[test]
fn caches_of_one_place_are_put_together() {
    let mut all = sample();
    let mut other = Cache::default();
    let top = other.add_layers(layers(&["x", "y"]));
    other.add_record(digest("k1"), top.clone());
    other.add_record(digest("k2"), top.clone());
    let n_before = all.n_keys();
    all.extend(other);
    assert_eq!(all.n_keys(), n_before + 2);
    let chain: Vec<ChainId> = {
        let found: Vec<Vec<&Layer>> = all.find(&digest("k1")).collect();
        found[0].iter().map(|layer| layer.chain.clone()).collect()
    };
    assert_eq!(chain.last(), top.as_ref());
    let mut keys = [digest("k1"), digest("k2")];
    keys.sort();
    assert_eq!(all.keys(&chain), keys);
    assert!(all.keys(&chain[..1]).is_empty());
}
