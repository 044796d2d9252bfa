//! Proving who we are: names and passwords to the registry itself, tokens from where it says.
//!
//! What is secret is bound to the registry's own origin. Nothing here is ever sent anywhere else,
//! except a name and password to the registry's token server, and to that only if it is part of
//! the registry ([`is_part_of`]) or was allowed by the person who runs this machine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::challenge::{Challenge, challenges};
use crate::credentials::Credentials;
use crate::error::{Error, Refused};
use crate::http::{Body, BodyError, Http, collect};
use crate::refused::refused;
use crate::url::{Origin, Scheme, Url, encode};

/// What token servers call us.
const CLIENT: &str = "dhow";
/// A token is not longer.
const MAX_TOKEN: usize = 1 << 20;
/// How long a token is good for, where its server does not say (token.md).
const LIFE: Duration = Duration::from_mins(1);
/// A token is not used in its last moments.
const MARGIN: Duration = Duration::from_secs(5);

/// What is to be done to a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scope {
    pub(crate) repository: String,
    pub(crate) push: bool,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let actions = if self.push { "pull,push" } else { "pull" };
        write!(f, "repository:{}:{actions}", self.repository)
    }
}

/// Who we are to one registry.
pub(crate) struct Auth {
    /// The registry as people call it.
    host: String,
    credentials: Option<Credentials>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    wanted: Wanted,
    /// Whether a token server is asked for an identity token, and what it gave.
    wants_identity: bool,
    identity: Option<String>,
    tokens: HashMap<Vec<Scope>, Token>,
}

/// What the registry asks for.
#[derive(Clone, Default)]
enum Wanted {
    /// Nothing, so far.
    #[default]
    Nothing,
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
    },
}

struct Token {
    header: HeaderValue,
    until: Instant,
    identity: Option<String>,
}

/// What a token server is asked for.
struct Asked<'a> {
    realm: &'a Url,
    service: Option<&'a str>,
    scopes: &'a [Scope],
    wants_identity: bool,
}

impl Auth {
    pub(crate) fn new(host: &str, credentials: Option<Credentials>) -> Self {
        Self { host: host.to_owned(), credentials, state: Mutex::default() }
    }

    /// Asks for an identity token with the next token (`offline_token`).
    pub(crate) async fn want_identity(&self) {
        self.state.lock().await.wants_identity = true;
    }

    /// What was given then.
    pub(crate) async fn identity(&self) -> Option<String> {
        self.state.lock().await.identity.clone()
    }

    /// The `Authorization` for a request to the registry, as far as it is known what it wants.
    pub(crate) async fn header(
        &self,
        http: &Http,
        registry: &Origin,
        scopes: &[Scope],
    ) -> Result<Option<HeaderValue>, Error> {
        if let Some(token) = self.credentials.as_ref().and_then(|one| one.registry_token.as_ref()) {
            return Ok(Some(secret(&format!("Bearer {token}"))?));
        }
        // Held while a token is fetched, so that many layers fetch one token.
        let mut state = self.state.lock().await;
        match state.wanted.clone() {
            Wanted::Nothing => Ok(None),
            Wanted::Basic => self.credentials.as_ref().map(Credentials::basic).transpose(),
            Wanted::Bearer { realm, service } => {
                let known = state.tokens.get(scopes).filter(|token| token.until > Instant::now());
                if let Some(known) = known {
                    return Ok(Some(known.header.clone()));
                }
                let asked = Asked {
                    realm: &realm,
                    service: service.as_deref(),
                    scopes,
                    wants_identity: state.wants_identity,
                };
                let token = self.fetch(http, registry, &asked).await?;
                let header = token.header.clone();
                state.identity.clone_from(&token.identity);
                state.tokens.insert(scopes.to_vec(), token);
                Ok(Some(header))
            }
        }
    }

