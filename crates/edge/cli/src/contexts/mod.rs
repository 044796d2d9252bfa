//! Contexts of Docker's client: engines under names, in files beside `config.json`, which both clients read and
//! write. One is followed where it is named (`--context`, `DOCKER_CONTEXT`), or is the one that `context use` has
//! named for all commands (`currentContext`). Else, and by the name `default`, the engine is this process.

mod archive;
mod change;
mod store;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::Global;
use crate::args::{ContextCommand, ContextLsArgs};
use crate::config;
use crate::error::{Error, Result};
use crate::format::template::Template;
use crate::inspect::{indented, no_template};
use crate::list::{self, Column};
use store::{Context, Endpoint, Found, Meta, Store, Tls};

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

/// The context that is named: `--context`; else, unless it is said where the engine is, `DOCKER_CONTEXT`, or the
/// one of `config.json`.
fn named(global: &Global) -> Option<String> {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let set = || Some(config::get().current_context.clone()).filter(|name| !name.is_empty());
    let name = match &global.context {
        Some(name) => Some(name.clone()),
        None if global.host.is_some() || said("DOCKER_HOST").is_some() => None,
        None => said("DOCKER_CONTEXT").or_else(set),
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
    global.host = Some(host.clone());
    if found.meta.endpoint().skip_tls_verify && host.starts_with("tcp://") {
        let why = "says skip-tls-verify: an engine is always verified here";
        return Err(Error::Usage(format!("context {name:?} {why}")));
    }
    let file = |name: &str| {
        let path = found.tls.join(name);
        is_there(&path).map(|is_there| is_there.then_some(path))
    };
    let (ca, cert, key) = (file("ca.pem")?, file("cert.pem")?, file("key.pem")?);
    if ca.is_some() || cert.is_some() || key.is_some() {
        global.tlsverify = global.tlsverify.or(Some(true));
        global.tlscacert = global.tlscacert.or(ca);
        global.tlscert = global.tlscert.or(cert);
        global.tlskey = global.tlskey.or(key);
    }
    Ok(global)
}

/// Whether a file of TLS is there. One of which that cannot be told is not taken for missing: without it an engine
/// would be spoken to in the clear.
fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(Error::io(format!("look for {}", path.display())))
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
        ContextCommand::Create(args) => change::create(global, args),
        ContextCommand::Update(args) => change::update(global, args),
        ContextCommand::Rm { force, contexts } => Ok(change::rm(global, contexts, *force)),
        ContextCommand::Use { context } => change::follow(context),
        ContextCommand::Export { context, file } => {
            archive::export(global, context, file.as_deref())
        }
        ContextCommand::Import { context, file } => archive::import(context, file),
    }
}

/// What there is where no context is named.
fn usual(global: &Global) -> Meta {
    let host = crate::address(global).unwrap_or_default();
    Meta::of(DEFAULT, &Endpoint { host, skip_tls_verify: false })
}

/// A context with all that belongs to it.
///
/// # Errors
///
/// There is no such context; or it is the default one, and the engine is this process, of which nothing can be
/// told to another.
fn whole(global: &Global, store: &Store, name: &str) -> Result<Context> {
    if name != DEFAULT {
        return Ok(Context { meta: store.find(name)?.meta, tls: store.tls(name)? });
    }
    let mut meta = usual(global);
    if meta.host().is_empty() {
        let why = "is the engine in this process, which has no address: give --docker host=ADDRESS";
        return Err(Error::Usage(format!("context {DEFAULT:?} {why}")));
    }
    meta.describe("Current DOCKER_HOST based configuration");
    let (mut tls, is_tcp) = (Tls::new(), meta.host().starts_with("tcp://"));
    for (name, path) in crate::tls::files(global) {
        // Without an authority the copy would be one that speaks in the clear.
        if (is_tcp && name == "ca.pem") || is_there(&path)? {
            let bytes =
                std::fs::read(&path).map_err(Error::io(format!("open {}", path.display())))?;
            tls.entry(DOCKER.to_owned()).or_default().insert(name.to_owned(), bytes);
        }
    }
    Ok(Context { meta, tls })
}

fn ls(global: &Global, args: &ContextLsArgs) -> Result<i32> {
    let current = current(global);
    let mut all = Store::usual().all()?;
    all.push(usual(global));
    let is_missing = all.iter().all(|meta| meta.name != current);
    if is_missing {
        all.push(Meta { name: current.clone(), ..Meta::default() });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let is_table = args.format.as_deref().is_none_or(|format| format.starts_with("table"));
    let mut rows = Vec::new();
    for meta in all {
        if args.quiet {
            println!("{}", meta.name);
            continue;
        }
        let (is_current, is_default) = (meta.name == current, meta.name == DEFAULT);
        let host = meta.host();
        rows.push(json!({
            "Name": format!("{}{}", meta.name, if is_current && is_table { " *" } else { "" }),
            "Description": if is_default { "What -H or DOCKER_HOST says, else this process" } else { meta.description() },
            "DockerEndpoint": if is_default && host.is_empty() { "the engine in this process" } else { host.as_str() },
            "Current": is_current,
            "Error": if is_current && is_missing { "context not found" } else { "" },
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
    let mut value = json!(store.find(name)?.meta);
    let names = |files: BTreeMap<String, Vec<u8>>| files.into_keys().collect::<Vec<_>>();
    value["TLSMaterial"] =
        store.tls(name)?.into_iter().map(|(endpoint, files)| (endpoint, names(files))).collect();
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
    fn a_context_with_tls_is_not_followed_without() {
        let tls = std::env::temp_dir().join(format!("dhow-context-tls-{}", std::process::id()));
        std::fs::create_dir_all(&tls).unwrap();
        let of = |host: &str, skip_tls_verify| {
            let meta = Meta::of("x", &Endpoint { host: host.to_owned(), skip_tls_verify });
            led_by(&Global::default(), "x", &Found { meta, tls: tls.clone() })
        };
        assert_eq!(of("tcp://h:1", false).unwrap().tlsverify, None);
        assert!(of("tcp://h:1", true).unwrap_err().to_string().contains("skip-tls-verify"));
        assert!(of("unix:///x", true).is_ok());
        std::fs::write(tls.join("cert.pem"), "").unwrap();
        let global = of("tcp://h:1", false).unwrap();
        assert_eq!((global.tlsverify, global.tlscert), (Some(true), Some(tls.join("cert.pem"))));
        std::fs::remove_dir_all(&tls).unwrap();
        // Where it cannot be told whether there are any, as of a directory that is another's.
        std::fs::write(&tls, "").unwrap();
        let why = of("tcp://h:1", false).unwrap_err().to_string();
        assert!(why.starts_with("look for ") && why.contains("ca.pem: "), "{why}");
        std::fs::remove_file(&tls).unwrap();
    }

    #[test]
    fn the_default_one_is_not_copied_without_its_authority() {
        let of = |host: &str| {
            let global = Global {
                host: Some(host.to_owned()),
                tlsverify: Some(true),
                tlscacert: Some("/nowhere/ca.pem".into()),
                tlscert: Some("/nowhere/cert.pem".into()),
                tlskey: Some("/nowhere/key.pem".into()),
                ..Global::default()
            };
            whole(&global, &Store("/nowhere".into()), DEFAULT)
        };
        let why = of("tcp://h:1").unwrap_err().to_string();
        assert!(why.starts_with("open /nowhere/ca.pem: "), "{why}");
        assert!(of("unix:///x").unwrap().tls.is_empty());
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
