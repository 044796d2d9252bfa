//! Where lists are put together: files beside `config.json`, as Docker's client keeps them, so that
//! what one of the two began the other can push.
//!
//! ```text
//! manifests/docker.io_me_app-1/docker.io_me_app-1-amd64    one file for each manifest of a list
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci::image::{Descriptor, media_type};
use reference::Reference;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// A manifest of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Its name, in full.
    pub(crate) reference: String,
    /// What it is, and what it runs on.
    pub(crate) descriptor: Descriptor,
    /// The manifest itself.
    pub(crate) raw: Vec<u8>,
}

/// The same in a file. Both of the last two are the manifest; Docker's client reads the one that is
/// meant by its type.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File<'a> {
    #[serde(rename = "Ref")]
    reference: String,
    descriptor: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    schema_v2_manifest: Option<&'a RawValue>,
    #[serde(borrow, rename = "OCIManifest", default, skip_serializing_if = "Option::is_none")]
    oci_manifest: Option<&'a RawValue>,
}

impl Entry {
    /// As it is kept, and printed.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let wrong = |err: serde_json::Error| Error::Usage(format!("{}: {err}", self.reference));
        let manifest: &RawValue = serde_json::from_slice(&self.raw).map_err(wrong)?;
        let is_docker = self.descriptor.media_type == media_type::DOCKER_MANIFEST;
        let file = File {
            reference: self.reference.clone(),
            descriptor: self.descriptor.clone(),
            raw: Some(data_encoding::BASE64.encode(&self.raw)),
            schema_v2_manifest: is_docker.then_some(manifest),
            oci_manifest: (!is_docker).then_some(manifest),
        };
        serde_json::to_vec(&file).map_err(wrong)
    }

    fn from_json(bytes: &[u8]) -> std::result::Result<Self, String> {
        let file: File<'_> = serde_json::from_slice(bytes).map_err(|err| err.to_string())?;
        let raw = if let Some(raw) = file.raw {
            data_encoding::BASE64.decode(raw.as_bytes()).map_err(|err| err.to_string())?
        } else {
            let manifest = file.schema_v2_manifest.or(file.oci_manifest);
            manifest.ok_or("no manifest in it")?.get().as_bytes().to_vec()
        };
        Ok(Self { reference: file.reference, descriptor: file.descriptor, raw })
    }
}

/// The folder of lists.
pub(crate) struct Shelf(PathBuf);

impl Shelf {
    /// The one that goes with this `config.json`.
    pub(crate) fn beside(config: &Path) -> Self {
        Self(config.with_file_name("manifests"))
    }

    fn list(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }

    /// Whether there is such a list.
    pub(crate) fn has(&self, list: &Reference) -> Result<bool> {
        let path = self.list(list);
        path.try_exists().map_err(Error::io(format!("look for {}", path.display())))
    }

    /// The manifests of a list, by name; none where there is no such list.
    pub(crate) fn all(&self, list: &Reference) -> Result<Vec<Entry>> {
        let dir = self.list(list);
        let read = match fs::read_dir(&dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(Error::io(format!("read {}", dir.display())))?,
        };
        let mut paths = Vec::new();
        for entry in read {
            let path = entry.map_err(Error::io(format!("read {}", dir.display())))?.path();
            if path.extension().is_none_or(|end| end != "part") {
                paths.push(path);
            }
        }
        paths.sort();
        paths.iter().map(|path| read_entry(path)).collect()
    }

    /// One manifest of a list.
    pub(crate) fn get(&self, list: &Reference, manifest: &Reference) -> Result<Option<Entry>> {
        let path = self.list(list).join(file_name(manifest));
        if path.try_exists().unwrap_or(false) { read_entry(&path).map(Some) } else { Ok(None) }
    }

    /// Adds a manifest to a list, or replaces it.
    pub(crate) fn put(&self, list: &Reference, entry: &Entry) -> Result<()> {
        let dir = self.list(list);
        fs::create_dir_all(&dir).map_err(Error::io(format!("make {}", dir.display())))?;
        let name = entry.reference.parse::<Reference>().map(|name| file_name(&name));
        let name = name.map_err(|err| Error::Usage(format!("{}: {err}", entry.reference)))?;
        // Under its name there is never half a manifest.
        let beside = dir.join(format!("{name}.part"));
        let failed = || Error::io(format!("write {}", beside.display()));
        fs::write(&beside, entry.to_json()?).map_err(failed())?;
        fs::rename(&beside, dir.join(name)).map_err(failed())
    }

    /// Removes a list. Whether there was one.
    pub(crate) fn remove(&self, list: &Reference) -> Result<bool> {
        let path = self.list(list);
        match fs::remove_dir_all(&path) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(Error::io(format!("remove {}", path.display()))(err)),
        }
    }
}

fn read_entry(path: &Path) -> Result<Entry> {
    let bytes = fs::read(path).map_err(Error::io(format!("read {}", path.display())))?;
    Entry::from_json(&bytes).map_err(|why| Error::Usage(format!("read {}: {why}", path.display())))
}

/// A name in which neither `:` nor `/` is left.
fn file_name(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_there() {
        let dir = std::env::temp_dir().join(format!("dhow-cli-{}-shelf", std::process::id()));
        let shelf = Shelf::beside(&dir.join("config.json"));
        let list: Reference = "r.test:5000/me/app:1".parse().unwrap();
        assert!(!shelf.has(&list).unwrap() && shelf.all(&list).unwrap().is_empty());
        let raw = br#"{"schemaVersion":2, "config":{}}"#.to_vec();
        let entry = Entry {
            reference: "r.test:5000/me/app:1-arm".into(),
            descriptor: Descriptor::of(media_type::MANIFEST, &raw),
            raw,
        };
        shelf.put(&list, &entry).unwrap();
        let file = dir.join("manifests/r.test-5000_me_app-1/r.test-5000_me_app-1-arm");
        assert!(file.is_file());
        assert_eq!(shelf.all(&list).unwrap(), std::slice::from_ref(&entry));
        let name = "r.test:5000/me/app:1-arm".parse().unwrap();
        assert_eq!(shelf.get(&list, &name).unwrap(), Some(entry));
        assert_eq!(shelf.get(&list, &list).unwrap(), None);
        // As Docker's client writes it.
        let docker = r#"{"Ref":"docker.io/a/b:1","Descriptor":{"mediaType":"x/y","digest":
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},
            "SchemaV2Manifest":{"schemaVersion": 2}}"#;
        let read = Entry::from_json(docker.as_bytes()).unwrap();
        assert_eq!(read.raw, br#"{"schemaVersion": 2}"#);
        assert!(shelf.remove(&list).unwrap() && !shelf.remove(&list).unwrap());
        fs::remove_dir_all(&dir).unwrap();
    }
}
