//! Contexts of Docker's client: engines under names, in files beside `config.json`. They are read here,
//! and followed where one is named (`--context`, `DOCKER_CONTEXT`). Which one Docker's client uses when
//! none is named (`currentContext`) is its own matter: without a name, the engine is this process.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Global;
use crate::args::{ContextCommand, ContextLsArgs};
use crate::config;
use crate::error::{Error, Result};
use crate::format::template::Template;
use crate::inspect::{indented, no_template};
use crate::list::{self, Column};

/// What is meant where none is.
pub(crate) const DEFAULT: &str = "default";
/// The endpoint that is an engine.
const DOCKER: &str = "docker";

const COLUMNS: &[Column] = &[
    Column { field: "Name", header: "NAME" },
    Column { field: "Description", header: "DESCRIPTION" },
    Column { field: "DockerEndpoint", header: "DOCKER ENDPOINT" },
    Column { field: "Error", header: "ERROR" },
];

/// `meta.json` of a context.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Meta {
    name: String,
    metadata: BTreeMap<String, Value>,
    endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// The contexts of one directory.
struct Store(PathBuf);

/// A context as it is found: what it says, and where.
struct Found {
    meta: Meta,
    tls: PathBuf,
}

impl Store {
    fn usual() -> Self {
        Self(config::directory().join("contexts"))
    }

    /// Where one is, in `meta` or `tls`: a name may be anything, so its digest is the directory's.
    fn place(&self, kind: &str, name: &str) -> PathBuf {
        self.0.join(kind).join(oci::Digest::sha256(name.as_bytes()).hex())
    }

    fn find(&self, name: &str) -> Result<Found> {
        let path = self.place("meta", name).join("meta.json");
        let text = std::fs::read(&path).map_err(|err| {
            Error::Usage(format!(
                "context {name:?}: context not found: open {}: {err}",
                path.display()
            ))
        })?;
        Ok(Found { meta: parse(&path, &text)?, tls: self.place("tls", name).join(DOCKER) })
    }

