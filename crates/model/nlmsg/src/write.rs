use crate::{HEADER_BYTES, align};

/// `NLA_F_NESTED`: the attribute's value is attributes.
const NESTED: u16 = 1 << 15;

/// A value that its length field cannot express: an attribute of 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a netlink attribute of more than 65535 bytes")]
pub struct TooLong;

/// Writes messages, one behind the other, into one buffer.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: Option<usize>,
    too_long: bool,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// One message: `kind` and `flags` as in netlink(7), `seq` by which the answer names it, the
    /// family's own fixed `header`, and what `body` writes.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        header: &[u8],
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.last = Some(start);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        // The port of the sender, which the kernel fills in.
        self.bytes.extend_from_slice(&[0; 4]);
        debug_assert_eq!(self.bytes.len() - start, HEADER_BYTES);
        self.bytes.extend_from_slice(header);
        self.pad();
        body(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or_else(|_| {
            self.too_long = true;
            0
        });
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sets more flags on the last message, if there is one.
    pub fn flag_last(&mut self, flags: u16) {
        let Some(at) = self.last.map(|start| start + 6) else { return };
        let now = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&(now | flags).to_ne_bytes());
    }

    /// One attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
    }

    /// An attribute of 32 bits in the machine's byte order.
    pub fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// An attribute of 32 bits in the network's byte order, as `nf_tables` has them.
    pub fn attr_be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// A string, with its NUL.
    pub fn attr_str(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    /// An attribute of attributes: what `body` writes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.open(kind | NESTED);
        body(self);
        self.close(start);
    }

    /// Bytes as they are, padded: a fixed header inside an attribute.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// All that was written.
    pub fn finish(self) -> Result<Vec<u8>, TooLong> {
        if self.too_long { Err(TooLong) } else { Ok(self.bytes) }
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.bytes.len() - start).unwrap_or_else(|_| {
            self.too_long = true;
            0
        });
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(align(self.bytes.len()), 0);
    }
}
