//! Values as people write them, in `GVariant`'s text format: `true`, `5`, `uint64 5`, `1.5`,
//! `'text'`, `b'bytes'`, `['a', 'b']`, `@as []`, `('a', 1)`, `<5>`.
//!
//! A number without a type is an `int32`, with a point or an exponent a `double`. Dictionaries and
//! `nothing` are not read: no property of a unit has such a type.

use crate::{Error, Type, Value};

/// The words before a value that give its type.
const KEYWORDS: [(&str, Type); 12] = [
    ("boolean", Type::Bool),
    ("byte", Type::Byte),
    ("int16", Type::I16),
    ("uint16", Type::U16),
    ("int32", Type::I32),
    ("uint32", Type::U32),
    ("handle", Type::Fd),
    ("int64", Type::I64),
    ("uint64", Type::U64),
    ("double", Type::Double),
    ("objectpath", Type::Path),
    ("signature", Type::Signature),
];

/// How deep values may be in each other.
const DEPTH: usize = 16;

/// Reads a value.
pub fn parse(text: &str) -> Result<Value, Error> {
    let mut parser = Parser { rest: text };
    let node = parser.node(0)?;
    parser.space();
    if !parser.rest.is_empty() {
        return Err(wrong(format!("{:?} follows the value", parser.rest)));
    }
    build(&node, None)
}

fn wrong(why: impl Into<String>) -> Error {
    Error::Text(why.into())
}

/// A value whose type may still come from around it.
#[derive(Debug)]
enum Node {
    Bool(bool),
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Node>),
    Tuple(Vec<Node>),
    Variant(Box<Node>),
    Typed(Type, Box<Node>),
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A word of what `is_part` accepts.
    fn word(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c: char| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn node(&mut self, depth: usize) -> Result<Node, Error> {
        if depth > DEPTH {
            return Err(wrong("values are nested too deep"));
        }
        self.space();
        let Some(first) = self.rest.chars().next() else { return Err(wrong("a value is missing")) };
        match first {
            '\'' | '"' => self.quoted().map(Node::Text),
            'b' if self.rest[1..].starts_with(['\'', '"']) => {
                self.rest = &self.rest[1..];
                let mut bytes = self.quoted()?.into_bytes();
                bytes.push(0);
                Ok(Node::Bytes(bytes))
            }
            '[' => self.list("[", "]", depth).map(Node::Array),
            '(' => self.list("(", ")", depth).map(Node::Tuple),
            '<' => {
                self.eat("<");
                let inner = self.node(depth + 1)?;
                if self.eat(">") {
                    Ok(Node::Variant(Box::new(inner)))
                } else {
                    Err(wrong("`>` is missing"))
                }
            }
            '@' => {
                self.rest = &self.rest[1..];
                let signature = self.word(|c| !c.is_whitespace());
                Ok(Node::Typed(Type::parse(&signature)?, Box::new(self.node(depth + 1)?)))
            }
            '+' | '-' | '.' | '0'..='9' => {
                Ok(Node::Number(self.word(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))))
            }
            _ => {
                let word = self.word(|c| c.is_ascii_alphanumeric());
                match word.as_str() {
                    "true" => return Ok(Node::Bool(true)),
                    "false" => return Ok(Node::Bool(false)),
                    "inf" | "nan" => return Ok(Node::Number(word)),
                    _ => {}
                }
                if word == "string" {
                    return Ok(Node::Typed(Type::Str, Box::new(self.node(depth + 1)?)));
                }
                match KEYWORDS.iter().find(|(name, _)| *name == word) {
                    Some((_, of)) => Ok(Node::Typed(of.clone(), Box::new(self.node(depth + 1)?))),
                    None => Err(wrong(format!(
                        "{:?} is no value",
                        if word.is_empty() { self.rest } else { &word }
                    ))),
                }
            }
        }
    }

    fn list(&mut self, open: &str, close: &str, depth: usize) -> Result<Vec<Node>, Error> {
        self.eat(open);
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.node(depth + 1)?);
            if !self.eat(",") && !self.rest.trim_start().starts_with(close) {
                return Err(wrong(format!("`,` or `{close}` is missing")));
            }
        }
        Ok(items)
    }

    fn quoted(&mut self) -> Result<String, Error> {
        let mut chars = self.rest.chars();
        let quote = chars.next();
        let mut text = String::new();
        loop {
            let next = chars.next().ok_or_else(|| wrong("a quote is not closed"))?;
            if Some(next) == quote {
                break;
            }
            if next != '\\' {
                text.push(next);
                continue;
            }
            let escaped = chars.next().ok_or_else(|| wrong("a quote is not closed"))?;
            text.push(match escaped {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                'u' | 'U' => {
                    let digits: String =
                        chars.by_ref().take(if escaped == 'u' { 4 } else { 8 }).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    code.ok_or_else(|| wrong(format!("\\{escaped}{digits} is no character")))?
                }
                other => other,
            });
        }
        self.rest = chars.as_str();
        if text.contains('\0') { Err(wrong("a text has a zero byte")) } else { Ok(text) }
    }
}

