//! One registry: where it is, who we are to it, and how a request gets its answer through
//! challenges, redirections and outages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, LOCATION};
use hyper::{Method, Response, StatusCode};
use tokio::sync::OnceCell;

use crate::auth::{Auth, Scope, WRONG_PASSWORD};
use crate::credentials::Credentials;
use crate::error::{Error, Refused};
use crate::hosts_toml::{Can, Host, ROOT};
use crate::http::{Body, Http};
use crate::refused::refused;
use crate::repository::Repository;
use crate::settings::Settings;
use crate::url::{Origin, Scheme, Url};

/// Where a registry says that it is one, and who we are to it.
const ROOT_PATH: &str = "/v2/";

/// Where Docker's own registry is.
const HUB: &str = "registry-1.docker.io";
/// No sane answer is further away.
pub(crate) const MAX_REDIRECTS: usize = 10;
/// A challenge is met once with nothing known, and once more for a token that has just expired.
const MAX_CHALLENGES: usize = 2;
/// How often a host is tried where others can be asked.
const MIRROR_ATTEMPTS: u32 = 2;

/// A registry, and who we are to it.
pub struct Registry {
    pub(crate) http: Arc<Http>,
    /// As references name it.
    domain: String,
    host: String,
    /// The path of its API, `/v2` of most.
    root: String,
    /// Whose images are asked for, where that is to be said.
    namespace: Option<String>,
    /// Where it is, if that was said.
    address: Option<Origin>,
    pub(crate) can: Can,
    is_itself: bool,
    /// Others can be asked in its place.
    has_others: bool,
    auth: Auth,
    /// Found out with the first request.
    origin: OnceCell<Origin>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({self})")
    }
}

/// `HOST[:PORT]`, with the scheme where it was named with one.
impl std::fmt::Display for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Some(address) => {
                write!(f, "{address}{}", self.root.strip_suffix(ROOT).unwrap_or(&self.root))
            }
            None => f.write_str(&self.host),
        }
    }
}

/// What is asked of a registry.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    pub(crate) headers: HeaderMap,
    pub(crate) scopes: &'a [Scope],
    /// Makes the body, each time that the request is sent.
    pub(crate) body: &'a (dyn Fn() -> Body + Send + Sync),
    /// How often it is tried in all.
    pub(crate) attempts: u32,
    /// How long the answer may take.
    pub(crate) patience: Duration,
}

