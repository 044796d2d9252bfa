//! DNS messages (RFC 1035): the questions that a container asks, and their answers.
//!
//! Pure: bytes to values and back, for a name server that answers some names itself and relays all
//! other questions byte for byte; and for one who asks for addresses itself. It sends nothing.
//!
//! ```text
//! parse(bytes) ─→ Query ─┬─ reply(&query, Reply::Records(…)) ─→ bytes for the asker
//!                        └─ set_id(bytes, random) ─→ upstream ─→ answers(&sent, bytes) ─→ asker
//!
//! ask(random, name, family) ─→ server ─→ answers(&sent, bytes) ─→ addresses(bytes, family)
//! ```
//!
//! Whatever arrives is hostile: lengths are checked before use, a compression pointer may only
//! lead towards the start of the message, and a name is at most 255 bytes long.
#![forbid(unsafe_code)]

mod ask;
mod name;
mod query;
mod reply;

pub use ask::{Family, Found, addresses, ask};
pub use name::Name;
pub use query::{Kind, Query, answers, is_truncated, parse, set_id};
pub use reply::{Code, Record, Reply, failure, reply};

/// The length of a message's header, in bytes.
pub const HEADER_BYTES: usize = 12;
/// The longest message that is sent over UDP to one who did not offer more (RFC 1035, 4.2.1).
pub const PLAIN_UDP_BYTES: usize = 512;

/// Why bytes are no DNS message that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message ends inside of something.
    #[error("message ends at byte {0}, inside a field")]
    Short(usize),
    /// A label's length byte is of a form that does not exist.
    #[error("label type at byte {0} does not exist")]
    LabelType(usize),
    /// A compression pointer that does not lead backwards.
    #[error("compression pointer at byte {0} does not lead backwards")]
    Pointer(usize),
    /// A name of more than 255 bytes.
    #[error("name that starts at byte {0} is too long")]
    LongName(usize),
    /// A response where a query was expected.
    #[error("message is a response")]
    Response,
    /// Not exactly one question.
    #[error("message has {0} questions")]
    Questions(u16),
}

/// The two bytes at `at`, in network order.
fn u16_at(message: &[u8], at: usize) -> Result<u16, Error> {
    let bytes = message.get(at..).and_then(|rest| rest.first_chunk::<2>());
    bytes.map(|two| u16::from_be_bytes(*two)).ok_or(Error::Short(message.len()))
}
