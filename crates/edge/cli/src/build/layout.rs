//! Directories that are OCI image layouts: build caches (`type=local`) and contexts (`oci-layout://`).
//!
//! What an index says there is followed, to know which blobs are named; what none names goes when a cache
//! was written.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use oci::image::{ANNOTATION_REF_NAME, Descriptor, Index, MAX_MANIFEST, Manifest};
use oci::{Algorithm, Digest};

use crate::error::{Error, Result};

/// The tag of a cache that has none.
pub(crate) const LATEST: &str = "latest";
/// No index in an index in an index that anybody would have is deeper.
const MAX_DEPTH: usize = 8;

/// Where a blob of a layout is.
pub(crate) fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

fn index_path(layout: &Path) -> PathBuf {
    layout.join("index.json")
}

/// What the layout has; empty where there is none yet.
fn read_index(layout: &Path) -> Result<Index> {
    let path = index_path(layout);
    let what = || format!("read {path:?}");
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Index::new(Vec::new()));
        }
        read => read.map_err(Error::io(what()))?,
    };
    Index::parse(&bytes).map_err(|error| Error::Usage(format!("{}: {error}", what())))
}

/// What a tag means in a layout; the only one that there is, where none of that tag is.
pub(crate) fn find(layout: &Path, tag: &str) -> Result<Digest> {
    let index = read_index(layout)?;
    let is_it = |one: &&Descriptor| {
        one.annotations.get(ANNOTATION_REF_NAME).is_some_and(|name| name == tag)
    };
    let found = index.manifests.iter().find(is_it).or(match index.manifests.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    let missing = || Error::Usage(format!("{}: no {tag} in its index.json", layout.display()));
    Ok(found.ok_or_else(missing)?.digest.clone())
}

/// Has a tag mean a manifest from now on, and removes the blobs that no manifest names any more.
pub(crate) fn put(layout: &Path, tag: &str, mut manifest: Descriptor) -> Result<()> {
    let mut index = read_index(layout)?;
    index.manifests.retain(|one| {
        let name = one.annotations.get(ANNOTATION_REF_NAME);
        name.map(String::as_str) != Some(tag) && (name.is_some() || one.digest != manifest.digest)
    });
    manifest.annotations.insert(ANNOTATION_REF_NAME.into(), tag.into());
    index.manifests.push(manifest);
    let bytes = serde_json::to_vec(&index)
        .map_err(|error| Error::Usage(format!("{}: {error}", layout.display())))?;
    replace(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    replace(&index_path(layout), &bytes)?;
    sweep(layout, &index)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(Error::io(format!("write {path:?}")))
}

/// Removes the blobs that nothing names. Of what cannot be read it is not known what it names: then all stay.
fn sweep(layout: &Path, index: &Index) -> Result<()> {
    let mut named = BTreeSet::new();
    for one in &index.manifests {
        follow(layout, one, 0, &mut named)?;
    }
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let directory = layout.join("blobs").join(algorithm.name());
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry.map_err(Error::io(format!("look at {directory:?}")))?;
            let name = entry.file_name();
            let digest = name.to_str().map(|name| format!("{}:{name}", algorithm.name()));
            // What has another name is none of ours.
            let Some(Ok(digest)) = digest.map(|text| text.parse::<Digest>()) else { continue };
            if !named.contains(&digest) {
                let path = entry.path();
                fs::remove_file(&path).map_err(Error::io(format!("remove {path:?}")))?;
            }
        }
    }
    Ok(())
}

fn follow(
    layout: &Path,
    one: &Descriptor,
    depth: usize,
    named: &mut BTreeSet<Digest>,
) -> Result<()> {
    if !named.insert(one.digest.clone()) || one.size > MAX_MANIFEST as u64 || depth > MAX_DEPTH {
        return Ok(());
    }
    let path = blob_path(layout, &one.digest);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(Error::io(format!("read {path:?}")))?,
    };
    if let Ok(manifest) = Manifest::parse(&bytes) {
        named.insert(manifest.config.digest);
        named.extend(manifest.layers.into_iter().map(|layer| layer.digest));
    } else if let Ok(index) = Index::parse(&bytes) {
        for inner in &index.manifests {
            follow(layout, inner, depth + 1, named)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oci::image::media_type;

    use super::*;

    fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(kind, bytes);
        let path = blob_path(layout, &descriptor.digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        descriptor
    }

    fn cache(layout: &Path, layer: &str) -> Descriptor {
        let config = blob(layout, media_type::CONFIG, format!("{{\"{layer}\":1}}").as_bytes());
        let layers = vec![blob(layout, media_type::LAYER, layer.as_bytes())];
        let manifest = serde_json::to_vec(&Manifest::new(config, layers)).unwrap();
        blob(layout, media_type::MANIFEST, &manifest)
    }

    #[test]
    fn what_no_manifest_names_goes() {
        let layout = std::env::temp_dir().join(format!("dhow-layout-{}", std::process::id()));
        _ = fs::remove_dir_all(&layout);
        let one = cache(&layout, "one");
        put(&layout, "a", one.clone()).unwrap();
        let two = cache(&layout, "two");
        put(&layout, "b", two.clone()).unwrap();
        let other = layout.join("blobs/sha256/not-a-blob");
        fs::write(&other, "x").unwrap();
        let count = || fs::read_dir(layout.join("blobs/sha256")).unwrap().count();
        assert_eq!(count(), 7);
        assert_eq!(find(&layout, "a").unwrap(), one.digest);
        assert!(find(&layout, "c").is_err());
        // Another one under the same tag: what was there goes, what `b` names stays.
        let three = cache(&layout, "three");
        put(&layout, "a", three.clone()).unwrap();
        assert_eq!(count(), 7);
        assert_eq!(find(&layout, "a").unwrap(), three.digest);
        assert!(
            blob_path(&layout, &two.digest).exists() && !blob_path(&layout, &one.digest).exists()
        );
        assert!(other.exists());
        fs::remove_dir_all(&layout).unwrap();
    }
}
