//! `hosts.toml`: whom to ask for the images of a registry, as containerd documents it
//! (`docs/hosts.md` of containerd 2.2).
//!
//! It lies in `certs.d/NAME/`, where `NAME` is `HOST_PORT_` or `HOST:PORT`, `HOST` for a registry
//! without a port, or `_default` for all that have no folder of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use crate::Error;
use crate::proxy::Proxy;
use crate::refused::shown;
use crate::toml::{Table, Value, parse};
use crate::url::Url;

/// The file's name.
const FILE: &str = "hosts.toml";
/// The folder for all that have none of their own.
const DEFAULT: &str = "_default";
/// A larger file is none of hosts.
const MAX_FILE: u64 = 1 << 20;
/// Where a host's API is.
pub(crate) const ROOT: &str = "/v2";

/// What a host may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Can {
    /// Content, by digest.
    pub(crate) pull: bool,
    /// What a tag means.
    pub(crate) resolve: bool,
    /// To take images.
    pub(crate) push: bool,
}

impl Can {
    pub(crate) const ALL: Self = Self { pull: true, resolve: true, push: true };
    /// What mirrors of `daemon.json` may.
    pub(crate) const READ: Self = Self { push: false, ..Self::ALL };
}

/// How one host is reached, beyond what holds for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    /// Files of authorities.
    pub(crate) authorities: Vec<PathBuf>,
    /// Files of certificates of ours, each with that of its key, which may be the same.
    pub(crate) clients: Vec<(PathBuf, PathBuf)>,
    /// Whether to take anyone's word for who they are.
    pub(crate) skip_verify: Option<bool>,
    /// Sent with every request to it, and to nobody else.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one attempt to connect may take.
    pub(crate) dial_timeout: Option<Duration>,
    /// In place of what the environment says.
    pub(crate) proxy: Option<Proxy>,
}

impl Own {
    /// Whether it says something about TLS.
    pub(crate) fn has_tls(&self) -> bool {
        !self.authorities.is_empty() || !self.clients.is_empty() || self.skip_verify.is_some()
    }
}

/// A host that may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Where its API is, the version included (`https://HOST/v2`); `None`: the registry itself.
    pub(crate) url: Option<Url>,
    pub(crate) can: Can,
    pub(crate) own: Own,
    /// Whether it is told (`?ns=`) whose images are asked for, if it is not the registry itself.
    pub(crate) names_registry: bool,
}

impl Host {
    /// The registry itself, with nothing said about it.
    pub(crate) fn itself() -> Self {
        Self { url: None, can: Can::ALL, own: Own::default(), names_registry: true }
    }
}

/// The folders that may be about a registry, in the order in which they count.
pub(crate) fn folder_names(domain: &str) -> Vec<String> {
    match domain
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
    {
        Some((host, port)) => vec![format!("{host}_{port}_"), domain.to_owned()],
        None => vec![domain.to_owned()],
    }
}

/// Whom to ask for images of `domain`, in order, by what the first of its folders says; the last is
/// the registry itself, or what stands for it.
pub(crate) fn hosts(dirs: &[PathBuf], domain: &str) -> Result<Vec<Host>, Error> {
    let names = folder_names(domain);
    let own = dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
    let all = own.chain(dirs.iter().map(|dir| dir.join(DEFAULT)));
    let Some(dir) = all.into_iter().find(|dir| dir.is_dir()) else {
        return Ok(vec![Host::itself()]);
    };
    let path = dir.join(FILE);
    let failed = |source| Error::File { path: path.clone(), source };
    match std::fs::metadata(&path) {
        // Only certificates.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(vec![Host::itself()]);
        }
        Ok(found) if found.len() > MAX_FILE => {
            return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
        }
        found => found.map_err(failed)?,
    };
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    read(&dir, &text).map_err(|(line, why)| Error::Config {
        what: if line == 0 {
            format!("\"{}\"", path.display())
        } else {
            format!("\"{}\", line {line}", path.display())
        },
        why,
    })
}

/// Why a file is refused, and the line, from 1; 0: all of it.
type Wrong = (usize, String);

/// Reads a file; paths in it are relative to its folder.
pub(crate) fn read(dir: &Path, text: &str) -> Result<Vec<Host>, Wrong> {
    // Keys are quoted in errors, and may be anything.
    read_all(dir, text).map_err(|(line, why)| (line, shown(&why)))
}

