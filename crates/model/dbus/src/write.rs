//! Values as bytes, little end first.

use crate::{Error, LONGEST, Value};

/// Bytes, counted from the beginning of a message or of its body, which both begin at a multiple of
/// eight.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn pad(&mut self, alignment: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.pad(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        if text.contains('\0') {
            return Err(Error::Malformed("a zero byte in a text"));
        }
        self.u32(u32::try_from(text.len()).map_err(|_| Error::Long(text.len()))?);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    pub(crate) fn signature(&mut self, text: &str) -> Result<(), Error> {
        let length = u8::try_from(text.len());
        self.bytes.push(length.map_err(|_| Error::Malformed("a signature over 255 bytes"))?);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    pub(crate) fn value(&mut self, value: &Value) -> Result<(), Error> {
        match value {
            Value::Byte(value) => self.bytes.push(*value),
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::I16(value) => self.number(2, &value.to_le_bytes()),
            Value::U16(value) => self.number(2, &value.to_le_bytes()),
            Value::I32(value) => self.number(4, &value.to_le_bytes()),
            Value::U32(value) | Value::Fd(value) => self.u32(*value),
            Value::I64(value) => self.number(8, &value.to_le_bytes()),
            Value::U64(value) => self.number(8, &value.to_le_bytes()),
            Value::Double(value) => self.number(8, &value.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => self.text(text)?,
            Value::Signature(text) => self.signature(text)?,
            Value::Array(item, items) => {
                self.u32(0);
                let at = self.bytes.len() - 4;
                self.pad(item.alignment());
                let start = self.bytes.len();
                for one in items {
                    if one.of_type() != *item {
                        return Err(Error::Malformed("an array of more than one type"));
                    }
                    self.value(one)?;
                }
                let length = self.bytes.len() - start;
                let length = u32::try_from(length).map_err(|_| Error::Long(length))?;
                self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Value::Struct(fields) => {
                self.pad(8);
                fields.iter().try_for_each(|field| self.value(field))?;
            }
            Value::Entry(both) => {
                self.pad(8);
                self.value(&both.0)?;
                self.value(&both.1)?;
            }
            Value::Variant(value) => {
                self.signature(&value.of_type().signature())?;
                self.value(value)?;
            }
        }
        if self.bytes.len() > LONGEST { Err(Error::Long(self.bytes.len())) } else { Ok(()) }
    }

    fn number(&mut self, alignment: usize, bytes: &[u8]) {
        self.pad(alignment);
        self.bytes.extend_from_slice(bytes);
    }
}
