//! The encoding: numbers in groups of seven bits, and fields that begin with their number and kind.

use crate::Error;

/// Kinds of fields.
const NUMBER: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

/// A message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | NUMBER);
        self.varint(number);
    }

    /// A number with a sign, which is written as one of 64 bits.
    pub(crate) fn signed(&mut self, field: u64, number: i32) {
        self.number(field, i64::from(number).cast_unsigned());
    }

    /// A flag, if it is set: that it is not is what is taken of one that is missing.
    pub(crate) fn flag(&mut self, field: u64, is_set: bool) {
        if is_set {
            self.number(field, 1);
        }
    }

    pub(crate) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    pub(crate) fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut message = Self::default();
        fill(&mut message);
        self.bytes(field, &message.0);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a kind that no field we know has.
    Other,
}

impl<'a> Value<'a> {
    pub(crate) fn number(self) -> Result<u64, Error> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err(Error("a field should be a number")),
        }
    }

    /// A number with a sign, which is written as one of 64 bits.
    pub(crate) fn signed(self) -> Result<i32, Error> {
        let number = self.number()?.cast_signed();
        i32::try_from(number).map_err(|_| Error("a number is too large"))
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Error("a field should be a string")),
        }
    }
}

/// Calls `take` with each field of a message.
pub(crate) fn fields<'a>(
    message: &'a [u8],
    mut take: impl FnMut(u64, Value<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut rest = message;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            NUMBER => Value::Number(varint(&mut rest)?),
            BYTES => {
                let length = usize::try_from(varint(&mut rest)?).unwrap_or(usize::MAX);
                Value::Bytes(cut(&mut rest, length)?)
            }
            EIGHT_BYTES => cut(&mut rest, 8).map(|_| Value::Other)?,
            FOUR_BYTES => cut(&mut rest, 4).map(|_| Value::Other)?,
            _ => return Err(Error("a field is of no known kind")),
        };
        take(key >> 3, value)?;
    }
    Ok(())
}

fn cut<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Error> {
    let (front, back) = rest.split_at_checked(length).ok_or(Error("it is cut short"))?;
    *rest = back;
    Ok(front)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Error> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte, ..] = cut(rest, 1)? else { return Err(Error("it is cut short")) };
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Error("a number is too large"));
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Error("a number is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<Vec<(u64, Value<'_>)>, Error> {
        let mut all = Vec::new();
        fields(message, |field, value| {
            all.push((field, value));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.number(1, 300);
        writer.signed(2, -1);
        writer.text(16, "word");
        writer.message(3, |inner| inner.number(1, u64::MAX));
        let bytes = writer.finish();
        assert_eq!(bytes[..3], [0x08, 0xac, 0x02], "as the documentation of the encoding has it");
        let all = read(&bytes).unwrap();
        assert_eq!(all[0], (1, Value::Number(300)));
        assert_eq!(all[1].1.signed(), Ok(-1));
        assert_eq!(all[2], (16, Value::Bytes(b"word")));
        let inner = read(all[3].1.bytes().unwrap()).unwrap();
        assert_eq!(inner, [(1, Value::Number(u64::MAX))]);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bad in [
            &[0x08][..],
            &[0x0a, 5, 1],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x0b],
            &[0x0d, 1, 2, 3],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
