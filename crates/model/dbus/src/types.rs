//! The types of values, and their signatures.

use crate::Error;

/// The type of a [`Value`](crate::Value).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `y`
    Byte,
    /// `b`
    Bool,
    /// `n`
    I16,
    /// `q`
    U16,
    /// `i`
    I32,
    /// `u`
    U32,
    /// `x`
    I64,
    /// `t`
    U64,
    /// `d`
    Double,
    /// `s`
    Str,
    /// `o`
    Path,
    /// `g`
    Signature,
    /// `h`: the index of a descriptor that came along
    Fd,
    /// `a` and the type of its items
    Array(Box<Type>),
    /// `(` types `)`
    Struct(Vec<Type>),
    /// `{` key and value `}`, as an item of an array only
    Entry(Box<(Type, Type)>),
    /// `v`
    Variant,
}

/// The longest signature, in bytes.
const LONGEST: usize = 255;
/// How deep arrays may be in arrays, and structures in structures.
const DEPTH: usize = 32;

impl Type {
    /// The types that a signature lists.
    pub fn parse_all(signature: &str) -> Result<Vec<Self>, Error> {
        let wrong = || Error::Signature(signature.chars().take(64).collect());
        if signature.len() > LONGEST {
            return Err(wrong());
        }
        let mut rest = signature.as_bytes();
        let mut types = Vec::new();
        while !rest.is_empty() {
            types.push(take(&mut rest, 0, 0).ok_or_else(wrong)?);
        }
        Ok(types)
    }

    /// The one type that a signature has.
    pub fn parse(signature: &str) -> Result<Self, Error> {
        let mut types = Self::parse_all(signature)?;
        match (types.pop(), types.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(Error::Signature(signature.chars().take(64).collect())),
        }
    }

    /// Its signature.
    pub fn signature(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Array(item) => {
                text.push('a');
                item.write(text);
            }
            Self::Struct(fields) => {
                text.push('(');
                for field in fields {
                    field.write(text);
                }
                text.push(')');
            }
            Self::Entry(both) => {
                text.push('{');
                both.0.write(text);
                both.1.write(text);
                text.push('}');
            }
            Self::Byte => text.push('y'),
            Self::Bool => text.push('b'),
            Self::I16 => text.push('n'),
            Self::U16 => text.push('q'),
            Self::I32 => text.push('i'),
            Self::U32 => text.push('u'),
            Self::I64 => text.push('x'),
            Self::U64 => text.push('t'),
            Self::Double => text.push('d'),
            Self::Str => text.push('s'),
            Self::Path => text.push('o'),
            Self::Signature => text.push('g'),
            Self::Fd => text.push('h'),
            Self::Variant => text.push('v'),
        }
    }

    /// Where values of it begin: at a multiple of this many bytes.
    pub(crate) fn alignment(&self) -> usize {
        match self {
            Self::Byte | Self::Signature | Self::Variant => 1,
            Self::I16 | Self::U16 => 2,
            Self::I64 | Self::U64 | Self::Double | Self::Struct(_) | Self::Entry(_) => 8,
            _ => 4,
        }
    }

    /// Whether it may be a key.
    fn is_basic(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Struct(_) | Self::Entry(_) | Self::Variant)
    }
}

/// The type at the beginning of `rest`, which is `arrays` and `structs` deep.
fn take(rest: &mut &[u8], arrays: usize, structs: usize) -> Option<Type> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(match first {
        b'y' => Type::Byte,
        b'b' => Type::Bool,
        b'n' => Type::I16,
        b'q' => Type::U16,
        b'i' => Type::I32,
        b'u' => Type::U32,
        b'x' => Type::I64,
        b't' => Type::U64,
        b'd' => Type::Double,
        b's' => Type::Str,
        b'o' => Type::Path,
        b'g' => Type::Signature,
        b'h' => Type::Fd,
        b'v' => Type::Variant,
        b'a' if arrays < DEPTH => {
            if rest.first() == Some(&b'{') {
                *rest = &rest[1..];
                let key = take(rest, arrays + 1, structs + 1).filter(Type::is_basic)?;
                let value = take(rest, arrays + 1, structs + 1)?;
                *rest = rest.strip_prefix(b"}")?;
                Type::Array(Box::new(Type::Entry(Box::new((key, value)))))
            } else {
                Type::Array(Box::new(take(rest, arrays + 1, structs)?))
            }
        }
        b'(' if structs < DEPTH => {
            let mut fields = Vec::new();
            while rest.first() != Some(&b')') {
                fields.push(take(rest, arrays, structs + 1)?);
            }
            *rest = &rest[1..];
            if fields.is_empty() {
                return None;
            }
            Type::Struct(fields)
        }
        _ => return None,
    })
}
