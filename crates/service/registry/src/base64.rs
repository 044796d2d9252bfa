//! Base64 (RFC 4648) as others write it: both alphabets are read, with or without padding, since
//! registries, `config.json` and `X-Registry-Auth` each do it another way.

use data_encoding::{BASE64, BASE64_NOPAD};

/// Encodes, with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// `None` where it is not base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().trim_end_matches('=').replace('-', "+").replace('_', "/");
    BASE64_NOPAD.decode(digits.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_alphabet_with_or_without_padding() {
        for (text, want) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(text.as_bytes()), want);
            assert_eq!(decode(want).unwrap(), text.as_bytes());
            assert_eq!(decode(want.trim_end_matches('=')).unwrap(), text.as_bytes());
        }
        assert_eq!(decode("-_8=").unwrap(), decode("+/8").unwrap());
        assert!(decode("a").is_none() && decode("a b").is_none() && decode("Zg==Zg").is_none());
    }
}
