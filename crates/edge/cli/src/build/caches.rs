//! `--cache-from` and `--cache-to`. A directory of ours (`type=local`) is a content store that the session
//! answers for.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use buildkit::control::{CacheOptions, CacheOptionsEntry};
use oci::image::Descriptor;

use crate::args::BuildArgs;
use crate::build::session::Store;
use crate::build::{csv, layout};
use crate::error::{Error, Result};

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// `None`: nothing.
    pub(crate) options: Option<CacheOptions>,
    /// Content stores, by their names.
    pub(crate) stores: BTreeMap<String, Store>,
    /// Where a cache is written to, and its tag.
    dest: Option<(PathBuf, String)>,
}

fn entry(flag: &str, text: &str) -> Result<CacheOptionsEntry> {
    let mut attrs = if text.contains('=') {
        csv::pairs(flag, text)?
    } else {
        BTreeMap::from([("type".into(), "registry".into()), ("ref".into(), text.to_owned())])
    };
    let Some(kind) = attrs.remove("type") else {
        return Err(Error::Usage(format!("--{flag} {text}: type is required")));
    };
    Ok(CacheOptionsEntry { r#type: kind, attrs })
}

fn needed(entry: &CacheOptionsEntry, flag: &str, key: &str) -> Result<PathBuf> {
    match entry.attrs.get(key).filter(|value| !value.is_empty()) {
        Some(value) => Ok(value.into()),
        None => Err(Error::Usage(format!("--{flag} type=local: {key} is required"))),
    }
}

/// Reads the flags.
pub(crate) fn parse(args: &BuildArgs) -> Result<Caches> {
    let mut caches = Caches::default();
    let mut options = CacheOptions::default();
    for text in &args.cache_from {
        let mut entry = entry("cache-from", text)?;
        if entry.r#type == "local" && !caches.take_source(&mut entry)? {
            continue;
        }
        options.imports.push(entry);
    }
    for text in &args.cache_to {
        let mut entry = entry("cache-to", text)?;
        if entry.r#type == "local" {
            caches.take_dest(&mut entry)?;
        }
        options.exports.push(entry);
    }
    let is_asked = !options.imports.is_empty() || !options.exports.is_empty();
    caches.options = is_asked.then_some(options);
    Ok(caches)
}

impl Caches {
    /// A directory to read. `false`: there is nothing in it yet, which a first build need not mind.
    fn take_source(&mut self, entry: &mut CacheOptionsEntry) -> Result<bool> {
        let path = needed(entry, "cache-from", "src")?;
        let tag = entry.attrs.remove("tag");
        if !path.join("index.json").exists() {
            eprintln!("WARNING: local cache import at {} not found", path.display());
            return Ok(false);
        }
        if !entry.attrs.contains_key("digest") {
            let digest = layout::find(&path, tag.as_deref().unwrap_or(layout::LATEST))?;
            entry.attrs.insert("digest".into(), digest.to_string());
        }
        let store = self.stores.entry(format!("local:{}", path.display()));
        store.or_insert(Store { path, is_writable: false });
        Ok(true)
    }

    fn take_dest(&mut self, entry: &mut CacheOptionsEntry) -> Result<()> {
        let path = needed(entry, "cache-to", "dest")?;
        if self.dest.is_some() {
            return Err(Error::Unsupported("more than one --cache-to type=local".into()));
        }
        // What is not named any more goes with every export.
        entry.attrs.remove("reset");
        let tag = entry.attrs.remove("tag").unwrap_or_else(|| layout::LATEST.into());
        fs::create_dir_all(&path).map_err(Error::io(format!("make {path:?}")))?;
        // What is there by that name need not be packed again.
        if let Ok(known) = layout::find(&path, &tag) {
            entry.attrs.insert("dhow.known".into(), known.to_string());
        }
        self.dest = Some((path.clone(), tag));
        let name = format!("local:{}", path.display());
        self.stores.insert(name, Store { path, is_writable: true });
        Ok(())
    }

    /// The build has ended well: what was written gets its tag.
    pub(crate) fn finish(&self, response: &BTreeMap<String, String>) -> Result<()> {
        let (Some((path, tag)), Some(text)) = (&self.dest, response.get("cache.manifest")) else {
            return Ok(());
        };
        let manifest: Descriptor = serde_json::from_str(text)
            .map_err(|error| Error::Usage(format!("the builder's cache.manifest: {error}")))?;
        layout::put(path, tag, manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(from: &[&str], to: &[&str]) -> Result<Caches> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let args =
            BuildArgs { cache_from: owned(from), cache_to: owned(to), ..BuildArgs::default() };
        parse(&args)
    }

    #[test]
    fn a_name_alone_is_at_a_registry() {
        let options = parsed(&["r/a:c"], &["type=inline"]).unwrap().options.unwrap();
        assert_eq!(options.imports[0].r#type, "registry");
        assert_eq!(options.imports[0].attrs["ref"], "r/a:c");
        assert_eq!(options.exports[0].r#type, "inline");
        assert!(parsed(&[], &[]).unwrap().options.is_none());
        assert!(parsed(&["type=local"], &[]).is_err());
        assert!(parsed(&["mode=max"], &[]).is_err());
    }

    #[test]
    fn a_directory_without_a_cache_is_passed_over() {
        let caches = parsed(&["type=local,src=/nonexistent"], &[]).unwrap();
        assert!(caches.options.is_none() && caches.stores.is_empty());
        assert!(parsed(&[], &["type=local,dest="]).is_err());
    }
}
