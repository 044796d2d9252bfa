//! Base64 (RFC 4648): both alphabets are read, with or without padding, since registries,
//! `config.json` and `X-Registry-Auth` each do it another way.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |idx: usize| u32::from(chunk.get(idx).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for idx in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * idx) & 63) as usize];
            out.push(if idx <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// `None` where it is not base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let mut group = 0u32;
        for &digit in chunk {
            let digit = match digit {
                b'-' => b'+',
                b'_' => b'/',
                digit => digit,
            };
            group = group << 6 | ALPHABET.iter().position(|&one| one == digit)? as u32;
        }
        group <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_examples() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(text.as_bytes()), want);
            assert_eq!(decode(want).unwrap(), text.as_bytes());
            assert_eq!(decode(want.trim_end_matches('=')).unwrap(), text.as_bytes());
        }
        assert_eq!(decode("-_8=").unwrap(), decode("+/8").unwrap());
        assert!(decode("a").is_none() && decode("a b").is_none() && decode("Zg==Zg").is_none());
    }
}
