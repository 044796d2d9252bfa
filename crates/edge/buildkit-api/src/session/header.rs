//! Values of a call's headers, as BuildKit's session has them.

use std::fmt::Write;

use tonic::metadata::{AsciiMetadataValue, MetadataKey, MetadataMap};

/// Puts several values under one name. Where one of them has a byte that no header may have, all are
/// escaped as in a URL's query, and `NAME-encoded` says so.
pub(super) fn put(headers: &mut MetadataMap, name: &'static str, values: &[String]) {
    let is_plain = |value: &String| value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let encode = !values.iter().all(is_plain);
    for value in values {
        let value = if encode { escape(value) } else { value.clone() };
        if let Ok(value) = AsciiMetadataValue::try_from(value) {
            headers.append(name, value);
        }
    }
    if encode && let Ok(key) = MetadataKey::from_bytes(format!("{name}-encoded").as_bytes()) {
        headers.insert(key, AsciiMetadataValue::from_static("1"));
    }
}

/// As Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            // Writing to a string cannot fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ascii_is_escaped() {
        let mut headers = MetadataMap::new();
        put(&mut headers, "a", &["*.md".to_owned(), "!x y".to_owned()]);
        put(&mut headers, "b", &["größe %".to_owned(), "x".to_owned()]);
        put(&mut headers, "c", &["a\nb".to_owned()]);
        let all = |name| {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(all("a"), ["*.md", "!x y"]);
        assert!(headers.get("a-encoded").is_none());
        assert_eq!(all("b"), ["gr%C3%B6%C3%9Fe+%25", "x"]);
        assert_eq!(all("b-encoded"), ["1"]);
        assert_eq!(all("c"), ["a%0Ab"]);
    }
}