    /// All, by name.
    fn all(&self) -> Result<Vec<Meta>> {
        let dir = self.0.join("meta");
        let entries = match std::fs::read_dir(&dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io(format!("read {}", dir.display())))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io(format!("read {}", dir.display())))?.path();
            let path = path.join("meta.json");
            if let Ok(text) = std::fs::read(&path) {
                all.push(parse(&path, &text)?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Meta> {
    serde_json::from_slice(text).map_err(|err| Error::Usage(format!("{}: {err}", path.display())))
}

impl Meta {
    fn host(&self) -> &str {
        self.endpoints.get(DOCKER).map_or("", |endpoint| &endpoint.host)
    }

    fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }
}

/// The context that is named: `--context`; else `DOCKER_CONTEXT`, unless it is said where the engine is.
fn named(global: &Global) -> Option<String> {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = match &global.context {
        Some(name) => Some(name.clone()),
        None if global.host.is_some() || said("DOCKER_HOST").is_some() => None,
        None => said("DOCKER_CONTEXT"),
    };
    name.filter(|name| name != DEFAULT)
}

/// The name of the context that is followed.
pub(crate) fn current(global: &Global) -> String {
    named(global).unwrap_or_else(|| DEFAULT.to_owned())
}

/// Has the context that is named, if one is, stand for what it says: the engine's address, and the
/// certificates for it.
///
/// # Errors
///
/// There is no such context, or it names no engine.
pub(crate) fn followed(global: &Global) -> Result<Global> {
    match named(global) {
        None => Ok(global.clone()),
        Some(name) => led_by(global, &name, &Store::usual().find(&name)?),
    }
}

/// The same of a context that was found. One with anything of TLS means TLS, but for `--tlsverify=false`.
fn led_by(global: &Global, name: &str, found: &Found) -> Result<Global> {
    let mut global = global.clone();
    let host = found.meta.host();
    if host.is_empty() {
        return Err(Error::Usage(format!("context {name:?} names no engine")));
    }
    global.host = Some(host.to_owned());
    let skips = found.meta.endpoints.get(DOCKER).is_some_and(|endpoint| endpoint.skip_tls_verify);
    if skips && host.starts_with("tcp://") {
        let why = "says skip-tls-verify: an engine is always verified here";
        return Err(Error::Usage(format!("context {name:?} {why}")));
    }
    let file = |name: &str| Some(found.tls.join(name)).filter(|path| path.exists());
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    if ca.is_some() || cert.is_some() || key.is_some() {
        global.tlsverify = global.tlsverify.or(Some(true));
        global.tlscacert = global.tlscacert.or(ca);
        global.tlscert = global.tlscert.or(cert);
        global.tlskey = global.tlskey.or(key);
    }
    Ok(global)
}

/// `context ...`.
pub(crate) fn run(global: &Global, command: &ContextCommand) -> Result<i32> {
    match command {
        ContextCommand::Ls(args) => ls(global, args),
        ContextCommand::Show => {
            println!("{}", current(global));
            Ok(0)
        }
        ContextCommand::Inspect { format, contexts } => {
            inspect(global, format.as_deref(), contexts)
        }
    }
}

/// What there is where no context is named.
fn usual(global: &Global) -> Meta {
    let host = crate::address(global).unwrap_or_default();
    let endpoint = Endpoint { host, skip_tls_verify: false };
    Meta {
        name: DEFAULT.to_owned(),
        metadata: BTreeMap::new(),
        endpoints: [(DOCKER.to_owned(), endpoint)].into(),
    }
}

fn ls(global: &Global, args: &ContextLsArgs) -> Result<i32> {
    let current = current(global);
    let mut rows = Vec::new();
    for meta in [usual(global)].into_iter().chain(Store::usual().all()?) {
        if args.quiet {
            println!("{}", meta.name);
            continue;
        }
        let is_current = meta.name == current;
        let is_table = args.format.as_deref().is_none_or(|format| format.starts_with("table"));
        let own = if meta.host().is_empty() { "the engine in this process" } else { "" };
        rows.push(json!({
            "Name": format!("{}{}", meta.name, if is_current && is_table { " *" } else { "" }),
            "Description": if meta.name == DEFAULT { "What -H or DOCKER_HOST says, else this process" } else { meta.description() },
            "DockerEndpoint": if own.is_empty() { meta.host() } else { own },
            "Current": is_current,
            "Error": "",
        }));
    }
    if args.quiet {
        return Ok(0);
    }
    list::print(args.format.as_deref(), COLUMNS, &[], &rows)
}

fn inspect(global: &Global, format: Option<&str>, names: &[String]) -> Result<i32> {
    let template = match format {
        None | Some("" | "json") => None,
        Some(format) => Some(Template::parse(format).map_err(|err| no_template(&err))?),
    };
    let current = [current(global)];
    let names = if names.is_empty() { &current } else { names };
    let (store, mut found, mut code) = (Store::usual(), Vec::new(), 0);
    for name in names {
        let one = if name == DEFAULT { Ok(of_usual(global)) } else { of_store(&store, name) };
        let shown = one.and_then(|one| match &template {
            Some(template) => Ok(Err(template.render(&one)?)),
            None => Ok(Ok(one)),
        });
        match shown {
            Ok(Ok(one)) => found.push(one),
            Ok(Err(text)) => println!("{text}"),
            Err(err) => {
                eprintln!("dhow: {err}");
                code = 1;
            }
        }
    }
    match (&template, format) {
        (Some(_), _) => {}
        (None, Some("json")) => println!("{}", Value::Array(found)),
        (None, _) => println!("{}", indented(&Value::Array(found))),
    }
    Ok(code)
}

fn of_usual(global: &Global) -> Value {
    let mut value = json!(usual(global));
    value["TLSMaterial"] = json!({});
    value["Storage"] = json!({"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"});
    value
}

fn of_store(store: &Store, name: &str) -> Result<Value> {
    let found = store.find(name)?;
    let files: Vec<&str> = ["ca.pem", "cert.pem", "key.pem"]
        .into_iter()
        .filter(|file| found.tls.join(file).exists())
        .collect();
    let mut value = json!(found.meta);
    value["TLSMaterial"] = if files.is_empty() { json!({}) } else { json!({DOCKER: files}) };
    value["Storage"] = json!({
        "MetadataPath": store.place("meta", name),
        "TLSPath": store.place("tls", name),
    });
    Ok(value)
}

#[cfg(test)]
mod tests {
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
        assert!(store.all().unwrap().is_empty());
        std::fs::create_dir_all(&place).unwrap();
        let text = r#"{"Name":"nope","Metadata":{"Description":"d"},
            "Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#;
        std::fs::write(place.join("meta.json"), text).unwrap();
        let found = store.find("nope").unwrap();
        assert_eq!((found.meta.host(), found.meta.description()), ("tcp://h:1", "d"));
        assert_eq!(store.all().unwrap().len(), 1);
        let shown = of_store(&store, "nope").unwrap();
        assert_eq!(shown["Endpoints"]["docker"]["Host"], "tcp://h:1");
        assert_eq!(shown["TLSMaterial"], json!({}));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_context_with_tls_is_not_followed_without() {
        let tls = std::env::temp_dir().join(format!("dhow-context-tls-{}", std::process::id()));
        std::fs::create_dir_all(&tls).unwrap();
        let of = |host: &str, skip_tls_verify| {
            let endpoint = Endpoint { host: host.to_owned(), skip_tls_verify };
            let endpoints = [(DOCKER.to_owned(), endpoint)].into();
            let meta = Meta { endpoints, ..Meta::default() };
            led_by(&Global::default(), "x", &Found { meta, tls: tls.clone() })
        };
        assert_eq!(of("tcp://h:1", false).unwrap().tlsverify, None);
        assert!(of("tcp://h:1", true).unwrap_err().to_string().contains("skip-tls-verify"));
        assert!(of("unix:///x", true).is_ok());
        std::fs::write(tls.join("cert.pem"), "").unwrap();
        let global = of("tcp://h:1", false).unwrap();
        assert_eq!((global.tlsverify, global.tlscert), (Some(true), Some(tls.join("cert.pem"))));
        std::fs::remove_dir_all(&tls).unwrap();
    }

    #[test]
    fn the_one_that_is_named_is_followed() {
        let of = |context: Option<&str>, host: Option<&str>| {
            let global = Global {
                context: context.map(str::to_owned),
                host: host.map(str::to_owned),
                ..Global::default()
            };
            current(&global)
        };
        assert_eq!(of(Some("x"), None), "x");
        assert_eq!(of(Some(DEFAULT), None), DEFAULT);
        assert_eq!(of(None, Some("unix:///x")), DEFAULT);
    }
}