fn read_all(dir: &Path, text: &str) -> Result<Vec<Host>, Wrong> {
    let root = parse(text).map_err(|wrong| (wrong.line, wrong.why))?;
    let mut hosts = Vec::new();
    let mut server = None;
    for entry in &root.entries {
        match (entry.key.as_str(), &entry.value) {
            ("host", Value::Table(table)) => {
                for entry in &table.entries {
                    let Value::Table(host) = &entry.value else {
                        return Err((entry.line, format!("host `{}` is no table", entry.key)));
                    };
                    hosts.push(read_host(dir, Some((&entry.key, entry.line)), host, &[])?);
                }
            }
            ("host", _) => return Err((entry.line, "`host` is no table".into())),
            ("server", Value::Text(text)) if text.is_empty() => {}
            ("server", Value::Text(text)) => server = Some((text.as_str(), entry.line)),
            ("server", _) => return Err((entry.line, "`server` is no text".into())),
            _ => {}
        }
    }
    let mut itself = read_host(dir, server, &root, &["host", "server"])?;
    if itself.url.is_none() {
        // The registry itself may do all.
        itself.can = Can::ALL;
    }
    hosts.push(itself);
    Ok(hosts)
}

/// Reads the keys of one host, or those of the file, which are about the registry itself.
fn read_host(
    dir: &Path,
    address: Option<(&str, usize)>,
    table: &Table,
    known: &[&str],
) -> Result<Host, Wrong> {
    let mut host = Host::itself();
    let mut is_whole_path = false;
    for entry in &table.entries {
        let (key, value) = (entry.key.as_str(), &entry.value);
        let fail = |why: String| Err((entry.line, why));
        let failed = |why: String| (entry.line, why);
        match (key, value) {
            ("capabilities", Value::List(list)) if list.is_empty() => {}
            ("capabilities", Value::List(list)) => {
                host.can = Can { pull: false, resolve: false, push: false };
                for one in list {
                    let name = match one {
                        Value::Text(text) => text.to_ascii_lowercase(),
                        _ => return fail("`capabilities` is no list of texts".into()),
                    };
                    match name.as_str() {
                        "pull" => host.can.pull = true,
                        "resolve" => host.can.resolve = true,
                        "push" => host.can.push = true,
                        other => return fail(format!("unknown capability `{other}`")),
                    }
                }
            }
            ("ca", value) => {
                let files = texts(value).ok_or_else(|| failed("`ca` is no path".into()))?;
                host.own.authorities = files.into_iter().map(|file| dir.join(file)).collect();
            }
            ("client", value) => {
                let pairs = pairs(value)
                    .ok_or_else(|| failed("`client` is neither paths nor pairs of paths".into()))?;
                let pairs = pairs.into_iter().map(|(file, key)| {
                    (dir.join(file), dir.join(if key.is_empty() { file } else { key }))
                });
                host.own.clients = pairs.collect();
            }
            ("skip_verify", Value::Bool(skip)) => host.own.skip_verify = Some(*skip),
            ("override_path", Value::Bool(is_whole)) => is_whole_path = *is_whole,
            ("header", Value::Table(headers)) => {
                for header in &headers.entries {
                    read_header(&mut host.own.headers, &header.key, &header.value)
                        .map_err(|why| (header.line, why))?;
                }
            }
            ("dial_timeout", Value::Text(text)) if text.is_empty() => {}
            ("dial_timeout", Value::Text(text)) => {
                let time = duration(text)
                    .ok_or_else(|| failed(format!("dial_timeout `{text}` is no time")))?;
                host.own.dial_timeout = Some(time);
            }
            ("proxy", Value::Text(text)) => {
                let proxy = Proxy::of_file(text).map_err(|error| failed(error.to_string()))?;
                host.own.proxy = Some(proxy);
            }
            ("capabilities", _) => return fail("`capabilities` is no list".into()),
            ("skip_verify" | "override_path", _) => {
                return fail(format!("`{key}` is neither true nor false"));
            }
            ("header", _) => return fail("`header` is no table".into()),
            ("dial_timeout" | "proxy", _) => return fail(format!("`{key}` is no text")),
            (key, _) if known.contains(&key) => {}
            ("host", _) => return fail("a host has no hosts of its own".into()),
            (key, _) => return fail(format!("`{key}` is no key that is known here")),
        }
    }
    if let Some((address, line)) = address {
        let url = read_address(address, is_whole_path);
        host.url = Some(url.map_err(|why| (line, why))?);
    }
    Ok(host)
}

/// The address of a host's API.
pub(crate) fn read_address(text: &str, is_whole_path: bool) -> Result<Url, String> {
    let text = if text.starts_with("http") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&text).map_err(|error| error.to_string())?;
    let is_odd =
        url.path.contains('?') || url.path.split('/').any(|part| matches!(part, "." | ".."));
    if is_odd {
        return Err(format!("`{url}` is no address of a registry"));
    }
    let parts: Vec<_> = url.path.split('/').filter(|part| !part.is_empty()).collect();
    let mut path: String = parts.iter().flat_map(|part| ["/", part]).collect();
    if !is_whole_path && !path.ends_with(ROOT) {
        path.push_str(ROOT);
    }
    url.path = path;
    Ok(url)
}