/// Where to.
pub(crate) enum Target<'a> {
    /// A path at the registry.
    Path(&'a str),
    /// Where the registry said.
    Url(&'a Url),
    /// Somebody else's, who gets nothing but the question.
    Foreign(&'a Url),
}

/// An answer that is no error, and who gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) url: Url,
}

impl Registry {
    /// The registry that references call `domain`, itself. Nothing is sent yet.
    pub fn new(settings: Settings, domain: &str, credentials: Option<Credentials>) -> Self {
        Self::over(settings, domain, Host::itself(), credentials)
    }

    /// One of the hosts that may be asked for images of `domain`. It gets the credentials only if it
    /// is the registry itself.
    pub(crate) fn over(
        settings: Settings,
        domain: &str,
        host: Host,
        credentials: Option<Credentials>,
    ) -> Self {
        let Host { url, can, own, names_registry } = host;
        let itself = if domain == reference::DEFAULT_DOMAIN { HUB } else { domain };
        let authority = url.as_ref().map_or(itself.to_owned(), |url| url.origin.authority());
        let is_itself = authority == itself || authority == domain;
        let origins = match &url {
            // One that has TLS may also be asked with it.
            Some(url) => {
                vec![url.origin.clone(), Origin { scheme: Scheme::Https, ..url.origin.clone() }]
            }
            None => [Scheme::Https, Scheme::Http]
                .into_iter()
                .filter_map(|scheme| Origin::of(scheme, itself).ok())
                .collect(),
        };
        Self {
            http: Http::new(settings, own, origins),
            domain: domain.to_owned(),
            host: authority,
            root: url.as_ref().map_or(ROOT.into(), |url| url.path.clone()),
            namespace: (names_registry && !is_itself).then(|| domain.to_owned()),
            address: url.map(|url| url.origin),
            can,
            auth: Auth::new(domain, credentials.filter(|_| is_itself)),
            is_itself,
            has_others: false,
            origin: OnceCell::new(),
        }
    }

    /// The same, where others can be asked in its place: then it is not waited for as long.
    pub(crate) fn with_others(self) -> Self {
        Self { has_others: true, ..self }
    }

    /// How often a request is tried in all.
    pub(crate) fn attempts(&self) -> u32 {
        let attempts = self.http.settings.retry.attempts;
        if self.has_others { attempts.min(MIRROR_ATTEMPTS) } else { attempts }
    }

    /// What a repository is called in the scope of a token: a host whose API is below a path has it
    /// below that path.
    pub(crate) fn scoped(&self, path: &str) -> String {
        match self.root.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/')) {
            Some(above) => format!("{above}/{path}"),
            None => path.to_owned(),
        }
    }

    /// Whether it is the registry that references name, and no other host that is asked for it.
    pub fn is_itself(&self) -> bool {
        self.is_itself
    }

    /// As references name it.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// One of its repositories.
    pub fn repository<'a>(&'a self, path: &'a str) -> Repository<'a> {
        Repository { registry: self, path }
    }

    /// Asks for nothing but to be let in: whether the credentials are good. An identity token to be
    /// used in place of the password, where the token server gives one.
    pub async fn log_in(&self) -> Result<Option<String>, Error> {
        self.auth.want_identity().await;
        let call = Call {
            method: Method::GET,
            target: Target::Path(ROOT_PATH),
            headers: HeaderMap::new(),
            scopes: &[],
            body: &Body::empty,
            attempts: self.attempts(),
            patience: self.http.settings.retry.silence,
        };
        match self.call(&call).await {
            Ok(_) => Ok(self.auth.identity().await),
            // Docker's words; what a token server says is told as it is.
            Err(Error::Refused(mut refused))
                if refused.status == 401 && refused.message != WRONG_PASSWORD =>
            {
                let url = self.url_of(self.origin().await?, ROOT_PATH);
                refused.code.clear();
                refused.message =
                    format!("login attempt to {url} failed with status: 401 Unauthorized");
                Err(refused.into())
            }
            Err(error) => Err(error),
        }
    }

    /// With TLS; an insecure one without, where it has none.
    pub(crate) async fn origin(&self) -> Result<&Origin, Error> {
        let find = || async {
            if let Some(address) = &self.address {
                return Ok(self.origin_of(address).await);
            }
            let config = |source: crate::url::BadUrl| Error::Location {
                what: format!("the registry {}", self.host),
                source,
            };
            let https = Origin::of(Scheme::Https, &self.host).map_err(config)?;
            let http = Origin::of(Scheme::Http, &self.host).map_err(config)?;
            let settings = &self.http.settings;
            if !settings.is_insecure(&https) {
                return Ok(https);
            }
            let has_authority =
                settings.has_authority(&https) || !self.http.own.authorities.is_empty();
            let has_tls = self.http.has_tls(&https).await;
            match has_tls {
                _ if has_authority => Ok(https),
                Ok(true) => Ok(https),
                Ok(false) => Ok(http),
                // Port 443 may be closed where 80 is not.
                Err(_) if https.port != http.port => Ok(http),
                Err(source) => {
                    let url = https.url(ROOT_PATH).to_string();
                    Err(Error::Request { method: Method::GET, url, source })
                }
            }
        };
        self.origin.get_or_try_init(find).await
    }

    /// A host that was named with its scheme. One without TLS of which something is said about TLS
    /// may have it all the same, as containerd reads it.
    async fn origin_of(&self, address: &Origin) -> Origin {
        let https = Origin { scheme: Scheme::Https, ..address.clone() };
        let is_doubtful =
            address.scheme == Scheme::Http && address.port != 80 && self.http.own.has_tls();
        if is_doubtful && matches!(self.http.has_tls(&https).await, Ok(true)) {
            return https;
        }
        address.clone()
    }

    /// The address of a path of the API, which is given with `/v2`; one without it is of the host's
    /// own.
    fn url_of(&self, origin: &Origin, path: &str) -> Url {
        let url = match path.strip_prefix(ROOT) {
            Some(below) => origin.url(format!("{}{below}", self.root)),
            None => return origin.url(path.to_owned()),
        };
        match &self.namespace {
            Some(namespace) => url.with("ns", namespace),
            None => url,
        }
    }

    /// Sends a request until there is an answer that is no passing error.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let retry = &self.http.settings.retry;
        let mut attempt = 1;
        loop {
            let result = self.call_once(call).await;
            let is_last = attempt >= call.attempts;
            let pause = match &result {
                Err(Error::Request { source, .. }) if source.is_passing() => retry.pause(attempt),
                Err(Error::Refused(refused)) => match pause_of(refused, retry.longest) {
                    Some(Wait::For(pause)) => pause,
                    Some(Wait::BackOff) => retry.pause(attempt),
                    None => return result,
                },
                _ => return result,
            };
            if is_last {
                return result;
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn call_once(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let origin = self.origin().await?;
        let mut url = match call.target {
            Target::Path(path) => self.url_of(origin, path),
            Target::Url(url) | Target::Foreign(url) => url.clone(),
        };
        let is_foreign = matches!(call.target, Target::Foreign(_));
        let mut n_challenges = 0;
        let mut n_redirects = 0;
        loop {
            // Credentials are for the registry: whoever it sends us to does not get them.
            let is_registry = url.origin == *origin && !is_foreign;
            let mut headers = call.headers.clone();
            if is_registry {
                for (name, value) in &self.http.own.headers {
                    headers.append(name, value.clone());
                }
            }
            let authorization = if is_registry {
                self.auth.header(&self.http, origin, call.scopes).await?
            } else {
                None
            };
            if let Some(value) = &authorization {
                headers.insert(AUTHORIZATION, value.clone());
            }
            let sent = self.http.send(&call.method, &url, &headers, (call.body)(), call.patience);
            let response = sent.await.map_err(|source| Error::Request {
                method: call.method.clone(),
                url: url.to_string(),
                source,
            })?;
            let status = response.status();
            if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Ok(Answer { response, url });
            }
            if is_redirect(&call.method, status) {
                n_redirects += 1;
                if n_redirects > MAX_REDIRECTS {
                    return Err(Error::Redirects(url.to_string()));
                }
                url = redirected(&url, response.headers())?;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && is_registry && n_challenges < MAX_CHALLENGES {
                n_challenges += 1;
                let used = authorization.as_ref();
                if self.auth.learn(origin, response.headers(), call.scopes, used).await? {
                    continue;
                }
            }
            let refused = refused(response, &self.http.settings.retry).await;
            let has_token =
                authorization.is_some_and(|value| value.as_bytes().starts_with(b"Bearer"));
            return Err(denied(refused, has_token).into());
        }
    }
}

/// A registry that knows who we are, and still wants to know who we are, means no (as Docker's
/// client reads it).
fn denied(mut refused: Refused, has_token: bool) -> Refused {
    if refused.status == 401 && has_token {
        refused.code = "DENIED".into();
        refused.message = "requested access to the resource is denied".into();
    } else if refused.status == 401 && refused.code.is_empty() {
        refused.code = "UNAUTHORIZED".into();
        refused.message = "authentication required".into();
    }
    refused
}

pub(crate) fn is_redirect(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        301..=303 => *method == Method::GET || *method == Method::HEAD,
        _ => false,
    }
}

pub(crate) fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url, Error> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let to = from.join(location).map_err(|source| Error::Location {
        what: format!("the redirection of \"{from}\""),
        source,
    })?;
    if from.origin.scheme == Scheme::Https && to.origin.scheme == Scheme::Http {
        return Err(Error::Downgrade { from: from.to_string(), to: to.to_string() });
    }
    Ok(to)
}

/// How long to wait for a registry that says no for now.
enum Wait {
    For(Duration),
    BackOff,
}

/// `None` where waiting does not help: it says no for good, or for longer than we wait.
fn pause_of(refused: &Refused, longest: Duration) -> Option<Wait> {
    match (refused.status, refused.retry_after) {
        (429 | 503, Some(pause)) => (pause <= longest).then_some(Wait::For(pause)),
        (408 | 500 | 502..=504, _) => Some(Wait::BackOff),
        _ => None,
    }
}

/// A body of these bytes.
pub(crate) fn body_of(bytes: &Bytes) -> impl Fn() -> Body + Send + Sync + use<> {
    let bytes = bytes.clone();
    move || Body::Whole(bytes.clone())
}
