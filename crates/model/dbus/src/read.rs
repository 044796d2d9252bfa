//! Bytes as values, of either end.

use crate::{Error, Type, Value};

/// How deep values may be in each other in all, variants too.
const DEPTH: usize = 64;

/// Bytes that are read from a place that is a multiple of eight.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], big_endian: bool) -> Self {
        Self { bytes, at: 0, big_endian }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn pad(&mut self, alignment: usize) -> Result<(), Error> {
        let to = self.at.next_multiple_of(alignment);
        let padding = self.bytes.get(self.at..to).ok_or(Error::Short)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Error::Malformed("padding that is not zero"));
        }
        self.at = to;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(length).ok_or(Error::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Error::Short)?;
        self.at = end;
        Ok(taken)
    }

    /// A number of `N` bytes, little end first.
    fn number<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.pad(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        if self.big_endian {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        self.number().map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.number().map(u32::from_le_bytes)
    }

    /// Text of `length` bytes and the zero after it.
    fn text(&mut self, length: usize) -> Result<String, Error> {
        let bytes = self.take(length)?;
        if self.take(1)? != [0] {
            return Err(Error::Malformed("a text without its end"));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
            _ => Err(Error::Malformed("a text that is not UTF-8, or with a zero byte in it")),
        }
    }

    fn signature(&mut self) -> Result<String, Error> {
        let length = self.byte()?;
        self.text(usize::from(length))
    }

    /// A value of a type, `depth` deep in others.
    pub(crate) fn value(&mut self, of: &Type, depth: usize) -> Result<Value, Error> {
        if depth > DEPTH {
            return Err(Error::Malformed("values nested too deep"));
        }
        Ok(match of {
            Type::Byte => Value::Byte(self.byte()?),
            Type::Bool => match self.u32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Error::Malformed("a boolean that is neither 0 nor 1")),
            },
            Type::I16 => Value::I16(i16::from_le_bytes(self.number()?)),
            Type::U16 => Value::U16(u16::from_le_bytes(self.number()?)),
            Type::I32 => Value::I32(i32::from_le_bytes(self.number()?)),
            Type::U32 => Value::U32(self.u32()?),
            Type::I64 => Value::I64(i64::from_le_bytes(self.number()?)),
            Type::U64 => Value::U64(u64::from_le_bytes(self.number()?)),
            Type::Double => Value::Double(f64::from_le_bytes(self.number()?)),
            Type::Fd => Value::Fd(self.u32()?),
            Type::Str => {
                let length = self.u32()?;
                Value::Str(self.text(length as usize)?)
            }
            Type::Path => {
                let length = self.u32()?;
                let path = self.text(length as usize)?;
                if !is_path(&path) {
                    return Err(Error::Malformed("an object's path that is none"));
                }
                Value::Path(path)
            }
            Type::Signature => {
                let signature = self.signature()?;
                Type::parse_all(&signature)?;
                Value::Signature(signature)
            }
            Type::Array(item) => {
                let length = self.u32()? as usize;
                self.pad(item.alignment())?;
                let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
                let end = end.ok_or(Error::Short)?;
                let mut items = Vec::new();
                while self.at < end {
                    items.push(self.value(item, depth + 1)?);
                }
                if self.at != end {
                    return Err(Error::Malformed("an array that ends in the middle of an item"));
                }
                Value::Array((**item).clone(), items)
            }
            Type::Struct(fields) => {
                self.pad(8)?;
                let field = |field| self.value(field, depth + 1);
                Value::Struct(fields.iter().map(field).collect::<Result<_, _>>()?)
            }
            Type::Entry(both) => {
                self.pad(8)?;
                let key = self.value(&both.0, depth + 1)?;
                Value::Entry(Box::new((key, self.value(&both.1, depth + 1)?)))
            }
            Type::Variant => {
                let inner = Type::parse(&self.signature()?)?;
                Value::Variant(Box::new(self.value(&inner, depth + 1)?))
            }
        })
    }
}

/// `/`, or words of letters, digits and `_`, each after a slash.
pub(crate) fn is_path(path: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    path == "/" || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(word))
}
