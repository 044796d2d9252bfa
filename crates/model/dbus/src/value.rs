//! Values.

use crate::Type;

/// A value of any type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is what `Type` calls it")]
pub enum Value {
    Byte(u8),
    Bool(bool),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Str(String),
    Path(String),
    Signature(String),
    Fd(u32),
    /// The type of the items, and they: all are of it.
    Array(Type, Vec<Value>),
    Struct(Vec<Value>),
    Entry(Box<(Value, Value)>),
    Variant(Box<Value>),
}

impl Value {
    /// Its type.
    pub fn of_type(&self) -> Type {
        match self {
            Self::Byte(_) => Type::Byte,
            Self::Bool(_) => Type::Bool,
            Self::I16(_) => Type::I16,
            Self::U16(_) => Type::U16,
            Self::I32(_) => Type::I32,
            Self::U32(_) => Type::U32,
            Self::I64(_) => Type::I64,
            Self::U64(_) => Type::U64,
            Self::Double(_) => Type::Double,
            Self::Str(_) => Type::Str,
            Self::Path(_) => Type::Path,
            Self::Signature(_) => Type::Signature,
            Self::Fd(_) => Type::Fd,
            Self::Array(item, _) => Type::Array(Box::new(item.clone())),
            Self::Struct(fields) => Type::Struct(fields.iter().map(Self::of_type).collect()),
            Self::Entry(both) => Type::Entry(Box::new((both.0.of_type(), both.1.of_type()))),
            Self::Variant(_) => Type::Variant,
        }
    }

    /// A string.
    pub fn string(text: impl Into<String>) -> Self {
        Self::Str(text.into())
    }

    /// Bytes: `ay`.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Array(Type::Byte, bytes.iter().map(|byte| Self::Byte(*byte)).collect())
    }

    /// It, whose type the receiver does not know before.
    pub fn variant(self) -> Self {
        Self::Variant(Box::new(self))
    }

    /// The text of a string, an object's path or a signature.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::Path(text) | Self::Signature(text) => Some(text),
            _ => None,
        }
    }
}
