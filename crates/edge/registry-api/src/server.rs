//! From a request to its answer: who may, and which endpoint.

use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, ORIGIN, SERVER};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use images::Images;
use oci::Digest;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::body::{ReplyBody, drain};
use crate::error::{Code, Error};
use crate::htpasswd::Htpasswd;
use crate::names::{Names, Place};
use crate::query::{Query, decode};
use crate::route::Route;
use crate::uploads::Uploads;

/// No more manifests come at a time: each is held in memory.
const BODIES: usize = 64;
/// No more manifests are taken in at a time: each may be unpacked to an image.
const MANIFESTS: usize = 4;

/// What a handler answers.
pub(crate) type Reply = Result<Response<ReplyBody>, Error>;

/// A registry.
pub(crate) struct Server {
    pub(crate) images: Arc<Images>,
    pub(crate) names: Names,
    /// Whether anything may be pushed or deleted.
    pub(crate) is_writable: bool,
    /// Whether it listens for this machine only. Then a web page must not reach it through a
    /// browser, by a name of its own that means this machine.
    pub(crate) is_local: bool,
    pub(crate) htpasswd: Option<Arc<Htpasswd>>,
    pub(crate) uploads: Uploads,
    pub(crate) bodies: Semaphore,
    pub(crate) turns: Semaphore,
}

/// A request, taken apart.
pub(crate) struct Call<'r> {
    pub(crate) server: &'r Arc<Server>,
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) query: &'r Query,
    pub(crate) body: &'r mut Option<Incoming>,
}

impl Server {
    pub(crate) fn new(
        images: Arc<Images>,
        names: Names,
        is_writable: bool,
        is_local: bool,
        htpasswd: Option<Htpasswd>,
    ) -> Self {
        Self {
            images,
            names,
            is_writable,
            is_local,
            htpasswd: htpasswd.map(Arc::new),
            uploads: Uploads::default(),
            bodies: Semaphore::new(BODIES),
            turns: Semaphore::new(MANIFESTS),
        }
    }

    /// Answers one request. Errors are answers, too.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Response<ReplyBody> {
        let (head, body) = request.into_parts();
        let mut body = Some(body);
        let mut response = self.dispatch(&head, &mut body).await.unwrap_or_else(Error::response);
        if let Some(body) = body.filter(|body| !body.is_end_stream()) {
            tokio::spawn(drain(body));
        }
        let headers = response.headers_mut();
        let fixed = [
            (HeaderName::from_static("docker-distribution-api-version"), "registry/2.0"),
            (HeaderName::from_static("x-content-type-options"), "nosniff"),
            (SERVER, concat!("dhow/", env!("CARGO_PKG_VERSION"), " (linux)")),
        ];
        headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }

    async fn dispatch(self: &Arc<Self>, head: &Parts, body: &mut Option<Incoming>) -> Reply {
        self.admit(head)?;
        if let Some(htpasswd) = &self.htpasswd {
            htpasswd.check(&head.headers).await?;
        }
        let path = decode(head.uri.path(), false);
        let path = path.ok_or_else(|| Error::new(Code::NameInvalid, "the path is not UTF-8"))?;
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let Some(route) = Route::find(&path) else {
            return Err(Error::new(Code::NameUnknown, "there is nothing at this path"));
        };
        let (method, headers) = (&head.method, &head.headers);
        let mut call = Call { server: self, method, headers, query: &query, body };
        match (route, method.as_str()) {
            (Route::Base, "GET" | "HEAD") => Ok(json("{}")),
            (Route::Catalog, "GET") => call.catalog().await,
            (Route::Tags(name), "GET") => call.tags(name).await,
            (Route::Referrers(name, digest), "GET") => call.referrers(name, digest).await,
            (Route::Manifest(name, key), "GET" | "HEAD") => call.manifest(name, key).await,
            (Route::Manifest(name, key), "PUT") => call.put_manifest(name, key).await,
            (Route::Manifest(name, key), "DELETE") => call.delete_manifest(name, key).await,
            (Route::Blob(name, digest), "GET" | "HEAD") => call.blob(name, digest).await,
            (Route::Blob(name, digest), "DELETE") => call.delete_blob(name, digest).await,
            (Route::Uploads(name), "POST") => call.start_upload(name).await,
            (Route::Upload(name, id), "GET") => call.upload_status(name, id),
            (Route::Upload(name, id), "PATCH") => call.patch_upload(name, id).await,
            (Route::Upload(name, id), "PUT") => call.finish_upload(name, id).await,
            (Route::Upload(name, id), "DELETE") => call.cancel_upload(name, id),
            (route, _) => {
                let why = format!("{method} is not for this path");
                Err(Error::new(Code::Unsupported, why).with(ALLOW, allowed(&route)))
            }
        }
    }

    /// Keeps web pages out, which a browser lets send requests to anyone: no client of registries
    /// is a browser.
    fn admit(&self, head: &Parts) -> Result<(), Error> {
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        if !is_read && head.headers.contains_key(ORIGIN) {
            return Err(Error::new(Code::Denied, "web pages may change nothing here"));
        }
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        if self.is_local && host.is_some_and(|host| !self.is_our_name(host)) {
            let why = "this registry is for its own machine, and not called so: see --name";
            return Err(Error::new(Code::Denied, why));
        }
        Ok(())
    }

    /// Whether a `Host` is an address, or a name that means this machine to everybody.
    fn is_our_name(&self, host: &str) -> bool {
        let without_port = |text: &str| match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host.to_ascii_lowercase(),
            _ => text.to_ascii_lowercase(),
        };
        let host = without_port(host);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host.ends_with(".localhost")
            || address.parse::<std::net::IpAddr>().is_ok()
            || host == without_port(self.names.own())
    }
}

