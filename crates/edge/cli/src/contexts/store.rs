//! Contexts in files, as Docker's client keeps them beside `config.json`: `contexts/meta/DIGEST/meta.json`, and
//! certificates in `contexts/tls/DIGEST/ENDPOINT/`, where DIGEST is the SHA-256 of the name.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::DOCKER;
use crate::config;
use crate::error::{Error, Result};

/// What `meta.json` is called.
pub(super) const META: &str = "meta.json";
/// The key of the description.
const DESCRIPTION: &str = "Description";

/// `meta.json` of a context. Endpoints that are no engines are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Meta {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) endpoints: BTreeMap<String, Value>,
}

/// An engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Endpoint {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) host: String,
    #[serde(rename = "SkipTLSVerify")]
    pub(super) skip_tls_verify: bool,
}

/// Files by their names, of endpoints by theirs.
pub(super) type Tls = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// A context with all that belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Context {
    pub(super) meta: Meta,
    pub(super) tls: Tls,
}

/// A context as it is found: what it says, and where the files of its engine are.
pub(super) struct Found {
    pub(super) meta: Meta,
    pub(super) tls: PathBuf,
}

impl Meta {
    /// One of an engine.
    pub(super) fn of(name: &str, endpoint: &Endpoint) -> Self {
        let endpoints = [(DOCKER.to_owned(), json!(endpoint))].into();
        Self { name: name.to_owned(), metadata: BTreeMap::new(), endpoints }
    }

    /// Takes what a file says.
    pub(super) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let mut all: Value = serde_json::from_slice(text)?;
        config::without_nulls(&mut all);
        serde_json::from_value(all)
    }

    /// The engine; one without an address where there is none.
    pub(super) fn endpoint(&self) -> Endpoint {
        let found = self.endpoints.get(DOCKER).cloned();
        found.and_then(|endpoint| serde_json::from_value(endpoint).ok()).unwrap_or_default()
    }

    /// Puts another in its place.
    pub(super) fn set_endpoint(&mut self, endpoint: &Endpoint) {
        self.endpoints.insert(DOCKER.to_owned(), json!(endpoint));
    }

    /// The engine's address; empty where there is none.
    pub(super) fn host(&self) -> String {
        self.endpoint().host
    }

    pub(super) fn description(&self) -> &str {
        self.metadata.get(DESCRIPTION).and_then(Value::as_str).unwrap_or_default()
    }

    /// Describes it, in place of what is said.
    pub(super) fn describe(&mut self, description: &str) {
        self.metadata.insert(DESCRIPTION.to_owned(), description.into());
    }
}

/// The contexts of one directory.
pub(super) struct Store(pub(super) PathBuf);

impl Store {
    pub(super) fn usual() -> Self {
        Self(config::directory().join("contexts"))
    }

    /// Where one is, in `meta` or `tls`: a name may be anything, so its digest is the directory's.
    pub(super) fn place(&self, kind: &str, name: &str) -> PathBuf {
        self.0.join(kind).join(oci::Digest::sha256(name.as_bytes()).hex())
    }

    /// Whether there is one.
    pub(super) fn has(&self, name: &str) -> bool {
        self.place("meta", name).exists()
    }

    /// Finds one.
    ///
    /// # Errors
    ///
    /// There is none, or what it says cannot be read.
    pub(super) fn find(&self, name: &str) -> Result<Found> {
        let path = self.place("meta", name).join(META);
        let text = fs::read(&path).map_err(|err| {
            Error::Usage(format!(
                "context {name:?}: context not found: open {}: {err}",
                path.display()
            ))
        })?;
        Ok(Found { meta: parse(&path, &text)?, tls: self.place("tls", name).join(DOCKER) })
    }

