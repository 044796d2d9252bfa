//! The `until` filter of `prune`: only what was made before a time.

use std::time::SystemTime;

use docker::{filters::Filters, timestamp::Timestamp, units};

use crate::error::Error;

/// Only what was made before a time; everything, when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Until(Option<i64>);

impl Until {
    /// Reads the filter: a time, or a duration before now.
    pub(crate) fn of(filters: &Filters) -> Result<Self, Error> {
        let mut values = filters.get("until");
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(Error::invalid("more than one until filter specified"));
        }
        Ok(Self(Some(instant(value)?)))
    }

    /// The time, nanoseconds since 1970.
    pub(crate) fn instant(self) -> Option<i64> {
        self.0
    }

    /// Whether something that was made then is meant. Nanoseconds since 1970.
    pub(crate) fn covers(self, created: i64) -> bool {
        self.0.is_none_or(|until| created < until)
    }
}

/// A time (seconds since 1970, RFC 3339) or a duration before now. Nanoseconds since 1970.
pub(crate) fn instant(text: &str) -> Result<i64, Error> {
    if let Ok(duration) = units::parse_duration(text)
        && duration != 0
    {
        return Ok(Timestamp::from(SystemTime::now()).as_nanos().saturating_sub(duration));
    }
    Timestamp::parse(text)
        .map(Timestamp::as_nanos)
        .map_err(|_| Error::invalid(format!("failed to parse value as time or duration: {text:?}")))
}
