use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Error;

/// The longest name on the wire, its final zero included (RFC 1035, 2.3.4).
const MAX_NAME_BYTES: usize = 255;
/// The longest label.
const MAX_LABEL_BYTES: usize = 63;

/// A domain name: labels of any bytes, as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// Each label with its length before it; no final zero.
    wire: Vec<u8>,
}

impl Name {
    /// Reads the name at `start` of a message, and says where what follows it begins.
    ///
    /// A pointer must lead to a place before the run of labels that it ends, so that every pointer
    /// makes the next one's room smaller and none can loop.
    pub fn parse(message: &[u8], start: usize) -> Result<(Self, usize), Error> {
        let mut wire = Vec::new();
        let mut at = start;
        let mut run = start;
        let mut after = None;
        loop {
            let length = *message.get(at).ok_or(Error::Short(message.len()))?;
            match length >> 6 {
                0 if length == 0 => return Ok((Self { wire }, after.unwrap_or(at + 1))),
                0 => {
                    let end = at + 1 + usize::from(length);
                    let label = message.get(at..end).ok_or(Error::Short(message.len()))?;
                    if wire.len() + label.len() >= MAX_NAME_BYTES {
                        return Err(Error::LongName(start));
                    }
                    wire.extend_from_slice(label);
                    at = end;
                }
                3 => {
                    let target = usize::from(crate::u16_at(message, at)? & 0x3fff);
                    after = after.or(Some(at + 2));
                    if target >= run {
                        return Err(Error::Pointer(at));
                    }
                    at = target;
                    run = target;
                }
                _ => return Err(Error::LabelType(at)),
            }
        }
    }

    /// The name that dotted text means; `None` if a label is empty or too long, or the whole is.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut wire = Vec::with_capacity(text.len() + 1);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            if label.is_empty() || label.len() > MAX_LABEL_BYTES {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        (wire.len() < MAX_NAME_BYTES).then_some(Self { wire })
    }

    /// Its labels, from the leftmost.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.wire.as_slice();
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (label, next) = after.split_at_checked(usize::from(length))?;
            rest = next;
            Some(label)
        })
    }

    /// Whether it is the name that `text` means, letter case aside (RFC 4343).
    pub fn is(&self, text: &str) -> bool {
        let mut wanted = text.strip_suffix('.').unwrap_or(text).split('.');
        self.labels().all(|label| {
            wanted.next().is_some_and(|want| label.eq_ignore_ascii_case(want.as_bytes()))
        }) && wanted.next().is_none()
    }

    /// Whether both are one name, letter case aside.
    pub fn eq_ignore_case(&self, other: &Self) -> bool {
        self.wire.eq_ignore_ascii_case(&other.wire)
    }

    /// The address whose name is asked for, if this is one below `in-addr.arpa` or `ip6.arpa`.
    pub fn reversed_address(&self) -> Option<IpAddr> {
        let labels: Vec<&str> =
            self.labels().map(std::str::from_utf8).collect::<Result<_, _>>().ok()?;
        let (parts, zone) = labels.split_at_checked(labels.len().checked_sub(2)?)?;
        if !zone[1].eq_ignore_ascii_case("arpa") {
            return None;
        }
        match (zone[0].to_ascii_lowercase().as_str(), parts.len()) {
            ("in-addr", 4) => {
                let mut octets = [0; 4];
                for (octet, part) in octets.iter_mut().rev().zip(parts) {
                    *octet = part.parse().ok()?;
                }
                Some(Ipv4Addr::from(octets).into())
            }
            ("ip6", 32) => {
                let mut bits = 0u128;
                for part in parts.iter().rev() {
                    let mut chars = part.chars();
                    let (Some(nibble), None) = (chars.next(), chars.next()) else { return None };
                    bits = bits << 4 | u128::from(nibble.to_digit(16)?);
                }
                Some(Ipv6Addr::from(bits).into())
            }
            _ => None,
        }
    }

    /// As on the wire, uncompressed.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.wire);
        to.push(0);
    }
}

/// Dotted, without a final dot; what is no letter, digit, `-` or `_` as `\DDD` (RFC 1035, 5.1).
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, label) in self.labels().enumerate() {
            if idx > 0 {
                f.write_char('.')?;
            }
            for &byte in label {
                if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
                    f.write_char(char::from(byte))?;
                } else {
                    write!(f, "\\{byte:03}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(message: &[u8], at: usize) -> Result<(String, usize), Error> {
        Name::parse(message, at).map(|(name, next)| (name.to_string(), next))
    }

    #[test]
    fn a_compressed_name_continues_where_its_pointer_leads() {
        let message = b"\x03web\x03net\x00\x01a\xc0\x04\xff";
        assert_eq!(parsed(message, 0), Ok(("web.net".into(), 9)));
        assert_eq!(parsed(message, 9), Ok(("a.net".into(), 13)));
    }

    #[test]
    fn no_pointer_loops() {
        assert_eq!(parsed(b"\xc0\x00", 0), Err(Error::Pointer(0)));
        assert_eq!(parsed(b"\x01a\xc0\x00", 0), Err(Error::Pointer(2)));
        assert_eq!(parsed(b"\xc0\x02\xc0\x00", 2), Err(Error::Pointer(0)));
    }

    #[test]
    fn a_name_ends_before_its_message_and_at_255_bytes() {
        assert_eq!(parsed(b"\x05abc", 0), Err(Error::Short(4)));
        assert_eq!(parsed(b"\x01a", 0), Err(Error::Short(2)));
        assert_eq!(parsed(b"\x40a\x00", 0), Err(Error::LabelType(0)));
        let long = b"\x3f".iter().chain(&[b'x'; 63]).copied().collect::<Vec<_>>().repeat(4);
        assert_eq!(parsed(&[long.as_slice(), b"\0"].concat(), 0), Err(Error::LongName(0)));
    }

    #[test]
    fn a_dot_inside_a_label_is_no_separator() {
        let (name, _) = Name::parse(b"\x03a.b\x00", 0).unwrap();
        assert_eq!(name.to_string(), "a\\046b");
        assert!(!name.is("a.b"));
    }

    #[test]
    fn names_differ_by_more_than_letter_case() {
        let name = Name::from_text("Web.Example.").unwrap();
        assert!(name.is("web.example") && name.is("WEB.example."));
        assert!(!name.is("web") && !name.is("web.example.org") && !name.is(""));
        assert!(Name::from_text("a..b").is_none() && Name::from_text("").is_none());
    }

    #[test]
    fn reverse_names_mean_addresses() {
        let check = |text: &str, want: Option<&str>| {
            let found = Name::from_text(text).unwrap().reversed_address();
            assert_eq!(found, want.map(|address| address.parse().unwrap()), "{text}");
        };
        check("2.0.17.172.in-addr.arpa", Some("172.17.0.2"));
        check("2.0.17.172.IN-ADDR.ARPA", Some("172.17.0.2"));
        check(&format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23)), Some("2001:db8::1"));
        check("0.17.172.in-addr.arpa", None);
        check("300.0.17.172.in-addr.arpa", None);
        check("web", None);
        check("arpa", None);
    }
}
