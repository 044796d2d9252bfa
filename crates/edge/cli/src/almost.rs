//! A name that is almost right: what somebody may have meant where the engine has nothing of that name.

use std::cmp::Reverse;

use docker::image::Summary;
use docker::volume::ListResponse;
use serde::Deserialize;

use crate::client::Client;
use crate::error::{Error, Result};

/// Fewer letters of a name than this for each that is wrong, and it is another name.
const LETTERS_EACH: usize = 3;
/// No more wrong letters than these are slips.
const MAX_WRONG: usize = 3;

/// What can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
    Secret,
}

const KINDS: [Kind; 5] = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume, Kind::Secret];

/// Of each container, network and so on its names alone.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    spec: Option<Box<Named>>,
}

/// What came of a request; where there is nothing of a name in it, with the name that is most like it.
pub(crate) async fn told<T>(client: &Client, result: Result<T>) -> Result<T> {
    match result {
        // A start for which something is missing has another status than what is named itself.
        Err(Error::Api { status, message }) => {
            let (kinds, name) = missing(&message);
            let message = with_other(client, &message, kinds, name).await;
            Err(Error::Api { status, message })
        }
        other => other,
    }
}

/// The same where an image could not be had from elsewhere either.
pub(crate) async fn image<T>(client: &Client, result: Result<T>, name: &str) -> Result<T> {
    match result {
        Err(Error::Api { status, message }) => Err(Error::Api {
            status,
            message: with_other(client, &message, &[Kind::Image], name).await,
        }),
        other => other,
    }
}

async fn with_other(client: &Client, message: &str, kinds: &[Kind], name: &str) -> String {
    let mut names = Vec::new();
    for kind in kinds {
        // Where they cannot be listed, what went wrong first is what there is to say.
        names.extend(names_of(client, *kind).await.unwrap_or_default());
    }
    match nearest(name, &names) {
        Some(other) => format!("{message} (did you mean {other}?)"),
        None => message.to_owned(),
    }
}

/// What the engine says that it does not have: what that may be, and the name.
fn missing(message: &str) -> (&[Kind], &str) {
    // What was being done may come before.
    let between = |before: &str, after: &str| {
        let (_, name) = message.strip_suffix(after)?.rsplit_once(before)?;
        (!name.contains(' ')).then_some(name)
    };
    let known: [(&str, &str, &[Kind]); 6] = [
        ("No such container: ", "", &[Kind::Container]),
        ("No such image: ", "", &[Kind::Image]),
        ("No such object: ", "", &KINDS),
        ("network ", " not found", &[Kind::Network]),
        ("get ", ": no such volume", &[Kind::Volume]),
        ("secret ", " not found", &[Kind::Secret]),
    ];
    let found = known
        .into_iter()
        .find_map(|(before, after, kinds)| between(before, after).map(|name| (kinds, name)));
    found.unwrap_or((&[], ""))
}

async fn names_of(client: &Client, kind: Kind) -> Result<Vec<String>> {
    let listed = match kind {
        Kind::Container => "/containers/json?all=1",
        Kind::Network => "/networks",
        Kind::Secret => "/secrets",
        Kind::Image => {
            let images: Vec<Summary> = client.get("/images/json").await?;
            let tags = images.iter().flat_map(|image| image.repo_tags.iter());
            return Ok(tags.map(|tag| tag.trim_end_matches(":latest").to_owned()).collect());
        }
        Kind::Volume => {
            let answer: ListResponse = client.get("/volumes").await?;
            return Ok(answer.volumes.iter().map(|volume| volume.name.clone()).collect());
        }
    };
    let all: Vec<Named> = client.get(listed).await?;
    let names = all.into_iter().flat_map(|one| {
        let own = one.spec.map_or(one.name, |spec| spec.name);
        one.names.unwrap_or_else(|| vec![own])
    });
    Ok(names.map(|name| name.trim_start_matches('/').to_owned()).collect())
}

/// The name that is most like `wanted`, if one differs by no more than slips do.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let wanted = wanted.trim_start_matches('/').trim_end_matches(":latest");
    let letters = wanted.chars().count();
    let alike = names.iter().map(|name| (strsim::damerau_levenshtein(wanted, name), name.as_str()));
    let slips = alike.filter(|(wrong, name)| {
        *wrong > 0
            && *wrong <= MAX_WRONG
            && wrong * LETTERS_EACH <= letters.max(name.chars().count())
            && !is_sibling(wanted, name)
    });
    // Of two, the one that has nothing taken away.
    slips.min_by_key(|(wrong, name)| (*wrong, Reverse(name.len()))).map(|(_, name)| name)
}

/// Whether the two differ in their numbers alone, as versions of an image do and the members of a series.
fn is_sibling(one: &str, other: &str) -> bool {
    let words = |name: &str| {
        let words = name.split(|letter: char| letter.is_ascii_digit());
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_most_like_it() {
        let names = ["web", "database", "web-1", "registry.test/app:1", "x"].map(str::to_owned);
        for (wanted, meant) in [
            ("wbe", Some("web")),
            ("webb", Some("web")),
            ("/web1", Some("web-1")),
            ("datbase", Some("database")),
            ("dtabsae", Some("database")),
            ("registry.test/ap:1", Some("registry.test/app:1")),
            ("webb:latest", Some("web")),
            // Another version, and another of a series, are other things.
            ("registry.test/app:2", None),
            ("web-12", None),
            // Another name altogether; too short to say; and the very one, which is there all the same.
            ("cache", None),
            ("y", None),
            ("web", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, &names), meant, "{wanted}");
        }
    }

    #[test]
    fn what_an_engine_does_not_have() {
        for (message, kinds, name) in [
            ("No such container: webb", &[Kind::Container][..], "webb"),
            ("No such image: a/b:1", &[Kind::Image], "a/b:1"),
            ("network front not found", &[Kind::Network], "front"),
            ("failed to set it up: network front not found", &[Kind::Network], "front"),
            ("get data: no such volume", &[Kind::Volume], "data"),
            ("secret key not found", &[Kind::Secret], "key"),
            ("No such object: webb", &KINDS, "webb"),
            ("page not found", &[], ""),
        ] {
            assert_eq!(missing(message), (kinds, name), "{message}");
        }
    }
}
