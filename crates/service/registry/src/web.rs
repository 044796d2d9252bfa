//! A file from anywhere: what `import` is given by its address.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Response};

use crate::client::{MAX_REDIRECTS, is_redirect, redirected};
use crate::error::{Error, Refused};
use crate::hosts_toml::Own;
use crate::http::{Body, Http};
use crate::pace::Pace;
use crate::settings::Settings;
use crate::url::Url;

/// A file that comes.
#[derive(Debug)]
pub struct WebFile {
    response: Response<Incoming>,
    url: Url,
    pace: Pace,
}

/// Asks for the file at an address of HTTP. Nobody gets credentials.
pub async fn web_file(settings: Settings, address: &str) -> Result<WebFile, Error> {
    let silence = settings.retry.silence;
    let pace = Pace::new(&settings.retry);
    let mut url = Url::parse(address)
        .map_err(|source| Error::Location { what: format!("\"{address}\""), source })?;
    let http = Http::new(settings, Own::default(), Vec::new());
    let headers = HeaderMap::new();
    for _ in 0..=MAX_REDIRECTS {
        let sent = http.send(&Method::GET, &url, &headers, Body::empty(), silence);
        let response = sent.await.map_err(|source| Error::Request {
            method: Method::GET,
            url: url.to_string(),
            source,
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(WebFile { response, url, pace });
        }
        if !is_redirect(&Method::GET, status) {
            let message = format!("Got HTTP status code >= 400: {status}: {url}");
            return Err(Refused {
                status: status.as_u16(),
                code: String::new(),
                message,
                retry_after: None,
                limits: None,
            }
            .into());
        }
        url = redirected(&url, response.headers())?;
    }
    Err(Error::Redirects(url.to_string()))
}

impl WebFile {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self.pace.next(self.response.body_mut()).await {
            None => Ok(None),
            Some(Ok(piece)) => Ok(Some(piece)),
            Some(Err(source)) => {
                Err(Error::Request { method: Method::GET, url: self.url.to_string(), source })
            }
        }
    }
}
