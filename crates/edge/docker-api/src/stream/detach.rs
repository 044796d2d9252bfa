//! The keys that detach a client from a terminal.

/// `ctrl-p,ctrl-q`.
const DEFAULT: &[u8] = &[16, 17];

/// Parses `ctrl-p,ctrl-q`, `a,DEL`; empty: the default.
pub(crate) fn parse(keys: &str) -> Option<Vec<u8>> {
    if keys.is_empty() {
        return Some(DEFAULT.to_vec());
    }
    keys.split(',').map(parse_key).collect()
}

fn parse_key(key: &str) -> Option<u8> {
    match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
        (b"DEL", _) => Some(127),
        (_, Some([letter @ b'a'..=b'z'])) => Some(letter - b'a' + 1),
        (_, Some(b"@")) => Some(0),
        (_, Some([sign @ b'['..=b'_'])) => Some(sign - b'[' + 27),
        ([byte], None) if byte.is_ascii() => Some(*byte),
        _ => None,
    }
}

/// Finds the keys in what a client types, however it is cut into pieces.
#[derive(Debug)]
pub(crate) struct Detector {
    keys: Vec<u8>,
    /// How many of the keys were the last that came; they are held back.
    seen: usize,
}

impl Detector {
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, seen: 0 }
    }

    /// What goes on to the container, and whether the keys were complete: then nothing after them
    /// does.
    pub(crate) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len() + self.seen);
        for &byte in typed {
            if byte != self.keys[self.seen] {
                out.extend_from_slice(&self.keys[..self.seen]);
                self.seen = 0;
            }
            if byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return (out, true);
                }
            } else {
                out.push(byte);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed() {
        assert_eq!(parse(""), Some(vec![16, 17]));
        assert_eq!(parse("ctrl-a,d"), Some(vec![1, b'd']));
        assert_eq!(parse("ctrl-@,ctrl-[,ctrl-_,DEL"), Some(vec![0, 27, 31, 127]));
        for bad in ["ctrl-", "ctrl-A", "ab", "a,,b", "ctrl-ab"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    fn run(pieces: &[&str]) -> (String, bool) {
        let mut detector = Detector::new(b"pq".to_vec());
        let mut out = Vec::new();
        for piece in pieces {
            let (more, done) = detector.filter(piece.as_bytes());
            out.extend(more);
            if done {
                return (String::from_utf8(out).unwrap(), true);
            }
        }
        (String::from_utf8(out).unwrap(), false)
    }

    #[test]
    fn keys_are_found_across_pieces() {
        assert_eq!(run(&["abpq", "x"]), ("ab".to_owned(), true));
        assert_eq!(run(&["abp", "q", "x"]), ("ab".to_owned(), true));
        assert_eq!(run(&["abp", "pq"]), ("abp".to_owned(), true));
        assert_eq!(run(&["abp", "c"]), ("abpc".to_owned(), false));
        assert_eq!(run(&["p", "p", "c"]), ("ppc".to_owned(), false));
    }
}
