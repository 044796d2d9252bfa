//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use docker::timestamp::Timestamp;

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A time as Docker prints it, UTC.
pub(crate) fn print(nanos: i64) -> String {
    Timestamp::from_nanos(nanos).to_string()
}

/// A time that was printed; `None` for none.
pub(crate) fn parse(text: &str) -> Option<i64> {
    Timestamp::parse(text).ok().map(Timestamp::as_nanos).filter(|_| !text.is_empty())
}
