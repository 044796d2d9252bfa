//! What this machine says about registries.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::hosts_toml::folder_names;
use crate::proxy::{in_network, network};
use crate::url::{Origin, Url};
use crate::{Error, Proxies, Resolver, Retry};

/// Where certificates of registries are, and `hosts.toml`, as `DIR/HOST[:PORT]/`.
const CERTS: [&str; 2] = ["/etc/dhow/certs.d", "/etc/docker/certs.d"];
/// Where the keys that we know of Docker's configuration are looked for; the first file counts.
/// `DHOW_CONFIG` names another.
const CONFIG: [&str; 2] = ["/etc/dhow/daemon.json", "/etc/docker/daemon.json"];

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Folders of certificates and of `hosts.toml`; the first that knows a host counts.
    pub certs: Vec<PathBuf>,
    /// Registries that need no TLS, or none that can be verified: `HOST[:PORT]`, or a network.
    /// The machine itself is always one.
    pub insecure: Vec<String>,
    /// Whom to ask before `docker.io`, as addresses of HTTP.
    pub mirrors: Vec<String>,
    /// Hosts that credentials may be sent to for tokens, though they are not part of the registry.
    pub token_servers: Vec<String>,
    /// Proxies.
    pub proxies: Proxies,
    /// How names are looked up.
    pub resolver: Resolver,
    /// When to try again.
    pub retry: Retry,
}

/// The keys of `daemon.json` that are about registries; the others are not ours to judge.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
    token_servers: Vec<String>,
    /// `http-proxy`, `https-proxy` and `no-proxy`.
    proxies: BTreeMap<String, String>,
}

impl File {
    /// What it has in place of a variable of the environment.
    fn proxy(&self, variable: &str) -> Option<String> {
        let key = variable.to_ascii_lowercase().replace('_', "-");
        self.proxies.get(&key).filter(|value| !value.is_empty()).cloned()
    }
}

impl Settings {
    /// What the files and the environment of this machine say.
    pub fn of_this_machine(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut file = File::default();
        let named = env("DHOW_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let files = named.map_or_else(|| CONFIG.map(PathBuf::from).into(), |path| vec![path]);
        for path in files {
            match std::fs::read(&path) {
                Ok(bytes) => {
                    file = parse(&path, &bytes)?;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::File { path, source }),
            }
        }
        for mirror in &file.registry_mirrors {
            Url::parse(mirror).map_err(|error| Error::Config {
                what: "registry-mirrors".into(),
                why: error.to_string(),
            })?;
        }
        let proxies = Proxies::from_env(&|name| file.proxy(name).or_else(|| env(name)))?;
        Ok(Self {
            certs: CERTS.map(PathBuf::from).into(),
            insecure: file.insecure_registries,
            mirrors: file.registry_mirrors,
            token_servers: file.token_servers,
            proxies,
            ..Self::default()
        })
    }

    /// Whether this host may be spoken to without verified TLS.
    pub(crate) fn is_insecure(&self, origin: &Origin) -> bool {
        origin.is_loopback() || self.insecure.iter().any(|entry| covers(entry, origin))
    }

    /// Whether an authority was put there for this host.
    pub(crate) fn has_authority(&self, origin: &Origin) -> bool {
        let entries = self.certs_of(origin).and_then(|dir| dir.read_dir().ok());
        let mut paths = entries.into_iter().flatten().filter_map(Result::ok).map(|one| one.path());
        paths.any(|path| path.extension().is_some_and(|kind| kind == "crt"))
    }

    /// The folder of certificates for this host.
    pub(crate) fn certs_of(&self, origin: &Origin) -> Option<PathBuf> {
        let mut names = folder_names(&origin.with_port());
        names.push(origin.authority());
        let paths = self.certs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
        paths.into_iter().find(|path| path.is_dir())
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<File, Error> {
    // An empty file sets nothing, as with Docker (it may be /dev/null).
    if bytes.trim_ascii().is_empty() {
        return Ok(File::default());
    }
    serde_json::from_slice(bytes).map_err(|error| Error::Config {
        what: format!("\"{}\"", path.display()),
        why: error.to_string(),
    })
}

/// Whether an entry of the insecure ones means this host.
fn covers(entry: &str, origin: &Origin) -> bool {
    if let Some((address, bits)) = network(entry) {
        return origin.ip().is_some_and(|ip: IpAddr| in_network(ip, address, bits));
    }
    entry.eq_ignore_ascii_case(&origin.authority())
        || entry.eq_ignore_ascii_case(&origin.with_port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::Scheme;

    #[test]
    fn insecure_ones() {
        let settings = Settings {
            insecure: vec!["r.test:5000".into(), "plain.test".into(), "10.1.0.0/16".into()],
            ..Settings::default()
        };
        let is = |host| settings.is_insecure(&Origin::of(Scheme::Https, host).unwrap());
        for host in ["r.test:5000", "R.TEST:5000", "plain.test", "10.1.2.3:5000", "127.0.0.1:5000"]
        {
            assert!(is(host), "{host}");
        }
        for host in ["r.test", "plain.test:5000", "10.2.0.1", "registry-1.docker.io"] {
            assert!(!is(host), "{host}");
        }
    }

    #[test]
    fn the_files_proxies_win_over_the_environments() {
        let path = std::env::temp_dir().join(format!("dhow-proxies-{}", std::process::id()));
        let text = r#"{"proxies": {"http-proxy": "http://file.test:1", "no-proxy": ""}}"#;
        std::fs::write(&path, text).unwrap();
        let env = |name: &str| match name {
            "DHOW_CONFIG" => Some(path.display().to_string()),
            "HTTP_PROXY" | "https_proxy" => Some("http://me:word@env.test:2".to_owned()),
            "NO_PROXY" => Some("a.test".to_owned()),
            _ => None,
        };
        let settings = Settings::of_this_machine(&env).unwrap();
        let shown = ["http://file.test:1", "http://xxxxx:xxxxx@env.test:2", "a.test"];
        assert_eq!(settings.proxies.shown(), shown);
        let origin = Origin::of(Scheme::Http, "b.test").unwrap();
        let proxy = settings.proxies.of(&origin).unwrap();
        assert_eq!(proxy.origin.to_string(), "http://file.test:1");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_file_may_hold_more_than_we_know() {
        let text = br#"{"insecure-registries":["a:1"],"live-restore":true}"#;
        let file = parse(Path::new("x"), text).unwrap();
        assert_eq!(file.insecure_registries, ["a:1"]);
        assert!(parse(Path::new("x"), b"\n").unwrap().registry_mirrors.is_empty());
        let error = parse(Path::new("/x"), b"{").err().unwrap().to_string();
        assert!(error.starts_with("\"/x\": "), "{error}");
    }
}