    /// All, in no order.
    ///
    /// # Errors
    ///
    /// One cannot be read.
    pub(super) fn all(&self) -> Result<Vec<Meta>> {
        use io::ErrorKind::{NotADirectory, NotFound};
        let mut all = Vec::new();
        for path in entries(&self.0.join("meta"))? {
            let path = path.join(META);
            match fs::read(&path) {
                Err(err) if matches!(err.kind(), NotFound | NotADirectory) => {}
                read => {
                    let text = read.map_err(Error::io(format!("read {}", path.display())))?;
                    all.push(parse(&path, &text)?);
                }
            }
        }
        Ok(all)
    }

    /// The files of one.
    pub(super) fn tls(&self, name: &str) -> Result<Tls> {
        let mut all = Tls::new();
        for directory in entries(&self.place("tls", name))? {
            if !directory.is_dir() {
                continue;
            }
            let files = all.entry(name_of(&directory)).or_default();
            for path in entries(&directory)? {
                if path.is_file() {
                    let bytes =
                        fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
                    files.insert(name_of(&path), bytes);
                }
            }
        }
        Ok(all)
    }

    /// Writes one, in place of what is there. The certificates come first, and those that are not its any more go
    /// last: whenever this ends, what `meta.json` says is not an engine to be spoken to in the clear that was
    /// verified.
    pub(super) fn write(&self, Context { meta, tls }: &Context) -> Result<()> {
        self.write_tls(&meta.name, tls)?;
        let directory = self.place("meta", &meta.name);
        make(&directory, 0o755)?;
        let text = serde_json::to_vec(meta)
            .map_err(|err| Error::Usage(format!("context {:?}: {err}", meta.name)))?;
        replace(&directory.join(META), &text, 0o644)?;
        self.prune_tls(&meta.name, tls)
    }

    fn write_tls(&self, name: &str, tls: &Tls) -> Result<()> {
        let place = self.place("tls", name);
        for (endpoint, files) in tls {
            make(&self.0, 0o755)?;
            let directory = place.join(endpoint);
            make(&directory, 0o700)?;
            for (file, bytes) in files {
                replace(&directory.join(file), bytes, 0o600)?;
            }
        }
        Ok(())
    }

    /// Removes what is there beside these files.
    fn prune_tls(&self, name: &str, tls: &Tls) -> Result<()> {
        let place = self.place("tls", name);
        if tls.is_empty() {
            return remove(&place);
        }
        for endpoint in entries(&place)? {
            let Some(files) = tls.get(&name_of(&endpoint)) else {
                remove(&endpoint)?;
                continue;
            };
            for file in entries(&endpoint)? {
                if !files.contains_key(&name_of(&file)) {
                    remove(&file)?;
                }
            }
        }
        Ok(())
    }

    /// Removes one, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        remove(&self.place("meta", name))?;
        remove(&self.place("tls", name))
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Meta> {
    Meta::parse(text).map_err(|err| Error::Usage(format!("{}: {err}", path.display())))
}

/// What is in a directory, if it is there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("read {}", directory.display());
    match fs::read_dir(directory) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(Error::io(failed())),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn make(directory: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(directory);
    made.map_err(Error::io(format!("create {}", directory.display())))
}

/// Removes a file, or a directory with all that is in it, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(err) => Err(err),
    };
    match removed {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io(format!("remove {}", path.display()))),
    }
}

