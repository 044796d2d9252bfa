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

/// Bytes in powers of 1024 with four significant digits: `23.16GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    units::bytes_size(bytes as f64)
}

/// Seconds since 1970 as Docker prints them in tables: `2006-01-02 15:04:05 +0000 UTC`.
pub(crate) fn date(unix: i64) -> String {
    let text = Timestamp { seconds: unix, nanos: 0 }.to_string();
    format!("{} +0000 UTC", text.trim_end_matches('Z').replace('T', " "))
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
    fn an_ellipsis_counts_characters() {
        assert_eq!(super::ellipsis("äöüß", 4), "äöüß");
        assert_eq!(super::ellipsis("äöüßx", 4), "äöü…");
    }
}
