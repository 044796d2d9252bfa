//! Times and sizes as people say them, in Docker's words.

use std::time::SystemTime;

use docker::timestamp::Timestamp;
use docker::units;

/// Seconds since 1970, now.
pub(crate) fn now() -> i64 {
    Timestamp::from(SystemTime::now()).seconds
}

/// How long ago a time in seconds since 1970 was.
pub(crate) fn ago(unix: i64) -> String {
    format!("{} ago", units::human_duration(now() - unix))
}

/// Bytes in powers of 1000 with three significant digits: `12.3MB`, `1.02kB`, `512B`.
pub(crate) fn size(bytes: i64) -> String {
    units::human_size_with_precision(bytes as f64, 3)
}

/// The same with four digits, which Docker has where sizes are summed up.
pub(crate) fn total(bytes: i64) -> String {
    units::human_size(bytes as f64)
}

/// Bytes in powers of 1024 with four significant digits: `23.16GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    units::bytes_size(bytes as f64)
}

/// Seconds since 1970 as Docker prints them in tables: `2006-01-02 15:04:05 +0000 UTC`.
pub(crate) fn date(unix: i64) -> String {
    let text = Timestamp { seconds: unix, nanos: 0 }.to_string();
    format!("{} +0000 UTC", text.trim_end_matches('Z').replace('T', " "))
}

/// A time of the API as Go prints one: `2006-01-02 15:04:05.123 +0000 UTC`. What is no time in UTC stays
/// as it is.
pub(crate) fn go_time(text: &str) -> String {
    match text.strip_suffix('Z').and_then(|text| text.split_once('T')) {
        Some((date, time)) => format!("{date} {time} +0000 UTC"),
        None => text.to_owned(),
    }
}

/// Seconds since 1970 as RFC 3339 has them.
pub(crate) fn rfc3339(unix: i64) -> String {
    Timestamp { seconds: unix, nanos: 0 }.to_string()
}

/// A text in quotes, as Go writes one (`strconv.Quote`): on one line, whatever is in it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Makes a control character visible as a space: names and commands are other people's text, and
/// must not drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most `limit` characters, the last an ellipsis where something was cut.
pub(crate) fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_date_is_dockers() {
        assert_eq!(super::date(1_709_209_815), "2024-02-29 12:30:15 +0000 UTC");
    }

    #[test]
    fn texts_and_times_are_gos() {
        assert_eq!(
            super::quoted("sh -c 'a \"b\\' \u{1b}[0m\n\u{9b}ü"),
            r#""sh -c 'a \"b\\' \x1b[0m\n\u009bü""#
        );
        assert_eq!(super::go_time("2026-11-30T05:17:44.13Z"), "2026-11-30 05:17:44.13 +0000 UTC");
        assert_eq!(super::go_time("2026-11-30T05:17:44+01:00"), "2026-11-30T05:17:44+01:00");
        assert_eq!(super::rfc3339(1_709_209_815), "2024-02-29T12:30:15Z");
        assert_eq!(
            (super::total(16_384), super::size(16_384)),
            ("16.38kB".into(), "16.4kB".into())
        );
    }

    #[test]
    fn an_ellipsis_counts_characters() {
        assert_eq!(super::ellipsis("äöüß", 4), "äöüß");
        assert_eq!(super::ellipsis("äöüßx", 4), "äöü…");
    }
}
