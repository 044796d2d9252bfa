//! Names and passwords, and where people keep them: `config.json` as Docker writes it, and the
//! programs that keep secrets for it (docker-credential-helpers).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

use hyper::header::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize};

use crate::auth::secret;
use crate::{Error, base64};

pub(crate) mod program;

/// What Docker's own registry is called in `config.json`, for reasons of history.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// A configuration, or what a helper says, is not longer.
const MAX_BYTES: u64 = 1 << 20;
/// The name that helpers give to one who has an identity token instead of a password.
const TOKEN_USER: &str = "<token>";

/// Who somebody is to one registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
    /// Instead of a password: what the token server gives tokens for.
    pub identity_token: Option<String>,
    /// Instead of all others: a token for the registry itself.
    pub registry_token: Option<String>,
}

/// Nothing of it is for a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// A `config.json` that holds credentials, and nothing else.
#[derive(Serialize)]
struct Auths {
    auths: BTreeMap<String, Entry>,
}

/// An `auths` entry, and what `X-Registry-Auth` holds.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct Entry {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_empty")]
    password: String,
    /// `NAME:PASSWORD` in base64.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_empty")]
    auth: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_empty")]
    serveraddress: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_empty")]
    identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_empty")]
    registrytoken: String,
}

/// As in Go, `null` is what is not given: some clients write all that they could say.
fn null_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Credentials {
    /// Reads the header `X-Registry-Auth`. As in `dockerd`, one that cannot be read says nothing, as one that
    /// is empty or names nobody: there are clients that send a word of no meaning.
    pub fn from_header(text: &str) -> Option<Self> {
        let bytes = base64::decode(text).unwrap_or_default();
        let entry: Option<Entry> = serde_json::from_slice(&bytes).unwrap_or_default();
        entry.and_then(Entry::credentials)
    }

    /// Reads the header `X-Registry-Config`: who a client is to each registry, by the registry's domain. As in
    /// `dockerd`, one that cannot be read says nothing.
    pub fn from_config_header(text: &str) -> BTreeMap<String, Self> {
        let bytes = base64::decode(text).unwrap_or_default();
        let entries: BTreeMap<String, Option<Entry>> =
            serde_json::from_slice(&bytes).unwrap_or_default();
        let domain = |(server, entry): (String, Option<Entry>)| {
            Some((server_domain(&server).to_owned(), entry?.credentials()?))
        };
        entries.into_iter().filter_map(domain).collect()
    }

    /// The header `X-Registry-Auth` for the registry `server`.
    pub fn to_header(&self, server: &str) -> String {
        let entry = Entry {
            username: self.username.clone(),
            password: self.password.clone(),
            serveraddress: server.to_owned(),
            identitytoken: self.identity_token.clone().unwrap_or_default(),
            registrytoken: self.registry_token.clone().unwrap_or_default(),
            ..Entry::default()
        };
        // A struct of strings cannot fail to be written.
        let json = serde_json::to_vec(&entry).unwrap_or_default();
        base64::encode(&json).replace('+', "-").replace('/', "_")
    }

    /// The header for [RFC 7617]'s way.
    ///
    /// [RFC 7617]: https://www.rfc-editor.org/rfc/rfc7617
    pub(crate) fn basic(&self) -> Result<HeaderValue, Error> {
        let pair = format!("{}:{}", self.username, self.password);
        secret(&format!("Basic {}", base64::encode(pair.as_bytes())))
    }
}

impl Entry {
    /// As Docker's client writes it: name and password as one.
    fn of(found: &Credentials) -> Self {
        let auth = match found.username.as_str() {
            "" => String::new(),
            name => base64::encode(format!("{name}:{}", found.password).as_bytes()),
        };
        Self {
            auth,
            identitytoken: found.identity_token.clone().unwrap_or_default(),
            registrytoken: found.registry_token.clone().unwrap_or_default(),
            ..Self::default()
        }
    }