/// Writes a file as a whole: what is there under its name is never a half.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(&new);
    let written = file
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|err| {
        // The first error says why.
        let _ = fs::remove_file(&new);
        Error::io(format!("write {}", path.display()))(err)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_context_is_where_dockers_client_keeps_it() {
        let dir = std::env::temp_dir().join(format!("dhow-contexts-{}", std::process::id()));
        let store = Store(dir.clone());
        // The SHA-256 of the name.
        let place =
            dir.join("meta/ca3704aa0b06f5954c79ee837faa152d84d6b2d42838f0637a15eda8337dbdce");
        assert_eq!(store.place("meta", "nope"), place);
        let missing = store.find("nope").err().unwrap().to_string();
        assert!(missing.starts_with("context \"nope\": context not found: open "), "{missing}");
        assert!(store.all().unwrap().is_empty() && !store.has("nope"));
        std::fs::create_dir_all(&place).unwrap();
        let text = r#"{"Name":"nope","Metadata":{"Description":"d"},
            "Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#;
        std::fs::write(place.join("meta.json"), text).unwrap();
        let found = store.find("nope").unwrap();
        assert_eq!((found.meta.host().as_str(), found.meta.description()), ("tcp://h:1", "d"));
        // What is no context is passed over, and one that cannot be read is not.
        std::fs::write(dir.join("meta/file"), "").unwrap();
        std::fs::create_dir_all(dir.join("meta/empty")).unwrap();
        assert_eq!(store.all().unwrap().len(), 1);
        std::fs::create_dir_all(dir.join("meta/odd").join(META)).unwrap();
        let why = store.all().unwrap_err().to_string();
        assert!(why.starts_with("read ") && why.contains("meta/odd/meta.json: "), "{why}");
        assert!(store.has("nope"));
        let shown = super::super::of_store(&store, "nope").unwrap();
        assert_eq!(shown["Endpoints"]["docker"]["Host"], "tcp://h:1");
        assert_eq!(shown["TLSMaterial"], json!({}));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_written_is_what_dockers_client_writes() {
        let dir = std::env::temp_dir().join(format!("dhow-context-written-{}", std::process::id()));
        let store = Store(dir.clone());
        let endpoint = Endpoint { host: "tcp://h:2".to_owned(), skip_tls_verify: false };
        let mut context = Context { meta: Meta::of("t2", &endpoint), tls: Tls::new() };
        context.tls.entry(DOCKER.to_owned()).or_default().insert("ca.pem".into(), b"CA".to_vec());
        store.write(&context).unwrap();
        let text = std::fs::read_to_string(store.place("meta", "t2").join(META)).unwrap();
        let want = r#"{"Name":"t2","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://h:2","SkipTLSVerify":false}}}"#;
        assert_eq!(text, want);
        let ca = store.place("tls", "t2").join("docker/ca.pem");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&ca), mode(ca.parent().unwrap())), (0o600, 0o700));
        assert_eq!(store.tls("t2").unwrap(), context.tls);
        // One that cannot be written stays as it was: without certificates it would be spoken to in the clear.
        let (meta, plain) = (store.place("meta", "t2").join(META), Tls::new());
        std::fs::remove_file(&meta).unwrap();
        std::fs::create_dir_all(meta.join("in the way")).unwrap();
        store.write(&Context { meta: context.meta.clone(), tls: plain }).unwrap_err();
        assert_eq!(store.tls("t2").unwrap(), context.tls);
        std::fs::remove_dir_all(&meta).unwrap();
        // Of several files those go that are not named any more.
        let files = context.tls.entry(DOCKER.to_owned()).or_default();
        files.insert("key.pem".into(), b"KEY".to_vec());
        store.write(&context).unwrap();
        assert_eq!(store.tls("t2").unwrap(), context.tls);
        context.tls.entry(DOCKER.to_owned()).or_default().remove("key.pem");
        store.write(&context).unwrap();
        assert_eq!(store.tls("t2").unwrap(), context.tls);
        // Endpoints that are no engines stay, and files that are not there any more go.
        let kept = r#"{"Name":"t2","Metadata":{"Description":"d","x":1},"Endpoints":{"docker":null,"other":{"a":[1]}}}"#;
        context.meta = Meta::parse(kept.as_bytes()).unwrap();
        assert_eq!(context.meta.endpoint(), Endpoint::default());
        context.meta.set_endpoint(&Endpoint::default());
        context.tls.clear();
        store.write(&context).unwrap();
        let text = std::fs::read_to_string(store.place("meta", "t2").join(META)).unwrap();
        let want = r#"{"Name":"t2","Metadata":{"Description":"d","x":1},"Endpoints":{"docker":{"SkipTLSVerify":false},"other":{"a":[1]}}}"#;
        assert_eq!(text, want);
        assert!(!ca.exists());
        store.remove("t2").unwrap();
        assert!(!store.has("t2") && store.find("t2").is_err());
        store.remove("t2").unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
