//! Searching a registry: its API of before repositories had manifests (`/v1/search`), which Docker's
//! own still answers and others may.

use hyper::Method;
use hyper::header::HeaderMap;
use serde::Deserialize;

use crate::client::{Call, Registry, Target};
use crate::error::Error;
use crate::http::Body;
use crate::repository::header;
use crate::url::encode;

/// An answer of 100 repositories is not longer.
const MAX_ANSWER: usize = 4 << 20;

/// Where Docker's own registry is searched.
pub const SEARCH_DOMAIN: &str = "index.docker.io";

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SearchHit {
    /// Its name.
    pub name: String,
    /// What its owner says of it.
    #[serde(deserialize_with = "nothing_is_empty")]
    pub description: String,
    /// How many people like it.
    pub star_count: i64,
    /// Whether it is one of Docker's own.
    pub is_official: bool,
}

#[derive(Deserialize)]
struct Hits {
    #[serde(default)]
    results: Option<Vec<SearchHit>>,
}

fn nothing_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Registry {
    /// The repositories that have to do with `term`, no more than `limit`, as the registry orders
    /// them.
    pub async fn search(&self, term: &str, limit: u32) -> Result<Vec<SearchHit>, Error> {
        let path = format!("/v1/search?q={}&n={limit}", encode(term));
        let url = self.origin().await?.url(&path);
        let retry = &self.http.settings.retry;
        let call = Call {
            method: Method::GET,
            target: Target::Url(&url),
            headers: HeaderMap::new(),
            scopes: &[],
            body: &Body::empty,
            attempts: retry.attempts,
            patience: retry.silence,
        };
        let answer = self.call(&call).await?;
        let url = answer.url.to_string();
        let kind = header(&answer, "content-type").unwrap_or_default();
        let bytes = self.repository("").bytes(answer, MAX_ANSWER).await?;
        let hits: Hits = serde_json::from_slice(&bytes).map_err(|error| Error::Protocol {
            url,
            why: format!("the answer to a search is no list of repositories ({kind}): {error}"),
        })?;
        let mut hits = hits.results.unwrap_or_default();
        hits.truncate(limit as usize);
        Ok(hits)
    }
}
