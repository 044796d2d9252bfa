//! PAX extended headers: records of the form `LENGTH KEY=VALUE\n`.

use crate::{Time, number};

/// The records of one header, in order; a key may come twice (GNU's first sparse format does it).
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// Reads the data of a header. The error says what is wrong.
    pub(crate) fn parse(mut data: &[u8]) -> Result<Self, String> {
        let mut records = Vec::new();
        while !data.is_empty() {
            let space = data.iter().take(21).position(|byte| *byte == b' ');
            let space = space.ok_or("an extended header's record has no length")?;
            let len = number::parse_decimal(&data[..space])
                .and_then(|len| usize::try_from(len).ok())
                .filter(|len| *len <= data.len() && *len > space + 1)
                .ok_or("an extended header's record has an impossible length")?;
            let (record, rest) = data.split_at(len);
            let Some(body) = record[space + 1..].strip_suffix(b"\n") else {
                return Err("an extended header's record does not end its line".into());
            };
            let equals = body.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
            let equals = equals.ok_or("an extended header's record has no key")?;
            let (key, value) = (&body[..equals], &body[equals + 1..]);
            let is_name = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
            if key.contains(&0) || is_name && value.contains(&0) {
                return Err("an extended header's record has a NUL byte".into());
            }
            records.push((key.to_vec(), value.to_vec()));
            data = rest;
        }
        Ok(Self(records))
    }

    /// The value of a key: the last one, and none where that is empty (it takes the value back).
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let found = self.0.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    /// All records in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds records that come later, and so win.
    pub(crate) fn extend(&mut self, later: &Self) {
        self.0.extend(later.0.iter().cloned());
    }

    /// How many bytes these records hold.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// `[-]SECONDS[.FRACTION]`; what is finer than nanoseconds is cut.
pub(crate) fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match dot {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let whole = number::parse_decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    let below = || 0_i64.checked_sub_unsigned(whole);
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds: whole.try_into().ok()?, nanoseconds },
        (true, 0) => Time { seconds: below()?, nanoseconds },
        (true, _) => {
            Time { seconds: below()?.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds }
        }
    })
}

/// The other way round, without a fraction where there is none.
pub(crate) fn write_time(time: Time) -> String {
    let Time { seconds, nanoseconds } = time;
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
        (false, _) => ("", seconds.unsigned_abs(), nanoseconds),
    };
    let fraction = format!(".{nanoseconds:09}");
    let fraction = if nanoseconds == 0 { "" } else { fraction.trim_end_matches('0') };
    format!("{sign}{seconds}{fraction}")
}

/// Adds a record: its length counts its own digits.
pub(crate) fn write_record(data: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3; // a space, `=` and the end of the line
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    data.extend_from_slice(format!("{len} ").as_bytes());
    data.extend_from_slice(key);
    data.push(b'=');
    data.extend_from_slice(value);
    data.push(b'\n');
}

/// `%XX` escapes, as libarchive has them in the names of attributes.
pub(crate) fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            decoded.push(*first);
            rest = after;
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        decoded.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = &after[2..];
    }
    Some(decoded)
}

/// Base 64 with or without padding, as libarchive has it in the values of attributes.
pub(crate) fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    let (digits, padding) = text.split_at(end);
    if padding.len() > 2 || padding.iter().any(|byte| *byte != b'=') {
        return None;
    }
    data_encoding::BASE64_NOPAD.decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_itself() {
        for len in [1, 5, 6, 90, 91, 92, 93, 94, 95, 96, 990, 991, 992, 993] {
            let mut data = Vec::new();
            write_record(&mut data, b"k", &vec![b'v'; len]);
            let records = Records::parse(&data).unwrap();
            assert_eq!(records.get(b"k").unwrap().len(), len);
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            &b"x"[..],
            b"5",
            b"5 a=",
            b"6 a=bc\n",
            b"99999999999999999999999 a=b\n",
            b"18446744073709551615 a=b\n",
            b"0 a=b\n",
            b"2 a=b\n",
            b"-6 a=b\n",
            b"6 a=bX",
            b"5 =b\n",
            b"5 ab\n",
            b"11 path=a\0\n",
        ] {
            assert!(Records::parse(bad).is_err(), "{bad:?}");
        }
        let ok = Records::parse(b"6 a=b\n5 a=\n").unwrap();
        assert_eq!(ok.get(b"a"), None, "an empty value takes the first one back");
    }

    #[test]
    fn times_round_down_and_come_back() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("1350244992.023960108", 1_350_244_992, 23_960_108),
            ("-1", -1, 0),
            ("-0.25", -1, 750_000_000),
            ("-7.9", -8, 100_000_000),
            ("-9223372036854775808", i64::MIN, 0),
            ("-9223372036854775807.5", i64::MIN, 500_000_000),
            ("9223372036854775807", i64::MAX, 0),
        ] {
            let time = Time { seconds, nanoseconds };
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
            assert_eq!(write_time(time), text);
        }
        assert_eq!(parse_time(b"1.1234567899").unwrap().nanoseconds, 123_456_789);
        for bad in [
            "",
            ".",
            "-",
            "1.x",
            "x",
            "1e9",
            "--1",
            "9223372036854775808",
            "-9223372036854775809",
            "-9223372036854775808.5",
        ] {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn libarchives_escapes() {
        assert_eq!(percent_decode(b"user.a%3Db").unwrap(), b"user.a=b");
        assert_eq!(percent_decode(b"a%3"), None);
        assert_eq!(base64_decode(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64_decode(b"aGVsbG8").unwrap(), b"hello");
        assert_eq!(base64_decode(b"").unwrap(), b"");
        assert_eq!(base64_decode(b"a"), None);
        assert_eq!(base64_decode(b"aG*="), None);
    }
}
