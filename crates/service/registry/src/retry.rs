//! When to try again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{HeaderMap, RETRY_AFTER};

/// How often, and how long apart.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How often one request is tried in all. For a blob: without a byte more each time.
    pub attempts: u32,
    /// How long to wait before the second attempt; twice as long before each one more.
    pub first: Duration,
    /// The longest that a registry may make us wait with `Retry-After`. Where it wants more, its
    /// answer is the result.
    pub longest: Duration,
    /// How long an answer, or the next piece of one, may take.
    pub silence: Duration,
    /// How many bytes a second have to come of a body, on the mean of as long as it may be silent. One
    /// that trickles is asked for again, as often as one request is tried.
    pub slowest: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(250),
            longest: Duration::from_mins(1),
            silence: Duration::from_mins(1),
            slowest: 1 << 10,
        }
    }
}

impl Retry {
    /// How long to wait after the attempt with this number, which starts at 1.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let pause = doubled.min(self.longest);
        // Those who lost their connections together should not come back together.
        pause + pause.mul_f64(f64::from(random_byte()) / 1024.0)
    }
}

fn random_byte() -> u8 {
    let mut byte = [0];
    // No randomness is no reason to fail.
    let got = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    if got.is_ok() { byte[0] } else { 0 }
}

/// What `Retry-After` says: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(http_date(text)?.saturating_sub(now)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that may still be sent, as seconds since 1970.
#[must_use]
pub fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.split_once(", ")?;
    // The older form, with two digits of the year, is still one (RFC 9110, 5.6.7).
    let older = date.strip_suffix(" GMT").or_else(|| date.strip_suffix(" UTC"));
    if let Some((day, time)) = older.and_then(|date| date.split_once(' '))
        && let [day, month, year] = day.split('-').collect::<Vec<_>>()[..]
    {
        let century = if year.len() == 2 && year < "70" { "20" } else { "19" };
        return http_date(&format!(", {day} {month} {century}{year} {time} GMT"));
    }
    let mut parts = date.strip_suffix(" GMT")?.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok().filter(|year| (1970..10000).contains(year))?;
    let mut time = parts.next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if parts.next().is_some() || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    // Days since 1970 in the Gregorian calendar; the year starts in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    Some((days.checked_sub(719_468)? * 24 + hour) * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn dates() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        assert_eq!(http_date("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thursday, 29-Feb-24 12:00:00 UTC"), Some(1_709_208_000));
        for bad in [
            "",
            "soon",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06-Nov 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn seconds_or_a_date() {
        let said = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers)
        };
        assert_eq!(said("3"), Some(Duration::from_secs(3)));
        assert_eq!(said("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(said("-1"), None);
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let retry = Retry::default();
        assert!(retry.pause(1) >= retry.first && retry.pause(1) <= retry.first * 2);
        assert!(retry.pause(3) >= retry.first * 4);
        assert!(retry.pause(u32::MAX) <= retry.longest * 2);
    }
}
