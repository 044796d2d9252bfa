//! Commands that make, change and remove contexts, in the words of Docker's client.

use super::store::{Context, Endpoint, Meta, Store, Tls};
use super::{DEFAULT, DOCKER, current, whole};
use crate::args::{ContextCreateArgs, ContextUpdateArgs};
use crate::error::{Error, Result};
use crate::request::csv;
use crate::{Global, config, ssh};

/// What the names of files in a context are made of, in `--docker`, and what they are called there.
const FILES: [(&str, &str); 3] = [("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")];

/// How Docker's client begins to say that a file of TLS is none.
const NO_TLS: &str = "invalid docker endpoint options: failed to retrieve context tls info";

/// `context create`.
pub(super) fn create(global: &Global, args: &ContextCreateArgs) -> Result<i32> {
    let (store, name) = (Store::usual(), &args.context);
    let pairs = pairs(&args.docker)?;
    check_new(&store, name)?;
    let mut context = if args.docker.is_empty() {
        let from = args.from.clone().unwrap_or_else(|| current(global));
        whole(global, &store, &from)?
    } else if args.from.is_some() {
        let why = "cannot use --docker flag when --from is set";
        return Err(Error::Usage(why.to_owned()));
    } else {
        let (endpoint, tls) = endpoint(global, &store, &pairs)?;
        Context { meta: Meta::of(name, &endpoint), tls }
    };
    context.meta.name.clone_from(name);
    if let Some(description) = said(args.description.as_ref()) {
        context.meta.describe(description);
    }
    store.write(&context)?;
    println!("{name}");
    eprintln!("Successfully created context {name:?}");
    Ok(0)
}

/// `context update`.
pub(super) fn update(global: &Global, args: &ContextUpdateArgs) -> Result<i32> {
    let (store, name) = (Store::usual(), &args.context);
    let pairs = pairs(&args.docker)?;
    check_name(name)?;
    let mut context = Context { meta: store.find(name)?.meta, tls: store.tls(name)? };
    if let Some(description) = said(args.description.as_ref()) {
        context.meta.describe(description);
    }
    if !args.docker.is_empty() {
        let (endpoint, mut tls) = endpoint(global, &store, &pairs)?;
        context.meta.set_endpoint(&endpoint);
        context.tls.remove(DOCKER);
        context.tls.append(&mut tls);
    }
    store.write(&context)?;
    println!("{name}");
    eprintln!("Successfully updated context {name:?}");
    Ok(0)
}

/// `context rm`.
pub(super) fn rm(global: &Global, names: &[String], force: bool) -> i32 {
    let (store, current, mut code) = (Store::usual(), current(global), 0);
    for name in names {
        match remove(&store, &current, name, force) {
            Ok(()) => println!("{name}"),
            Err(err) => {
                eprintln!("dhow: {err}");
                code = 1;
            }
        }
    }
    code
}

fn remove(store: &Store, current: &str, name: &str, force: bool) -> Result<()> {
    let wrong = |why: &str| Err(Error::Usage(format!("context {name:?} {why}")));
    if name == DEFAULT {
        return wrong("cannot be removed");
    }
    if name == current && !force {
        return wrong("is in use, set -f flag to force remove");
    }
    if !force && !store.has(name) {
        return wrong("does not exist");
    }
    if config::get().current_context == name {
        config::set_current_context("")?;
    }
    store.remove(name)
}

/// `context use`.
pub(super) fn follow(name: &str) -> Result<i32> {
    let value = if name == DEFAULT { "" } else { name };
    if name != DEFAULT {
        check_name(name)?;
        Store::usual().find(name)?;
    }
    if config::get().current_context != value {
        config::set_current_context(value)?;
    }
    println!("{name}");
    eprintln!("Current context is now {name:?}");
    if name != DEFAULT && std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty()) {
        eprintln!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use {name:?}, either \
             set the global --context flag, or unset DOCKER_HOST environment variable."
        );
    }
    Ok(0)
}

/// Whether a context may be made that is called so.
///
/// # Errors
///
/// It may not.
pub(super) fn check_new(store: &Store, name: &str) -> Result<()> {
    check_name(name)?;
    if store.has(name) {
        return Err(Error::Usage(format!("context {name:?} already exists")));
    }
    Ok(())
}

/// Whether a context may be called so.
///
/// # Errors
///
/// It may not.
pub(super) fn check_name(name: &str) -> Result<()> {
    let of_the_first = |c: char| c.is_ascii_alphanumeric();
    let of_others = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
    let why = if name.is_empty() {
        "context name cannot be empty".to_owned()
    } else if name == DEFAULT {
        format!("{DEFAULT:?} is a reserved context name")
    } else if name.len() < 2 || !name.starts_with(of_the_first) || !name.chars().all(of_others) {
        let format = "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$";
        format!("context name {name:?} is invalid, names are validated against regexp {format:?}")
    } else {
        return Ok(());
    };
    Err(Error::Usage(why))
}

