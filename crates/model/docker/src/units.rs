//! Sizes and durations as Docker reads and prints them (`github.com/docker/go-units`, and Go's
//! `time.ParseDuration`).

/// A size or a duration that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No number.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// Not a unit.
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
    /// Not a duration.
    #[error("time: invalid duration \"{0}\"")]
    Duration(String),
    /// A duration without its unit.
    #[error("time: missing unit in duration \"{0}\"")]
    NoUnit(String),
    /// A duration with a unit of its own.
    #[error("time: unknown unit \"{unit}\" in duration \"{text}\"")]
    Unit {
        /// The unit.
        unit: String,
        /// The whole.
        text: String,
    },
}

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Parses a size with units of 1024: `512m`, `1.5g`, `64 KiB`. In bytes.
pub fn ram_in_bytes(text: &str) -> Result<i64, Error> {
    parse_size(text, 1024.0)
}

/// Parses a size with units of 1000: `10MB`. In bytes.
pub fn from_human_size(text: &str) -> Result<i64, Error> {
    parse_size(text, 1000.0)
}

fn parse_size(text: &str, unit: f64) -> Result<i64, Error> {
    let bad = || Error::Size(text.to_owned());
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(bad)?;
    let (number, suffix) = (&text[..=last], &text[last + 1..]);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let size: f64 = number.parse().map_err(|_| bad())?;
    if size < 0.0 || !size.is_finite() {
        return Err(bad());
    }
    let suffix = suffix.to_ascii_lowercase();
    let power = match suffix.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(Error::Suffix(suffix)),
    };
    Ok((size * unit.powi(power)) as i64)
}

/// Prints bytes with units of 1000 and four digits: `1.5kB`, `24.01MB`.
pub fn human_size(bytes: f64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 4)
}

/// Prints bytes with units of 1000 and that many digits.
pub fn human_size_with_precision(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, &DECIMAL, digits)
}

/// Prints bytes with units of 1024 and four digits: `512MiB`.
pub fn bytes_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", general(size, digits), units[unit])
}

/// C's and Go's `%.Ng`, for numbers that are not tiny.
fn general(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        let whole = if text.contains('.') { text.trim_end_matches('0') } else { text };
        whole.trim_end_matches('.').to_owned()
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{value:.*}", (digits as i32 - 1 - exponent).max(0) as usize))
}

/// Prints a duration in seconds for people: `About a minute`, `3 hours`.
pub fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Go rounds hours to the nearest.
    let hours = (seconds as f64 / 3600.0).round() as i64;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Parses Go's durations: `1h15m30.5s`, `300ms`. In nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, Error> {
    let bad = || Error::Duration(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total = 0_f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let value: f64 = rest[..number].parse().map_err(|_| bad())?;
        rest = &rest[number..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "" => return Err(Error::NoUnit(text.to_owned())),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            unit => {
                return Err(Error::Unit { unit: unit.to_owned(), text: text.to_owned() });
            }
        };
        total += value * unit;
        rest = &rest[end..];
    }
    if total > i64::MAX as f64 {
        return Err(bad());
    }
    Ok(if negative { -(total.round() as i64) } else { total.round() as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", Ok(0)),
            ("32", Ok(32)),
            ("32b", Ok(32)),
            ("512m", Ok(512 << 20)),
            ("512M", Ok(512 << 20)),
            ("512MB", Ok(512 << 20)),
            ("512MiB", Ok(512 << 20)),
            ("1.5g", Ok(3 << 29)),
            ("32 k", Ok(32 << 10)),
            (".5t", Ok(1 << 39)),
            ("", Err("invalid size: ''")),
            ("m", Err("invalid size: 'm'")),
            ("-1m", Err("invalid size: '-1m'")),
            ("1.2.3m", Err("invalid size: '1.2.3m'")),
            ("12x", Err("invalid suffix: 'x'")),
            ("12mm", Err("invalid suffix: 'mm'")),
        ] {
            let got = ram_in_bytes(text).map_err(|err| err.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn printed_sizes() {
        assert_eq!(human_size(0.0), "0B");
        assert_eq!(human_size(1000.0), "1kB");
        assert_eq!(human_size(24_012_345.0), "24.01MB");
        assert_eq!(human_size_with_precision(78_123_456.0, 3), "78.1MB");
        // What `docker images` really prints for 999.9 MB.
        assert_eq!(human_size_with_precision(999_900_000.0, 3), "1e+03MB");
        assert_eq!(bytes_size(512.0 * 1024.0 * 1024.0), "512MiB");
        assert_eq!(bytes_size(7.633e9), "7.109GiB");
    }

    #[test]
    fn printed_durations() {
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (3 * 3600, "3 hours"),
            (49 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (90 * 86400, "3 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), want);
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("0", Ok(0)),
            ("1h15m30.5s", Ok(4_530_500_000_000)),
            ("300ms", Ok(300_000_000)),
            ("-1s", Ok(-1_000_000_000)),
            ("10", Err("time: missing unit in duration \"10\"")),
            ("10x", Err("time: unknown unit \"x\" in duration \"10x\"")),
            ("", Err("time: invalid duration \"\"")),
            ("abc", Err("time: invalid duration \"abc\"")),
        ] {
            let got = parse_duration(text).map_err(|err| err.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{text:?}");
        }
    }
}