/// The type that a node has by itself.
fn infer(node: &Node) -> Result<Type, Error> {
    Ok(match node {
        Node::Bool(_) => Type::Bool,
        Node::Number(text) => {
            let hexadecimal = text.trim_start_matches(['+', '-']).starts_with("0x");
            let is_double = !hexadecimal && text.contains(['.', 'e', 'E', 'i', 'n']);
            if is_double { Type::Double } else { Type::I32 }
        }
        Node::Text(_) => Type::Str,
        Node::Bytes(_) => Type::Array(Box::new(Type::Byte)),
        Node::Array(items) => {
            let typed = items.iter().find(|item| matches!(item, Node::Typed(..)));
            let first = typed.or(items.first());
            let first =
                first.ok_or_else(|| wrong("an empty array needs its type, as in `@as []`"))?;
            Type::Array(Box::new(infer(first)?))
        }
        Node::Tuple(items) if items.is_empty() => return Err(wrong("`()` has no type")),
        Node::Tuple(items) => Type::Struct(items.iter().map(infer).collect::<Result<_, _>>()?),
        Node::Variant(_) => Type::Variant,
        Node::Typed(of, _) => of.clone(),
    })
}

fn build(node: &Node, wanted: Option<&Type>) -> Result<Value, Error> {
    let own;
    let of = if let Some(of) = wanted {
        of
    } else {
        own = infer(node)?;
        &own
    };
    let mismatch = || wrong(format!("a value is not of the type {}", of.signature()));
    match (of, node) {
        (_, Node::Typed(given, inner)) if given == of => build(inner, Some(of)),
        (Type::Bool, Node::Bool(value)) => Ok(Value::Bool(*value)),
        (Type::Str, Node::Text(text)) => Ok(Value::Str(text.clone())),
        (Type::Path, Node::Text(text)) if crate::read::is_path(text) => {
            Ok(Value::Path(text.clone()))
        }
        (Type::Signature, Node::Text(text)) => {
            Type::parse_all(text)?;
            Ok(Value::Signature(text.clone()))
        }
        (Type::Variant, Node::Variant(inner)) => Ok(build(inner, None)?.variant()),
        (Type::Array(item), Node::Bytes(bytes)) if **item == Type::Byte => Ok(Value::bytes(bytes)),
        (Type::Array(item), Node::Array(items)) => {
            let items = items.iter().map(|one| build(one, Some(item)));
            Ok(Value::Array((**item).clone(), items.collect::<Result<_, _>>()?))
        }
        (Type::Struct(fields), Node::Tuple(items)) if fields.len() == items.len() => {
            let items = items.iter().zip(fields).map(|(one, of)| build(one, Some(of)));
            Ok(Value::Struct(items.collect::<Result<_, _>>()?))
        }
        (_, Node::Number(text)) => number(of, text)
            .ok_or_else(|| wrong(format!("{text} is no number of the type {}", of.signature()))),
        _ => Err(mismatch()),
    }
}

/// A number of a type: decimal, `0x` hexadecimal or `0` octal.
fn number(of: &Type, text: &str) -> Option<Value> {
    if *of == Type::Double {
        return text.parse().ok().map(Value::Double);
    }
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (digits, radix) = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(rest), _) => (rest, 16),
        (None, Some(rest)) if !rest.is_empty() => (rest, 8),
        _ => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let amount = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -amount } else { amount };
    Some(match of {
        Type::Byte => Value::Byte(value.try_into().ok()?),
        Type::I16 => Value::I16(value.try_into().ok()?),
        Type::U16 => Value::U16(value.try_into().ok()?),
        Type::I32 => Value::I32(value.try_into().ok()?),
        Type::U32 => Value::U32(value.try_into().ok()?),
        Type::I64 => Value::I64(value.try_into().ok()?),
        Type::U64 => Value::U64(value.try_into().ok()?),
        Type::Fd => Value::Fd(value.try_into().ok()?),
        _ => return None,
    })
}