    fn credentials(self) -> Option<Credentials> {
        let pair = base64::decode(&self.auth).and_then(|bytes| String::from_utf8(bytes).ok());
        let (mut username, mut password) = (self.username, self.password);
        if let Some((name, secret)) = pair.as_deref().and_then(|pair| pair.split_once(':')) {
            name.clone_into(&mut username);
            secret.trim_matches('\0').clone_into(&mut password);
        }
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let found = Credentials {
            username,
            password,
            identity_token: some(self.identitytoken),
            registry_token: some(self.registrytoken),
        };
        let names_somebody = !found.username.is_empty()
            || found.identity_token.is_some()
            || found.registry_token.is_some();
        names_somebody.then_some(found)
    }
}

/// The keys of `config.json` that are about registries.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Entry>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

/// What a helper answers.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Kept {
    username: String,
    secret: String,
}

/// The credentials of the person who runs a command.
#[derive(Default)]
pub struct Keys(File);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Reads a `config.json`. Where there is none, there are no keys.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.into(), source };
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&bytes).map_err(|error| Error::Config {
            what: format!("\"{}\"", path.display()),
            why: error.to_string(),
        })
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self)
    }

    /// The servers of a file that names no program.
    #[cfg(fuzzing)]
    pub(crate) fn without_helpers(&self) -> Option<Vec<&str>> {
        let has_none = self.0.creds_store.is_empty() && self.0.cred_helpers.is_empty();
        has_none.then(|| self.0.auths.keys().map(String::as_str).collect())
    }

    /// The program that keeps those for the registry `domain`.
    pub(crate) fn helper_for(&self, domain: &str) -> Option<&str> {
        let helpers = &self.0.cred_helpers;
        let own = helpers.get(domain).or_else(|| helpers.get(server_key(domain)));
        let store = Some(&self.0.creds_store).filter(|store| !store.is_empty());
        own.or(store).map(String::as_str)
    }

    /// Those for the registry `domain`, as references name it. A helper that fails is an error:
    /// who else's credentials would be right then (CVE-2021-41092)?
    pub fn of(&self, domain: &str) -> Result<Option<Credentials>, Error> {
        let server = server_key(domain);
        if let Some(name) = self.helper_for(domain)
            && let Some(found) = ask_helper(name, server)?
        {
            return Ok(Some(found));
        }
        let auths = &self.0.auths;
        let exact = auths.get(server).or_else(|| auths.get(domain));
        // Older files have the addresses of registries, not their names.
        let host = host_of(server);
        let entry = exact
            .or_else(|| auths.iter().find(|(key, _)| host_of(key) == host).map(|(_, entry)| entry));
        Ok(entry.cloned().and_then(Entry::credentials))
    }

    /// A `config.json` that says who this person is to each registry that this one names, and names no program to
    /// ask: for where there is none. `None`: there is nobody to be.
    pub fn to_config(&self) -> Result<Option<String>, Error> {
        let mut auths = BTreeMap::new();
        for server in self.0.auths.keys().chain(self.0.cred_helpers.keys()) {
            if let Some(found) = self.of(server_domain(server))? {
                auths.insert(server.clone(), Entry::of(&found));
            }
        }
        if auths.is_empty() {
            return Ok(None);
        }
        // Maps of strings cannot fail to be written.
        Ok(serde_json::to_string_pretty(&Auths { auths }).ok())
    }
}

/// What a registry is called in `config.json`, and to helpers.
pub fn server_key(domain: &str) -> &str {
    if domain == reference::DEFAULT_DOMAIN { HUB_KEY } else { domain }
}

/// The registry that is called so in `config.json`, or by a person, as references name it.
pub fn server_domain(server: &str) -> &str {
    match host_of(server) {
        "" | "index.docker.io" | "registry-1.docker.io" => reference::DEFAULT_DOMAIN,
        host => host,
    }
}

/// `https://HOST/v1/` and the like without all but the host.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// What a helper keeps for a server.
fn ask_helper(name: &str, server: &str) -> Result<Option<Credentials>, Error> {
    let Some(said) = program::run(name, "get", server)? else { return Ok(None) };
    // What it says is secret: the error must not repeat it.
    let kept: Kept = serde_json::from_slice(&said).map_err(|_| Error::Helper {
        program: program::name_of(name),
        why: "it does not answer with JSON".into(),
    })?;
    Ok(kept.credentials())
}