    /// Learns from a `401` to a request with this `Authorization`. Whether it is worth trying again.
    pub(crate) async fn learn(
        &self,
        registry: &Origin,
        answer: &HeaderMap,
        scopes: &[Scope],
        used: Option<&HeaderValue>,
    ) -> Result<bool, Error> {
        if self.credentials.as_ref().is_some_and(|one| one.registry_token.is_some()) {
            return Ok(false);
        }
        let mut state = self.state.lock().await;
        let offered = challenges(answer);
        let bearer = offered.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, error, .. } => Some((realm, service, error)),
            Challenge::Basic => None,
        });
        if let Some((realm, service, error)) = bearer {
            let parsed = Url::parse(realm).map_err(|source| Error::Location {
                what: format!("the token server of {}", self.host),
                source,
            })?;
            if !is_allowed(registry, &parsed) {
                let (host, realm) = (self.host.clone(), parsed.origin.to_string());
                return Err(Error::UnsafeTokenServer { host, realm });
            }
            let stale = state.tokens.get(scopes).is_some_and(|token| Some(&token.header) == used);
            if stale {
                state.tokens.remove(scopes);
            }
            // A token that is good, but not for this, will be the same the next time.
            let is_denied = stale && error.as_deref() == Some("insufficient_scope");
            state.wanted = Wanted::Bearer { realm: parsed, service: service.clone() };
            return Ok(!is_denied);
        }
        if offered.contains(&Challenge::Basic) {
            if self.credentials.is_none() {
                return Err(Error::NoCredentials { host: self.host.clone() });
            }
            state.wanted = Wanted::Basic;
            // Of requests that are on their way at once each is told by itself.
            return Ok(used.is_none());
        }
        Ok(false)
    }

    async fn fetch(
        &self,
        http: &Http,
        registry: &Origin,
        asked: &Asked<'_>,
    ) -> Result<Token, Error> {
        let realm = asked.realm;
        if self.credentials.is_some() && !is_part_of(registry, &realm.origin) {
            let allowed = &http.settings.token_servers;
            if !allowed.iter().any(|host| host.eq_ignore_ascii_case(&realm.origin.authority())) {
                return Err(Error::ForeignTokenServer {
                    host: self.host.clone(),
                    realm: realm.origin.to_string(),
                });
            }
        }
        let now = Instant::now();
        let bytes = self.ask(http, asked).await?;
        let no_token = || Error::NoToken { realm: realm.to_string() };
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| no_token())?;
        let tokens = [answer.token, answer.access_token];
        let token = tokens.into_iter().flatten().find(|token| !token.is_empty());
        let life = answer.expires_in.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let until = now.checked_add(life.unwrap_or(LIFE).saturating_sub(MARGIN));
        Ok(Token {
            header: secret(&format!("Bearer {}", token.ok_or_else(no_token)?))?,
            until: until.unwrap_or(now),
            identity: answer.refresh_token.filter(|token| !token.is_empty()),
        })
    }

    /// Asks the token server (token.md; oauth.md for one who has an identity token).
    async fn ask(&self, http: &Http, asked: &Asked<'_>) -> Result<bytes::Bytes, Error> {
        let Asked { realm, service, scopes, wants_identity } = *asked;
        let identity = self.credentials.as_ref().and_then(|one| one.identity_token.as_ref());
        let mut headers = HeaderMap::new();
        let mut url = realm.clone();
        let mut form = None;
        if let Some(token) = identity {
            let scope: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            let pairs = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or_default()),
                ("client_id", CLIENT),
                ("scope", &scope.join(" ")),
                ("refresh_token", token),
            ];
            let pairs = pairs.map(|(key, value)| format!("{key}={}", encode(value)));
            form = Some(bytes::Bytes::from(pairs.join("&")));
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, kind);
        } else {
            if let Some(service) = service {
                url = url.with("service", service);
            }
            for scope in scopes {
                url = url.with("scope", &scope.to_string());
            }
            if let Some(credentials) = &self.credentials {
                url = url.with("client_id", CLIENT).with("account", &credentials.username);
                if wants_identity {
                    url = url.with("offline_token", "true");
                }
                headers.insert(AUTHORIZATION, credentials.basic()?);
            }
        }
        let method = if form.is_some() { Method::POST } else { Method::GET };
        let retry = &http.settings.retry;
        let mut attempt = 1;
        let response = loop {
            let body = Body::Whole(form.clone().unwrap_or_default());
            match http.send(&method, &url, &headers, body, retry.silence).await {
                Ok(response)
                    if !matches!(response.status().as_u16(), 500..)
                        || attempt == http.settings.retry.attempts =>
                {
                    break response;
                }
                Err(source) if !source.is_passing() || attempt == http.settings.retry.attempts => {
                    return Err(Error::Request { method, url: url.to_string(), source });
                }
                Ok(_) | Err(_) => tokio::time::sleep(http.settings.retry.pause(attempt)).await,
            }
            attempt += 1;
        };
        if response.status() != StatusCode::OK {
            return Err(self.refusal(refused(response, retry).await).into());
        }
        collect(response, MAX_TOKEN, retry).await.map_err(|error| match error {
            BodyError::Transport(source) => Error::Request { method, url: url.to_string(), source },
            BodyError::TooLarge(max) => {
                let why = format!("a token of more than {max} bytes");
                Error::Protocol { url: url.to_string(), why }
            }
        })
    }

    /// A wrong password is nothing that the registry's own words would explain.
    fn refusal(&self, mut said: Refused) -> Refused {
        if said.status == 401 && self.credentials.is_some() {
            said.code = "UNAUTHORIZED".into();
            said.message = WRONG_PASSWORD.into();
        }
        said
    }
}

