//! Netlink messages (netlink(7)): written into one buffer, and read back from bytes that nobody
//! vouches for.
//!
//! A message is a header of 16 bytes, a fixed header of its family, and attributes: type, length
//! and value, which may be attributes again. All is in the machine's byte order, and aligned to
//! 4 bytes.
//!
//! What the families mean by it is known to those who use this: `nft`, `netlink`.
#![forbid(unsafe_code)]

mod read;
mod write;

pub use read::{Ack, Attribute, Attributes, Malformed, Message, Messages, acknowledgement};
pub use write::{TooLong, Writer};

/// The size of `struct nlmsghdr`, in bytes.
pub const HEADER_BYTES: usize = 16;
/// `NLMSG_ERROR`: an acknowledgement, or an error.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const DONE: u16 = 3;

/// Flags of a message (`NLM_F_*`).
pub mod flag {
    /// It is a request; every one of ours is.
    pub const REQUEST: u16 = 1;
    /// The reply goes on in further messages, up to [`DONE`](super::DONE).
    pub const MULTI: u16 = 2;
    /// Answer, also when it went well.
    pub const ACK: u16 = 4;
    /// The dump was overtaken by a change, and may lack something.
    pub const DUMP_INTR: u16 = 0x10;
    /// Return all there is.
    pub const DUMP: u16 = 0x300;
    /// Fail if it is there already.
    pub const EXCL: u16 = 0x200;
    /// Make it if it is not there.
    pub const CREATE: u16 = 0x400;
    /// Add at the end.
    pub const APPEND: u16 = 0x800;
    /// In an answer: the message that is answered is not repeated whole.
    pub const CAPPED: u16 = 0x100;
    /// In an answer: attributes follow that say more.
    pub const ACK_TLVS: u16 = 0x200;
}

/// The next multiple of 4.
const fn align(length: usize) -> usize {
    (length + 3) & !3
}
