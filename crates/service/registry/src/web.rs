//! A file from anywhere: what `import` and ADD are given by its address.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};
use hyper::{Method, Response, StatusCode};

use crate::client::{MAX_REDIRECTS, is_redirect, redirected};
use crate::error::{Error, Refused};
use crate::hosts_toml::Own;
use crate::http::{Body, Http};
use crate::pace::Pace;
use crate::retry::http_date;
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
    web_request(settings, address, &[]).await
}

/// The same with headers. One with credentials (`Authorization`) goes to the address's own origin alone,
/// wherever that sends us. That nothing has changed (304) is an answer like others:
/// [`WebFile::is_unchanged`].
pub async fn web_request(
    settings: Settings,
    address: &str,
    headers: &[(&str, &str)],
) -> Result<WebFile, Error> {
    request(settings, &Method::GET, address, headers).await
}

/// The same, without the file: what its server says of it.
pub async fn web_head(
    settings: Settings,
    address: &str,
    headers: &[(&str, &str)],
) -> Result<WebFile, Error> {
    request(settings, &Method::HEAD, address, headers).await
}

async fn request(
    settings: Settings,
    method: &Method,
    address: &str,
    headers: &[(&str, &str)],
) -> Result<WebFile, Error> {
    let silence = settings.retry.silence;
    let pace = Pace::new(&settings.retry);
    let mut url = Url::parse(address)
        .map_err(|source| Error::Location { what: format!("\"{address}\""), source })?;
    let http = Http::new(settings, Own::default(), Vec::new());
    let mut headers = header_map(headers)?;
    for _ in 0..=MAX_REDIRECTS {
        let sent = http.send(method, &url, &headers, Body::empty(), silence);
        let response = sent.await.map_err(|source| Error::Request {
            method: method.clone(),
            url: url.to_string(),
            source,
        })?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(WebFile { response, url, pace });
        }
        if !is_redirect(method, status) {
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
        let to = redirected(&url, response.headers())?;
        if to.origin != url.origin {
            headers.remove(AUTHORIZATION);
        }
        url = to;
    }
    Err(Error::Redirects(url.to_string()))
}

fn header_map(headers: &[(&str, &str)]) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        // The value may be a secret: nothing of it is in the error.
        let bad = || Error::Header((*name).to_owned());
        let key = HeaderName::try_from(*name).map_err(|_| bad())?;
        map.insert(key, HeaderValue::try_from(*value).map_err(|_| bad())?);
    }
    Ok(map)
}

impl WebFile {
    /// It is as whoever asked knows it already: there are no bytes.
    pub fn is_unchanged(&self) -> bool {
        self.response.status() == StatusCode::NOT_MODIFIED
    }

    /// What a header of the answer says.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// When it was changed last, as the server says: seconds since 1970.
    pub fn modified(&self) -> Option<u64> {
        http_date(self.header(LAST_MODIFIED.as_str())?)
    }

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
