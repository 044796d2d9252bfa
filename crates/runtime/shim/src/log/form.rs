//! How a line is written into a file.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use crate::log::Piece;

/// The form of a file.
#[derive(Debug)]
pub(super) enum Form {
    /// Docker's json-file: one object a line.
    ///
    /// ```text
    /// {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678Z"}
    /// ```
    ///
    /// A line of output longer than 16 KiB becomes several objects, of which all but the last lack the
    /// newline at the end of `log`; they carry the time of the first.
    Json {
        /// `"attrs":{…},`, or nothing.
        attrs: Vec<u8>,
    },
    /// Docker's local: protocol buffers (`LogEntry`), each between two copies of its length (32 bits,
    /// big-endian), so that it can be read from both ends.
    Local,
}

impl Form {
    /// json-file with these attributes.
    pub(super) fn json(attrs: &BTreeMap<String, String>) -> io::Result<Self> {
        if attrs.is_empty() {
            return Ok(Self::Json { attrs: Vec::new() });
        }
        let mut text = b"\"attrs\":".to_vec();
        serde_json::to_writer(&mut text, attrs)?;
        text.push(b',');
        Ok(Self::Json { attrs: text })
    }

    /// Appends a line.
    pub(super) fn write(&self, to: &mut Vec<u8>, piece: &Piece<'_>) {
        match self {
            Self::Json { attrs } => write_object(to, piece, attrs),
            Self::Local => write_entry(to, piece),
        }
    }
}

/// Appends one object.
pub(super) fn write_object(to: &mut Vec<u8>, piece: &Piece<'_>, attrs: &[u8]) {
    to.extend_from_slice(b"{\"log\":\"");
    escape(to, piece.bytes);
    // Writing to memory does not fail.
    let _ = write!(to, "\",\"stream\":\"{}\",", piece.stream.name());
    to.extend_from_slice(attrs);
    let _ = writeln!(to, "\"time\":\"{}\"}}", piece.time);
}

/// Appends one entry.
fn write_entry(to: &mut Vec<u8>, piece: &Piece<'_>) {
    const SOURCE: u8 = 1 << 3 | 2;
    const TIME_NANO: u8 = 2 << 3;
    const LINE: u8 = 3 << 3 | 2;
    const PARTIAL: u8 = 4 << 3;
    const PARTIAL_METADATA: u8 = 5 << 3 | 2;
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    let name = piece.stream.name();
    to.extend_from_slice(&[SOURCE, name.len() as u8]);
    to.extend_from_slice(name.as_bytes());
    to.push(TIME_NANO);
    varint(to, piece.time.nanos().cast_unsigned());
    let text = piece.text();
    to.push(LINE);
    varint(to, text.len() as u64);
    to.extend_from_slice(text);
    if piece.is_partial() {
        // Of a line that goes on nothing more is said than that.
        to.extend_from_slice(&[PARTIAL, 1, PARTIAL_METADATA, 0]);
    }
    let length = ((to.len() - start - 4) as u32).to_be_bytes();
    to[start..start + 4].copy_from_slice(&length);
    to.extend_from_slice(&length);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Appends `bytes` as the inside of a JSON string, escaped as Go does, invalid UTF-8 as U+FFFD.
fn escape(to: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => to.extend_from_slice(&[b'\\', char as u8]),
                '\n' => to.extend_from_slice(b"\\n"),
                '\r' => to.extend_from_slice(b"\\r"),
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    let _ = write!(to, "\\u{:04x}", u32::from(char));
                }
                _ => to.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            to.extend_from_slice(b"\\ufffd");
        }
    }
}
