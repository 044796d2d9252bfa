//! The query of a request, read with Go's and `dockerd`'s rules.

use crate::error::Error;

/// The parameters of a request, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// What Go says of a query that is not well formed.
    pub(crate) fn complaint(text: &str) -> Option<String> {
        text.split('&').find_map(|pair| {
            if pair.contains(';') {
                return Some("invalid semicolon separator in query".to_owned());
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let escape = bad_escape(key).or_else(|| bad_escape(value))?;
            Some(format!("invalid URL escape {escape:?}"))
        })
    }

    /// Splits and decodes `a=b&c`.
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Puts one value in the place of all of a parameter.
    pub(crate) fn set(&mut self, key: &str, value: String) {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value));
    }

    /// The first value, or nothing.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// Every value of a parameter.
    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// `dockerd`'s truth: anything but empty, `0`, `no`, `false`, `none`.
    pub(crate) fn bool(&self, key: &str) -> bool {
        !matches!(
            self.text(key).trim().to_ascii_lowercase().as_str(),
            "" | "0" | "no" | "false" | "none"
        )
    }

    /// The same, for a parameter whose absence means something else.
    pub(crate) fn bool_or(&self, key: &str, default: bool) -> bool {
        if self.get(key).is_some() { self.bool(key) } else { default }
    }

    /// A number, if it is there and not empty.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, Error> {
        match self.text(key) {
            "" => Ok(None),
            // Go's words for it, which clients show.
            text => text.parse().map(Some).map_err(|err: std::num::ParseIntError| {
                use std::num::IntErrorKind::{NegOverflow, PosOverflow};
                let why = match err.kind() {
                    PosOverflow | NegOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                Error::invalid(format!("strconv.Atoi: parsing {text:?}: {why}"))
            }),
        }
    }

    /// The `filters` parameter, with only the keys that the list knows.
    pub(crate) fn filters(&self, accepted: &[&str]) -> Result<docker::filters::Filters, Error> {
        docker::filters::Filters::parse(self.text("filters"))
            .and_then(|filters| filters.only(accepted))
            .map_err(|err| Error::invalid(err.to_string()))
    }
}

/// Refuses what is no truth value to Go; an empty one is none.
pub(crate) fn go_bool(text: &str, what: &str) -> Result<(), Error> {
    const TRUTHS: [&str; 13] =
        ["", "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"];
    if TRUTHS.contains(&text) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid value for {what}: {text}: strconv.ParseBool: parsing {text:?}: invalid syntax"
    )))
}

/// The first `%` that two hexadecimal digits do not follow, with what follows of it.
fn bad_escape(text: &str) -> Option<&str> {
    text.match_indices('%').find_map(|(at, _)| {
        let end = text.ceil_char_boundary(text.len().min(at + 3));
        let escape = &text[at..end];
        let is_whole = escape.len() == 3 && escape.bytes().skip(1).all(|b| b.is_ascii_hexdigit());
        (!is_whole).then_some(escape)
    })
}

/// Decodes `%41`, and `+` in queries. What is not an escape stays as it is; what is not UTF-8
/// becomes the replacement character.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%')
            .then(|| bytes.get(i + 1..i + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (escaped, bytes[i]) {
            (Some(byte), _) => {
                out.push(byte);
                i += 2;
            }
            (None, b'+') if plus_is_space => out.push(b' '),
            (None, byte) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8(out).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let query = Query::parse("a=1&b=x%20y+z&c&a=2&d=%zz%");
        assert_eq!(query.text("a"), "1");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.text("b"), "x y z");
        assert_eq!(query.get("c"), Some(""));
        assert_eq!(query.text("d"), "%zz%");
        assert_eq!(decode("a+b%2Fc", false), "a+b/c");
    }

    #[test]
    fn what_is_not_well_formed_is_told_in_gos_words() {
        for (query, want) in [
            ("a=1&b=%2f+x&&c", None),
            ("a=%zz", Some("invalid URL escape \"%zz\"")),
            ("a=b&%4", Some("invalid URL escape \"%4\"")),
            ("a=%\u{e4}x", Some("invalid URL escape \"%\u{e4}\"")),
            ("a=1;b=2", Some("invalid semicolon separator in query")),
        ] {
            assert_eq!(Query::complaint(query).as_deref(), want, "{query}");
        }
    }

    #[test]
    fn truth_is_dockerds() {
        for (value, want) in
            [("1", true), ("true", true), ("False", false), ("no", false), ("", false), ("x", true)]
        {
            assert_eq!(Query::parse(&format!("a={value}")).bool("a"), want, "{value}");
        }
        assert!(Query::parse("").bool_or("a", true));
        assert!(!Query::parse("a=0").bool_or("a", true));
    }
}