/// What a token server means that does not let us in.
pub(crate) const WRONG_PASSWORD: &str = "incorrect username or password";

/// A token server's answer.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

/// A header that no log shows.
pub(crate) fn secret(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Config {
        what: "credentials".into(),
        why: "they hold characters that no header may".into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a token server may be asked at all: with TLS, unless the registry itself has none; and
/// by name, unless the registry has the same address. A registry could otherwise have us look
/// around in networks that it cannot see.
fn is_allowed(registry: &Origin, realm: &Url) -> bool {
    let realm = &realm.origin;
    let is_private = realm.scheme == Scheme::Https || registry.scheme == Scheme::Http;
    let is_same = realm.host == registry.host;
    (is_private || (is_same && realm.is_loopback())) && (is_same || realm.ip().is_none())
}

/// Whether a token server is part of a registry: the same host, or in the domain of the registry's
/// host, which is what follows its first label (`docker.io` of `registry-1.docker.io`); a domain of
/// two labels stands for itself.
fn is_part_of(registry: &Origin, realm: &Origin) -> bool {
    if registry.host == realm.host {
        return true;
    }
    if registry.ip().is_some() || realm.ip().is_some() {
        return false;
    }
    let domain = match registry.host.split_once('.') {
        Some((_, rest)) if rest.contains('.') => rest,
        _ => registry.host.as_str(),
    };
    let below = realm.host.strip_suffix(domain);
    below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) && domain.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_token_servers_get_credentials() {
        let part = |registry, realm| {
            let registry = Origin::of(Scheme::Https, registry).unwrap();
            is_part_of(&registry, &Origin::of(Scheme::Https, realm).unwrap())
        };
        for (registry, realm) in [
            ("registry-1.docker.io", "auth.docker.io"),
            ("ghcr.io", "ghcr.io"),
            ("quay.io", "auth.quay.io"),
            ("registry.gitlab.com", "gitlab.com"),
            ("docker.elastic.co", "docker-auth.elastic.co"),
            ("localhost:5000", "localhost:5001"),
            ("10.0.0.1:5000", "10.0.0.1:5001"),
        ] {
            assert!(part(registry, realm), "{registry} {realm}");
        }
        for (registry, realm) in [
            ("registry-1.docker.io", "auth.evil.io"),
            ("registry-1.docker.io", "evildocker.io"),
            ("ghcr.io", "quay.io"),
            ("ghcr.io", "evilghcr.io"),
            ("registry", "evil"),
            ("registry.io", "io"),
            ("10.0.0.1", "10.0.0.2"),
            ("127.0.0.1:5000", "127.0.0.2:5000"),
            ("registry.test", "169.254.169.254"),
        ] {
            assert!(!part(registry, realm), "{registry} {realm}");
        }
    }

    #[test]
    fn which_token_servers_are_asked_at_all() {
        let allowed = |scheme, registry, realm| {
            let registry = Origin::of(scheme, registry).unwrap();
            is_allowed(&registry, &Url::parse(realm).unwrap())
        };
        for (scheme, registry, realm, want) in [
            (Scheme::Https, "r.test", "https://auth.test/t", true),
            (Scheme::Https, "r.test", "http://r.test/t", false),
            (Scheme::Https, "r.test", "https://169.254.169.254/t", false),
            (Scheme::Https, "10.0.0.1", "https://10.0.0.1:5001/t", true),
            (Scheme::Http, "r.test", "http://auth.test/t", true),
            (Scheme::Http, "r.test", "http://169.254.169.254/t", false),
            (Scheme::Http, "127.0.0.1:5000", "http://127.0.0.1:5001/t", true),
        ] {
            assert_eq!(allowed(scheme, registry, realm), want, "{registry} {realm}");
        }
    }

    #[test]
    fn scopes() {
        let mut scope = Scope { repository: "library/debian".into(), push: false };
        assert_eq!(scope.to_string(), "repository:library/debian:pull");
        scope.push = true;
        assert_eq!(scope.to_string(), "repository:library/debian:pull,push");
    }
}
