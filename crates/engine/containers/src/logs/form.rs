//! What a line looks like in a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use serde::Deserialize;

use crate::clock;

/// The longest line that is taken for one, bytes: a piece of 16 KiB, each byte escaped, and what is
/// noted with it.
const MAX_LINE_BYTES: u64 = 256 << 10;
/// Before and after each entry of `local`: its length, big-endian.
const LENGTH_BYTES: usize = 4;

/// The form of a log: see the supervisor, which writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One object of JSON a line.
    Json,
    /// Protocol buffers between two lengths.
    Local,
}

/// One line, or a piece of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// With its newline, if it is the end of a line.
    pub(super) text: Vec<u8>,
    /// From standard error.
    pub(super) is_error: bool,
    /// Nanoseconds since 1970.
    pub(super) time: i64,
    /// As it is written.
    pub(super) shown_time: String,
    attrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    #[serde(default)]
    time: String,
}

impl Line {
    /// What is noted with it, as Docker shows it: `a=1,b=2`.
    pub(super) fn details(&self) -> String {
        let pairs =
            self.attrs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value)));
        pairs.collect::<Vec<_>>().join(",")
    }
}

/// As Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        b' ' => "+".into(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

impl Form {
    /// Reads on into `line`. Whether it is whole; where it is not, the file has no more at present.
    pub(super) fn read(self, from: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Self::Json => {
                let limit = MAX_LINE_BYTES.saturating_sub(line.len() as u64);
                from.by_ref().take(limit).read_until(b'\n', line)?;
                Ok(line.last() == Some(&b'\n') || line.len() as u64 >= MAX_LINE_BYTES)
            }
            Self::Local => {
                if !fill(from, line, LENGTH_BYTES)? {
                    return Ok(false);
                }
                let length = entry_bytes(line);
                if length as u64 > MAX_LINE_BYTES {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "entry is too long"));
                }
                fill(from, line, length + 2 * LENGTH_BYTES)
            }
        }
    }

    /// What a whole line says; `None` where it is no line.
    pub(super) fn parse(self, line: &[u8]) -> Option<Line> {
        match self {
            Self::Json => {
                let object: Object = serde_json::from_slice(line).ok()?;
                Some(Line {
                    text: object.log.into_bytes(),
                    is_error: object.stream == "stderr",
                    time: clock::parse(&object.time).unwrap_or_default(),
                    shown_time: object.time,
                    attrs: object.attrs,
                })
            }
            Self::Local => entry(line.get(LENGTH_BYTES..line.len().checked_sub(LENGTH_BYTES)?)?),
        }
    }

    /// Where the last `wanted` lines of a file begin, and how many there are.
    pub(super) fn last(self, file: &mut File, wanted: usize) -> io::Result<(usize, u64)> {
        match self {
            Self::Json => last_lines(file, wanted),
            Self::Local => last_entries(file, wanted),
        }
    }
}

/// Reads on until `line` has `wanted` bytes. Whether it has.
fn fill(from: &mut BufReader<File>, line: &mut Vec<u8>, wanted: usize) -> io::Result<bool> {
    let missing = wanted.saturating_sub(line.len()) as u64;
    from.by_ref().take(missing).read_to_end(line)?;
    Ok(line.len() >= wanted)
}

fn entry_bytes(line: &[u8]) -> usize {
    let length = line.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// `LogEntry`: source 1, time 2, line 3, whether it is partial 4; all else is passed over.
fn entry(mut bytes: &[u8]) -> Option<Line> {
    let mut line = Line::default();
    let mut partial = false;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match (key >> 3, key & 7) {
            (field, 0) => {
                let value = varint(&mut bytes)?;
                match field {
                    2 => line.time = value.cast_signed(),
                    4 => partial = value != 0,
                    _ => {}
                }
            }
            (field, 2) => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                match field {
                    1 => line.is_error = value == b"stderr",
                    3 => line.text = value.to_vec(),
                    _ => {}
                }
            }
            _ => return None,
        }
    }
    if !partial {
        line.text.push(b'\n');
    }
    line.shown_time = clock::print(line.time);
    Some(line)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// From the end, by the lengths behind the entries. Where an entry is not whole yet, from the