fn said(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

/// What `--docker` says, several times maybe; the last of a key counts.
fn pairs(values: &[String]) -> Result<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for value in values {
        let wrong = |why: &str| {
            Error::Flag(format!("invalid argument {value:?} for \"--docker\" flag: {why}"))
        };
        for field in csv::fields(value).ok_or_else(|| wrong(csv::BAD_QUOTE))? {
            let pair = field.split_once('=');
            let (key, value) =
                pair.ok_or_else(|| wrong(&format!("{field} must be formatted as key=value")))?;
            pairs.retain(|(other, _)| other != key);
            pairs.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(pairs)
}

/// The engine that `--docker` describes, and the files for it.
fn endpoint(global: &Global, store: &Store, pairs: &[(String, String)]) -> Result<(Endpoint, Tls)> {
    let made = described(global, store, pairs);
    made.map_err(|why| Error::Usage(format!("unable to create docker endpoint config: {why}")))
}

fn described(
    global: &Global,
    store: &Store,
    pairs: &[(String, String)],
) -> std::result::Result<(Endpoint, Tls), String> {
    let is_file = |key: &str| FILES.iter().any(|(name, _)| *name == key);
    let known = |key: &str| matches!(key, "from" | "host" | "skip-tls-verify") || is_file(key);
    if let Some((key, _)) = pairs.iter().find(|(key, _)| !known(key)) {
        return Err(format!("unrecognized config key: {key}"));
    }
    let value = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    if let Some(from) = value("from") {
        let Context { meta, mut tls } =
            whole(global, store, from).map_err(|err| err.to_string())?;
        tls.retain(|endpoint, _| endpoint == DOCKER);
        return Ok((meta.endpoint(), tls));
    }
    let host = value("host").cloned().unwrap_or_default();
    check_host(&host)?;
    let skips = value("skip-tls-verify").map(String::as_str);
    let skip_tls_verify = match skips {
        None | Some("0" | "f" | "F" | "FALSE" | "false" | "False") => false,
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => true,
        Some(other) => return Err(format!("skip-tls-verify: parsing {other:?}: invalid syntax")),
    };
    let mut tls = Tls::new();
    for (key, file) in FILES {
        if let Some(path) = value(key).filter(|path| !path.is_empty()) {
            let bytes = std::fs::read(path).map_err(|err| format!("open {path}: {err}"))?;
            check_file(key, path)
                .map_err(|why| format!("{NO_TLS}: {file} seems invalid: {why}"))?;
            tls.entry(DOCKER.to_owned()).or_default().insert(file.to_owned(), bytes);
        }
    }
    Ok((Endpoint { host, skip_tls_verify }, tls))
}

/// Whether an engine can be there. An empty address is one that is not known yet.
fn check_host(host: &str) -> std::result::Result<(), String> {
    if host.starts_with("ssh://") {
        return ssh::Remote::parse(host)
            .map(drop)
            .map_err(|why| format!("invalid docker endpoint options: {why}"));
    }
    let is_known = ["unix://", "tcp://"].iter().any(|scheme| host.starts_with(scheme));
    if host.is_empty() || is_known {
        return Ok(());
    }
    Err(format!("unable to apply docker endpoint options: unable to parse docker host `{host}`"))
}

fn check_file(key: &str, path: &str) -> std::result::Result<(), certs::Error> {
    let path = std::path::Path::new(path);
    if key == "key" { certs::key(path).map(drop) } else { certs::certificates(path).map(drop) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_context_may_have() {
        for name in ["a1", "A.b_c+d-e", "0x"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for (name, want) in [
            ("", "cannot be empty"),
            ("default", "reserved"),
            (
                "x",
                "is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"",
            ),
            (".a", "is invalid"),
            ("a/b", "is invalid"),
            ("-a", "is invalid"),
            ("aü", "is invalid"),
        ] {
            let why = check_name(name).unwrap_err().to_string();
            assert!(why.contains(want), "{name}: {why}");
        }
    }

    #[test]
    fn an_engine_in_words() {
        let of = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            let pairs = pairs(&values).map_err(|err| err.to_string())?;
            let store = Store("/nowhere".into());
            described(&Global::default(), &store, &pairs).map(|(endpoint, _)| endpoint)
        };
        let endpoint =
            |host: &str, skip_tls_verify| Ok(Endpoint { host: host.to_owned(), skip_tls_verify });
        assert_eq!(of(&["host=unix:///a,host=unix:///b"]), endpoint("unix:///b", false));
        assert_eq!(of(&["host=tcp://h", "skip-tls-verify=T"]), endpoint("tcp://h", true));
        assert_eq!(of(&["\"host=unix:///a,b\""]), endpoint("unix:///a,b", false));
        assert_eq!(of(&["host="]), endpoint("", false));
        assert_eq!(of(&["host=ssh://me@h:22/s"]), endpoint("ssh://me@h:22/s", false));
        for (value, want) in [
            ("", "must be formatted as key=value"),
            ("host", "must be formatted as key=value"),
            ("\"host=x", "quote"),
            ("foo=1", "unrecognized config key: foo"),
            ("host=bad", "unable to parse docker host `bad`"),
            ("host=ssh://-x", "invalid docker endpoint options"),
            ("skip-tls-verify=maybe", "skip-tls-verify: parsing \"maybe\": invalid syntax"),
            ("ca=/nowhere/ca", "open /nowhere/ca"),
            ("ca=/dev/null", "ca.pem seems invalid"),
            ("key=/dev/null", "key.pem seems invalid"),
            ("from=other", "context \"other\": context not found"),
        ] {
            let why = of(&[value]).unwrap_err();
            assert!(why.contains(want), "{value}: {why}");
        }
    }
}
