//! Distinguished encoding (DER, X.690): as much as a certificate needs.

/// `SEQUENCE`.
pub(crate) const SEQUENCE: u8 = 0x30;
/// `SET`.
pub(crate) const SET: u8 = 0x31;
/// `INTEGER`.
pub(crate) const INTEGER: u8 = 0x02;
/// `OCTET STRING`.
pub(crate) const OCTETS: u8 = 0x04;
/// `UTF8String`.
pub(crate) const TEXT: u8 = 0x0c;
/// `UTCTime`.
pub(crate) const TIME: u8 = 0x17;
/// `BOOLEAN`, true.
pub(crate) const TRUE: [u8; 3] = [0x01, 0x01, 0xff];

/// An element with its tag and its length.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match content.len() {
        len @ 0..=0x7f => element.push(len as u8),
        len => {
            let digits = len.to_be_bytes();
            let n_zeros = digits.iter().take_while(|digit| **digit == 0).count();
            element.push(0x80 | (digits.len() - n_zeros) as u8);
            element.extend_from_slice(&digits[n_zeros..]);
        }
    }
    element.extend_from_slice(content);
    element
}

/// Elements one after the other, in one.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// `BIT STRING`, of whose last byte the lowest `n_unused` bits do not count.
pub(crate) fn bits(n_unused: u8, bytes: &[u8]) -> Vec<u8> {
    element(0x03, &[&[n_unused], bytes].concat())
}

/// `OBJECT IDENTIFIER`, of these numbers: the first two are at most 2 and 39.
pub(crate) fn oid(numbers: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    if let [first, second, rest @ ..] = numbers {
        content.push((first * 40 + second) as u8);
        for number in rest {
            let n_digits = (32 - number.leading_zeros()).div_ceil(7).max(1);
            for digit in (0..n_digits).rev() {
                let more = if digit == 0 { 0 } else { 0x80 };
                content.push((number >> (7 * digit) & 0x7f) as u8 | more);
            }
        }
    }
    element(0x06, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_numbers_have_their_shortest_form() {
        assert_eq!(element(OCTETS, &[7]), [4, 1, 7]);
        assert_eq!(element(OCTETS, &[0; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(element(OCTETS, &[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(element(OCTETS, &[0; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
        // ecdsa-with-SHA256, and a number of one digit that is 0.
        assert_eq!(
            oid(&[1, 2, 840, 10045, 4, 3, 2]),
            [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]
        );
        assert_eq!(oid(&[2, 5, 29, 0]), [6, 3, 0x55, 0x1d, 0]);
        assert_eq!(bits(7, &[0x80]), [3, 2, 7, 0x80]);
    }
}
