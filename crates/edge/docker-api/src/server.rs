//! From a request to its handler, and the headers that every answer has.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use docker::ErrorResponse;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, SERVER},
};

use crate::{
    Api,
    call::{Call, Reply, blocking, empty},
    error::Error,
    http::{
        body::{ReplyBody, drain},
        connection::{Answer, Service},
        query::{Query, decode},
    },
    pages::Pages,
    routes::{ROUTES, not_built},
    scope::{Allowed, Scope},
    version::Version,
};

/// What a route leads to.
pub(crate) type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Reply> + Send>>;

/// The API of one engine.
pub(crate) struct Server {
    pub(crate) api: Api,
    /// Where less than all is allowed.
    pub(crate) scope: Option<Arc<Scope>>,
    /// Which web pages are kept out.
    pub(crate) kept_out: Pages,
}

impl Service for Server {
    async fn call(&self, request: Request<Incoming>) -> Answer {
        let mut answer = match self.answer(request).await {
            Ok(answer) => answer,
            Err(err) => error(&err),
        };
        match &mut answer {
            Answer::Reply(response) => sign(response.headers_mut()),
            Answer::TakeOver(head, _) => sign(head.headers_mut()),
        }
        answer
    }
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        if self.kept_out.keep_out(request.headers()) {
            tokio::spawn(drain(request.into_body()));
            return Err(Error::forbidden("web pages may not use this address"));
        }
        // Names may be escaped, slashes too: routes match what is meant.
        let path = decode(request.uri().path(), false);
        let (version, path) = Version::strip(&path);
        if request.method() == Method::OPTIONS {
            Version::of(version)?;
            return empty(StatusCode::OK);
        }
        let Some((handler, id)) = ROUTES.find(request.method(), path) else {
            // As in `dockerd`, a path that there is not has no version that is wrong.
            let Some(missing) = not_built(request.method(), path) else {
                let missing = cleaned(&request).ok_or_else(Error::page_not_found);
                tokio::spawn(drain(request.into_body()));
                return missing;
            };
            let version = Version::of(version);
            // What of the body nobody reads goes with it.
            let mut call = Call::new(&self.api, Version::NEWEST, String::new(), request);
            return Err(match version {
                Ok(_) => missing.why(&mut call).await,
                Err(err) => err,
            });
        };
        let version = Version::of(version)?;
        let id = id.to_owned();
        if !UNASKED.contains(&path)
            && let Some(complaint) = request.uri().query().and_then(Query::complaint)
        {
            tokio::spawn(drain(request.into_body()));
            return Err(Error::invalid(complaint));
        }
        let allowed = match &self.scope {
            None => Allowed::AsItIs,
            Some(scope) => {
                let pattern = ROUTES.pattern(request.method(), path).unwrap_or_default();
                let (scope, engine) = (Arc::clone(scope), Arc::clone(&self.api.engine));
                let (method, id) = (request.method().clone(), id.clone());
                match blocking(move || scope.check(&engine, &method, pattern, &id)).await {
                    Ok(allowed) => allowed,
                    Err(refused) => {
                        tokio::spawn(drain(request.into_body()));
                        return Err(refused);
                    }
                }
            }
        };
        let mut call = Call::new(&self.api, version, id, request);
        match allowed {
            Allowed::AsItIs => {}
            Allowed::Of(id) => call.id = id,
            Allowed::Filtered(more) => {
                let filters = more.over(call.query.text("filters"))?;
                call.query.set("filters", filters);
            }
        }
        handler(call).await
    }
}

/// What answers without a look at the query.
const UNASKED: &[&str] = &["/_ping", "/version", "/info"];

/// Where a path without empty, `.` and `..` parts is to be asked for, as Go's routers answer one with them.
fn cleaned(request: &Request<Incoming>) -> Option<Answer> {
    let path = request.uri().path();
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    // Browsers take a backslash for a slash, and what two of them begin for another host.
    if clean == path || clean.contains('\\') {
        return None;
    }
    if let Some(query) = request.uri().query() {
        clean = format!("{clean}?{query}");
    }
    let mut response = Response::new(ReplyBody::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&clean).ok()?);
    Some(Answer::Reply(response))
}

fn error(err: &Error) -> Answer {
    if err.status == StatusCode::NOT_MODIFIED {
        let mut response = Response::new(ReplyBody::Whole(Bytes::new()));
        *response.status_mut() = err.status;
        return Answer::Reply(response);
    }
    let body = ErrorResponse { message: err.message.clone() };
    // A struct of one string cannot fail to be written.
    let mut body = serde_json::to_vec(&body).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(ReplyBody::Whole(Bytes::from(body)));
    *response.status_mut() = err.status;
    if err.plain {
        *response.body_mut() = ReplyBody::Whole(format!("{}\n", err.message).into());
    }
    let kind = if err.plain { "text/plain; charset=utf-8" } else { "application/json" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Answer::Reply(response)
}

/// What clients look at to tell which engine, and which API, they talk to.
fn sign(headers: &mut HeaderMap) {
    headers.insert("Api-Version", HeaderValue::from_static(docker::API_VERSION));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(
        SERVER,
        HeaderValue::from_static(concat!("dhow/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
}
