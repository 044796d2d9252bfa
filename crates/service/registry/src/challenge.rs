//! What a registry wants to see before it answers (RFC 9110, 11.6.1; RFC 6750, 3).

use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

/// A header longer than this is not looked at.
const MAX_HEADER: usize = 16 << 10;

/// One way to prove who one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// Where from.
        realm: String,
        /// What the token server calls the registry.
        service: Option<String>,
        /// What the token has to be good for.
        scope: Option<String>,
        /// Why the last token was not good enough.
        error: Option<String>,
    },
}

/// The challenges of a response that we know how to meet, in order.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        if let Some(text) = value.to_str().ok().filter(|text| text.len() <= MAX_HEADER) {
            parse(text, &mut found);
        }
    }
    found
}

/// One header: `SCHEME key=value, key="value", SCHEME …`. A comma separates both parameters and
/// challenges; a word without `=` starts a challenge.
fn parse(text: &str, found: &mut Vec<Challenge>) {
    let mut rest = text;
    let mut scheme = String::new();
    let mut params: Vec<(String, String)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        match value {
            // A lone `=` is nobody's value.
            Some(value) if !word.is_empty() => {
                let (value, after) = take_value(value.trim_start_matches([' ', '\t']));
                params.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            Some(value) => rest = value,
            None => {
                found.extend(finish(&scheme, &params));
                if word.is_empty() {
                    return;
                }
                word.clone_into(&mut scheme);
                params.clear();
                rest = after;
            }
        }
    }
}

/// A token, or a quoted string with its escapes undone.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            char => value.push(char),
        }
    }
    (value, "")
}

fn finish(scheme: &str, params: &[(String, String)]) -> Option<Challenge> {
    let param = |key: &str| {
        let value = params.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        value.filter(|value| !value.is_empty()).cloned()
    };
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: param("realm")?,
            service: param("service"),
            scope: param("scope"),
            error: param("error"),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn read(text: &str) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        challenges(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
            error: None,
        }
    }

    #[test]
    fn what_registries_send() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push""#;
        assert_eq!(
            read(hub),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:samalba/my-app:pull,push")
            )]
        );
        assert_eq!(read(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(read("basic"), [Challenge::Basic]);
        assert_eq!(
            read(r#"Negotiate, BEARER Realm = https://a/t , Basic realm="x, y=\"z\"""#),
            [bearer("https://a/t", None, None), Challenge::Basic]
        );
        let error = r#"Bearer realm="r",error="insufficient_scope""#;
        assert!(matches!(&read(error)[..], [Challenge::Bearer { error: Some(_), .. }]));
    }

    #[test]
    fn what_makes_no_sense_is_no_challenge() {
        for text in
            ["", "Bearer", "Bearer realm=", r#"Bearer realm="""#, "=,=", "Digest realm=x", "\""]
        {
            assert_eq!(read(text), [], "{text}");
        }
        assert_eq!(read(r#"Bearer realm="unfinished"#), [bearer("unfinished", None, None)]);
        assert_eq!(read(&format!("Basic {}", "x".repeat(MAX_HEADER))), []);
    }
}
