//! Names of images in requests, in `dockerd`'s words.

use reference::Reference;

use crate::error::Error;

/// A name and its tag or digest, as clients send them apart.
pub(crate) fn joined(name: &str, tag: &str) -> String {
    match tag {
        "" => name.to_owned(),
        digest if digest.contains(':') => format!("{name}@{digest}"),
        tag => format!("{name}:{tag}"),
    }
}

pub(crate) fn parse(name: &str) -> Result<Reference, Error> {
    name.parse().map_err(|err: reference::Error| Error::invalid(err.to_string()))
}

/// A name with the tag or digest that is a parameter of its own. Where the name is one, the tag is what is wrong.
pub(crate) fn parse_pair(name: &str, tag: &str) -> Result<Reference, Error> {
    parse(&joined(name, tag)).map_err(|err| match parse(name) {
        Ok(_) if !tag.is_empty() => Error::invalid("invalid tag format"),
        _ => err,
    })
}

/// The name of what is to be pushed. Of two tags the one that is a parameter of its own counts; without any, all that
/// have the name are meant.
pub(crate) fn pushed(name: &str, tag: &str) -> Result<Reference, Error> {
    if tag.is_empty() || tag.contains(':') {
        return parse_pair(name, tag);
    }
    new_name(name, tag)?.map_or_else(|| parse(name), Ok)
}

/// The name that something is to get; `None` where none is said. Of two tags the one that is a parameter of its
/// own counts.
pub(crate) fn new_name(name: &str, tag: &str) -> Result<Option<Reference>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    // It would be an image's id everywhere else.
    if name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Error::invalid(format!(
            "invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"
        )));
    }
    let named = parse(name)?;
    if named.digest().is_some() {
        return Err(Error::invalid("cannot import digest reference"));
    }
    if tag.is_empty() {
        return Ok(Some(named.with_default_tag()));
    }
    named.with_tag(tag).map(Some).map_err(|_| Error::invalid("invalid tag format"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, tag: &str) -> String {
        match new_name(name, tag) {
            Ok(name) => name.map(|name| name.familiar()).unwrap_or_default(),
            Err(err) => err.message,
        }
    }

    #[test]
    fn what_a_new_name_can_be() {
        assert_eq!(shown("", ""), "");
        assert_eq!(shown("", "x"), "");
        assert_eq!(shown("a/b", ""), "a/b:latest");
        assert_eq!(shown("a/b:1", ""), "a/b:1");
        assert_eq!(shown("a/b:1", "2"), "a/b:2");
        assert_eq!(shown("a/b", "not a tag"), "invalid tag format");
        assert_eq!(shown("a/b", "sha256:abc"), "invalid tag format");
        let hex = "0".repeat(64);
        assert_eq!(shown(&format!("a/b@sha256:{hex}"), "x"), "cannot import digest reference");
        assert_eq!(
            shown(&hex, "x"),
            format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings")
        );
        assert!(shown("A", "").starts_with("invalid reference format"));
    }

    #[test]
    fn the_tag_of_a_push_counts_twice_said_too() {
        let of = |name: &str, tag: &str| pushed(name, tag).map(|name| name.familiar());
        assert_eq!(of("a.io:5/b:1", "2").unwrap(), "a.io:5/b:2");
        assert_eq!(of("a/b:1", "1").unwrap(), "a/b:1");
        assert_eq!(of("a/b", "1").unwrap(), "a/b:1");
        assert_eq!(of("a/b", "").unwrap(), "a/b");
        assert_eq!(of("a/b:1", "").unwrap(), "a/b:1");
        assert_eq!(of("a/b", "not a tag").unwrap_err().message, "invalid tag format");
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        assert_eq!(of(&digest, "x").unwrap_err().message, "cannot import digest reference");
        assert_eq!(of(&digest, "").unwrap(), digest);
    }

    #[test]
    fn what_is_wrong_is_the_tag_where_the_name_is_one() {
        let wrong = |name, tag| parse_pair(name, tag).unwrap_err().message;
        assert_eq!(wrong("a/b", "not a tag"), "invalid tag format");
        assert_eq!(wrong("a/b", "sha256:abc"), "invalid tag format");
        assert!(wrong("A", "1").starts_with("invalid reference format"));
        assert_eq!(parse_pair("a/b", "1").unwrap().familiar(), "a/b:1");
    }
}
