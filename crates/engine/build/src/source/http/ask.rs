//! Asking a server for a file.

use std::sync::Arc;

use buildgraph::Http;
use registry::{WebFile, web_head, web_request};

use super::Known;
use crate::Error;
use crate::build::Shared;
use crate::frontend::BUILDKIT;

/// A file that is asked for, and by whom.
pub(super) struct Asking<'a> {
    build: &'a Arc<Shared>,
    http: &'a Http,
    url: &'a str,
    agent: String,
    authorization: Option<String>,
}

/// What a server says.
pub(super) enum Answer {
    /// The file is as it is known.
    Same(Known),
    /// The file.
    File(Box<WebFile>),
}

impl<'a> Asking<'a> {
    /// `url` has nothing of who asks; `user` is the header that stands for what it had of that.
    pub(super) async fn new(
        build: &'a Arc<Shared>,
        http: &'a Http,
        url: &'a str,
        user: Option<String>,
    ) -> Result<Self, Error> {
        let authorization = authorization(build, http, url).await?.or(user);
        // Servers that have something else for builders know BuildKit.
        let agent = format!("dhow/{} (linux) buildkit/{BUILDKIT}", env!("CARGO_PKG_VERSION"));
        Ok(Self { build, http, url, agent, authorization })
    }

    /// The file, where it is another one than is known.
    pub(super) async fn file(&self, known: Option<Known>) -> Result<Answer, Error> {
        if let Some(known) = &known
            && self.is_same(known).await
        {
            return Ok(Answer::Same(known.clone()));
        }
        let headers = self.headers(known.as_ref());
        let asked = web_request(self.build.builder.settings.clone(), self.url, &headers).await;
        let file = asked.map_err(|error| self.failed(&error))?;
        Ok(match known {
            Some(known) if file.is_unchanged() => Answer::Same(known),
            _ => Answer::File(Box::new(file)),
        })
    }

    /// Whether the server still calls the file as it is known: some tell, and send all of it all the same where they are
    /// asked for what has changed. Those that do not tell are asked for the file.
    async fn is_same(&self, known: &Known) -> bool {
        let Some(etag) = &known.etag else { return false };
        let headers = self.headers(Some(known));
        let asked = web_head(self.build.builder.settings.clone(), self.url, &headers).await;
        let Ok(answer) = asked else { return false };
        match answer.header("etag") {
            Some(now) => weak(now) == weak(etag),
            None => answer.is_unchanged(),
        }
    }

    fn headers<'h>(&'h self, known: Option<&'h Known>) -> Vec<(&'h str, &'h str)> {
        let mut headers = vec![("accept-encoding", "gzip")];
        for (usual, value) in [("accept", "*/*"), ("user-agent", self.agent.as_str())] {
            if !self.http.headers.iter().any(|(name, _)| name == usual) {
                headers.push((usual, value));
            }
        }
        let own = self.http.headers.iter();
        headers.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
        if let Some(authorization) = &self.authorization {
            headers.push(("authorization", authorization));
        }
        if let Some(known) = known {
            // The one is exact, the other is what some servers have.
            match (&known.etag, &known.modified) {
                (Some(etag), _) => headers.push(("if-none-match", etag)),
                (None, Some(modified)) => headers.push(("if-modified-since", modified)),
                (None, None) => {}
            }
        }
        headers
    }

    fn failed(&self, error: &registry::Error) -> Error {
        match error {
            registry::Error::Refused(refused) => {
                let shown = self.url.split(['?', '#']).next().unwrap_or_default();
                let why = format!("invalid response status {} from {shown}", refused.status);
                if refused.status == 404 { Error::NotFound(why) } else { Error::Invalid(why) }
            }
            other => Error::Invalid(docker::error::chain(other)),
        }
    }
}

/// What a server calls a file, whether it is the same to the byte or only says the same.
fn weak(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

/// What is said of who asks: a secret that the source names, or one of the client's for the server
/// (`HTTP_AUTH_HEADER_HOST`, `HTTP_AUTH_TOKEN_HOST`).
async fn authorization(
    build: &Arc<Shared>,
    http: &Http,
    url: &str,
) -> Result<Option<String>, Error> {
    let secret = async |id: &str| {
        let found = build.client.secret(id).await.map_err(Error::Client)?;
        Ok::<_, Error>(found.map(|one| String::from_utf8_lossy(&one).trim().to_owned()))
    };
    if !http.auth_secret.is_empty() {
        return secret(&http.auth_secret).await;
    }
    let host = host(url);
    if let Some(header) = secret(&format!("HTTP_AUTH_HEADER_{host}")).await? {
        return Ok(Some(header));
    }
    let token = secret(&format!("HTTP_AUTH_TOKEN_{host}")).await?;
    Ok(token.map(|token| format!("Bearer {token}")))
}

/// The server of a URL, without its port.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