/// beginning.
fn last_entries(file: &mut File, wanted: usize) -> io::Result<(usize, u64)> {
    let both = 2 * LENGTH_BYTES as u64;
    let mut at = file.metadata()?.len();
    let mut found = 0;
    let mut length = [0; LENGTH_BYTES];
    while found < wanted && at >= both {
        file.seek(SeekFrom::Start(at - LENGTH_BYTES as u64))?;
        file.read_exact(&mut length)?;
        let whole = u64::from(u32::from_be_bytes(length)) + both;
        let Some(start) = at.checked_sub(whole) else { return Ok((0, 0)) };
        let mut before = [0; LENGTH_BYTES];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut before)?;
        if before != length {
            return Ok((found, at));
        }
        at = start;
        found += 1;
    }
    Ok((found, at))
}

/// Where the last `wanted` lines of a file begin, and how many there are.
fn last_lines(file: &mut File, wanted: usize) -> io::Result<(usize, u64)> {
    const BLOCK: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    let mut offset = end;
    let mut found = 0;
    if wanted == 0 {
        return Ok((0, end));
    }
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.by_ref().take(end - start).read_to_end(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The newline at the very end ends the last line, and begins none.
            if (after != offset || found > 0) && found == wanted {
                return Ok((found, after));
            }
            found += 1;
            offset = after.min(offset);
        }
        end = start;
    }
    Ok((found.min(wanted), 0))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(name: &str, text: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("dhow-logs-{}-{name}", std::process::id()));
        File::create(&path).unwrap().write_all(text).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    fn tail(text: &str, wanted: usize) -> (usize, String) {
        let mut file = file(&format!("tail{wanted}-{}", text.len()), text.as_bytes());
        let (found, offset) = Form::Json.last(&mut file, wanted).unwrap();
        (found, text[usize::try_from(offset).unwrap()..].to_owned())
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let text = "a\nbb\nccc\n";
        assert_eq!(tail(text, 0), (0, String::new()));
        assert_eq!(tail(text, 1), (1, "ccc\n".into()));
        assert_eq!(tail(text, 2), (2, "bb\nccc\n".into()));
        assert_eq!(tail(text, 3), (3, text.into()));
        assert_eq!(tail(text, 9), (3, text.into()));
        assert_eq!(tail("", 3), (0, String::new()));
        let long = format!("{}\n", "x".repeat(100)).repeat(2000);
        assert_eq!(tail(&long, 1500), (1500, long[500 * 101..].into()));
    }

    /// One entry as the supervisor writes it.
    fn local(text: &str) -> Vec<u8> {
        let mut payload = b"\x0a\x06stderr\x10\xac\x94\xeb\xdc\x03\x1a".to_vec();
        payload.push(u8::try_from(text.len()).unwrap());
        payload.extend_from_slice(text.as_bytes());
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[..], &payload, &length].concat()
    }

    #[test]
    fn entries_of_local_are_read_from_both_ends() {
        let all = [local("one"), local("two"), local("three")].concat();
        let mut whole = file("local", &all);
        for (wanted, found, offset) in [(1, 1, 2), (2, 2, 1), (9, 3, 0)] {
            let place = local("one").len() * usize::from(offset > 0)
                + local("two").len() * usize::from(offset > 1);
            assert_eq!(Form::Local.last(&mut whole, wanted).unwrap(), (found, place as u64));
        }
        whole.seek(SeekFrom::Start(0)).unwrap();
        let mut reader = BufReader::new(whole);
        let mut texts = Vec::new();
        let mut line = Vec::new();
        while Form::Local.read(&mut reader, &mut line).unwrap() {
            let parsed = Form::Local.parse(&std::mem::take(&mut line)).unwrap();
            assert!(parsed.is_error && parsed.time == 1_000_000_044);
            texts.push(String::from_utf8(parsed.text).unwrap());
        }
        assert_eq!(texts, ["one\n", "two\n", "three\n"]);
        // The end of the file may lie within one.
        let mut reader = BufReader::new(file("half", &all[..all.len() - 3]));
        let mut n_whole = 0;
        while Form::Local.read(&mut reader, &mut line).unwrap() {
            line.clear();
            n_whole += 1;
        }
        assert_eq!(n_whole, 2);
    }

    #[test]
    fn details_are_as_docker_shows_them() {
        let text = br#"{"log":"x\n","stream":"stdout","attrs":{"b":"2 & 3","a":"1"},"time":"2026-01-02T03:04:05Z"}"#;
        assert_eq!(Form::Json.parse(text).unwrap().details(), "a=1,b=2+%26+3");
    }
}