impl Call<'_> {
    /// What a repository is to the engine.
    pub(crate) fn place(&self, name: &str) -> Result<Place, Error> {
        let place = self.server.names.place(name, self.query.get("ns"));
        place.ok_or_else(|| Error::new(Code::NameInvalid, "invalid repository name"))
    }

    /// The same, for one that is to be changed.
    pub(crate) fn own_place(&self, name: &str) -> Result<Place, Error> {
        let place = self.place(name)?;
        if !self.server.is_writable {
            return Err(Error::new(Code::Unsupported, "the registry is read-only"));
        }
        if !place.is_own {
            let why = format!(
                "{} is an image of another registry: it can only be read here",
                place.repository
            );
            return Err(Error::new(Code::Denied, why));
        }
        Ok(place)
    }

    /// A header, if it is there and text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How many bytes the body is said to have.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.parse().ok()
    }

    /// Asks the images, where that may block.
    pub(crate) async fn images<T, E, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Into<Error> + Send + 'static,
        F: FnOnce(&Images) -> Result<T, E> + Send + 'static,
    {
        let images = Arc::clone(&self.server.images);
        match spawn_blocking(move || work(&images)).await {
            Ok(done) => done.map_err(Into::into),
            Err(lost) => Err(Error::internal(&lost)),
        }
    }
}

/// A digest that a client gave.
pub(crate) fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error: oci::digest::ParseError| {
        Error::new(Code::DigestInvalid, error.to_string())
    })
}

/// An answer with these headers. Their values are ours, or were checked.
pub(crate) fn reply(
    status: StatusCode,
    headers: &[(HeaderName, &str)],
    body: ReplyBody,
) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

pub(crate) fn json(text: impl Into<String>) -> Response<ReplyBody> {
    let headers = [(hyper::header::CONTENT_TYPE, "application/json")];
    reply(StatusCode::OK, &headers, ReplyBody::Whole(text.into().into()))
}

fn allowed(route: &Route<'_>) -> &'static str {
    match route {
        Route::Base => "GET, HEAD",
        Route::Catalog | Route::Tags(_) | Route::Referrers(..) => "GET",
        Route::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Route::Blob(..) => "GET, HEAD, DELETE",
        Route::Uploads(_) => "POST",
        Route::Upload(..) => "GET, PATCH, PUT, DELETE",
    }
}