impl Kept {
    fn credentials(self) -> Option<Credentials> {
        let is_token = self.username == TOKEN_USER;
        if self.secret.is_empty() {
            return None;
        }
        Some(if is_token {
            Credentials { identity_token: Some(self.secret), ..Credentials::default() }
        } else {
            Credentials { username: self.username, password: self.secret, ..Credentials::default() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(json: &str) -> Keys {
        Keys(serde_json::from_str(json).unwrap())
    }

    fn user(username: &str, password: &str) -> Credentials {
        Credentials {
            username: username.into(),
            password: password.into(),
            ..Credentials::default()
        }
    }

    #[test]
    fn a_file_for_elsewhere() {
        assert_eq!(keys(r#"{"auths":{"kept.test":{}}}"#).to_config().unwrap(), None);
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},
            "r.test:5000":{"username":"u","password":"p"}, "kept.test":{},
            "id.test":{"identitytoken":"t"}},"psFormat":"x"}"#;
        let text = keys(text).to_config().unwrap().unwrap();
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            written,
            serde_json::json!({"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
                "r.test:5000": {"auth": "dTpw"}, "id.test": {"identitytoken": "t"}}})
        );
        assert_eq!(keys(&text).of("r.test:5000").unwrap(), Some(user("u", "p")));
    }

    #[test]
    fn the_file_as_docker_writes_it() {
        let keys = keys(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},
                "r.test:5000":{"username":"u","password":"p"},
                "https://old.test/v1/":{"auth":"b2xkOmE6Yg=="},
                "kept.test":{}, "id.test":{"identitytoken":"t"}},"HttpHeaders":{}}"#,
        );
        for (domain, want) in [
            ("docker.io", Some(user("hub", "secret"))),
            ("r.test:5000", Some(user("u", "p"))),
            ("old.test", Some(user("old", "a:b"))),
            ("r.test", None),
            ("kept.test", None),
            ("evil.test", None),
        ] {
            assert_eq!(keys.of(domain).unwrap(), want, "{domain}");
        }
        assert_eq!(keys.of("id.test").unwrap().unwrap().identity_token.as_deref(), Some("t"));
    }

    #[test]
    fn what_registries_are_called() {
        for (server, want) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://r.test:5000/", "r.test:5000"),
            ("r.test", "r.test"),
        ] {
            assert_eq!(server_domain(server), want, "{server}");
        }
        assert_eq!(server_domain(server_key("docker.io")), "docker.io");
    }

    #[test]
    fn a_helper_that_does_not_run_is_an_error() {
        let keys = keys(
            r#"{"credsStore":"no-such-helper-of-tests","auths":{"r.test":{"auth":"dTpw"}},
                "credHelpers":{"x.test":"../../bin/sh"}}"#,
        );
        let error = keys.of("r.test").unwrap_err().to_string();
        let want = "error getting credentials - docker-credential-no-such-helper-of-tests: ";
        assert!(error.starts_with(want), "{error}");
        assert!(keys.of("docker.io").is_err() && keys.of("x.test").is_err());
    }

    /// As bollard writes it.
    #[test]
    fn null_is_what_is_not_given() {
        let text =
            r#"{"username":"u","password":"p","auth":null,"email":null,"identitytoken":null}"#;
        assert_eq!(
            Credentials::from_header(&base64::encode(text.as_bytes())),
            Some(user("u", "p"))
        );
        let all = format!(r#"{{"r.test":{text},"other.test":null}}"#);
        let all = Credentials::from_config_header(&base64::encode(all.as_bytes()));
        assert_eq!(all, BTreeMap::from([("r.test".to_owned(), user("u", "p"))]));
    }

    #[test]
    fn the_header_goes_there_and_back() {
        let credentials = Credentials { registry_token: Some("t".into()), ..user("ü", "p>?p") };
        let header = credentials.to_header("r.test");
        assert!(!header.contains(['+', '/']));
        assert_eq!(Credentials::from_header(&header), Some(credentials));
        for empty in ["", "e30=", "e30", "bnVsbA==", "!", "FOO", "eyJ1c2VybmFtZSI6"] {
            assert_eq!(Credentials::from_header(empty), None, "{empty}");
        }
        assert_eq!(format!("{:?}", user("name", "secret")), "Credentials");
    }
}
