//! `config.json` of Docker's client: what somebody who uses its command line has set for good. Who is
//! known to which registry stands in it as well, and is the `registry` crate's to read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// The key of the context that is followed where none is named.
const CURRENT_CONTEXT: &str = "currentContext";

/// `--config`, if it was given.
static GIVEN: OnceLock<PathBuf> = OnceLock::new();

/// The settings that mean something here. What is not set is empty.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    /// Headers of every request to an engine.
    #[serde(rename = "HttpHeaders")]
    pub(crate) http_headers: BTreeMap<String, String>,
    /// `--format` of `ps`, where there is none.
    pub(crate) ps_format: String,
    /// That of `images`.
    pub(crate) images_format: String,
    /// That of `network ls`.
    pub(crate) networks_format: String,
    /// That of `volume ls`.
    pub(crate) volumes_format: String,
    /// That of `secret ls`.
    pub(crate) secret_format: String,
    /// That of `stats`.
    pub(crate) stats_format: String,
    /// The keys that detach from a container.
    pub(crate) detach_keys: String,
    /// Filters that every `prune` has.
    pub(crate) prune_filters: Vec<String>,
    /// Where plugins are, beside the usual directories.
    pub(crate) cli_plugins_extra_dirs: Vec<PathBuf>,
    /// Which plugins are told of which commands: for each an object with `hooks` and `error-hooks`.
    pub(crate) plugins: Value,
    /// What is switched on and off: `hooks`.
    pub(crate) features: Value,
    /// The context that is followed where none is named.
    pub(crate) current_context: String,
    /// Proxies for containers, by the engine's address or `default`.
    pub(crate) proxies: BTreeMap<String, Proxies>,
}

/// The proxies that containers are told of.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Proxies {
    #[serde(rename = "httpProxy")]
    http: String,
    #[serde(rename = "httpsProxy")]
    https: String,
    #[serde(rename = "noProxy")]
    none: String,
    #[serde(rename = "ftpProxy")]
    ftp: String,
    #[serde(rename = "allProxy")]
    all: String,
}

impl Config {
    /// The variables for containers of the engine at an address, each in capitals and in small letters.
    pub(crate) fn proxy_variables(&self, engine: &str) -> Vec<(String, String)> {
        let Some(proxies) = self.proxies.get(engine).or_else(|| self.proxies.get("default")) else {
            return Vec::new();
        };
        let named = [
            ("HTTP_PROXY", &proxies.http),
            ("HTTPS_PROXY", &proxies.https),
            ("NO_PROXY", &proxies.none),
            ("FTP_PROXY", &proxies.ftp),
            ("ALL_PROXY", &proxies.all),
        ];
        let set = named.into_iter().filter(|(_, value)| !value.is_empty());
        set.flat_map(|(name, value)| {
            [(name.to_owned(), value.clone()), (name.to_lowercase(), value.clone())]
        })
        .collect()
    }
}

/// Has `config.json` name the context that is followed where none is named; an empty name is the default one.
///
/// # Errors
///
/// The file cannot be read or written.
pub(crate) fn set_current_context(name: &str) -> Result<()> {
    let changed = registry::change_config(&file(), |settings| {
        if name.is_empty() {
            settings.remove(CURRENT_CONTEXT);
        } else {
            settings.insert(CURRENT_CONTEXT.to_owned(), name.into());
        }
        Ok(())
    });
    changed.map_err(|err| crate::registry::refused(&err))
}

/// Has `config.json` and what is beside it be in this directory, for the rest of this process.
pub(crate) fn set_directory(directory: &Path) {
    // The first word stands: there is one command line in a process.
    let _ = GIVEN.set(directory.to_owned());
}

/// Where `config.json` is: `--config`, else `DOCKER_CONFIG`, else `.docker` in the home directory.
pub(crate) fn directory() -> PathBuf {
    if let Some(given) = GIVEN.get() {
        return given.clone();
    }
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").unwrap_or_else(|| "/".into()).join(".docker");
    set("DOCKER_CONFIG").unwrap_or_else(home)
}

/// The file itself.
pub(crate) fn file() -> PathBuf {
    directory().join("config.json")
}

/// The settings; none where there is no file. One that cannot be read is warned of, once, and has none.
pub(crate) fn get() -> &'static Config {
    static READ: OnceLock<Config> = OnceLock::new();
    READ.get_or_init(|| {
        from(&file()).unwrap_or_else(|err| {
            eprintln!("WARNING: the configuration file cannot be used: {err}");
            Config::default()
        })
    })
}

fn from(path: &Path) -> Result<Config> {
    let text = match std::fs::read(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        read => read.map_err(Error::io(format!("read {}", path.display())))?,
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Config::default());
    }
    let read = serde_json::from_slice(&text).and_then(|mut all: Value| {
        without_nulls(&mut all);
        serde_json::from_value(all)
    });
    read.map_err(|err| Error::Usage(format!("{}: {err}", path.display())))
}

/// Takes out what is null, which to Docker's client is as good as not there.
pub(crate) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.retain(|value| !value.is_null()),
        _ => {}
    }
}

/// A flag's format, else the one that is set for good.
pub(crate) fn format<'a>(flag: Option<&'a str>, set: &'a str) -> Option<&'a str> {
    flag.or(Some(set).filter(|format| !format.is_empty()))
}

/// `DOCKER_DEFAULT_PLATFORM`, where a flag says nothing.
pub(crate) fn platform(flag: Option<&str>) -> String {
    let usual = || std::env::var("DOCKER_DEFAULT_PLATFORM").unwrap_or_default();
    flag.map_or_else(usual, str::to_owned)
}

/// Whether images are to be taken as they come: what the flag says, else the opposite of what
/// `DOCKER_CONTENT_TRUST` asks for.
pub(crate) fn is_trust_disabled(flag: Option<bool>) -> bool {
    let asked = || std::env::var("DOCKER_CONTENT_TRUST").unwrap_or_default();
    flag.unwrap_or_else(|| !matches!(asked().as_str(), "1" | "t" | "T" | "TRUE" | "true" | "True"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read() {
        let dir = std::env::temp_dir().join(format!("dhow-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("config.json");
        assert_eq!(from(&path).unwrap(), Config::default());
        std::fs::write(&path, "").unwrap();
        assert_eq!(from(&path).unwrap(), Config::default());
        let text = r#"{"auths": {"x": {}}, "psFormat": "{{.ID}}", "HttpHeaders": {"A": "b"},
            "detachKeys": "ctrl-x", "pruneFilters": ["label!=keep"], "statsFormat": null,
            "proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"},
                        "tcp://other:1": {"allProxy": "y"}}}"#;
        std::fs::write(&path, text).unwrap();
        let config = from(&path).unwrap();
        assert_eq!((config.ps_format.as_str(), config.detach_keys.as_str()), ("{{.ID}}", "ctrl-x"));
        assert_eq!(config.http_headers["A"], "b");
        assert_eq!(config.prune_filters, ["label!=keep"]);
        let pairs = |engine| config.proxy_variables(engine);
        let names: Vec<String> = pairs("unix:///x").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"]);
        assert_eq!(pairs("tcp://other:1")[1], ("all_proxy".to_owned(), "y".to_owned()));
        std::fs::write(&path, "{").unwrap();
        assert!(from(&path).unwrap_err().to_string().contains("config.json"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
