//! Instants as the API writes them (RFC 3339 with nanoseconds, UTC) and as it takes them (`since`,
//! `until`). Computing only: the caller brings the clock.

use std::{fmt, time::SystemTime};

/// What Go prints for an instant that never was.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// An instant, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970, without leap seconds.
    pub seconds: i64,
    /// Nanoseconds, 0..1e9.
    pub nanos: u32,
}

/// Not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid time `{0}`: give seconds since 1970 or RFC 3339")]
pub struct Error(pub String);

impl Timestamp {
    /// From nanoseconds since 1970.
    pub fn from_nanos(nanos: i64) -> Self {
        Self {
            seconds: nanos.div_euclid(1_000_000_000),
            nanos: nanos.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// In nanoseconds since 1970.
    pub fn as_nanos(self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanos))
    }

    /// Parses `SECONDS[.NANOS]` or RFC 3339 (`2006-01-02T15:04:05.999Z`, `…+02:00`; without a zone:
    /// UTC; the time may be left out).
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse_seconds(text).or_else(|| parse_rfc3339(text)).ok_or_else(|| Error(text.to_owned()))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
            Err(before) => Self::from_nanos(-(before.duration().as_nanos() as i64)),
        }
    }
}

/// Go's `RFC3339Nano`: fraction without trailing zeros, none when it is zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.seconds.div_euclid(86400));
        let second = self.seconds.rem_euclid(86400);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")?;
        if self.nanos != 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

fn parse_seconds(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = seconds.strip_prefix('-').unwrap_or(seconds);
    if unsigned.is_empty() || !digits(unsigned) || !digits(fraction) {
        return None;
    }
    Some(Timestamp { seconds: seconds.parse().ok()?, nanos: nanos(fraction)? })
}

fn nanos(fraction: &str) -> Option<u32> {
    let kept = &fraction[..fraction.len().min(9)];
    format!("{kept:0<9}").parse().ok()
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00"));
    let mut parts = date.split('-');
    let mut next = |width: usize| -> Option<i64> {
        let part = parts.next().filter(|part| part.len() == width)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (clock, offset) = split_zone(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut seconds = 0;
    let fields: Vec<&str> = clock.split(':').collect();
    if !(1..=3).contains(&fields.len()) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    for (field, (limit, unit)) in fields.iter().zip([(23, 3600), (59, 60), (60, 1)]) {
        let value: i64 = field.parse().ok().filter(|value| (0..=limit).contains(value))?;
        seconds += value * unit;
    }
    Some(Timestamp {
        seconds: days(year, month, day) * 86400 + seconds - offset,
        nanos: nanos(fraction)?,
    })
}

/// The clock, and how far it is ahead of UTC in seconds.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (hours, minutes) = time[at + 1..].split_once(':')?;
    let offset = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
    Some((&time[..at], if time[at..].starts_with('-') { -offset } else { offset }))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant's algorithm).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day = shifted.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_as_go_does() {
        for (nanos, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_136_214_245_999_000_000, "2006-01-02T15:04:05.999Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (-1_000_000_000, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_nanos(nanos).to_string(), want);
        }
    }

    #[test]
    fn parsed() {
        for (text, want) in [
            ("1136214245", Some("2006-01-02T15:04:05Z")),
            ("1136214245.000000001", Some("2006-01-02T15:04:05.000000001Z")),
            ("2006-01-02T15:04:05.5Z", Some("2006-01-02T15:04:05.5Z")),
            ("2006-01-02T15:04:05+02:00", Some("2006-01-02T13:04:05Z")),
            ("2006-01-02T15:04", Some("2006-01-02T15:04:00Z")),
            ("2006-01-02", Some("2006-01-02T00:00:00Z")),
            (ZERO, Some(ZERO)),
            ("", None),
            ("yesterday", None),
            ("2006-13-01", None),
            ("2006-01-02T25:00:00Z", None),
        ] {
            assert_eq!(Timestamp::parse(text).ok().map(|t| t.to_string()).as_deref(), want);
        }
    }
}
