//! Reading an answer that is an error (distribution-spec, "Error Codes").

use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use serde::Deserialize;

use crate::error::{Refused, in_words};
use crate::http::collect;
use crate::retry::{Retry, retry_after};

/// An error needs no more words.
const MAX_BODY: usize = 64 << 10;
/// Nor does a person read more.
const MAX_SHOWN: usize = 2000;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<One>,
    /// As token servers say it.
    #[serde(default)]
    details: Option<String>,
    /// As OAuth servers do.
    #[serde(default)]
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct One {
    /// Docker reads names in any case, and there are servers that count on it.
    #[serde(default, alias = "Code", alias = "CODE")]
    code: Option<String>,
    #[serde(default, alias = "Message", alias = "MESSAGE")]
    message: Option<String>,
}

/// What a registry said instead of what was asked for.
pub(crate) async fn refused(response: Response<Incoming>, retry: &Retry) -> Refused {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let limits = (status.as_u16() == 429).then(|| limits(response.headers())).flatten();
    // Where it cannot be read, its number has to do.
    let body = collect(response, MAX_BODY, retry).await.unwrap_or_else(|_| Bytes::new());
    let (mut code, mut message) = parse(&body);
    if status.as_u16() == 401 && code.is_empty() && message.is_empty() {
        (code, message) = ("UNAUTHORIZED".into(), "authentication required".into());
    }
    let message = if code.is_empty() && message.is_empty() {
        format!("received unexpected HTTP status: {status}")
    } else {
        message
    };
    Refused { status: status.as_u16(), code, message, retry_after, limits }
}

/// What Docker Hub and others say of their limits: `RateLimit-Limit: 100;w=21600`,
/// `RateLimit-Remaining: 0;w=21600`, `Docker-RateLimit-Source: ADDRESS`.
fn limits(headers: &HeaderMap) -> Option<Box<str>> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let limit = header("ratelimit-limit")?;
    let (limit, window) = limit.split_once(';').unwrap_or((limit, ""));
    let mut words = format!("limit: {}", number(limit)?);
    if let Some(window) = window.trim().strip_prefix("w=").and_then(number) {
        words.push_str(&format!(" in {}", in_words(Duration::from_secs(window))));
    }
    let left = header("ratelimit-remaining").and_then(|text| number(text.split(';').next()?));
    if let Some(left) = left {
        words.push_str(&format!(", left: {left}"));
    }
    if let Some(source) = header("docker-ratelimit-source") {
        words.push_str(&format!(", for {}", shown(source)));
    }
    Some(words.into())
}

fn parse(body: &[u8]) -> (String, String) {
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return Default::default() };
    let Some(one) = body.errors.into_iter().next() else {
        let message = body.details.or(body.error_description).unwrap_or_default();
        return (String::new(), shown(&message));
    };
    let code = one.code.unwrap_or_default();
    let is_word = code.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    let is_code = is_word && (1..64).contains(&code.len());
    let code = if is_code { code } else { "UNKNOWN".into() };
    (code, shown(&one.message.unwrap_or_default()))
}

/// A stranger's words go to a terminal: without what would move its cursor.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_say() {
        let hub = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your limit.","detail":{}}]}"#;
        for (body, want) in [
            (&hub[..], ("TOOMANYREQUESTS", "You have reached your limit.")),
            (
                br#"{"details":"incorrect username or password"}"#,
                ("", "incorrect username or password"),
            ),
            (br#"{"errors":[{"code":"a b"}]}"#, ("UNKNOWN", "")),
            (br#"{"errors":[{"Code":"DENIED","message":"x"}]}"#, ("DENIED", "x")),
            (br#"{"errors":[{"message":"\u001b[2Jx\r\n"}]}"#, ("UNKNOWN", "[2Jx")),
            (b"<html>", ("", "")),
            (b"", ("", "")),
        ] {
            let (code, message) = parse(body);
            assert_eq!((code.as_str(), message.as_str()), want);
        }
    }
}
