//! D-Bus messages: written, and read without trust.
//!
//! A [`Message`] is bytes and back, with [`Value`]s of the types that [`Type`] names. What is read is
//! checked on the way: lengths, padding, signatures, the depth of nesting, text. A message that is
//! wrong is an [`Error`], never a panic, and reading one takes memory in proportion to its bytes.
//!
//! [`text::parse`] reads a value as people write it, in `GVariant`'s text format.
//!
//! Source: the D-Bus specification, "Type System" and "Message Protocol".
#![forbid(unsafe_code)]

mod message;
mod read;
pub mod text;
mod types;
mod value;
mod write;

pub use message::{Flags, HEADER, Kind, Message};
pub use types::Type;
pub use value::Value;

/// The longest message that is read: systemd's are thousands of bytes.
pub const LONGEST: usize = 1 << 20;

/// What is wrong with a message, a signature or a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends before what it announces.
    #[error("a message ends in the middle of a value")]
    Short,
    /// Something that no message may have.
    #[error("a message has {0}")]
    Malformed(&'static str),
    /// A signature that is none.
    #[error("{0:?} is no signature")]
    Signature(String),
    /// More bytes than are read or may be sent.
    #[error("a message of {0} bytes is too long")]
    Long(usize),
    /// A text that is no value.
    #[error("{0}")]
    Text(String),
}

#[cfg(test)]
mod tests;
