//! Messages.

use crate::read::{Reader, is_path};
use crate::write::Writer;
use crate::{Error, LONGEST, Type, Value};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call of a method.
    Call = 1,
    /// What a method returned.
    Reply = 2,
    /// What went wrong in a method.
    Error = 3,
    /// News for whoever wants it.
    Signal = 4,
}

/// A message's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender of a call wants no reply.
    pub const NO_REPLY: Self = Self(1);
}

/// A message. Names are empty where it has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// How it is to be taken.
    pub flags: Flags,
    /// Its number among the sender's, from 1 up.
    pub serial: u32,
    /// The number of the call that it answers; 0 where it answers none.
    pub reply_to: u32,
    /// The object that is called, or that a signal comes from.
    pub path: String,
    /// The interface of the method or the signal.
    pub interface: String,
    /// The method or the signal.
    pub member: String,
    /// The name of an error.
    pub error: String,
    /// Who it is for, on a bus.
    pub destination: String,
    /// Who it is from, on a bus.
    pub sender: String,
    /// Its arguments.
    pub body: Vec<Value>,
}

/// The bytes at the beginning of a message that say how long it is.
pub const HEADER: usize = 16;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR: u8 = 4;
const REPLY_TO: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

impl Message {
    /// A message of a kind and nothing else.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            flags: Flags::default(),
            serial: 1,
            reply_to: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            destination: String::new(),
            sender: String::new(),
            body: Vec::new(),
        }
    }

    /// A call of `interface.member` of the object `path` of `destination`.
    pub fn call(destination: &str, path: &str, interface: &str, member: &str) -> Self {
        Self {
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            destination: destination.to_owned(),
            ..Self::new(Kind::Call)
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut body = Writer::default();
        let mut signature = String::new();
        for value in &self.body {
            body.value(value)?;
            signature.push_str(&value.of_type().signature());
        }
        let mut fields = Vec::new();
        let mut field = |code: u8, value: Value| {
            fields.push(Value::Struct(vec![Value::Byte(code), value.variant()]));
        };
        if !self.path.is_empty() {
            field(PATH, Value::Path(self.path.clone()));
        }
        for (code, name) in [
            (INTERFACE, &self.interface),
            (MEMBER, &self.member),
            (ERROR, &self.error),
            (DESTINATION, &self.destination),
            (SENDER, &self.sender),
        ] {
            if !name.is_empty() {
                field(code, Value::Str(name.clone()));
            }
        }
        if self.reply_to != 0 {
            field(REPLY_TO, Value::U32(self.reply_to));
        }
        if !signature.is_empty() {
            field(SIGNATURE, Value::Signature(signature));
        }
        let mut message = Writer::default();
        message.bytes.extend_from_slice(&[b'l', self.kind as u8, self.flags.0, 1]);
        message.u32(body.bytes.len() as u32);
        message.u32(self.serial);
        message.value(&Value::Array(field_type(), fields))?;
        message.pad(8);
        message.bytes.extend_from_slice(&body.bytes);
        let length = message.bytes.len();
        if length > LONGEST { Err(Error::Long(length)) } else { Ok(message.bytes) }
    }

    /// How long a message is, from its first [`HEADER`] bytes.
    pub fn length(header: &[u8; HEADER]) -> Result<usize, Error> {
        let mut reader = start(header)?;
        reader.u32()?;
        let body = reader.u32()? as usize;
        reader.u32()?;
        let fields = reader.u32()? as usize;
        let length = fields.saturating_add(HEADER + 7) / 8 * 8;
        let length = length.saturating_add(body);
        if length > LONGEST { Err(Error::Long(length)) } else { Ok(length) }
    }

    /// From bytes: one message, whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let header = bytes.first_chunk::<HEADER>().ok_or(Error::Short)?;
        let length = Self::length(header)?;
        if bytes.len() != length {
            return Err(if bytes.len() < length { Error::Short } else { Error::Long(bytes.len()) });
        }
        let mut reader = start(bytes)?;
        let big_endian = reader.byte()? == b'B';
        let kind = match reader.byte()? {
            1 => Kind::Call,
            2 => Kind::Reply,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Err(Error::Malformed("a kind that is none")),
        };
        let flags = Flags(reader.byte()?);
        reader.byte()?;
        let body = reader.u32()? as usize;
        let mut message = Self { flags, serial: reader.u32()?, ..Self::new(kind) };
        if message.serial == 0 {
            return Err(Error::Malformed("the serial number 0"));
        }
        let fields = reader.value(&Type::Array(Box::new(field_type())), 0)?;
        reader.pad(8)?;
        let Value::Array(_, fields) = fields else { return Err(Error::Short) };
        let mut signature = String::new();
        for field in fields {
            message.set(field, &mut signature)?;
        }
        message.check()?;
        let start = bytes.len().checked_sub(body).ok_or(Error::Short)?;
        let mut reader = Reader::new(&bytes[start..], big_endian);
        for of in Type::parse_all(&signature)? {
            message.body.push(reader.value(&of, 0)?);
        }
        if reader.is_at_end() {
            Ok(message)
        } else {
            Err(Error::Malformed("more than its signature says"))
        }
    }

    /// Takes a header field: a structure of its code and a variant. Unknown ones are passed over.
    fn set(&mut self, field: Value, signature: &mut String) -> Result<(), Error> {
        let wrong = Error::Malformed("a header field of the wrong type");
        let Value::Struct(pair) = field else { return Err(wrong) };
        let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else { return Err(wrong) };
        match (*code, &**value) {
            (PATH, Value::Path(path)) => self.path.clone_from(path),
            (INTERFACE, Value::Str(name)) => self.interface.clone_from(name),
            (MEMBER, Value::Str(name)) => self.member.clone_from(name),
            (ERROR, Value::Str(name)) => self.error.clone_from(name),
            (REPLY_TO, Value::U32(serial)) => self.reply_to = *serial,
            (DESTINATION, Value::Str(name)) => self.destination.clone_from(name),
            (SENDER, Value::Str(name)) => self.sender.clone_from(name),
            (SIGNATURE, Value::Signature(text)) => signature.clone_from(text),
            (0..=SIGNATURE, _) => return Err(wrong),
            _ => {}
        }
        Ok(())
    }

    /// What each kind must have.
    fn check(&self) -> Result<(), Error> {
        let is_whole = match self.kind {
            Kind::Call => is_path(&self.path) && !self.member.is_empty(),
            Kind::Reply => self.reply_to != 0,
            Kind::Error => self.reply_to != 0 && !self.error.is_empty(),
            Kind::Signal => {
                is_path(&self.path) && !self.interface.is_empty() && !self.member.is_empty()
            }
        };
        if is_whole { Ok(()) } else { Err(Error::Malformed("not the header fields of its kind")) }
    }
}

/// The type of a header field.
fn field_type() -> Type {
    Type::Struct(vec![Type::Byte, Type::Variant])
}

/// A reader of a message from its first byte, which says which end is first.
fn start(bytes: &[u8]) -> Result<Reader<'_>, Error> {
    match bytes {
        [b'l', _, _, 1, ..] => Ok(Reader::new(bytes, false)),
        [b'B', _, _, 1, ..] => Ok(Reader::new(bytes, true)),
        _ => Err(Error::Malformed("another version of the protocol, or is none")),
    }
}
