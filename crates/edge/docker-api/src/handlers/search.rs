//! Searching a registry.

use ::registry::{Credentials, Hosts, SEARCH_DOMAIN, SearchHit};
use docker::filters::Filters;
use docker::image::SearchResult;

use crate::{
    call::{Call, Reply, blocking, ok},
    error::Error,
    handlers::registry::{AUTH, settings},
};

/// How many repositories are wanted where nobody says.
const DEFAULT_LIMIT: i64 = 25;
/// The most that may be wanted.
const MAX_LIMIT: i64 = 100;

/// What is wanted of those that were found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    stars: i64,
    official: Option<bool>,
    automated: Option<bool>,
}

impl Wanted {
    fn of(filters: &Filters) -> Result<Self, Error> {
        let mut stars = 0;
        for text in filters.get("stars") {
            let number: Result<i64, _> = text.parse();
            let wrong = |_| Error::invalid(format!("invalid filter 'stars={text}'"));
            stars = stars.max(number.map_err(wrong)?);
        }
        Ok(Self {
            stars,
            official: filters.bool("is-official")?,
            automated: filters.bool("is-automated")?,
        })
    }

    fn has(&self, hit: &SearchHit) -> bool {
        let is_official = self.official.is_none_or(|wanted| wanted == hit.is_official);
        hit.star_count >= self.stars && is_official
    }
}

/// `GET /images/search`
pub(crate) async fn search(call: Call) -> Reply {
    let wrong = |err: Error| Error::invalid(format!("invalid limit specified: {}", err.message));
    let limit = call
        .query
        .number("limit")
        .map_err(wrong)?
        .filter(|limit| *limit != 0)
        .unwrap_or(DEFAULT_LIMIT);
    let filters = call.query.filters(&["is-automated", "is-official", "stars"])?;
    let wanted = Wanted::of(&filters)?;
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::invalid(format!(
            "limit {limit} is outside the range of [1, {MAX_LIMIT}]"
        )));
    }
    let term = call.query.text("term");
    if term.contains("://") {
        return Err(Error::invalid(format!(
            "invalid repository name: repository name ({term}) should not have a scheme"
        )));
    }
    let (domain, term) = split(term);
    if wanted.automated == Some(true) {
        // No repository is any more.
        return ok(&Vec::<SearchResult>::new());
    }
    let header = call.headers.get(AUTH).map(|value| value.to_str().unwrap_or("?"));
    let credentials = Credentials::from_header(header.unwrap_or_default());
    let (settings, of) = (settings().await?, domain.to_owned());
    let hosts = blocking(move || Hosts::for_search(&settings, &of, credentials.as_ref())).await?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let found = hosts.search(term, limit, &|_, _| ()).await?;
    let results: Vec<SearchResult> = found
        .into_iter()
        .filter(|hit| wanted.has(hit))
        .map(|hit| SearchResult {
            star_count: hit.star_count,
            is_official: hit.is_official,
            name: hit.name,
            is_automated: false,
            description: hit.description,
        })
        .collect();
    ok(&results)
}

/// The registry that is to be searched, and for what.
fn split(term: &str) -> (&str, &str) {
    let is_domain = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let (domain, rest) = match term.split_once('/') {
        Some((first, rest)) if is_domain(first) => (first, rest),
        _ => (SEARCH_DOMAIN, term),
    };
    match domain {
        "docker.io" | SEARCH_DOMAIN => {
            (SEARCH_DOMAIN, rest.strip_prefix("library/").unwrap_or(rest))
        }
        domain => (domain, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_search_for_what() {
        for (term, want) in [
            ("busybox", (SEARCH_DOMAIN, "busybox")),
            ("library/busybox", (SEARCH_DOMAIN, "busybox")),
            ("docker.io/me/app", (SEARCH_DOMAIN, "me/app")),
            ("r.test/me/app", ("r.test", "me/app")),
            ("localhost:5000/app", ("localhost:5000", "app")),
        ] {
            assert_eq!(split(term), want, "{term}");
        }
    }

    #[test]
    fn what_is_wanted() {
        let wanted = |json: &str| Wanted::of(&Filters::parse(json).unwrap());
        let few = wanted(r#"{"stars":["3","10"],"is-official":["true"]}"#).unwrap();
        let hit =
            |star_count, is_official| SearchHit { star_count, is_official, ..SearchHit::default() };
        assert!(few.has(&hit(10, true)) && !few.has(&hit(9, true)) && !few.has(&hit(99, false)));
        let error = wanted(r#"{"stars":["many"]}"#).unwrap_err();
        assert_eq!(error.message, "invalid filter 'stars=many'");
    }
}