fn read_header(
    headers: &mut Vec<(HeaderName, HeaderValue)>,
    name: &str,
    value: &Value,
) -> Result<(), String> {
    let values = texts(value).ok_or_else(|| format!("header `{name}` is no text"))?;
    let key: HeaderName =
        name.parse().map_err(|_| format!("`{}` is no name of a header", name.escape_debug()))?;
    for value in values {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("header `{name}` holds what no header may"))?;
        // It may be a password.
        value.set_sensitive(true);
        headers.push((key.clone(), value));
    }
    Ok(())
}

/// One text or a list of them.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::List(list) => list.iter().map(text_of).collect(),
        one => Some(vec![text_of(one)?]),
    }
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// One path, a list of paths, or a list of pairs of them.
fn pairs(value: &Value) -> Option<Vec<(&str, &str)>> {
    let Value::List(list) = value else {
        return Some(vec![(texts(value)?.first()?, "")]);
    };
    let pair = |value| match texts(value)?[..] {
        [file] if matches!(value, Value::Text(_)) => Some((file, "")),
        [file, key] => Some((file, key)),
        _ => None,
    };
    list.iter().map(pair).collect()
}

/// `1.5s`, `1m30s`, `300ms`, as Go reads it; no negative ones.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut sum = Duration::ZERO;
    loop {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end =
            rest.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[end..];
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Vec<Host> {
        read(Path::new("/c"), text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    }

    fn urls(hosts: &[Host]) -> Vec<String> {
        let url = |host: &Host| host.url.as_ref().map_or("itself".into(), ToString::to_string);
        hosts.iter().map(url).collect()
    }

    fn can(hosts: &[Host]) -> Vec<String> {
        let one = |Can { pull, resolve, push }: Can| {
            let all = [(pull, "pull"), (resolve, "resolve"), (push, "push")];
            all.iter().filter(|(can, _)| *can).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
        };
        hosts.iter().map(|host| one(host.can)).collect()
    }

    /// The examples of containerd's documentation, one after the other.
    #[test]
    fn the_documented_files() {
        let hosts = good(
            "server = \"https://docker.io\"\n\n[host.\"https://registry-1.docker.io\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n",
        );
        assert_eq!(urls(&hosts), ["https://registry-1.docker.io/v2", "https://docker.io/v2"]);
        assert_eq!(can(&hosts), ["pull,resolve", "pull,resolve,push"]);

        let hosts = good(
            "server = \"https://registry-1.docker.io\"    # Exclude this to not use upstream\n
[host.\"https://public-mirror.example.com\"]
  capabilities = [\"pull\"]                  # Requires less trust
[host.\"https://docker-mirror.internal\"]
  capabilities = [\"pull\", \"resolve\"]
  ca = \"docker-mirror.crt\"                 # Or absolute path\n",
        );
        assert_eq!(can(&hosts), ["pull", "pull,resolve", "pull,resolve,push"]);
        assert_eq!(hosts[1].own.authorities, [PathBuf::from("/c/docker-mirror.crt")]);

        let hosts = good(
            "[host.\"https://registry.example.com\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        );
        assert_eq!(urls(&hosts), ["https://registry.example.com/v2", "itself"]);
        assert_eq!(
            urls(&good("server = \"https://registry.example.com\"\n")),
            ["https://registry.example.com/v2"]
        );

        let hosts = good(
            "server = \"https://my-registry.io\"\nproxy = \"http://different-proxy:8080\"\n
[host.\"https://mirror.my-registry.io\"]
  capabilities = [\"pull\", \"resolve\"]
  proxy = \"http://my-proxy:8080\"\n",
        );
        let proxies: Vec<_> = hosts.iter().map(|host| format!("{:?}", host.own.proxy)).collect();
        assert_eq!(proxies, ["Some(http://my-proxy:8080)", "Some(http://different-proxy:8080)"]);

        let hosts = good(
            "server = \"https://registry-1.docker.io\"\n\n[host.\"http://192.168.31.250:5000\"]\n  \
             capabilities = [\"pull\", \"resolve\", \"push\"]\n  skip_verify = true\n",
        );
        assert_eq!(
            (urls(&hosts)[0].as_str(), hosts[0].own.skip_verify),
            ("http://192.168.31.250:5000/v2", Some(true))
        );

        let hosts = good(
            r#"
ca = ["/etc/certs/test-1-ca.pem", "special.pem"]
dial_timeout = "1m1.5s"
[header]
  x-custom-1 = ["custom header part a","part b"]
  x-custom-1-2 = "another custom header"

[host."https://mirror.registry"]
  capabilities = ["pull"]
  ca = "/etc/certs/mirror.pem"
  skip_verify = false
  [host."https://mirror.registry".header]
    x-custom-2 = ["value1", "value2"]

[host."https://mirror-bak.registry/us"]
  capabilities = ["pull"]
  skip_verify = true

[host."http://mirror.registry"]
  capabilities = ["pull"]

[host."https://test-1.registry"]
  capabilities = ["pull", "resolve", "push"]
  ca = ["/etc/certs/test-1-ca.pem", "/etc/certs/special.pem"]
  client = [["/etc/certs/client.cert", "/etc/certs/client.key"],["client.pem", ""]]

[host."https://test-2.registry"]
  client = "/etc/certs/client.pem"

[host."test-3.registry"]
  client = ["/etc/certs/client-1.pem", "/etc/certs/client-2.pem"]

[host."https://non-compliant-mirror.registry/v2/upstream"]
  capabilities = ["pull"]
  override_path = true
"#,
        );
        let want = [
            "https://mirror.registry/v2",
            "https://mirror-bak.registry/us/v2",
            "http://mirror.registry/v2",
            "https://test-1.registry/v2",
            "https://test-2.registry/v2",
            "https://test-3.registry/v2",
            "https://non-compliant-mirror.registry/v2/upstream",
            "itself",
        ];
        assert_eq!(urls(&hosts), want);
        assert_eq!(hosts[0].own.headers.len(), 2);
        let pair = |file: &str, key: &str| (PathBuf::from(file), PathBuf::from(key));
        let want = [
            pair("/etc/certs/client.cert", "/etc/certs/client.key"),
            pair("/c/client.pem", "/c/client.pem"),
        ];
        assert_eq!(hosts[3].own.clients, want);
        assert_eq!(hosts[4].own.clients, [pair("/etc/certs/client.pem", "/etc/certs/client.pem")]);
        assert_eq!(hosts[5].own.clients.len(), 2);
        let itself = &hosts[7].own;
        assert_eq!((itself.headers.len(), itself.authorities.len()), (3, 2));
        assert_eq!(itself.authorities[1], Path::new("/c/special.pem"));
        assert_eq!(itself.dial_timeout, Some(Duration::from_millis(61_500)));
    }

    #[test]
    fn what_is_refused() {
        for (text, line, why) in [
            ("\nserver = 1", 2, "`server` is no text"),
            ("server = \"ftp://x\"", 1, "`https://ftp://x` is not a valid address"),
            ("capabilites = []", 1, "`capabilites` is no key that is known here"),
            ("[host.a]\ncapabilities = ['delete']", 2, "unknown capability `delete`"),
            ("[host.a]\ncapabilities = 'pull'", 2, "`capabilities` is no list"),
            ("[host.a]\nca = [1]", 2, "`ca` is no path"),
            ("[host.a]\nclient = [['a']]", 2, "`client` is neither paths nor pairs of paths"),
            ("[host.a]\nskip_verify = 'yes'", 2, "`skip_verify` is neither true nor false"),
            ("[host.a]\ndial_timeout = '5'", 2, "dial_timeout `5` is no time"),
            (
                "[host.a]\nproxy = 'socks5://x:1'",
                2,
                "proxy: a proxy of kind `socks5` is not there yet",
            ),
            ("[host.a]\nproxy = 'http://x:1/path'", 2, "proxy: an address of a proxy has no path"),
            ("[host.a.header]\n'a b' = 'x'", 2, "`a b` is no name of a header"),
            ("[host.a.header]\nx = \"a\\nb\"", 2, "header `x` holds what no header may"),
            ("\n[host.'x@y']", 2, "`https://y` is not a valid address"),
            ("[host.'a/../b']", 1, "`https://a/../b` is no address of a registry"),
            ("[host.a]\n[host.a.host.b]", 2, "a host has no hosts of its own"),
            ("host = 1", 1, "`host` is no table"),
            ("x", 1, "key with no value, expected `=`"),
        ] {
            assert_eq!(read(Path::new("/c"), text).unwrap_err(), (line, why.into()), "{text}");
        }
    }

    #[test]
    fn folders() {
        assert_eq!(folder_names("r.test:5000"), ["r.test_5000_", "r.test:5000"]);
        assert_eq!(folder_names("[::1]:5000"), ["[::1]_5000_", "[::1]:5000"]);
        assert_eq!(folder_names("r.test"), ["r.test"]);
        assert_eq!(folder_names("[::1]"), ["[::1]"]);
    }

    #[test]
    fn times() {
        for (text, want) in [
            ("1s", Some(1000)),
            ("1m30s", Some(90_000)),
            (".5s", Some(500)),
            ("300ms", Some(300)),
            ("2h", Some(7_200_000)),
            ("0", Some(0)),
            ("", None),
            ("5", None),
            ("-1s", None),
            ("1x", None),
            ("1.2.3s", None),
        ] {
            assert_eq!(duration(text).map(|time| time.as_millis()), want, "{text}");
        }
    }
}
