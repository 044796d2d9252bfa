//! The time of day, as Docker writes it.

use std::fmt;

use rustix::time::{ClockId, clock_gettime};

/// A moment in UTC. Shown as RFC 3339 with as many digits after the second as it needs, at most
/// nine: the form of Go's `RFC3339Nano`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp {
    /// Since 1970.
    seconds: i64,
    /// Of the second.
    nanos: u32,
}

impl Timestamp {
    /// The present.
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Realtime);
        Self { seconds: now.tv_sec, nanos: now.tv_nsec as u32 }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn nanos(self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(self.nanos.into())
    }
}

impl Timestamp {
    /// As syslog has it: `Jan  2 15:04:05`.
    pub(crate) fn stamp(self) -> String {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (_, month, day) = date(self.seconds.div_euclid(86_400));
        let month = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at));
        format!("{} {day:>2} {}", month.unwrap_or(&""), self.clock())
    }

    /// RFC 3339 with so many digits after the second, at most nine.
    pub(crate) fn with_digits(self, digits: usize) -> String {
        let (year, month, day) = date(self.seconds.div_euclid(86_400));
        let seconds = format!("{year:04}-{month:02}-{day:02}T{}", self.clock());
        let fraction = format!("{:09}", self.nanos);
        let point = if digits == 0 { "" } else { "." };
        format!("{seconds}{point}{}Z", &fraction[..digits.min(9)])
    }

    /// The time of day.
    fn clock(self) -> String {
        let second = self.seconds.rem_euclid(86_400);
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }

    /// A moment of a test's choice.
    #[cfg(test)]
    pub(crate) fn of_test(seconds: i64, nanos: u32) -> Self {
        Self { seconds, nanos }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", second % 60)?;
        if self.nanos != 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// The date of a day, counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are taken to begin in March, so that the leap day is the last of its year; 400 of them
/// have 146,097 days.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_look_as_in_go() {
        let check = |seconds, nanos, want: &str| {
            assert_eq!(Timestamp { seconds, nanos }.to_string(), want);
        };
        check(0, 0, "1970-01-01T00:00:00Z");
        check(951_782_400, 120_000_000, "2000-02-29T00:00:00.12Z");
        check(1_709_251_199, 1, "2024-02-29T23:59:59.000000001Z");
        check(4_107_542_399, 999_999_999, "2100-02-28T23:59:59.999999999Z");
        check(-1, 0, "1969-12-31T23:59:59Z");
    }
}
